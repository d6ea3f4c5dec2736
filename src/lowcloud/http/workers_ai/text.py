"""Native text generation: the classic shape, and for newer models the shapes of OpenAI's API."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, Literal, TypeAlias

from lowcloud.core.errors import BadRequest, LowcloudError, Unsupported
from lowcloud.core.events import Event, Started, Usage
from lowcloud.core.requests import Generate
from lowcloud.http.clock import Clock
from lowcloud.http.encode import to_json
from lowcloud.http.generation import Answerer, Asked, Ending, Form
from lowcloud.http.offload import Offload
from lowcloud.http.openai.chat_answer import Head, WholeAnswer, fingerprint
from lowcloud.http.openai.chat_request import ChatAsked, chat_asked
from lowcloud.http.openai.chat_stream import ChunkWriter
from lowcloud.http.openai.completions_answer import CompletionWriter, WholeCompletion
from lowcloud.http.openai.completions_request import CompletionAsked, completion_asked
from lowcloud.http.sse import DONE
from lowcloud.http.workers_ai.errors import v4
from lowcloud.http.workers_ai.native import NativeResult, Run
from lowcloud.http.workers_ai.text_answer import ClassicAnswer, ClassicWriter
from lowcloud.http.workers_ai.text_request import ClassicAsked, classic_asked
from lowcloud.http.workers_ai.text_response import ResponseRunner

_Read: TypeAlias = Literal["classic", "messages", "prompt"]
_NEITHER = (
    "anyOf at '/' not met, 0 matches: required properties at '/' are 'messages', "
    "required properties at '/' are 'prompt', required properties at '/' are 'input'"
)


class TextRunner:
    """Runs text generation. ``new_id`` makes the part of an answer's id behind its prefix.

    Without ``responses`` nothing is taken in the form of the Responses API.
    """

    def __init__(
        self,
        answerer: Answerer,
        offload: Offload,
        clock: Clock,
        new_id: Callable[[], str],
        responses: ResponseRunner | None = None,
    ) -> None:
        self._answerer, self._offload, self._clock, self._new_id = answerer, offload, clock, new_id
        self._responses = responses

    async def run(self, run: Run) -> NativeResult:
        """The card's family decides the shape; of the newer ones' shapes, what the inputs have."""
        match _shape(run):
            case "classic":
                return await self._classic(run)
            case "messages":
                return await self._chat(run)
            case "prompt":
                return await self._completion(run)
            case "input":
                return await self._of_responses().run(run)

    async def check(self, run: Run, *, is_whole: bool) -> None:
        """As the protocol has it."""
        shape = _shape(run)
        if shape == "input":
            await self._of_responses().check(run, is_whole=is_whole)
            return
        generate = await self._offload.sized(run.n_bytes, lambda: _generate_of(run, shape))
        await self._answerer.check(run.answer.card.id, generate, is_whole=is_whole)

    async def _classic(self, run: Run) -> NativeResult:
        asked = await self._offload.sized(run.n_bytes, lambda: _classic_of(run))
        form = Form(
            lambda _: ClassicWriter(),
            lambda _: ClassicAnswer(is_json=asked.is_json, has_tools=asked.has_tools),
            _ending(run),
        )
        model = run.answer.card.id
        return await self._result(run, Asked(model, asked.generate, asked.is_stream, asked.ignored), form)

    async def _chat(self, run: Run) -> NativeResult:
        run.trace.completion_id = completion_id = f"chatcmpl-{self._new_id()}"
        asked = await self._offload.sized(run.n_bytes, lambda: _chat_of(run, completion_id))

        def head(started: Started) -> Head:
            return self._head(completion_id, asked.model, started, asked.service_tier)

        form = Form(
            lambda started: ChunkWriter(head(started), asked.shape),
            lambda started: WholeAnswer(head(started), asked.shape),
            _ending(run),
        )
        ignored = (*asked.ignored, *run.ignored)
        return await self._result(run, Asked(asked.model, asked.generate, asked.is_stream, ignored), form)

    async def _completion(self, run: Run) -> NativeResult:
        run.trace.completion_id = completion_id = f"cmpl-{self._new_id()}"
        asked = await self._offload.sized(run.n_bytes, lambda: _completion_of(run, completion_id))

        def head(started: Started) -> Head:
            return self._head(completion_id, asked.model, started)

        form = Form(
            lambda started: _OnePromptWriter(head(started), asked),
            lambda started: _OnePromptAnswer(head(started), asked),
            _ending(run),
        )
        (generate,) = asked.generates
        ignored = (*asked.ignored, *run.ignored)
        return await self._result(run, Asked(asked.model, generate, asked.is_stream, ignored), form)

    def _of_responses(self) -> ResponseRunner:
        if self._responses is None:
            raise Unsupported("input: there are no responses here.", param="input")
        return self._responses

    async def _result(self, run: Run, asked: Asked, form: Form) -> NativeResult:
        return await self._answerer.result(asked, form, run.caller, run.trace)

    def _head(self, answer_id: str, model: str, started: Started, tier: str | None = None) -> Head:
        return Head(answer_id, int(self._clock.wall()), model, fingerprint(started.weights), tier)


class _OnePromptWriter:
    """A stream of completions of one prompt."""

    def __init__(self, head: Head, asked: CompletionAsked) -> None:
        self._writer = CompletionWriter(head, asked)

    def feed(self, event: Event) -> bytes:
        begin = self._writer.begin() if isinstance(event, Started) else b""
        chunk = self._writer.feed(0, event)
        return begin + chunk + (self._writer.end() if isinstance(event, Usage) else b"")


class _OnePromptAnswer:
    """A whole completion of one prompt."""

    def __init__(self, head: Head, asked: CompletionAsked) -> None:
        self._answer = WholeCompletion(head, asked)

    def feed(self, event: Event) -> None:
        self._answer.feed(0, event)

    def body(self) -> bytes:
        return self._answer.body()


def _shape(run: Run) -> _Read | Literal["input"]:
    if run.answer.card.family == "classic":
        return "classic"
    given = [name for name in ("messages", "prompt", "input") if run.inputs.get(name) is not None]
    if len(given) > 1:
        raise BadRequest(f"{given[0]} and {given[1]} are mutually exclusive", param=given[1])
    match given:
        case ["messages"]:
            return "messages"
        case ["prompt"]:
            return "prompt"
        case ["input"]:
            return "input"
    raise BadRequest(_NEITHER, param="messages")


def _generate_of(run: Run, shape: _Read) -> Generate:
    match shape:
        case "classic":
            return _classic_of(run).generate
        case "messages":
            return _chat_of(run, run.trace.id).generate
        case "prompt":
            return _completion_of(run, run.trace.id).generates[0]


def _classic_of(run: Run) -> ClassicAsked:
    return classic_asked(run.inputs, run.answer.card.id, run.trace.id, run.answer.by.defaults)


def _chat_of(run: Run, completion_id: str) -> ChatAsked:
    asked = chat_asked(_named(run), completion_id)
    if asked.to_store is not None:
        raise Unsupported("store: only chat completions are stored.", param="store")
    return replace(asked, shape=replace(asked.shape, has_null_usage=False))


def _completion_of(run: Run, completion_id: str) -> CompletionAsked:
    if not isinstance(run.inputs["prompt"], str):
        raise BadRequest("Type mismatch of '/prompt', must be a string", param="prompt")
    return replace(completion_asked(_named(run), completion_id), has_null_usage=False)


def _named(run: Run) -> dict[str, Any]:
    """The inputs as the body of an OpenAI request; a stream ends with its usage unless the caller says otherwise.

    That no other event has one is said by none: clients of the native API take what is there for a usage.
    """
    body = {**run.inputs, "model": run.answer.card.id}
    if body.get("stream") is True and body.get("stream_options") is None:
        body["stream_options"] = {"include_usage": True}
    return body


def _ending(run: Run) -> Ending:
    def failed(error: LowcloudError) -> bytes:
        body: Mapping[str, object] = v4(error, run.trace.id).body
        return b"data: %b\n\n" % to_json(body)

    return Ending(failed, DONE)
