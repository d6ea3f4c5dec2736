"""Every error that can reach a caller. ``status`` and ``code`` are API; ``http/errors.py`` renders them.

    LowcloudError
    ├── BadRequest 400              the caller's request can't be met as it stands; ``param`` names the field
    │   ├── MissingBody             there is none
    │   ├── JsonModeFailed          the answer's JSON was cut before its end
    │   ├── Unsupported             a known field or value that this server doesn't do (yet)
    │   │   └── LoraUnsupported     an adapter for a model that takes none
    │   ├── PreviousResponseNotFound  the response to go on from
    │   ├── UnsupportedSchema       a keyword of a JSON schema that can't be enforced
    │   └── PromptTooLong           counts beyond the model's context
    ├── Unauthorized 401            not one of our tokens
    │   ├── MissingCredentials      none at all
    │   ├── MalformedCredentials    an Authorization header that isn't one
    │   └── ExpiredToken            one that was ours, and isn't any more
    ├── Forbidden 403               another account's token, a foreign Host or Origin
    │   └── LacksPermission         a good token without the right
    ├── NotFound 404                no such route or object
    │   ├── ModelNotFound           no such model; lists near names
    │   ├── InvalidModelName        an id that no model can have
    │   └── UnknownAccount          the path's account id isn't 32 hex digits
    ├── MethodNotAllowed 405        the route exists for other methods
    ├── RequestTimeout 408          the body, or the answer, took too long
    ├── ConversationLocked 409      another response is being made in the conversation
    ├── BodyTooLarge 413            beyond ``server.max_body_bytes``
    ├── UnsupportedMediaType 415    a body that isn't JSON
    ├── Overloaded 429              the queue is full; ``retry_after_s``
    │   └── LimitReached            the account's requests a minute
    │       └── DailyLimitReached   or its neurons a day: not worth a retry
    ├── HeadTooLarge 431            the request line and the headers, together
    ├── EngineFailed 500            the engine gave up on this request
    ├── InternalError 500           our bug; nothing of it leaves the process
    └── Unavailable 503             the model is not there yet, or the server is going; ``retry_after_s``
        └── ModelUnusable           the model's files are broken, of a kind that isn't served here, or its upstream's
                                    settings are wrong

``number`` is Cloudflare's numeric code for the v4 envelope (Source: Cloudflare docs, Workers AI › Errors, read
2026-11).
"""

from collections.abc import Mapping, Sequence
from types import MappingProxyType

RETRY_S = 10.0  # where nothing is known of when it will be better


class LowcloudError(Exception):
    """Base of all errors a caller may see: ``str(error)`` is the message and holds no internals."""

    status = 500
    code = "internal_error"
    type = "server_error"
    number = 8005
    is_worth_a_retry = True  # False: an SDK that tries 429 and 503 again is told not to
    headers: Mapping[str, str] = MappingProxyType({})  # of its answer, beside those that every error has

    def __init__(self, message: str, *, param: str | None = None, retry_after_s: float | None = None) -> None:
        super().__init__(message)
        self.param = param
        self.retry_after_s = retry_after_s


class BadRequest(LowcloudError):
    """The request is wrong; ``param`` is the path of the field, such as ``messages[3].content``."""

    status = 400
    code = "invalid_request"
    type = "invalid_request_error"
    number = 5006


class MissingBody(BadRequest):
    """There is no body where one is needed."""

    number = 3003


class JsonModeFailed(BadRequest):
    """The answer was to be a JSON value, and isn't one: it was cut."""

    code = "json_mode_failed"
    number = 5024


class Unsupported(BadRequest):
    """A field or a value that is known and not done here; ``param`` names it."""

    code = "unsupported_parameter"


class LoraUnsupported(Unsupported):
    """The model takes no adapter."""

    number = 5005


class PreviousResponseNotFound(BadRequest):
    """The response that another one is to go on from isn't there."""

    code = "previous_response_not_found"


class UnsupportedSchema(BadRequest):
    """A keyword of a JSON schema that can't be enforced; ``param`` is its path."""

    code = "unsupported_schema"


class PromptTooLong(BadRequest):
    """The prompt, or the prompt and the tokens asked for, exceed the model's context; the message has both counts."""

    code = "context_length_exceeded"
    number = 5021


