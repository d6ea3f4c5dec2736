"""GET .../tokens/verify, of a user and of an account: whether a token is good, as SDKs and wrangler ask."""

from datetime import UTC, datetime

from starlette.responses import Response
from starlette.types import ASGIApp

from lowcloud.core.errors import ExpiredToken, LowcloudError, Unauthorized
from lowcloud.http.call import Call
from lowcloud.http.encode import to_json
from lowcloud.http.errors import Rendered
from lowcloud.http.workers_ai.envelope import enveloped
from lowcloud.http.workers_ai.errors import v4

# Source: Cloudflare docs, API > Verify token.
_IS_GOOD = {"code": 10000, "message": "This API Token is valid and active", "type": None}


async def verify(call: Call) -> ASGIApp:
    """What there is to know of the caller's token."""
    principal = call.principal
    if principal is None:
        raise RuntimeError("the route is open")
    result = {"id": principal.token_id, "status": "active"}
    if principal.expires_at is not None:
        result["expires_on"] = datetime.fromtimestamp(principal.expires_at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    return Response(enveloped(to_json(result), messages=[_IS_GOOD]), 200, {}, "application/json")


def verifying(error: LowcloudError, request_id: str) -> Rendered:
    """As elsewhere, but for an unknown token: here it isn't good, there it isn't let in."""
    if type(error) is Unauthorized:
        error = ExpiredToken("Invalid API Token")
    return v4(error, request_id)
