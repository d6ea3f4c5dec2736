"""Errors in Cloudflare's v4 envelope: those of the models' layer bear the request's id, those of the API's and of the
gateway's do not.

Source: Cloudflare docs, Workers AI > Errors, read 2026-11; replies of the service as its users report them.
"""

from dataclasses import dataclass

from lowcloud.core.errors import (
    BadRequest,
    Forbidden,
    InvalidModelName,
    JsonModeFailed,
    LoraUnsupported,
    LowcloudError,
    MalformedCredentials,
    MethodNotAllowed,
    MissingBody,
    ModelNotFound,
    NotFound,
    PromptTooLong,
    Unauthorized,
)
from lowcloud.gateway.errors import GatewayError
from lowcloud.http.errors import Rendered

_BY_THE_API = (Unauthorized, Forbidden, NotFound, MethodNotAllowed)
_BY_THE_MODELS = (ModelNotFound, InvalidModelName)


@dataclass(frozen=True, slots=True)
class NativeError:
    """What the native API says of an error: ``number`` is the code, ``message`` bears the request's id."""

    status: int
    number: int
    message: str
    is_of_models: bool


def native(error: LowcloudError, request_id: str) -> NativeError:
    """The error in the native API's words."""
    if isinstance(error, (*_BY_THE_API, GatewayError)) and not isinstance(error, _BY_THE_MODELS):
        return NativeError(_status(error), error.number, str(error), is_of_models=False)
    said = described(error)
    bad = "Bad input: " if said != str(error) else ""
    return NativeError(_status(error), error.number, f"AiError: {bad}{said} ({request_id})", is_of_models=True)


def v4(error: LowcloudError, request_id: str) -> Rendered:
    """The answer for an error: ``result`` is ``{}`` where a model's layer refuses, null where the API does."""
    said = native(error, request_id)
    result: dict[str, object] | None = {} if said.is_of_models else None
    errors = [{"message": said.message, "code": said.number}]
    return Rendered(said.status, {"errors": errors, "success": False, "result": result, "messages": []})


def _status(error: LowcloudError) -> int:
    """The native API's own, where it differs from that of OpenAI's."""
    match error:
        case ModelNotFound() | MalformedCredentials():
            return 400
        case LoraUnsupported():
            return 405
        case _:
            return error.status


def described(error: LowcloudError) -> str:
    """What a model's layer says of an error: of inputs that aren't as they must be, what a validator said."""
    is_plain = isinstance(error, JsonModeFailed | PromptTooLong | LoraUnsupported | MissingBody)
    return f"Error: {error}" if isinstance(error, BadRequest) and not is_plain else str(error)
