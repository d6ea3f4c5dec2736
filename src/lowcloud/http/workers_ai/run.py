"""POST /ai/run/{model} and POST /ai/run: native results in the v4 envelope; streams as they are."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from lowcloud.core.errors import BadRequest, Unsupported, UnsupportedMediaType
from lowcloud.http.body import check_encoding
from lowcloud.http.call import Call
from lowcloud.http.encode import header_list
from lowcloud.http.generation import Whole
from lowcloud.http.offload import Offload
from lowcloud.http.openai.parameters import named
from lowcloud.http.responses.unrun import Ignores, ignores_none, ignores_tools, saying_so
from lowcloud.http.workers_ai.batch import Batch, is_batch
from lowcloud.http.workers_ai.envelope import enveloped
from lowcloud.http.workers_ai.native import Native, NativeResult
from lowcloud.http.workers_ai.options import RunOptions, run_options

GATEWAY_HEADER = "cf-aig-gateway-id"
UNIVERSAL = ("model", "input", "options")


@dataclass(frozen=True, slots=True)
class Asked:
    """A model's inputs, without the options that came with them. ``ignored`` names what nothing reads."""

    model: str
    inputs: Mapping[str, object]
    options: RunOptions
    ignored: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Answered:
    """``ignored`` names what of the request the result itself doesn't name."""

    result: NativeResult
    ignored: tuple[str, ...]


class Runs:
    """Answers the two routes. Without a ``batch`` nothing is run later.

    ``ignores``: for which model and token tools that aren't run here are left out.
    """

    def __init__(
        self, native: Native, offload: Offload, batch: Batch | None = None, ignores: Ignores = ignores_none
    ) -> None:
        self._native, self._offload, self._batch, self._ignores = native, offload, batch, ignores

    async def of_model(self, call: Call) -> ASGIApp:
        """The path names the model, the body is its inputs."""
        model = call.params["model"]
        self._native.answer(model)  # before the body, which may be of a kind that only the model's task has
        body = await self._read(call)
        inputs = {name: value for name, value in body.items() if name != "options"}
        return _wrapped(await self.answer(Asked(model, inputs, run_options(call.query, body.get("options"))), call))

    async def universal(self, call: Call) -> ASGIApp:
        """The body names the model, and has its inputs as ``input``."""
        body = await self._read(call)
        model, inputs = body.get("model"), body.get("input")
        if not isinstance(model, str) or not model:
            raise BadRequest("required properties at '/' are 'model', which is a string", param="model")
        if not isinstance(inputs, dict):
            raise BadRequest("required properties at '/' are 'input', which is an object", param="input")
        options = run_options(call.query, body.get("options"))
        return _wrapped(await self.answer(Asked(model, inputs, options, tuple(named(body, UNIVERSAL, {}))), call))

    def check(self, model: str) -> None:
        """Refuse a model that can't be run. Raises InvalidModelName, ModelNotFound."""
        self._native.answer(model)

    async def read(self, call: Call) -> dict[str, object]:
        """The body. Raises BadRequest, MissingBody; Unsupported for a gateway that a header names."""
        refuse_gateway(call.headers)
        return await self._offload.read(call.body, lambda body: body)

    async def answer(self, asked: Asked, call: Call) -> Answered:
        """The result, now or later, for who wraps it."""
        if ignores_tools(asked.model, call, self._ignores):
            asked = replace(asked, inputs=saying_so(asked.inputs))
        if is_batch(asked.inputs, asked.options):
            return await self._batched(asked, call)
        caller = replace(call.caller, rejects_if_busy=asked.options.rejects_if_busy)
        result = await self._native.run(asked.model, asked.inputs, len(call.body), caller, call.trace)
        return Answered(result, (*asked.options.ignored, *asked.ignored))

    async def _read(self, call: Call) -> dict[str, object]:
        _check_media_type(call)
        return await self.read(call)

    async def _batched(self, asked: Asked, call: Call) -> Answered:
        """What is queued waits, however busy the model is."""
        if self._batch is None:
            raise Unsupported("queueRequest: nothing is queued here.", param="queueRequest")
        result = await self._batch.answer(asked.model, asked.inputs, len(call.body), call.caller, call.trace)
        without_effect = ("options.rejectIfBusy",) if asked.options.rejects_if_busy else ()
        return Answered(result, (*asked.options.ignored, *without_effect, *asked.ignored))


def _wrapped(answered: Answered) -> ASGIApp:
    app: ASGIApp
    if isinstance(answered.result, Whole):
        body = enveloped(answered.result.body)
        app = Response(body, 200, answered.result.headers, "application/json")
    else:
        app = answered.result
    return naming(answered.ignored, app)


def naming(ignored: tuple[str, ...], app: ASGIApp) -> ASGIApp:
    """The same answer with more names in ``lowcloud-ignored``."""

    def name_too(headers: MutableHeaders) -> None:
        named = headers.get("lowcloud-ignored")
        headers["lowcloud-ignored"] = ", ".join([*([named] if named else []), header_list(ignored)])

    return with_headers(name_too, app) if ignored else app


def with_headers(change: Callable[[MutableHeaders], None], app: ASGIApp) -> ASGIApp:
    """The same answer with its headers changed."""

    async def answer(scope: Scope, receive: Receive, send: Send) -> None:
        async def changed(message: Message) -> None:
            if message["type"] == "http.response.start":
                change(MutableHeaders(scope=message))
            await send(message)

        await app(scope, receive, changed)

    return answer


def refuse_gateway(headers: Headers) -> None:
    """Where there are gateways, calls that name one don't come here. Raises Unsupported."""
    if GATEWAY_HEADER in headers:
        raise Unsupported(f"{GATEWAY_HEADER}: there is no AI Gateway here.", param=GATEWAY_HEADER)


def _check_media_type(call: Call) -> None:
    """The body is JSON whatever it is labelled as, but for what surely isn't. Raises UnsupportedMediaType."""
    kind = call.headers.get("content-type", "").partition(";")[0].strip().lower()
    is_media = kind.startswith(("audio/", "image/", "video/")) and not call.body.lstrip().startswith(b"{")
    if kind == "multipart/form-data" or is_media:
        raise UnsupportedMediaType(f"The model's inputs are JSON, not {kind[:100]}.")
    check_encoding(call.headers)
