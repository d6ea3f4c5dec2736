"""The gateway's vocabulary: calls to providers, their replies, and who carries them."""

from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass, field
from typing import Protocol, TypeAlias

from lowcloud.core.principal import Principal
from lowcloud.gateway.options import Options

Headers: TypeAlias = tuple[tuple[str, str], ...]
OURS = "workers-ai"


@dataclass(frozen=True, slots=True)
class Call:
    """One HTTP request to a provider.

    ``path`` is the provider's own, raw and without a slash in front; ``query`` is raw. ``headers`` have lower-case
    names, and none of the connection's (host, content-length, transfer-encoding ...) nor of the gateway's (cf-aig-*).
    """

    provider: str
    method: str
    path: str
    query: str
    headers: Headers
    body: bytes

    def header(self, name: str) -> str | None:
        """The first of that name."""
        return next((value for each, value in self.headers if each == name), None)


@dataclass(frozen=True, slots=True)
class Reply:
    """What a provider answers. ``body`` gives pieces as they come; closing it ends the exchange."""

    status: int
    headers: Headers
    body: AsyncGenerator[bytes, None]

    def header(self, name: str) -> str | None:
        """The first of that name."""
        return next((value for each, value in self.headers if each == name), None)


async def begun(body: AsyncGenerator[bytes, None]) -> AsyncGenerator[bytes, None]:
    """A body whose first piece, an empty one, is taken: closing a generator that never began runs none of its code."""
    await anext(body)
    return body


@dataclass(frozen=True, slots=True)
class Target:
    """Where a call goes: ``url`` is whole; ``headers`` are the call's with the credentials that it is sent with.

    A ``is_checked`` host may be none of this machine's and of its network's. ``account_id`` and ``principal`` are for
    our own models, who have no URL.
    """

    url: str
    headers: Headers
    is_checked: bool = True
    account_id: str = ""
    principal: Principal | None = None


@dataclass(frozen=True, slots=True)
class Step:
    """A call, and what is asked for it alone."""

    call: Call
    options: Options = field(default_factory=Options)


@dataclass(frozen=True, slots=True)
class Asked:
    """What a client asks of a gateway. ``token`` is the one of ``cf-aig-authorization``; ``principal`` is who called
    where that is known by other means (our own token, a binding).

    ``id`` is the log's, a lowercase UUIDv7. ``source`` says which way in it came: ``provider``, ``compat``,
    ``universal``, ``rest`` or ``binding``.
    """

    id: str
    account_id: str
    gateway_id: str
    steps: tuple[Step, ...]
    options: Options
    source: str
    principal: Principal | None = None
    token: str | None = None
    user_agent: str = ""
    metadata: Mapping[str, object] = field(default_factory=dict)


class Upstream(Protocol):
    """Carries calls to a provider."""

    async def send(self, call: Call, target: Target, first_byte_s: float | None) -> Reply:
        """The reply, once its head is there. Raises NoReply: no connection, no head in time, a host that is not
        allowed."""
