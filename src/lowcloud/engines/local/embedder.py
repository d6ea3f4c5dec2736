"""Embeddings with a local encoder: inputs are tokenised here, in the server; vectors come from the worker's process.

Each input is one client of the worker, so inputs of all requests share its batches, a worker that died gets what is
unanswered again, and a caller that leaves takes its inputs with it.
"""

import math
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import Protocol

import anyio
import anyio.to_thread

from lowcloud.core.errors import BadRequest, EngineFailed, LowcloudError, Overloaded
from lowcloud.core.requests import Embed, Pooling
from lowcloud.core.results import Embedded
from lowcloud.engines.engine import Counted, unheard
from lowcloud.engines.local.encoder_folder import EncoderFolder, describe
from lowcloud.engines.local.encoder_inputs import InputTokenizer
from lowcloud.engines.local.frames import Encode, Ready, Refused
from lowcloud.engines.local.process import Client, Part, Vector
from lowcloud.models.card import Card

__all__ = ["EncoderFolder", "LocalEmbedder", "Room", "describe"]

_TOKENISING_THREADS = 2
_ASSUMED_TOKENS_PER_S = 2000.0
_RETRY_S = (1.0, 60.0)


class Worker(Protocol):
    """What is used of ``process.WorkerProcess``."""

    @property
    def loaded(self) -> Ready | None: ...

    def open(self, client: Client) -> int: ...

    def close(self, number: int) -> None: ...


@dataclass(slots=True)
class Room:
    """How much may be with the worker at once, and what is. A request that finds nothing else there always has room."""

    max_inputs: int = 4096
    max_tokens: int = 2**20
    inputs: int = 0
    tokens: int = 0
    _busy_since_s: float = 0.0
    _done_tokens: int = 0

    def fits(self, n_inputs: int, n_tokens: int) -> bool:
        """Whether there is room for so many more."""
        is_within = self.inputs + n_inputs <= self.max_inputs and self.tokens + n_tokens <= self.max_tokens
        return is_within or self.inputs == 0

    def enter(self, n_inputs: int, n_tokens: int, now: float) -> None:
        """Raises Overloaded with the time that what is there will take, by the pace since the room was last empty."""
        if self.inputs == 0:
            self._busy_since_s, self._done_tokens = now, 0
        elif not self.fits(n_inputs, n_tokens):
            raise Overloaded(
                f"{self.inputs} inputs of {self.tokens} tokens are being embedded; there is no room for more now.",
                retry_after_s=self._left_s(now),
            )
        self.inputs += n_inputs
        self.tokens += n_tokens

    def leave(self, n_inputs: int, n_tokens: int) -> None:
        """The same numbers as at ``enter``."""
        self.inputs -= n_inputs
        self.tokens -= n_tokens
        self._done_tokens += n_tokens

    def _left_s(self, now: float) -> float:
        elapsed = now - self._busy_since_s
        pace = self._done_tokens / elapsed if self._done_tokens and elapsed > 0 else _ASSUMED_TOKENS_PER_S
        least, most = _RETRY_S
        return min(most, max(least, math.ceil(self.tokens / pace)))


