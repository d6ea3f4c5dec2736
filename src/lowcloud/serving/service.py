"""All that ``http`` knows of models: one method a task, from an id to its answer.

A request's way: id -> the card that answers -> a place in its queue -> checked, rendered and counted -> the engine's
lease -> events. Closing the generator at any point of it gives back everything that was taken.
"""

import asyncio
import math
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator
from contextlib import aclosing, contextmanager
from dataclasses import dataclass, field, replace
from typing import Protocol, TypeVar, cast

import anyio
import anyio.to_thread

from lowcloud.core.errors import BadRequest, LowcloudError, PromptTooLong, RequestTimeout, Unavailable, Unsupported
from lowcloud.core.events import Embedded, Event, ReasoningDelta, Started, TextDelta, ToolCallDelta, Usage
from lowcloud.core.messages import Messages, Prompt, Text
from lowcloud.core.requests import Caller, Embed, Generate
from lowcloud.engines.engine import Embedder, Engine, Token, Wording
from lowcloud.models.card import Task
from lowcloud.models.catalogue import Answer, Catalogue, Listing
from lowcloud.serving.admission import Bounds, Queue
from lowcloud.serving.pool import ModelStatus, Pool, Served
from lowcloud.serving.standin import dimensions_of, is_cut, resized

__all__ = ["Answer", "Limits", "Meter", "ModelStatus", "Service"]

T = TypeVar("T")
_CHARACTERS_A_TOKEN = 4
_CUTTERS = 1
STOPPING_RETRY_S = 5.0


class Meter(Protocol):
    """Where the numbers of requests go; seconds and counts. ``model`` is the card that answers."""

    def ttft(self, model: str, seconds: float) -> None: ...
    def inter_token(self, model: str, seconds: float) -> None: ...
    def tokens(self, model: str, *, prompt: int, cached: int, completion: int) -> None: ...
    def queue(self, model: str, *, requests: int, tokens: int) -> None: ...


@dataclass(frozen=True, slots=True)
class Limits:
    """``queue`` bounds what waits in front of each model; ``request_deadline_s`` a request, arrival to last event."""

    queue: Bounds = field(default_factory=Bounds)
    request_deadline_s: float = 600.0


