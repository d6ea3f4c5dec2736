"""Errors in the form that the class behind ``env.AI`` parses.

Its ``run`` throws ``name: internalCode: description``; the rest of it, and wrangler, read ``errors``. Source: workerd,
ai-api and aig-api, read 2026-11; for the names, errors as users of the service report them.
"""

from lowcloud.core.errors import LowcloudError, Overloaded, Unavailable
from lowcloud.gateway.errors import GatewayError
from lowcloud.http.errors import Rendered
from lowcloud.http.workers_ai.errors import described, native

OF_A_MODEL, OF_THE_SERVICE = "AiError", "InferenceUpstreamError"


def binding_error(error: LowcloudError, request_id: str) -> Rendered:
    """The answer for an error, with the status that the native API has for it."""
    said = native(error, request_id)
    is_of_a_model = said.is_of_models and not isinstance(error, Overloaded | Unavailable)
    name = OF_A_MODEL if is_of_a_model else OF_THE_SERVICE
    if isinstance(error, GatewayError):
        name = GatewayError.name
    description = described(error)
    body = {
        "internalCode": said.number,
        "message": f"{name}: {description}",
        "name": name,
        "description": description,
        "errors": [{"code": said.number, "message": str(error)}],
        "success": False,
        "result": None,
        "messages": [],
    }
    return Rendered(said.status, body)
