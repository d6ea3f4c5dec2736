"""The gateway's own URLs, ``/v1/{account_id}/{gateway_id}/...``: what a client asks there, and the reply's bytes."""

import json
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from starlette.datastructures import Headers
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from lowcloud.core.errors import BadRequest, Forbidden, LowcloudError, MethodNotAllowed, Unauthorized
from lowcloud.core.principal import ACCOUNT_ID, Principal
from lowcloud.gateway.call import HEADER_NAME, OURS, Asked, Call, Reply, Step
from lowcloud.gateway.compat import Operation, compat_call
from lowcloud.gateway.errors import FeatureUnsupported, FellBehind, GatewayUnauthorized, body
from lowcloud.gateway.options import CONFIG, is_ours, options_of, options_of_config, over, unknown_of
from lowcloud.gateway.pipeline import Directory, Gateway
from lowcloud.gateway.providers import aimed
from lowcloud.http.auth import RUNS_GATEWAYS, USES_MODELS, Auth
from lowcloud.http.body import read_body
from lowcloud.http.call import Trace
from lowcloud.http.encode import to_json
from lowcloud.http.errors import Rendered
from lowcloud.http.gateway.chosen import refuse_later
from lowcloud.http.gateway.own_tokens import without_own_tokens
from lowcloud.http.offload import Offload
from lowcloud.http.openai.parameters import named
from lowcloud.http.origin import is_preflight, preflight_headers
from lowcloud.http.router import WITH_BODY
from lowcloud.http.settings import HttpSettings
from lowcloud.http.strict_json import parse_value
from lowcloud.http.watch import close, while_connected
from lowcloud.http.workers_ai.run import naming

PATH = re.compile(rf"/v1/(?i:(?P<account>{ACCOUNT_ID.pattern}))(?:/(?P<gateway>[^/]+)(?P<rest>/.*)?|/*)")
COMPAT: Mapping[str, Operation] = {
    "compat/chat/completions": "chat/completions",
    "compat/embeddings": "embeddings",
}
MAX_STEPS = 10
MAX_ENDPOINT_CHARS = 65_536  # as of a path and query that come in a request's head
STEP = frozenset({"provider", "endpoint", "headers", "authorization", "query", "config"})
METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
# Of a request, what is the connection's, and of a reply likewise.
HOP = frozenset(
    {
        "host",
        "connection",
        "content-length",
        "transfer-encoding",
        "keep-alive",
        "proxy-authorization",
        "proxy-connection",
        "te",
        "trailer",
        "upgrade",
        "expect",
    }
)
# Beside that, what a client says to this server, or what one between them says of the client, is none of a provider's.
NOT_PASSED = HOP | {"cookie", "forwarded", "via", "x-real-ip"}
REPLY_HOP = (HOP - {"content-length"}) | {"server", "date", "x-content-type-options"}
BODILESS = (204, 304)  # a length is of what a 304 stands for: uvicorn would wait for so many bytes
RUN = re.compile("html|xml|xsl|svg|multipart", re.IGNORECASE)  # in a media type that a browser runs
ALLOWS = "access-control-"  # which pages of others may read a reply is this server's to say


def shape(error: LowcloudError, _request_id: str) -> Rendered:
    """Errors in the gateway's shape."""
    return Rendered(error.status, body(error))


