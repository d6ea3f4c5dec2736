"""All that ``http`` knows of models: one method a task, from an id to its answer.

A request's way: id -> the card that answers -> a place in its queue -> checked, rendered and counted -> the engine's
lease -> events. Closing the generator at any point of it gives back everything that was taken.
"""

import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator
from contextlib import aclosing, asynccontextmanager, contextmanager
from dataclasses import dataclass, field, replace
from typing import TypeVar, cast

import anyio
import anyio.to_thread

from lowcloud.core.errors import BadRequest, PromptTooLong, Unavailable, Unsupported
from lowcloud.core.events import Event, Started, Usage
from lowcloud.core.messages import Messages, Prompt
from lowcloud.core.requests import Admission, Caller, Classify, Embed, Generate, Rerank
from lowcloud.core.results import Classified, Embedded, Reranked
from lowcloud.engines.engine import Classifier, Counted, Embedder, Engine, Prepared, Reranker, Token, Wording
from lowcloud.models.card import Task
from lowcloud.models.catalogue import Answer, Catalogue, Listing
from lowcloud.serving.admission import RANKS, Bounds, Place, Queue
from lowcloud.serving.deadline import Deadline
from lowcloud.serving.pool import ModelStatus, Pool, Served
from lowcloud.serving.rough import rough_tokens
from lowcloud.serving.run import Meter, Run
from lowcloud.serving.standin import dimensions_of, is_cut, resized
from lowcloud.serving.usage import Ledger, UsageRecord

__all__ = ["Answer", "Limits", "Meter", "ModelStatus", "Service"]

T = TypeVar("T")
R = TypeVar("R", Embedded, Reranked, Classified)
_CUTTERS = 1
STOPPING_RETRY_S = 5.0


@dataclass(frozen=True, slots=True)
class Limits:
    """``queue`` bounds what waits in front of each model; ``request_deadline_s`` a request, arrival to last event, and
    ``job_deadline_s`` one that isn't live."""

    queue: Bounds = field(default_factory=Bounds)
    request_deadline_s: float = 600.0
    job_deadline_s: float = 3600.0

    def deadline_s(self, admission: Admission) -> float:
        """Of a request of a class."""
        return self.request_deadline_s if admission == "live" else self.job_deadline_s


