"""POST completions: texts that are gone on with, several prompts at once."""

from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing
from dataclasses import dataclass, replace

import anyio
from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from lowcloud.core.events import Event, Started
from lowcloud.core.requests import Caller, Generate
from lowcloud.http import errors
from lowcloud.http.call import Call
from lowcloud.http.clock import Clock
from lowcloud.http.encode import neurons_header
from lowcloud.http.generation import Answerer, Ending, started_headers
from lowcloud.http.offload import Offload
from lowcloud.http.openai.chat_answer import Head, fingerprint
from lowcloud.http.openai.completions_answer import CompletionWriter, WholeCompletion
from lowcloud.http.openai.completions_request import CompletionAsked, completion_asked
from lowcloud.http.sse import DONE
from lowcloud.http.watch import only
from lowcloud.serving.service import Service

BUFFERED = 64


@dataclass(frozen=True, slots=True)
class Numbered:
    """An event of one of the prompts, or what ended it too early."""

    number: int
    event: Event | Exception


@dataclass(frozen=True, slots=True)
class CompletionTools:
    """What the handler works with, beside the service. ``new_id`` makes the ids of completions."""

    answerer: Answerer
    offload: Offload
    clock: Clock
    new_id: Callable[[], str]


class Completions:
    """Handles completions. Each prompt is a generation of its own; they run side by side."""

    def __init__(self, service: Service, tools: CompletionTools) -> None:
        self._service, self._tools = service, tools

    async def create(self, call: Call) -> ASGIApp:
        """The reply waits until every prompt has started: until then every failure is a status."""
        call.trace.completion_id = request_id = self._tools.new_id()
        asked = await self._tools.offload.read(call.body, lambda raw: completion_asked(raw, request_id))
        call.trace.model = asked.model
        return _Reply(self._service, self._tools, asked, call, request_id)


class _Reply:
    """An ASGI app: it owns the tasks of its prompts, and ends them when it ends."""

    def __init__(
        self, service: Service, tools: CompletionTools, asked: CompletionAsked, call: Call, completion_id: str
    ) -> None:
        self._service, self._tools = service, tools
        self._asked, self._call, self._id = asked, call, completion_id

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        outlet, inlet = anyio.create_memory_object_stream[Numbered](BUFFERED)
        try:
            async with anyio.create_task_group() as group, inlet:
                async with outlet:
                    for number, generate in enumerate(self._asked.generates):
                        group.start_soon(self._run, number, generate, outlet.clone())
                app = await self._answer(inlet)
                await app(scope, receive, send)
                group.cancel_scope.cancel()
        except BaseExceptionGroup as raised:
            raise only(raised) from None

    async def _run(self, number: int, generate: Generate, outlet: MemoryObjectSendStream[Numbered]) -> None:
        caller = self._caller(number)
        async with outlet, aclosing(self._service.generate(self._asked.model, generate, caller)) as events:
            try:
                async for event in events:
                    await outlet.send(Numbered(number, event))
            except Exception as error:
                await outlet.send(Numbered(number, error))

    def _caller(self, number: int) -> Caller:
        """The request is counted, and finds others in its way, by its first prompt alone."""
        is_first = number == 0
        return replace(
            self._call.caller, rejects_if_busy=is_first and self._asked.rejects_if_busy, is_part=not is_first
        )

    async def _answer(self, inlet: MemoryObjectReceiveStream[Numbered]) -> ASGIApp:
        early, started = await self._started(inlet)
        head = Head(self._id, int(self._tools.clock.wall()), self._asked.model, fingerprint(started.weights))
        headers = started_headers(self._asked.ignored, started)
        items = _all(early, inlet)
        if not self._asked.is_stream:
            answer = WholeCompletion(head, self._asked)
            async for item in items:
                answer.feed(item.number, _event(item))
            headers |= neurons_header(answer.usage().neurons)
            return Response(answer.body(), 200, headers, "application/json")
        chunks = _chunks(CompletionWriter(head, self._asked), items)
        return self._tools.answerer.stream(chunks, Ending(errors.event, DONE), headers, self._call.trace, source=chunks)

    async def _started(self, inlet: MemoryObjectReceiveStream[Numbered]) -> tuple[list[Numbered], Started]:
        """What has come until every prompt had started, and the first of these events."""
        early: list[Numbered] = []
        waiting = set(range(len(self._asked.generates)))
        first: Started | None = None
        while waiting or first is None:
            item = await inlet.receive()
            event = _event(item)
            early.append(item)
            if isinstance(event, Started):
                first = first or event
                waiting.discard(item.number)
        return early, first


async def _chunks(writer: CompletionWriter, items: AsyncIterator[Numbered]) -> AsyncGenerator[bytes, None]:
    if begin := writer.begin():
        yield begin
    async for item in items:
        if chunk := writer.feed(item.number, _event(item)):
            yield chunk
    if end := writer.end():
        yield end


async def _all(early: list[Numbered], inlet: MemoryObjectReceiveStream[Numbered]) -> AsyncIterator[Numbered]:
    for item in early:
        yield item
    async for item in inlet:
        yield item


def _event(item: Numbered) -> Event:
    if isinstance(item.event, Exception):
        raise item.event
    return item.event