class Unauthorized(LowcloudError):
    """A token that isn't known here."""

    status = 401
    code = "invalid_api_key"
    type = "authentication_error"
    number = 10000


class MissingCredentials(Unauthorized):
    """No token at all."""

    number = 9106


class MalformedCredentials(Unauthorized):
    """The Authorization header is none of a kind that is read here."""

    number = 6003


class ExpiredToken(Unauthorized):
    """A token that was good once: its time is over, or it was revoked."""

    number = 1000


class Forbidden(LowcloudError):
    """Known, and not allowed here: another account's token; or a Host or Origin that isn't allowed."""

    status = 403
    code = "permission_denied"
    type = "permission_error"
    number = 9109


class LacksPermission(Forbidden):
    """A token of this account that may not do this."""

    number = 10000


class NotFound(LowcloudError):
    """No such route or object."""

    status = 404
    code = "not_found"
    type = "not_found_error"
    number = 7000


class ModelNotFound(NotFound):
    """No such model here; the message lists near names."""

    code = "model_not_found"
    number = 5007

    def __init__(self, model: str, near: Sequence[str] = (), *, why: str = "") -> None:
        hint = f" Did you mean {', '.join(near)}?" if near else ""
        super().__init__(f"No such model {model or '(empty)'}{': ' + why if why else ''}.{hint}", param="model")
        self.near = tuple(near)


class InvalidModelName(NotFound):
    """What no model can be called."""

    code = "invalid_model_name"
    number = 3042


class UnknownAccount(NotFound):
    """The account id in the path is not one: it isn't 32 hex digits."""

    code = "unknown_account"
    number = 7003

    def __init__(self, path: str) -> None:
        super().__init__(
            f"Could not route to {path}, perhaps your object identifier is invalid? An account id is 32 hex digits."
        )


class MethodNotAllowed(LowcloudError):
    """The path exists, for the methods in ``allow``."""

    status = 405
    code = "method_not_allowed"
    type = "invalid_request_error"
    number = 7001

    def __init__(self, method: str, allow: Sequence[str]) -> None:
        super().__init__(f"{method} not supported for requested URI; use {' or '.join(allow)}.")
        self.allow = tuple(allow)


class RequestTimeout(LowcloudError):
    """The body did not arrive, or the answer did not start, within its bound."""

    status = 408
    code = "request_timeout"
    type = "timeout_error"
    number = 3007


class ConversationLocked(LowcloudError):
    """Another response is being made in the conversation; ``param`` names the field."""

    status = 409
    code = "conversation_locked"
    type = "invalid_request_error"
    number = 5006


class BodyTooLarge(LowcloudError):
    """The body exceeds ``server.max_body_bytes``."""

    status = 413
    code = "request_too_large"
    type = "invalid_request_error"
    number = 3006


class UnsupportedMediaType(LowcloudError):
    """The body's media type is not one that this route reads."""

    status = 415
    code = "unsupported_media_type"
    type = "invalid_request_error"
    number = 5004


class Overloaded(LowcloudError):
    """The queue in front of the model is full."""

    status = 429
    code = "rate_limit_exceeded"
    type = "rate_limit_error"
    number = 3040


class LimitReached(Overloaded):
    """The account has used up its requests of this minute."""

    number = 3036


class DailyLimitReached(LimitReached):
    """The account has used up its neurons of this day (UTC)."""

    code = "insufficient_quota"
    is_worth_a_retry = False


class HeadTooLarge(LowcloudError):
    """The request line and the headers are too large to be read."""

    status = 431
    code = "request_head_too_large"
    type = "invalid_request_error"
    number = 3006


class EngineFailed(LowcloudError):
    """The engine could not finish this request; after three deaths of its process, say."""

    code = "engine_failed"


class InternalError(LowcloudError):
    """A bug of ours. The traceback is in the log, under the request's id."""


class Unavailable(LowcloudError):
    """The model can't answer now: it is in restart backoff, its load took too long, or the server is stopping.

    ``retry_after_s`` is never None.
    """

    status = 503
    code = "unavailable"
    number = 7009

    def __init__(self, message: str, *, param: str | None = None, retry_after_s: float = RETRY_S) -> None:
        super().__init__(message, param=param, retry_after_s=retry_after_s)


class ModelUnusable(Unavailable):
    """The model's files can't be served, or its upstream can't be used as configured. The message says why."""

    code = "model_unusable"
