"""Errors on the wire: one JSON object that OpenAI's and Cloudflare's SDKs both parse.

The OpenAI half is ``error``; the rest is Cloudflare's v4 envelope.
"""

import math
from collections.abc import Callable
from typing import TypeAlias

from starlette.responses import Response

from lowcloud.core.errors import BodyTooLarge, LowcloudError, MethodNotAllowed, RequestTimeout, Unauthorized
from lowcloud.http.encode import to_json


def envelope(error: LowcloudError) -> dict[str, object]:
    """The body of an error."""
    message = str(error)
    return {
        "error": {"message": message, "type": error.type, "param": error.param, "code": error.code},
        "success": False,
        "errors": [{"code": error.number, "message": message}],
        "messages": [],
        "result": None,
    }


Shape: TypeAlias = Callable[[LowcloudError], dict[str, object]]


def response(error: LowcloudError, shape: Shape = envelope) -> Response:
    """The whole answer for an error that came before the first byte, in the shape that the route's clients parse."""
    return Response(to_json(shape(error)), error.status, _headers(error), "application/json")


def event(error: LowcloudError) -> bytes:
    """The last event of a stream that failed; OpenAI's SDKs raise APIError for data with a member ``error``."""
    return b"data: " + to_json(envelope(error)) + b"\n\n"


def _headers(error: LowcloudError) -> dict[str, str]:
    headers: dict[str, str] = {}
    if error.retry_after_s is not None:
        headers["retry-after"] = str(max(1, math.ceil(error.retry_after_s)))
    match error:
        case MethodNotAllowed(allow=allow):
            headers["allow"] = ", ".join(allow)
        case Unauthorized():
            headers["www-authenticate"] = "Bearer"
        case BodyTooLarge() | RequestTimeout():
            # what is left of the body must not be read as the next request
            headers["connection"] = "close"
    return headers
