"""What the gateway answers of its own accord. ``number`` is Cloudflare's internal code, and the v4 envelope's.

    GatewayError 400
    ├── BadOption 400 (7001)           a header or a field of options that can't be read; ``param`` names it
    │   └── FeatureUnsupported         one that asks for what isn't done yet
    ├── FellBehind 408                 a follower of a call that took too little: its stream ends with it
    ├── NoSuchGateway 400 (2001)       other than ``default``, a gateway has to be made first
    ├── RateLimited 429 (2003)         over the gateway's limit of requests; ``retry_after_s``
    ├── NoReply 400 (2005)             the provider can't be reached, or didn't begin to answer in time; ``kind``
    ├── InvalidProvider 400 (2008)     none of that name, or none that speaks the form that is asked for
    ├── GatewayUnauthorized 401 (2009) no good ``cf-aig-authorization``
    └── SpendLimitReached 429          ``bucket``, ``spent`` and ``limit``, in dollars; not worth a retry

Source: Cloudflare docs, AI Gateway › Troubleshooting and › Spend limits, read 2026-11. 7001 is what Cloudflare's
management API answers for input that isn't valid.
"""

from typing import Literal, TypeAlias

from lowcloud.core.errors import LowcloudError

NoReplyKind: TypeAlias = Literal["no_connection", "timeout", "not_allowed"]


class GatewayError(LowcloudError):
    """Base of the gateway's errors: ``str(error)`` is the message and holds no secrets."""

    status = 400
    code = "gateway_error"
    type = "invalid_request_error"
    number = 7001
    name = "AiGatewayError"

    @property
    def internal_code(self) -> int | None:
        """Cloudflare's; None for an error that has none."""
        return self.number


class BadOption(GatewayError):
    """A ``cf-aig-*`` header or a field of a step's or a binding's options; ``param`` is its name or path."""

    code = "invalid_option"


class FeatureUnsupported(BadOption):
    """A header or a field that is known, would change the answer, and isn't done here yet."""

    code = "unsupported_option"


class FellBehind(GatewayError):
    """Who reads along with another's call took so little that what comes next for them is gone."""

    status = 408
    code = "fell_behind"
    type = "server_error"
    number = 7001

    def __init__(self) -> None:
        super().__init__("This reply was read too slowly, and what comes next is gone. Ask again.")


class NoSuchGateway(GatewayError):
    """The account has no gateway of that id."""

    code = "gateway_not_found"
    number = 2001

    def __init__(self, gateway_id: str) -> None:
        super().__init__(f"There is no gateway {gateway_id}. Please configure AI Gateway.", param="gateway_id")


class RateLimited(GatewayError):
    """More requests than the gateway allows in its interval."""

    status = 429
    code = "rate_limited"
    type = "rate_limit_error"
    number = 2003

    def __init__(self, retry_after_s: float) -> None:
        super().__init__("Rate limited", retry_after_s=retry_after_s)


class NoReply(GatewayError):
    """No status line came: the message says why, without addresses and credentials."""

    code = "no_reply"
    type = "server_error"
    number = 2005

    def __init__(self, message: str = "Failed to get response from provider", *, kind: NoReplyKind) -> None:
        super().__init__(message)
        self.kind: NoReplyKind = kind


class InvalidProvider(GatewayError):
    """A provider that isn't known, or one that doesn't speak the form that is asked for."""

    code = "invalid_provider"
    number = 2008

    def __init__(self, why: str = "") -> None:
        super().__init__(f"Invalid provider{': ' + why if why else ''}", param="provider")


class GatewayUnauthorized(GatewayError):
    """An authenticated gateway, and no good token in ``cf-aig-authorization``."""

    status = 401
    code = "gateway_unauthorized"
    type = "authentication_error"
    number = 2009

    def __init__(self, message: str = "Unauthorized") -> None:
        super().__init__(message, param="cf-aig-authorization")


class SpendLimitReached(GatewayError):
    """A bucket of a spend rule is full. ``spent``, which has what calls under way hold, and ``limit`` are dollars."""

    status = 429
    code = "spend_limit_reached"
    type = "rate_limit_error"
    number = 2003
    is_worth_a_retry = False

    def __init__(self, bucket: str, spent: float, limit: float, *, retry_after_s: float) -> None:
        super().__init__("Spending limit exceeded", retry_after_s=retry_after_s)
        self.bucket, self.spent, self.limit = bucket, spent, limit

    @property
    def internal_code(self) -> None:
        """Its body is of another shape, which has none."""


def body(error: LowcloudError) -> dict[str, object]:
    """What a provider's endpoint answers, in Cloudflare's shape: ``error``, not ``errors``, is the array."""
    message = str(error)
    if isinstance(error, SpendLimitReached):
        told = {"message": message, "bucket": error.bucket, "spent": error.spent, "limit": error.limit}
        return {"success": False, "error": told}
    return {
        "success": False,
        "result": [],
        "messages": [],
        "error": [{"code": error.number, "message": message}],
        "name": GatewayError.name,
        "httpCode": error.status,
        "internalCode": error.number,
        "message": message,
        "description": message,
    }