class Service:
    """Generates and embeds with whatever model answers for an id. ``clock`` is in seconds, monotonic."""

    def __init__(
        self,
        catalogue: Catalogue,
        pool: Pool,
        meter: Meter,
        *,
        limits: Limits | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._catalogue = catalogue
        self._pool = pool
        self._meter = meter
        self._limits = limits or Limits()
        self._clock = clock
        self._queues: dict[str, Queue] = {}
        self._cutters = anyio.CapacityLimiter(_CUTTERS)
        self._live: set[_Deadline] = set()
        self._is_accepting = True

    def models(self) -> tuple[Answer, ...]:
        """Exactly the models that would answer."""
        return self._catalogue.answerable()

    def listings(self) -> tuple[Listing, ...]:
        """Every model that is known, and who would answer for it."""
        return self._catalogue.listings()

    def model(self, model_id: str) -> Answer:
        """The model that would answer for an id. Raises ModelNotFound."""
        return self._catalogue.resolve(model_id)

    def stand_in(self, model_id: str) -> str | None:
        """The card that would answer in the place of a model whose weights aren't here. Raises ModelNotFound."""
        return _stand_in(self._catalogue.resolve(model_id))

    def status(self) -> tuple[ModelStatus, ...]:
        """What each local model does now."""
        return self._pool.status()

    def is_ready(self) -> bool:
        """Whether requests are accepted and the preloaded models can answer."""
        return self._is_accepting and self._pool.is_ready()

    def stop_accepting(self) -> None:
        """Later requests get Unavailable; those under way go on."""
        self._is_accepting = False

    def cut(self) -> None:
        """End what is under way: Unavailable, in the midst of a stream too."""
        self.stop_accepting()
        for deadline in self._live:
            deadline.cut(Unavailable("The server is stopping.", retry_after_s=STOPPING_RETRY_S))

    async def generate(self, model_id: str, request: Generate, caller: Caller) -> AsyncGenerator[Event, None]:
        """The events of a generation: ``Started`` first, or an exception. ``aclose()`` cancels it.

        Raises ModelNotFound, BadRequest, Overloaded, Unavailable, EngineFailed; RequestTimeout past the deadline, which
        can come within the stream.
        """
        answer = self._accepted(model_id, Task.TEXT_GENERATION)
        record = _Record(answer.by.id, self._meter, self._clock)
        try:
            with self._deadline() as deadline:
                async with aclosing(self._generated(answer, request, caller)) as events:
                    while (event := await deadline.bound(lambda: anext(events, None))) is not None:
                        record.add(event)
                        yield event
        except PromptTooLong as error:
            raise _of_stand_in(error, answer) from None
        finally:
            record.close()

    async def embed(self, model_id: str, request: Embed, caller: Caller) -> Embedded:
        """Unit vectors of the asked-for size, in the order of the inputs. Raises as ``generate`` does."""
        answer = self._accepted(model_id, Task.TEXT_EMBEDDINGS)
        dimensions = dimensions_of(answer, request.dimensions)
        place = self._queue(answer.by.id).enter(rejects_if_busy=caller.rejects_if_busy)
        with place, self._deadline() as deadline:
            place.count(_rough_tokens(request))
            embedded = await deadline.bound(lambda: self._embedded(answer, replace(request, dimensions=None)))
            place.started()
        self._meter.tokens(answer.by.id, prompt=embedded.prompt_tokens, cached=0, completion=0)
        vectors = await self._sized(embedded.vectors, dimensions)
        return replace(embedded, vectors=vectors, stand_in=_stand_in(answer))

    async def check(self, model_id: str, request: Generate) -> None:
        """Refuse what the model that answers can't do, before anything is done for it. Raises as ``generate`` does."""
        answer = self._accepted(model_id, Task.TEXT_GENERATION)
        with self._deadline() as deadline:
            engine = _generator(await deadline.bound(lambda: self._pool.engine(answer.by.id)))
        engine.check(request)

    async def count(self, model_id: str, prompt: Prompt) -> int:
        """The prompt's tokens as the model that answers sees it; needs no weights. Raises ModelNotFound, BadRequest."""
        answer = self._accepted(model_id, Task.TEXT_GENERATION)
        with self._deadline() as deadline:
            engine = _generator(await deadline.bound(lambda: self._pool.engine(answer.by.id)))
            return await deadline.bound(lambda: engine.count(prompt))

    async def tokens(self, model_id: str, prompt: Prompt) -> list[Token]:
        """The prompt's tokens. Raises as ``count`` does; Unsupported for a model whose tokens aren't known here."""
        return await self._worded(model_id, lambda wording: wording.tokens(prompt))

    async def text(self, model_id: str, ids: tuple[int, ...]) -> str:
        """The tokens' text. Raises as ``tokens`` does."""
        return await self._worded(model_id, lambda wording: wording.text(ids))

    async def rendered(self, model_id: str, prompt: Messages) -> str:
        """The conversation by the template of the model that answers. Raises as ``tokens`` does."""
        return await self._worded(model_id, lambda wording: wording.rendered(prompt))

    async def _worded(self, model_id: str, ask: Callable[[Wording], Awaitable[T]]) -> T:
        answer = self._accepted(model_id, Task.TEXT_GENERATION)
        with self._deadline() as deadline:
            engine = await deadline.bound(lambda: self._pool.engine(answer.by.id))
            if not hasattr(engine, "rendered"):
                raise Unsupported(f"{model_id}: this model's tokens aren't known here.", param="model")
            return await deadline.bound(lambda: ask(cast(Wording, engine)))

    def _accepted(self, model_id: str, task: Task) -> Answer:
        if not self._is_accepting:
            raise Unavailable("The server is stopping.", retry_after_s=STOPPING_RETRY_S)
        answer = self._catalogue.resolve(model_id)
        if answer.by.task != task:
            raise BadRequest(f"{model_id} is a model for {answer.by.task.value}, not {task.value}.", param="model")
        return answer

    @contextmanager
    def _deadline(self) -> Generator["_Deadline"]:
        """The time of one request, which ``cut`` ends."""
        deadline = _Deadline(self._limits.request_deadline_s, self._clock)
        self._live.add(deadline)
        try:
            yield deadline
        finally:
            self._live.discard(deadline)

    def _queue(self, card_id: str) -> Queue:
        """The queue of a card that answers; they are as many as the local models."""
        if card_id not in self._queues:
            self._queues[card_id] = Queue(
                self._limits.queue,
                self._clock,
                lambda requests, tokens: self._meter.queue(card_id, requests=requests, tokens=tokens),
            )
        return self._queues[card_id]

    async def _generated(self, answer: Answer, request: Generate, caller: Caller) -> AsyncGenerator[Event, None]:
        with self._queue(answer.by.id).enter(rejects_if_busy=caller.rejects_if_busy) as place:
            engine = _generator(await self._pool.engine(answer.by.id))
            engine.check(request)
            prepared = await engine.prepare(request)
            place.count(prepared.prompt_tokens)
            async with self._pool.lease(answer.by.id), aclosing(engine.generate(prepared)) as events:
                async for event in events:
                    if isinstance(event, Started):
                        place.started()
                        yield replace(event, stand_in=_stand_in(answer))
                    else:
                        yield event

    async def _sized(self, vectors: tuple[bytes, ...], dimensions: int | None) -> tuple[bytes, ...]:
        """Padding is a copy; cutting is arithmetic on every number, which the loop doesn't wait for."""
        if any(is_cut(vector, dimensions) for vector in vectors):
            return await anyio.to_thread.run_sync(_resized, vectors, dimensions, limiter=self._cutters)
        return _resized(vectors, dimensions)

    async def _embedded(self, answer: Answer, request: Embed) -> Embedded:
        async with self._pool.lease(answer.by.id) as engine:
            try:
                return await _embedder(engine).embed(request)
            except BadRequest as error:
                raise _of_stand_in(error, answer) from None


class _Deadline:
    """The time that one request may take in all."""

    def __init__(self, seconds: float, clock: Callable[[], float]) -> None:
        self._seconds = seconds
        self._clock = clock
        self._end = clock() + seconds
        self._scope: asyncio.Timeout | None = None
        self._cut: Unavailable | None = None

    def cut(self, error: Unavailable) -> None:
        """The time is over now, and this is why."""
        self._end, self._cut = -math.inf, error
        if self._scope is not None and not self._scope.expired():
            self._scope.reschedule(0.0)

    async def bound(self, call: Callable[[], Awaitable[T]]) -> T:
        """What ``call`` gives, if it comes in time. Raises RequestTimeout; what was awaited is cancelled then."""
        left = self._end - self._clock()
        if left <= 0:
            raise self._passed()
        try:
            # anyio's scopes cost several times as much, and this is entered for every token.
            async with asyncio.timeout(left) as scope:
                self._scope = scope
                try:
                    return await call()
                finally:
                    self._scope = None
        except TimeoutError:
            if scope.expired():
                raise self._passed() from None
            raise

    def _passed(self) -> LowcloudError:
        return self._cut or RequestTimeout(f"The request took longer than the {self._seconds:g} s it may take.")


class _Record:
    """Measures one generation from its arrival; ``close`` counts its tokens, however it ended."""

    def __init__(self, model: str, meter: Meter, clock: Callable[[], float]) -> None:
        self._model = model
        self._meter = meter
        self._clock = clock
        self._arrived = clock()
        self._last: dict[int, float] = {}
        self._started: Started | None = None
        self._usage: Usage | None = None
        self._completion = 0

    def add(self, event: Event) -> None:
        """Before the event goes to the caller."""
        match event:
            case TextDelta(choice=choice, logprobs=logprobs):
                self._delta(choice, max(1, len(logprobs)))
            case ReasoningDelta(choice=choice) | ToolCallDelta(choice=choice):
                self._delta(choice, 1)
            case Started():
                self._started = event
            case Usage():
                self._usage = event

    def close(self) -> None:
        """Of a generation without ``Usage``, cancelled or failed, what the caller got is counted: a token a delta."""
        if self._usage is not None:
            prompt, cached, completion = self._usage.prompt, self._usage.cached, self._usage.completion
        elif self._started is not None:
            prompt, cached, completion = self._started.prompt_tokens, self._started.cached_tokens, self._completion
        else:
            return
        self._meter.tokens(self._model, prompt=prompt, cached=cached, completion=completion)

    def _delta(self, choice: int, n_tokens: int) -> None:
        now = self._clock()
        if not self._last:
            self._meter.ttft(self._model, now - self._arrived)
        if choice in self._last:
            self._meter.inter_token(self._model, now - self._last[choice])
        self._last[choice] = now
        self._completion += n_tokens


def _generator(engine: Served) -> Engine:
    """The catalogue said that this card generates; another kind of engine under its id is our bug."""
    if not hasattr(engine, "generate"):
        raise TypeError(f"{engine.card.id} is hosted by an engine that doesn't generate")
    return cast(Engine, engine)


def _embedder(engine: Served) -> Embedder:
    if not hasattr(engine, "embed"):
        raise TypeError(f"{engine.card.id} is hosted by an engine that doesn't embed")
    return cast(Embedder, engine)


def _resized(vectors: tuple[bytes, ...], dimensions: int | None) -> tuple[bytes, ...]:
    return tuple(resized(vector, dimensions) for vector in vectors)


def _stand_in(answer: Answer) -> str | None:
    return answer.by.id if answer.stand_in else None


def _rough_tokens(request: Embed) -> int:
    """An embedder counts while it works, so a quarter of the characters stands for the tokens of a text that waits."""
    return sum(
        1 + len(item.text) // _CHARACTERS_A_TOKEN if isinstance(item, Text) else len(item.ids)
        for item in request.inputs
    )


def _of_stand_in(error: BadRequest, answer: Answer) -> BadRequest:
    """The same error; for a stand-in it says whose limits these are."""
    if not answer.stand_in:
        return error
    return type(error)(f"{error} {answer.card.id} is answered here by the stand-in {answer.by.id}.", param=error.param)