class Service:
    """Generates, embeds, reranks and classifies with whatever model answers for an id.

    ``clock`` is in seconds, monotonic. Without a ``ledger`` nothing is counted on accounts, and nothing is limited.
    """

    def __init__(
        self,
        catalogue: Catalogue,
        pool: Pool,
        meter: Meter,
        *,
        limits: Limits | None = None,
        ledger: Ledger | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._catalogue = catalogue
        self._pool = pool
        self._meter = meter
        self._limits = limits or Limits()
        self._ledger = ledger
        self._clock = clock
        self._queues: dict[str, Queue] = {}
        self._cutters = anyio.CapacityLimiter(_CUTTERS)
        self._live: set[Deadline] = set()
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
        try:
            async with self._run(answer, caller) as run, aclosing(self._generated(answer, request, caller)) as events:
                while (event := await run.bound(lambda: anext(events, None))) is not None:
                    yield run.seen(event)
        except PromptTooLong as error:
            raise _of_stand_in(error, answer) from None

    async def embed(self, model_id: str, request: Embed, caller: Caller) -> Embedded:
        """Unit vectors of the asked-for size, in the order of the inputs. Raises as ``generate`` does."""
        answer = self._accepted(model_id, Task.TEXT_EMBEDDINGS)
        dimensions = dimensions_of(answer, request.dimensions)
        whole = replace(request, dimensions=None, rank=RANKS[caller.admission])
        embedded = await self._once(answer, rough_tokens(request), caller, lambda on, n: _embedder(on).embed(whole, n))
        return replace(embedded, vectors=await self._sized(embedded.vectors, dimensions))

    async def rerank(self, model_id: str, request: Rerank, caller: Caller) -> Reranked:
        """A score a document, in their order. Raises as ``generate`` does."""
        answer = self._accepted(model_id, Task.RERANK)
        return await self._once(answer, rough_tokens(request), caller, lambda on, n: _reranker(on).rerank(request, n))

    async def classify(self, model_id: str, request: Classify, caller: Caller) -> Classified:
        """The labels of each input, in their order. Raises as ``generate`` does."""
        answer = self._accepted(model_id, Task.TEXT_CLASSIFICATION)
        return await self._once(
            answer, rough_tokens(request), caller, lambda on, n: _classifier(on).classify(request, n)
        )

    async def check(
        self, model_id: str, request: Generate, caller: Caller | None = None, *, is_whole: bool = False
    ) -> None:
        """Refuse what the model that answers can't do, before anything is done for it; with a ``caller`` also what
        wouldn't be admitted now.

        ``is_whole``: also all that shows when the request is prepared; of what ``generate`` refuses only that is left
        which the running model sees: a grammar that it can't follow. Raises as ``generate`` does.
        """
        answer = self._accepted(model_id, Task.TEXT_GENERATION)
        if caller is not None:
            await self._check_admission(answer, caller)
        with self._deadline() as deadline:
            engine = _generator(await deadline.bound(lambda: self._pool.engine(answer.by.id)))
            engine.check(request)
            if is_whole:
                await deadline.bound(lambda: _prepared(engine, request, answer))

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

    @asynccontextmanager
    async def _run(self, answer: Answer, caller: Caller) -> AsyncGenerator[Run, None]:
        """A run that is admitted, within its time, and recorded once, however it ends. Raises LimitReached."""
        ledger = self._ledger
        with self._deadline(caller.admission) as deadline:
            run = Run(answer, caller.account_id, deadline, self._meter, self._clock)
            if ledger is not None:
                await run.bound(lambda: ledger.admit(caller, answer.card))
            try:
                yield run
            except BaseException as error:
                self._record(run.end(error))
                raise
            self._record(run.end(None))

    def _record(self, record: UsageRecord) -> None:
        if self._ledger is not None:
            self._ledger.add(record)

    @contextmanager
    def _deadline(self, admission: Admission = "live") -> Generator[Deadline]:
        """The time of one request, which ``cut`` ends."""
        deadline = Deadline(self._limits.deadline_s(admission), self._clock)
        self._live.add(deadline)
        try:
            yield deadline
        finally:
            self._live.discard(deadline)

    async def _check_admission(self, answer: Answer, caller: Caller) -> None:
        """A place is taken, and left at once. Raises Overloaded, LimitReached."""
        if self._ledger is not None:
            await self._ledger.check(caller, answer.card)
        with self._enter(answer, caller):
            pass

    def _enter(self, answer: Answer, caller: Caller) -> Place:
        return self._queue(answer.by.id).enter(caller.admission, rejects_if_busy=caller.rejects_if_busy)

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
        with self._enter(answer, caller) as place:
            await place.turn()
            engine = _generator(await self._pool.engine(answer.by.id))
            engine.check(request)
            prepared = await engine.prepare(request)
            place.count(prepared.prompt_tokens)
            ranked = replace(prepared, rank=place.rank)
            async with self._pool.lease(answer.by.id), aclosing(engine.generate(ranked)) as events:
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

    async def _once(
        self, answer: Answer, n_tokens: int, caller: Caller, ask: Callable[[Served, Counted], Awaitable[R]]
    ) -> R:
        """What an engine gives all at once; ``n_tokens`` is what waits for it meanwhile."""
        async with self._run(answer, caller) as run:
            with self._enter(answer, caller) as place:
                place.count(n_tokens)
                await run.bound(place.turn)
                result = await run.bound(lambda: self._leased(answer, lambda engine: ask(engine, run.counted)))
                place.started()
            usage = run.complete(Usage(result.prompt_tokens, 0, 0))
        return replace(result, stand_in=_stand_in(answer), neurons=usage.neurons)

    async def _leased(self, answer: Answer, ask: Callable[[Served], Awaitable[R]]) -> R:
        async with self._pool.lease(answer.by.id) as engine:
            try:
                return await ask(engine)
            except BadRequest as error:
                raise _of_stand_in(error, answer) from None


async def _prepared(engine: Engine, request: Generate, answer: Answer) -> Prepared:
    try:
        return await engine.prepare(request)
    except PromptTooLong as error:
        raise _of_stand_in(error, answer) from None


def _generator(engine: Served) -> Engine:
    return cast(Engine, _able("generate", engine))


def _embedder(engine: Served) -> Embedder:
    return cast(Embedder, _able("embed", engine))


def _reranker(engine: Served) -> Reranker:
    return cast(Reranker, _able("rerank", engine))


def _classifier(engine: Served) -> Classifier:
    return cast(Classifier, _able("classify", engine))


def _able(act: str, engine: Served) -> Served:
    """The catalogue said what this card is for; another kind of engine under its id is our bug."""
    if not hasattr(engine, act):
        raise TypeError(f"{engine.card.id} is hosted by an engine that doesn't {act}")
    return engine


def _resized(vectors: tuple[bytes, ...], dimensions: int | None) -> tuple[bytes, ...]:
    return tuple(resized(vector, dimensions) for vector in vectors)


def _stand_in(answer: Answer) -> str | None:
    return answer.by.id if answer.stand_in else None


def _of_stand_in(error: BadRequest, answer: Answer) -> BadRequest:
    """The same error; for a stand-in it says whose limits these are."""
    if not answer.stand_in:
        return error
    return type(error)(f"{error} {answer.card.id} is answered here by the stand-in {answer.by.id}.", param=error.param)
