"""``env.AI.run``: native results as they are, in the media types that the class tells apart."""

import gzip
from collections.abc import Mapping
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
from lowcloud.http.workers_ai.run import Answered, Asked, Runs, naming, with_headers

MODEL_HEADER, SDK_HEADER = "cf-consn-model-id", "cf-consn-sdk-version"
VERSIONS = ("2", "3")
_BODY = ("inputs", "options")
# The class reads any other media type as a stream, application/json with a charset too.
_JSON, _EVENTS = "application/json", "text/event-stream"


class BindingRuns:
    """Answers ``run`` in each of its forms."""

    def __init__(self, runs: Runs, offload: Offload) -> None:
        self._runs, self._offload = runs, offload

    async def run(self, call: Call) -> ASGIApp:
        """The body has the inputs and the options, a header the model."""
        model, prefix = _model(call)
        self._runs.check(model)  # before the body, which may be of a kind that only the model's task has
        if "userInputs" in call.query:
            raise UnsupportedMediaType("An input that is a stream or a form is for models that take bytes; none does.")
        body = await self._runs.read(call)
        inputs = body.get("inputs")
        if not isinstance(inputs, dict):
            raise BadRequest("required properties at '/' are 'inputs', which is an object", param="inputs")
        options = run_options({}, _meant(body.get("options")))
        ignored = (*(["options.prefix"] if prefix else []), *named(body, _BODY, {}))
        return await self._bare(await self._runs.answer(Asked(model, inputs, options, ignored), call), call)

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


def _meant(options: object) -> object:
    """Without what the class itself does."""
    if not isinstance(options, Mapping):
        return options
    return {name: value for name, value in options.items() if name != "returnRawResponse"}


def _as_events(headers: MutableHeaders) -> None:
    headers["content-type"] = _EVENTS