class Door:
    """Answers at the gateway's URLs. ``new_id`` makes lowercase UUIDv7s."""

    def __init__(
        self,
        gateway: Gateway,
        directory: Directory,
        auth: Auth,
        settings: HttpSettings,
        offload: Offload,
        new_id: Callable[[], str],
    ) -> None:
        self._gateway, self._directory, self._auth = gateway, directory, auth
        self._settings, self._offload, self._new_id = settings, offload, new_id

    def takes(self, path: str) -> bool:
        """Whether a raw path is one of these URLs."""
        return PATH.fullmatch(path) is not None

    async def __call__(self, trace: Trace, scope: Scope, receive: Receive, send: Send) -> None:
        """Raises LowcloudError before the reply has begun, ClientLeft, WriteTimeout."""
        trace.error_shape = shape
        found = PATH.fullmatch(trace.path)
        if found is None or not found["gateway"]:
            trace.route = "/v1/{account_id}"
            raise BadRequest("The path must name a gateway and a provider: /v1/{account_id}/{gateway_id}/{provider}.")
        headers = Headers(scope=scope)
        if scope["type"] == "websocket" or headers.get("upgrade", "").lower() == "websocket":
            trace.route = "/v1/{account_id}/{gateway_id}"
            raise FeatureUnsupported("WebSockets of the gateway are not supported yet; ask over HTTP.")
        if trace.method not in METHODS:
            raise MethodNotAllowed(trace.method[:20], METHODS)
        if trace.method == "OPTIONS":
            shown = preflight_headers(headers, METHODS) if is_preflight(trace.method, headers) else {}
            await Response(None, 204, {"allow": ", ".join(METHODS), **shown})(scope, receive, send)
            return
        raw = [(name.lower(), value) for name, value in headers.items()]
        refuse_later(raw)
        data = await read_body(scope, receive, self._settings) if trace.method in WITH_BODY else b""
        asked, unread = await self._asked(found, trace, scope, raw, data)

        async def reply(_scope: Scope, _receive: Receive, send: Send) -> None:
            await reply_with(await self._gateway.answer(asked), send, trace)

        app = naming((*unknown_of(raw), *unread), reply)
        await while_connected(scope, receive, lambda: app(scope, receive, send))

    async def _asked(
        self, found: re.Match[str], trace: Trace, scope: Scope, raw: Sequence[tuple[str, str]], data: bytes
    ) -> tuple[Asked, tuple[str, ...]]:
        """What is asked, and what of the body's steps nothing reads."""
        unread: tuple[str, ...] = ()
        account_id, gateway_id = found["account"].lower(), found["gateway"]
        rest = (found["rest"] or "").lstrip("/")
        own_rest = rest.rstrip("/")  # a slash at the end of a provider's path is the provider's matter
        query = scope.get("query_string", b"").decode("latin-1")
        options = options_of(raw)
        own = passed(raw)
        trace.account_id = account_id
        if not own_rest:
            trace.route, source = "/v1/{account_id}/{gateway_id}", "universal"
            _check_post(trace)
            steps, unread = await self._offload.sized(len(data), lambda: universal_steps(parse_value(data)))
        elif own_rest in COMPAT:
            trace.route, source = f"/v1/{{account_id}}/{{gateway_id}}/{own_rest}", "compat"
            _check_post(trace)
            custom = (await self._directory.find(account_id, gateway_id)).custom
            made = await self._offload.sized(len(data), lambda: compat_call(COMPAT[own_rest], data, custom))
            steps = (Step(Call(made.provider, trace.method, made.path, query, own, made.body)),)
        elif own_rest == "run":
            trace.route = "/v1/{account_id}/{gateway_id}/run"
            raise FeatureUnsupported("The gateway's own run is not supported yet; name the gateway to /ai/run.")
        else:
            trace.route, source = "/v1/{account_id}/{gateway_id}/{provider}/{path}", "provider"
            provider, _, path = rest.partition("/")
            steps = (Step(aimed(Call(provider, trace.method, path, query, own, data))),)
        steps, own_token = await without_own_tokens(steps, self._auth)
        principal = await self._principal(raw, account_id, steps, own_token)
        if principal is not None:
            trace.token_id = principal.token_id
        trace.completion_id = call_id = self._new_id()
        agent = next((value for name, value in raw if name == "user-agent"), "")
        return Asked(call_id, account_id, gateway_id, steps, options, source, principal, agent), unread

    async def _principal(
        self, raw: Sequence[tuple[str, str]], account_id: str, steps: Sequence[Step], own_token: str
    ) -> Principal | None:
        """Who calls: by ``cf-aig-authorization``, else by the key that our own models get, else by a token of ours that
        stood for a provider's key; None: nobody says.

        Raises GatewayUnauthorized for a token that isn't good, or not good for this: other people's models want leave
        to run the gateway.
        """
        token = next((value for name, value in raw if name == "cf-aig-authorization"), "")
        ours = [step.call for step in steps if step.call.provider == OURS]
        presented = {"authorization": token} if token else credentials(ours[0]) if ours else {}
        if not presented and own_token:
            presented = {"authorization": f"Bearer {own_token}"}
        needed = RUNS_GATEWAYS | USES_MODELS if len(ours) == len(steps) else RUNS_GATEWAYS
        try:
            return await self._auth.principal(Headers(presented), account_id, needed)
        except (Unauthorized, Forbidden) as error:
            if presented:
                raise GatewayUnauthorized(str(error)) from None
            return None


def passed(headers: Sequence[tuple[str, str]]) -> tuple[tuple[str, str], ...]:
    """What of a client's headers goes on to a provider. ``headers`` have lower-case names."""
    own = {each.strip().lower() for name, value in headers if name == "connection" for each in value.split(",")}
    dropped = NOT_PASSED | own
    return tuple(
        (name, value)
        for name, value in headers
        if name not in dropped and not name.startswith("x-forwarded-") and not is_ours(name)
    )


def credentials(call: Call) -> dict[str, str]:
    """Where our own token may stand in a call to our own models."""
    found = {name: call.header(name) for name in ("authorization", "x-api-key", "x-auth-key")}
    return {name: value for name, value in found.items() if value is not None}


def universal_steps(value: object) -> tuple[tuple[Step, ...], tuple[str, ...]]:
    """The steps of the universal endpoint, an array of them or one, and the paths of what nothing reads in them.

    Raises BadRequest with the path.
    """
    listed = [value] if isinstance(value, dict) else value
    if not isinstance(listed, list) or not 1 <= len(listed) <= MAX_STEPS:
        raise BadRequest(f"The body must be an array of 1 to {MAX_STEPS} steps, or one step.")
    steps = tuple(_step(each, f"[{place}]") for place, each in enumerate(listed))
    return steps, tuple(name for place, each in enumerate(listed) for name in _unread(each, f"[{place}]"))


