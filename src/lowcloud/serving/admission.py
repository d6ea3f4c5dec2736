"""The bounded queue in front of a model: full gives 429 with a Retry-After, never growth.

A request is queued from its arrival until its engine has started it. Bounds are in requests and in prompt tokens;
``max_tokens`` doesn't count, since the engine preempts. Each class of requests has its own line, and goes on to the
engine when nobody waits in a line before it. Only the live line is bounded: whoever runs the rest starts no more of it
than it is set to. ``admit``, ``departed`` and ``may_go`` are pure; ``Queue`` keeps the state.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import TracebackType

import anyio

from lowcloud.core.errors import Overloaded
from lowcloud.core.requests import Admission

RANKS: dict[Admission, int] = {"live": 0, "background": 1, "batch": 2}

MIN_RETRY_S = 1.0
MAX_RETRY_S = 120.0
UNMEASURED_RETRY_S = 5.0
_KEPT = 0.9  # of what was measured, at each departure: about the last ten count


@dataclass(frozen=True, slots=True)
class Bounds:
    """What may wait in front of one model."""

    requests: int = 256
    tokens: int = 262_144


UNBOUNDED = Bounds(2**63, 2**63)


@dataclass(frozen=True, slots=True)
class Rate:
    """Prompt tokens that left the queue, and the seconds it took, older ones fading."""

    tokens: float = 0.0
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class State:
    """What waits, and how fast it goes."""

    requests: int = 0
    tokens: int = 0
    rate: Rate = Rate()


def admit(state: State, bounds: Bounds, *, requests: int, tokens: int) -> float | None:
    """None when there is room for ``requests`` more of ``tokens`` in all; else the Retry-After in seconds.

    A request larger than the whole token bound is let into an empty queue: else it could never be answered.
    """
    fits_requests = state.requests + requests <= bounds.requests
    fits_tokens = state.tokens + tokens <= bounds.tokens or state.tokens == 0
    return None if fits_requests and fits_tokens else retry_after_s(state)


def retry_after_s(state: State) -> float:
    """Whole seconds until what waits now has left, at the measured rate: 1 to 120; 5 when nothing is measured."""
    if state.rate.tokens <= 0:
        return UNMEASURED_RETRY_S
    seconds = state.tokens * state.rate.seconds / state.rate.tokens
    return float(math.ceil(min(max(seconds, MIN_RETRY_S), MAX_RETRY_S)))


def departed(rate: Rate, tokens: int, seconds: float) -> Rate:
    """The rate after ``tokens`` left, ``seconds`` after the departure before or, if later, their own arrival."""
    return Rate(rate.tokens * _KEPT + tokens, rate.seconds * _KEPT + max(0.0, seconds))


def may_go(rank: int, waiting: Sequence[int]) -> bool:
    """Whether a request of ``rank`` may go to its engine: of the ranks before it none of the ``waiting`` is."""
    return not any(waiting[:rank])


class Queue:
    """One model's queue, a line for each class; ``bounds`` are of the live one. ``report(requests, tokens)`` is called
    at each change, with the sums; ``clock`` is in seconds, monotonic."""

    def __init__(self, bounds: Bounds, clock: Callable[[], float], report: Callable[[int, int], None]) -> None:
        self._report = report
        self._lines = [_Line(bounds if rank == 0 else UNBOUNDED, clock) for rank in RANKS.values()]
        self._shorter = anyio.Event()

    def state(self, admission: Admission = "live") -> State:
        """What waits of a class."""
        return self._lines[RANKS[admission]].state

    def enter(self, admission: Admission = "live", *, rejects_if_busy: bool = False) -> "Place":
        """A place for one request whose tokens aren't counted yet. Raises Overloaded; with ``rejects_if_busy`` also
        where another one of its class waits."""
        rank = RANKS[admission]
        line = self._lines[rank]
        if rejects_if_busy and line.state.requests:
            message = "Capacity temporarily exceeded, please try again."
            raise Overloaded(message, retry_after_s=retry_after_s(line.state))
        arrived = line.join()
        self._changed()
        return Place(self, rank, arrived)

    def _count(self, rank: int, tokens: int) -> None:
        self._lines[rank].count(tokens)
        self._changed()

    def _leave(self, rank: int, tokens: int, started_after: float | None = None) -> None:
        self._lines[rank].leave(tokens, started_after)
        self._changed()
        shorter, self._shorter = self._shorter, anyio.Event()
        shorter.set()

    async def _turn(self, rank: int) -> None:
        while not may_go(rank, [line.state.requests for line in self._lines]):
            await self._shorter.wait()

    def _changed(self) -> None:
        states = [line.state for line in self._lines]
        self._report(sum(state.requests for state in states), sum(state.tokens for state in states))


class _Line:
    """The requests of one class that wait, and how fast they go."""

    def __init__(self, bounds: Bounds, clock: Callable[[], float]) -> None:
        self._bounds = bounds
        self._clock = clock
        self._last_departure = -math.inf
        self.state = State()

    def join(self) -> float:
        """One more; its time of arrival. Raises Overloaded."""
        self._require_room(requests=1, tokens=0)
        self._change(1, 0)
        return self._clock()

    def count(self, tokens: int) -> None:
        """One that waits has so many. Raises Overloaded."""
        self._require_room(requests=0, tokens=tokens)
        self._change(0, tokens)

    def leave(self, tokens: int, started_after: float | None) -> None:
        """One less, of so many tokens; it was started where its arrival is given, else it was given up."""
        rate = self.state.rate
        if started_after is not None:
            now = self._clock()
            rate = departed(rate, tokens, now - max(started_after, self._last_departure))
            self._last_departure = now
        self.state = State(self.state.requests - 1, self.state.tokens - tokens, rate)

    def _require_room(self, *, requests: int, tokens: int) -> None:
        wait_s = admit(self.state, self._bounds, requests=requests, tokens=tokens)
        if wait_s is not None:
            raise Overloaded(
                f"The model's queue is full: {self.state.requests} requests of {self.state.tokens} tokens wait.",
                retry_after_s=wait_s,
            )

    def _change(self, requests: int, tokens: int) -> None:
        self.state = State(self.state.requests + requests, self.state.tokens + tokens, self.state.rate)


class Place:
    """A request's place in a queue, left once: by ``started``, or at the end of the ``with`` block."""

    def __init__(self, queue: Queue, rank: int, arrived: float) -> None:
        self._queue = queue
        self._rank = rank
        self._arrived = arrived
        self._tokens = 0
        self._is_queued = True

    @property
    def rank(self) -> int:
        """Of the request's class, the lowest first."""
        return self._rank

    async def turn(self) -> None:
        """Return when nobody of a class before the request's waits here. Cancelling it is no harm."""
        await self._queue._turn(self._rank)

    def count(self, tokens: int) -> None:
        """The request's prompt tokens are known now. Raises Overloaded when there is no room for them."""
        self._queue._count(self._rank, tokens)
        self._tokens = tokens

    def started(self) -> None:
        """The engine has the request; it waits no more."""
        if self._is_queued:
            self._is_queued = False
            self._queue._leave(self._rank, self._tokens, self._arrived)

    def __enter__(self) -> "Place":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._is_queued:
            self._is_queued = False
            self._queue._leave(self._rank, self._tokens)
