"""``env.AI.run``: native results as they are, in the media types that the class tells apart."""

import gzip
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial

from starlette.datastructures import MutableHeaders
from starlette.responses import Response
from starlette.types import ASGIApp

from lowcloud.core.errors import BadRequest, Unsupported, UnsupportedMediaType
from lowcloud.http.call import Call
from lowcloud.http.generation import Whole
from lowcloud.http.offload import Offload
from lowcloud.http.openai.parameters import named
from lowcloud.http.workers_ai.options import run_options
from lowcloud.http.workers_ai.run import Answered, Asked, Runs, naming, refuse_gateway, with_headers

MODEL_HEADER, SDK_HEADER = "cf-consn-model-id", "cf-consn-sdk-version"
VERSIONS = ("2", "3")
_BODY = ("inputs", "options")
# The class reads any other media type as a stream, application/json with a charset too.
_JSON, _EVENTS = "application/json", "text/event-stream"


@dataclass(frozen=True, slots=True)
class Wanted:
    """A run that the class asks for; ``ignored`` names what nothing reads."""

    model: str
    inputs: Mapping[str, object]
    options: Mapping[str, object]
    ignored: tuple[str, ...]


class BindingRuns:
    """Answers ``run`` in each of its forms."""

    def __init__(self, runs: Runs, offload: Offload) -> None:
        self._runs, self._offload = runs, offload

    async def run(self, call: Call) -> ASGIApp:
        """The body has the inputs and the options, a header the model."""
        refuse_gateway(call.headers)
        return await self.answer(await self.read(call), call)

    async def of_model(self, call: Call) -> ASGIApp:
        """As the native API has it, the model in the path and the options among the inputs; and a bare result."""
        model = call.params["model"]
        self._runs.check(model)
        body = await self._runs.read(call)
        inputs = {name: value for name, value in body.items() if name != "options"}
        asked = Asked(model, inputs, run_options(call.query, body.get("options")))
        return await self._bare(await self._runs.answer(asked, call), call)

    async def read(self, call: Call) -> "Wanted":
        """What is wanted. Raises BadRequest, ..."""
        model, prefix = _model(call)
        self._runs.check(model)  # before the body, which may be of a kind that only the model's task has
        if "userInputs" in call.query:
            raise UnsupportedMediaType("An input that is a stream or a form is for models that take bytes; none does.")
        body = await self._offload.read(call.body, lambda body: body)
        inputs, options = body.get("inputs"), body.get("options")
        if not isinstance(inputs, dict):
            raise BadRequest("required properties at '/' are 'inputs', which is an object", param="inputs")
        if not isinstance(options, dict | None):
            raise BadRequest("options: must be an object.", param="options")
        ignored = (*(["options.prefix"] if prefix else []), *named(body, _BODY, {}))
        return Wanted(model, inputs, _meant(options or {}), ignored)

    async def answer(self, wanted: "Wanted", call: Call) -> ASGIApp:
        """The bare result."""
        asked = Asked(wanted.model, wanted.inputs, run_options({}, wanted.options), wanted.ignored)
        return await self._bare(await self._runs.answer(asked, call), call)

    async def websocket(self, call: Call) -> ASGIApp:
        """``run`` with the option ``websocket``."""
        model, _ = _model(call)
        self._runs.check(model)
        raise Unsupported("options.websocket: no model here speaks over a WebSocket.", param="options.websocket")

    async def _bare(self, answered: Answered, call: Call) -> ASGIApp:
        if not isinstance(answered.result, Whole):
            return naming(answered.ignored, with_headers(_as_events, answered.result))
        body = answered.result.body
        if call.headers.get(SDK_HEADER, "").startswith("1."):
            # the package @cloudflare/ai unpacks every whole answer, and is told of it by no header
            body = await self._offload.sized(len(body), partial(gzip.compress, body, mtime=0))
        return naming(answered.ignored, Response(body, 200, answered.result.headers, _JSON))


def _model(call: Call) -> tuple[str, str]:
    """The model's id and the prefix that came before it. Raises BadRequest."""
    version = call.query.get("version", "")
    if version not in VERSIONS:
        raise BadRequest(f"version: must be {' or '.join(VERSIONS)}, as env.AI sends it.", param="version")
    given = call.headers.get(MODEL_HEADER, "")
    if not given:
        raise BadRequest(f"{MODEL_HEADER}: the header that names the model is missing.", param=MODEL_HEADER)
    prefix, colon, rest = given.partition(":@")
    return ("@" + rest, prefix) if colon else (given, "")


def _meant(options: Mapping[str, object]) -> Mapping[str, object]:
    """Without what the class itself does."""
    return {name: value for name, value in options.items() if name != "returnRawResponse"}


def _as_events(headers: MutableHeaders) -> None:
    headers["content-type"] = _EVENTS