def _unread(step: Mapping[str, Any], path: str) -> list[str]:
    headers = [(name.lower(), "") for name in _object(step, "headers", path)]
    config = _object(step, "config", path)
    return [
        *(f"{path}.{name}" for name in named(step, STEP, {})),
        *(f"{path}.headers.{name}" for name in unknown_of(headers)),
        *(f"{path}.config.{name}" for name in named(config, set(CONFIG), {})),
    ]


def _step(value: Any, path: str) -> Step:
    if not isinstance(value, dict):
        raise BadRequest(f"{path}: must be an object with provider, endpoint, headers and query.", param=path)
    provider, endpoint = _text(value, "provider", path), _text(value, "endpoint", path)
    if not provider:
        raise BadRequest(f"{path}.provider: is required.", param=f"{path}.provider")
    if len(endpoint) > MAX_ENDPOINT_CHARS or not (endpoint.isascii() and endpoint.isprintable()):
        message = f"{path}.endpoint: printable ASCII is needed, at most {MAX_ENDPOINT_CHARS} characters."
        raise BadRequest(message, param=f"{path}.endpoint")
    headers = [
        (_name(name, f"{path}.headers"), _header(each, f"{path}.headers.{name}"))
        for name, each in _object(value, "headers", path).items()
    ]
    if key := _text(value, "authorization", path):
        headers.append(("authorization", _header(key, f"{path}.authorization")))
    refuse_later(headers)
    options = over(options_of(headers), options_of_config(_object(value, "config", path), at=f"{path}.config"))
    own = list(passed(headers))
    if not any(name == "content-type" for name, _ in own):
        own.append(("content-type", "application/json"))
    target, _, query = endpoint.lstrip("/").partition("?")
    data = to_json(value.get("query", {}))
    return Step(Call(provider, "POST", target, query, tuple(own), data), options)


def _text(step: Mapping[str, object], name: str, path: str) -> str:
    value = step.get(name, "")
    if not isinstance(value, str):
        raise BadRequest(f"{path}.{name}: must be a string.", param=f"{path}.{name}")
    return value


def _object(step: Mapping[str, object], name: str, path: str) -> Mapping[str, object]:
    value = step.get(name) or {}
    if not isinstance(value, dict):
        raise BadRequest(f"{path}.{name}: must be an object.", param=f"{path}.{name}")
    return value


def _name(name: str, path: str) -> str:
    """A header's, in lower case."""
    if not HEADER_NAME.fullmatch(name):
        raise BadRequest(f"{path}.{name[:100]}: a header can't have that name.", param=path)
    return name.lower()


def _header(value: object, path: str) -> str:
    """A value that a header can have; numbers and truth as text."""
    text = value if isinstance(value, str) else json.dumps(value)
    if not text.isascii() or any(not (" " <= each <= "~" or each == "\t") for each in text):
        raise BadRequest(f"{path}: a header's value must be printable ASCII.", param=path)
    return text


def _check_post(trace: Trace) -> None:
    if trace.method != "POST":
        raise MethodNotAllowed(trace.method[:20], ("POST", "OPTIONS"))


def _shown(reply: Reply) -> list[tuple[str, str]]:
    """The headers that go on, and what keeps a browser from running a reply as a page of this server's."""
    is_length_said = reply.status not in BODILESS and reply.length is not None
    dropped = REPLY_HOP if is_length_said else REPLY_HOP | {"content-length"}
    shown = [each for each in reply.headers if each[0] not in dropped and not each[0].startswith(ALLOWS)]
    if any(name == "content-type" and RUN.search(value) for name, value in shown):
        shown.append(("content-security-policy", "sandbox"))
    return shown


async def reply_with(reply: Reply, send: Send, trace: Trace | None = None) -> None:
    """Send a reply as it comes: nothing is put between its bytes.

    Who fell behind gets an error as a stream's last event; of any other reply, and within an event, the transfer breaks
    off. Raises what the body does.
    """
    piece = b"\n\n"
    headers = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in _shown(reply)]
    try:
        await send({"type": "http.response.start", "status": reply.status, "headers": headers})
        async for piece in reply.body:
            await send({"type": "http.response.body", "body": piece, "more_body": True})
    except FellBehind as error:
        await close(reply.body)
        is_stream = (reply.header("content-type") or "").startswith("text/event-stream")
        if not is_stream or not piece.endswith((b"\n\n", b"\r\n\r\n")):
            raise
        if trace is not None:
            trace.outcome = "failed"
        await send({"type": "http.response.body", "body": last_event(error), "more_body": True})
    except BaseException:
        await close(reply.body)
        raise
    await send({"type": "http.response.body", "body": b"", "more_body": False})


def last_event(error: LowcloudError) -> bytes:
    """The end of a stream that is cut off, as the SDKs of OpenAI and of Anthropic both raise it."""
    told = {"type": error.type, "code": error.code, "message": str(error)}
    return b"event: error\ndata: " + to_json({"type": "error", "error": told}) + b"\n\n"
