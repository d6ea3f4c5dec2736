"""Errors in Anthropic's shape, and in Cloudflare's."""

from lowcloud.core.errors import LowcloudError
from lowcloud.http.anthropic.messages_stream import sse
from lowcloud.http.errors import Rendered, v4_part

_TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    408: "timeout_error",
    413: "request_too_large",
    429: "rate_limit_error",
    503: "overloaded_error",
}


def fields(error: LowcloudError) -> dict[str, object]:
    """The member ``error``."""
    is_ours = error.status >= 500
    return {
        "type": _TYPES.get(error.status, "api_error" if is_ours else "invalid_request_error"),
        "message": str(error),
    }


def envelope(error: LowcloudError, _request_id: str) -> Rendered:
    """The answer for an error."""
    return Rendered(error.status, {"type": "error", "error": fields(error), **v4_part(error)})


def event(error: LowcloudError) -> bytes:
    """The last event of a stream that failed."""
    return sse("error", error=fields(error))
