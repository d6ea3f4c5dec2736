"""One generation answered over HTTP, whole or as a stream, in whatever format."""

from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import aclosing
from dataclasses import dataclass, replace
from typing import Protocol, TypeAlias

from starlette.responses import Response
from starlette.types import ASGIApp
from structlog.typing import FilteringBoundLogger

from lowcloud.core.errors import LowcloudError
from lowcloud.core.events import Event, Started, Usage
from lowcloud.core.requests import Caller, Generate
from lowcloud.http.call import Call, Trace
from lowcloud.http.clock import Clock
from lowcloud.http.edge import internal_error
from lowcloud.http.encode import answer_headers, header_list, neurons_header
from lowcloud.http.image_links import ImageLinks
from lowcloud.http.sse import EventStream, Pace
from lowcloud.http.watch import Closable, close
from lowcloud.serving.service import Service

Keep: TypeAlias = Callable[[bytes], Awaitable[None]]


class Writer(Protocol):
    """Writes a stream in a format."""

    def feed(self, event: Event) -> bytes:
        """The whole SSE events that ``event`` becomes; empty where it becomes none."""


class Fold(Protocol):
    """Makes one answer of the events."""

    def feed(self, event: Event) -> None:
        """Take one event in."""

    def body(self) -> bytes:
        """The answer, once the events have ended."""


@dataclass(frozen=True, slots=True)
class Ending:
    """What closes a stream: ``well``, or with what ``failed`` says of an error."""

    failed: Callable[[LowcloudError], bytes]
    well: bytes = b""


@dataclass(frozen=True, slots=True)
class Form:
    """A format of answers. Writers and folds are made once the generation has started, and get that event first.

    ``keep`` gets the whole answer, streamed or not.
    """

    writer: Callable[[Started], Writer]
    fold: Callable[[Started], Fold]
    ending: Ending
    keep: Keep | None = None


@dataclass(frozen=True, slots=True)
class Asked:
    """``ignored`` names what of the body nothing honours; ``rejects_if_busy``: the body asks for what Caller has."""

    model: str
    generate: Generate
    is_stream: bool
    ignored: tuple[str, ...]
    rejects_if_busy: bool = False


@dataclass(frozen=True, slots=True)
class Whole:
    """A whole answer: JSON, and the headers that say more of it."""

    body: bytes
    headers: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Begun:
    """A generation of which ``Started`` has come; ``events`` are those behind it. ``headers`` are its answer's."""

    started: Started
    events: AsyncGenerator[Event, None]
    headers: Mapping[str, str]


class Answerer:
    """Answers requests of any format."""

    def __init__(
        self, service: Service, links: ImageLinks, pace: Pace, clock: Clock, logger: FilteringBoundLogger
    ) -> None:
        self._service, self._links = service, links
        self._pace, self._clock, self._logger = pace, clock, logger

    async def answer(self, asked: Asked, form: Form, call: Call) -> ASGIApp:
        """Waits until the generation has started: until then every failure is a status."""
        result = await self.result(asked, form, call.caller, call.trace)
        return Response(result.body, 200, result.headers, "application/json") if isinstance(result, Whole) else result

    async def check(self, model: str, generate: Generate, *, is_whole: bool = True) -> None:
        """Refuse what a run would be refused for before it starts, as far as ``Service.check`` sees it; nothing is run,
        and no image fetched. Of a prompt that waits for images, as where not ``is_whole``: what the model can't do."""
        is_there = not self._links.links(generate.prompt)
        await self._service.check(model, generate, is_whole=is_whole and is_there)

    async def result(self, asked: Asked, form: Form, caller: Caller, trace: Trace) -> Whole | EventStream:
        """The same for who wraps the answer. Until it returns, every failure is raised."""
        begun = await self.begin(asked, caller, trace)
        started, events, headers = begun.started, begun.events, begun.headers
        if not asked.is_stream:
            try:
                return await _whole(form, started, events, headers)
            except BaseException:
                await close(events)
                raise
        told = events if form.keep is None else _kept(form, form.keep, started, events)
        chunks = _chunks(form.writer(started), started, told)
        return self.stream(chunks, form.ending, headers, trace, source=events)

    async def begin(self, asked: Asked, caller: Caller, trace: Trace) -> Begun:
        """A generation that has started: until then every failure is raised. Who gets it closes its events."""
        trace.model = asked.model
        caller = replace(caller, rejects_if_busy=caller.rejects_if_busy or asked.rejects_if_busy)
        prompt = await self._links.followed(asked.model, asked.generate.prompt, caller)
        events = self._service.generate(asked.model, replace(asked.generate, prompt=prompt), caller)
        try:
            started = await _started(events)
        except BaseException:
            await close(events)
            raise
        return Begun(started, events, started_headers(asked.ignored, started))

    def stream(
        self,
        chunks: AsyncGenerator[bytes, None],
        ending: Ending,
        headers: Mapping[str, str],
        trace: Trace,
        *,
        source: Closable,
    ) -> EventStream:
        """An answer whose status is decided: what fails from now on is said in the stream. ``source`` ends with it."""
        return EventStream(self._told(chunks, ending, trace), source, headers, self._pace, self._clock)

    async def _told(
        self, chunks: AsyncGenerator[bytes, None], ending: Ending, trace: Trace
    ) -> AsyncGenerator[bytes, None]:
        try:
            async with aclosing(chunks):
                async for chunk in chunks:
                    yield chunk
        except LowcloudError as error:
            trace.outcome = "failed"
            yield ending.failed(error)
        except Exception:  # the status is gone, so this is the outermost loop of a stream
            self._logger.exception("a stream failed", route=trace.route)
            trace.outcome = "failed"
            yield ending.failed(internal_error(trace.id))
        else:
            if ending.well:
                yield ending.well


async def _chunks(writer: Writer, started: Started, events: AsyncGenerator[Event, None]) -> AsyncGenerator[bytes, None]:
    yield writer.feed(started)
    async for event in events:
        if chunk := writer.feed(event):
            yield chunk


async def _kept(
    form: Form, keep: Keep, started: Started, events: AsyncGenerator[Event, None]
) -> AsyncGenerator[Event, None]:
    """The same events; when they have ended, the answer is kept."""
    fold = form.fold(started)
    fold.feed(started)
    async for event in events:
        fold.feed(event)
        yield event
    await keep(fold.body())


async def _started(events: AsyncGenerator[Event, None]) -> Started:
    first = await anext(events)
    if not isinstance(first, Started):
        raise TypeError(f"a generation begins with {type(first).__name__}")
    return first


async def _whole(
    form: Form, started: Started, events: AsyncGenerator[Event, None], headers: Mapping[str, str]
) -> Whole:
    fold, neurons = form.fold(started), None
    fold.feed(started)
    async for event in events:
        fold.feed(event)
        if isinstance(event, Usage):
            neurons = event.neurons
    body = fold.body()
    if form.keep is not None:
        await form.keep(body)
    return Whole(body, {**headers, **neurons_header(neurons)})


def started_headers(ignored: tuple[str, ...], started: Started) -> dict[str, str]:
    """Also what the model reads nothing of, what was loosened, and which bound the card set."""
    headers = answer_headers((*ignored, *started.unread), started.stand_in)
    if started.loosened:
        headers["lowcloud-loosened"] = header_list(started.loosened)
    if started.default_max_tokens is not None:
        headers["lowcloud-default-max-tokens"] = str(started.default_max_tokens)
    return headers