class LocalEmbedder:
    """An ``Embedder`` over a worker of kind embedding. All methods run on one event loop."""

    def __init__(
        self,
        card: Card,
        folder: EncoderFolder,
        worker: Worker,
        *,
        room: Room | None = None,
        room_later: Room | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Blocking: reads the folder's tokenizer. ``room_later`` is for what isn't live. Raises ModelUnusable."""
        self._card = card
        self._folder = folder
        self._worker = worker
        self._room = room or Room()
        self._room_later = room_later or Room(max_inputs=1024, max_tokens=2**18)
        self._left = anyio.Event()
        self._clock = clock
        self._tokenizer = InputTokenizer.load(folder)
        self._tokenising = anyio.CapacityLimiter(_TOKENISING_THREADS)

    @property
    def card(self) -> Card:
        """Whose model this is."""
        return self._card

    async def embed(self, request: Embed, counted: Counted = unheard) -> Embedded:
        """Unit vectors in the order of the inputs; tokens are counted with the special ones, as they are encoded.

        A call that is cancelled, or fails, has the worker forget those of its inputs that wait for a batch. Raises
        BadRequest naming an input or ``dimensions``, Overloaded, EngineFailed when three workers died over an
        input, Unavailable when the process is stopped.
        """
        if request.dimensions not in (None, self._folder.dimensions):
            raise BadRequest(f"The model's vectors have {self._folder.dimensions} dimensions.", param="dimensions")
        ids = await anyio.to_thread.run_sync(
            lambda: self._tokenizer.ids(request.inputs, truncate=request.truncate, name=request.name),
            limiter=self._tokenising,
        )
        n_tokens = sum(map(len, ids))
        pooling = request.pooling or self._card.pooling or self._folder.pooling
        gathered = _Inputs(len(ids))
        inputs = [
            _Input(gathered, place, request.name(place), tokens, pooling, request.rank)
            for place, tokens in enumerate(ids)
        ]
        async with self._entered(request.rank, len(ids), n_tokens):
            counted(n_tokens)
            with self._opened(inputs):
                vectors = await gathered.vectors()
        ready = self._worker.loaded
        return Embedded(vectors, n_tokens, ready.weights if ready else self._folder.weights, pooling=pooling)

    @contextmanager
    def _opened(self, inputs: Sequence["_Input"]) -> Iterator[None]:
        """With the worker, which forgets at the end those that still wait for a batch."""
        numbers: list[int] = []
        try:
            numbers.extend(self._worker.open(each) for each in inputs)
            yield
        finally:
            for number in numbers:
                self._worker.close(number)

    @asynccontextmanager
    async def _entered(self, rank: int, n_inputs: int, n_tokens: int) -> AsyncIterator[None]:
        """A live request is refused where there is no room; the rest has a room of its own, and waits for it."""
        room = self._room_later if rank else self._room
        while rank and not room.fits(n_inputs, n_tokens):
            await self._left.wait()
        room.enter(n_inputs, n_tokens, self._clock())
        try:
            yield
        finally:
            room.leave(n_inputs, n_tokens)
            left, self._left = self._left, anyio.Event()
            left.set()


class _Inputs:
    """Gathers the vectors of one request."""

    def __init__(self, n_inputs: int) -> None:
        self._vectors: dict[int, bytes] = {}
        self._missing = n_inputs
        self._error: LowcloudError | None = None
        self._settled = anyio.Event()

    def put(self, place: int, vector: bytes) -> None:
        self._vectors[place] = vector
        if len(self._vectors) == self._missing:
            self._settled.set()

    def fail(self, error: LowcloudError) -> None:
        """The first failure of an input is the request's."""
        self._error = self._error or error
        self._settled.set()

    async def vectors(self) -> tuple[bytes, ...]:
        """All of them, in order. The worker process bounds the wait: each input is answered, or fails in the end."""
        if self._missing:
            await self._settled.wait()
        if self._error is not None:
            raise self._error
        return tuple(self._vectors[place] for place in range(self._missing))


@dataclass(frozen=True, slots=True)
class _Input:
    """One input as the worker process's client."""

    inputs: _Inputs
    place: int
    name: str
    ids: list[int]
    pooling: Pooling
    rank: int

    def frame(self, number: int) -> Encode:
        return Encode(number, self.ids, self.pooling, self.rank)

    def take(self, part: Part) -> None:
        match part:
            case Vector(data=data):
                self.inputs.put(self.place, data)
            case Refused(message=message):
                self.inputs.fail(EngineFailed(f"{self.name} could not be embedded: {message}."))
            case _:
                self.inputs.fail(EngineFailed(f"{self.name} got an answer that is no vector."))

    def fail(self, error: LowcloudError) -> None:
        self.inputs.fail(error)
