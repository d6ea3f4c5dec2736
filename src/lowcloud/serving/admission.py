"""The bounded queue in front of a model: full gives 429 with a Retry-After, never growth.

A request is queued from its arrival until its engine has started it. Bounds are in requests and in prompt tokens;
``max_tokens`` doesn't count, since the engine preempts. ``admit`` and ``departed`` are pure; ``Queue`` keeps the state.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType

from lowcloud.core.errors import Overloaded

MIN_RETRY_S = 1.0
MAX_RETRY_S = 120.0
UNMEASURED_RETRY_S = 5.0
_KEPT = 0.9  # of what was measured, at each departure: about the last ten count


@dataclass(frozen=True, slots=True)
class Bounds:
    """What may wait in front of one model."""

    requests: int = 256
    tokens: int = 262_144


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


class Queue:
    """One model's queue. ``report(requests, tokens)`` is called at each change; ``clock`` is in seconds, monotonic."""

    def __init__(self, bounds: Bounds, clock: Callable[[], float], report: Callable[[int, int], None]) -> None:
        self._bounds = bounds
        self._clock = clock
        self._report = report
        self._state = State()
        self._last_departure = -math.inf

    @property
    def state(self) -> State:
        return self._state

    def enter(self, *, rejects_if_busy: bool = False) -> "Place":
        """A place for one request whose tokens aren't counted yet. Raises Overloaded; with ``rejects_if_busy`` also
        where another one waits."""
        if rejects_if_busy and self._state.requests:
            message = "Capacity temporarily exceeded, please try again."
            raise Overloaded(message, retry_after_s=retry_after_s(self._state))
        self._require_room(requests=1, tokens=0)
        self._change(1, 0)
        return Place(self, self._clock())

    def _require_room(self, *, requests: int, tokens: int) -> None:
        wait_s = admit(self._state, self._bounds, requests=requests, tokens=tokens)
        if wait_s is not None:
            raise Overloaded(
                f"The model's queue is full: {self._state.requests} requests of {self._state.tokens} tokens wait.",
                retry_after_s=wait_s,
            )

    def _change(self, requests: int, tokens: int) -> None:
        state = self._state
        self._state = State(state.requests + requests, state.tokens + tokens, state.rate)
        self._report(self._state.requests, self._state.tokens)

    def _depart(self, tokens: int, arrived: float) -> None:
        now = self._clock()
        rate = departed(self._state.rate, tokens, now - max(arrived, self._last_departure))
        self._last_departure = now
        self._state = State(self._state.requests, self._state.tokens, rate)
        self._change(-1, -tokens)


class Place:
    """A request's place in a queue, left once: by ``started``, or at the end of the ``with`` block."""

    def __init__(self, queue: Queue, arrived: float) -> None:
        self._queue = queue
        self._arrived = arrived
        self._tokens = 0
        self._is_queued = True

    def count(self, tokens: int) -> None:
        """The request's prompt tokens are known now. Raises Overloaded when there is no room for them."""
        self._queue._require_room(requests=0, tokens=tokens)
        self._queue._change(0, tokens)
        self._tokens = tokens

    def started(self) -> None:
        """The engine has the request; it waits no more."""
        if self._is_queued:
            self._is_queued = False
            self._queue._depart(self._tokens, self._arrived)

    def __enter__(self) -> "Place":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._is_queued:
            self._is_queued = False
            self._queue._change(-1, -self._tokens)
