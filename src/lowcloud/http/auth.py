"""Who calls: from the Authorization header and the account in the path to a principal."""

from dataclasses import dataclass, replace
from typing import Protocol

from starlette.datastructures import Headers

from lowcloud.core.errors import (
    ExpiredToken,
    Forbidden,
    LacksPermission,
    MalformedCredentials,
    MissingCredentials,
    Unauthorized,
)
from lowcloud.core.principal import DEV_ACCOUNT, Permission, Principal

_EVERYTHING = frozenset(Permission)
USES_MODELS = frozenset({Permission.WORKERS_AI_READ, Permission.WORKERS_AI_WRITE})
RUNS_GATEWAYS = frozenset({Permission.AI_GATEWAY_RUN})


class TokenVerifier(Protocol):
    """Where tokens are kept."""

    async def verify(self, token: str) -> Principal | None:
        """Whose token this is; None for one that is unknown. Raises ExpiredToken."""


class Auth(Protocol):
    """Decides who may call."""

    async def principal(self, headers: Headers, account_id: str | None, any_of: frozenset[Permission], /) -> Principal:
        """The caller, who has at least one of the permissions, if there are any.

        ``account_id`` is the path's, None on the short base.

        Raises MalformedCredentials, Unauthorized, Forbidden.
        """

    async def knows(self, token: str, /) -> bool:
        """Whether a token is this server's, good or not any more."""


@dataclass(frozen=True, slots=True)
class OpenAuth:
    """Lets everyone in, as whatever account the path names: for ``dev`` and ``insecure_loopback``.

    ``verifier`` knows the tokens that there are all the same.
    """

    verifier: TokenVerifier | None = None

    async def principal(
        self, _headers: Headers, account_id: str | None, _any_of: frozenset[Permission], /
    ) -> Principal:
        return Principal("open", account_id or DEV_ACCOUNT, _EVERYTHING)

    async def knows(self, token: str, /) -> bool:
        return self.verifier is not None and await _is_known(self.verifier, token)


@dataclass(frozen=True, slots=True)
class TokenAuth:
    """Wants a token, and keeps it to its own account; with ``any_account``, for ``dev``, to the one in the path."""

    verifier: TokenVerifier
    any_account: bool = False

    async def principal(self, headers: Headers, account_id: str | None, any_of: frozenset[Permission], /) -> Principal:
        principal = await self.verifier.verify(_bearer(headers))
        if principal is None:
            raise Unauthorized("Authentication error: this API token is unknown.")
        if self.any_account and account_id is not None:
            principal = replace(principal, account_id=account_id)
        if account_id not in (None, principal.account_id):
            raise Forbidden("Unauthorized to access requested resource: this API token is for another account.")
        check(principal, any_of)
        return principal

    async def knows(self, token: str, /) -> bool:
        return await _is_known(self.verifier, token)


def check(principal: Principal, any_of: frozenset[Permission]) -> None:
    """Raises LacksPermission for who has none of them, if there are any."""
    if any_of and not principal.permissions & any_of:
        needed = " or ".join(sorted(any_of))
        raise LacksPermission(f"Authentication error: this API token lacks the permission {needed}.")


async def _is_known(verifier: TokenVerifier, token: str) -> bool:
    try:
        return await verifier.verify(token) is not None
    except ExpiredToken:
        return True


def _bearer(headers: Headers) -> str:
    """The token of ``Authorization: Bearer ...``, else of ``x-api-key``, as Anthropic's SDKs send it, or of
    ``x-auth-key``, as Cloudflare's do beside an ``x-auth-email``, which says nothing here.

    Raises MissingCredentials, MalformedCredentials.
    """
    if "authorization" not in headers:
        key = headers.get("x-api-key", "").strip() or headers.get("x-auth-key", "").strip()
        if key:
            return key
    scheme, _, token = headers.get("authorization", "").partition(" ")
    if not scheme:
        raise MissingCredentials("Missing Authorization header: send the API token as Authorization: Bearer <token>.")
    if scheme.lower() != "bearer" or not token.strip():
        raise MalformedCredentials("Invalid format for Authorization header: it must be Bearer <token>.")
    return token.strip()
