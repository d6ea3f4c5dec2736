"""Errors on the wire: one JSON object that OpenAI's and Cloudflare's SDKs both parse.

The OpenAI half is ``error``; the rest is Cloudflare's v4 envelope.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeAlias

from starlette.responses import Response

from lowcloud.core.errors import BodyTooLarge, LowcloudError, MethodNotAllowed, RequestTimeout, Unauthorized
from lowcloud.http.encode import to_json


def envelope(error: LowcloudError) -> dict[str, object]:
    """The body of an error."""
    told = {"message": str(error), "type": error.type, "param": error.param, "code": error.code}
    return {"error": told, **v4_part(error)}


def v4_part(error: LowcloudError) -> dict[str, object]:
    """Cloudflare's part of it, beside what another format says."""
    return {
        "success": False,
        "errors": [{"code": error.number, "message": str(error)}],
        "messages": [],
        "result": None,
    }


@dataclass(frozen=True, slots=True)
class Rendered:
    """An error as a format says it."""

    status: int
    body: Mapping[str, object]


Shape: TypeAlias = Callable[[LowcloudError, str], Rendered]


def openai(error: LowcloudError, _request_id: str) -> Rendered:
    """In the shape of OpenAI's API, and of Cloudflare's."""
    return Rendered(error.status, envelope(error))


def response(error: LowcloudError, request_id: str, shape: Shape = openai) -> Response:
    """The whole answer for an error that came before the first byte, in the shape that the route's clients parse."""
    rendered = shape(error, request_id)
    return Response(to_json(rendered.body), rendered.status, _headers(error), "application/json")


def event(error: LowcloudError) -> bytes:
    """The last event of a stream that failed; OpenAI's SDKs raise APIError for data with a member ``error``."""
    return b"data: " + to_json(envelope(error)) + b"\n\n"


def _headers(error: LowcloudError) -> dict[str, str]:
    headers = dict(error.headers)
    if error.retry_after_s is not None:
        headers["retry-after"] = str(max(1, math.ceil(error.retry_after_s)))
    if not error.is_worth_a_retry:
        headers["x-should-retry"] = "false"
    match error:
        case MethodNotAllowed(allow=allow):
            headers["allow"] = ", ".join(allow)
        case Unauthorized():
            headers["www-authenticate"] = "Bearer"
        case BodyTooLarge() | RequestTimeout():
            # what is left of the body must not be read as the next request
            headers["connection"] = "close"
    return headers
