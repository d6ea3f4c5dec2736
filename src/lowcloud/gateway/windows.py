"""Windows in which calls or dollars are counted: a state and ``now`` in, a decision and the next state out. Pure.

Fixed windows are aligned to the epoch: with 60 s, to whole minutes of UTC. A sliding one is the last ``interval_s``
seconds, exactly: it keeps when each call came. Times are seconds since 1970. A clock that goes back counts what
is in the future as well.
"""

import math
from bisect import bisect_left, bisect_right, insort
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import chain, islice
from typing import Literal, TypeAlias

Technique: TypeAlias = Literal["fixed", "sliding"]
Entry: TypeAlias = tuple[float, float]  # when, dollars
Times: TypeAlias = tuple[tuple[float, ...], ...]  # in order; in chunks, so that one more is not a copy of all

MAX_ENTRIES = 1_000
CHUNK = 256
SLOTS = 500  # to a window, once it has more entries than that


@dataclass(frozen=True, slots=True)
class Window:
    """Less than ``limit`` in ``interval_s`` seconds lets another one in."""

    limit: float
    interval_s: float
    technique: Technique = "fixed"


@dataclass(frozen=True, slots=True)
class Decision:
    """``remaining`` is what the window still holds after this; ``retry_after_s`` is 0 where ``is_allowed``."""

    is_allowed: bool
    retry_after_s: float
    remaining: float


@dataclass(frozen=True, slots=True)
class Counts:
    """Calls that were let in. Fixed: ``n`` since ``start``. Sliding: when each was, at most ``limit`` of them."""

    start: float = 0.0
    n: int = 0
    times: Times = ()


@dataclass(frozen=True, slots=True)
class Held:
    """A reservation: what call ``id``, begun ``at``, may cost."""

    id: str
    at: float
    amount: float


@dataclass(frozen=True, slots=True)
class Amounts:
    """What was spent, in order of time, and what is held for calls under way.

    Fixed: one entry, the window's sum at its start. Sliding: exact up to ``MAX_ENTRIES``; beyond that those of the same
    500th of a window become one at the latest's time: so they count a little too long rather than too short.
    """

    entries: tuple[Entry, ...] = ()
    held: tuple[Held, ...] = ()


def start_of(interval_s: float, now: float) -> float:
    """When the fixed window of ``now`` began."""
    return now // interval_s * interval_s


def take(window: Window, counts: Counts, now: float) -> tuple[Decision, Counts]:
    """Whether one more call is let in."""
    return _take_fixed(window, counts, now) if window.technique == "fixed" else _take_sliding(window, counts, now)


def _take_fixed(window: Window, counts: Counts, now: float) -> tuple[Decision, Counts]:
    start = start_of(window.interval_s, now)
    current = counts if counts.start >= start else Counts(start)
    if current.n < window.limit:
        return Decision(True, 0.0, window.limit - current.n - 1), replace(current, n=current.n + 1)
    return Decision(False, current.start + window.interval_s - now, 0), current


def _take_sliding(window: Window, counts: Counts, now: float) -> tuple[Decision, Counts]:
    live = _after(counts.times, now - window.interval_s)
    n = sum(map(len, live))
    if n < window.limit:
        at = max(now, live[-1][-1]) if live else now
        return Decision(True, 0.0, window.limit - n - 1), Counts(times=_appended(live, at))
    # A limit that was lowered leaves more than it in the log: one of them has to be left, not just the oldest.
    leaving = _nth(live, n - int(window.limit)) if window.limit >= 1 else now
    return Decision(False, leaving + window.interval_s - now, 0), Counts(times=live)


def _after(times: Times, since: float) -> Times:
    for index, chunk in enumerate(times):
        if chunk[-1] > since:
            return (chunk[bisect_right(chunk, since) :], *times[index + 1 :])
    return ()


def _appended(times: Times, at: float) -> Times:
    if times and len(times[-1]) < CHUNK:
        return (*times[:-1], (*times[-1], at))
    return (*times, (at,))


def _nth(times: Times, index: int) -> float:
    return next(islice(chain.from_iterable(times), index, None))


def spent(window: Window, amounts: Amounts, now: float) -> float:
    """What counts at ``now``: spent, and held for calls that began within the window."""
    return sum(amount for _, amount in _live(window, amounts, now))


def is_empty(window: Window, amounts: Amounts, now: float) -> bool:
    """Whether nothing counts at ``now``, and nothing is held that will."""
    return not amounts.held and not _current(window, amounts.entries, now)


def reserve(window: Window, amounts: Amounts, wanted: Held) -> tuple[Decision, Amounts]:
    """Whether a call may begin, at ``wanted.at``: the limit isn't reached yet. If so, its estimate is held.

    An estimate that goes beyond the limit is no reason to refuse: a window is overshot by calls under way, at most.
    """
    now = wanted.at
    live = _live(window, amounts, now)
    total = sum(amount for _, amount in live)
    current = replace(amounts, entries=_current(window, amounts.entries, now))
    if total < window.limit:
        remaining = max(0.0, window.limit - total - wanted.amount)
        return Decision(True, 0.0, remaining), replace(current, held=(*current.held, wanted))
    return Decision(False, _retry_after_s(window, live, total, now), 0), current


def settle(window: Window, amounts: Amounts, call_id: str, amount: float, now: float) -> Amounts:
    """A call has ended and cost this much (0: it never ran). It counts for the time when it began.

    A call that holds nothing, because the server began anew in between, counts for ``now``.
    """
    at = next((each.at for each in amounts.held if each.id == call_id), now)
    held = tuple(each for each in amounts.held if each.id != call_id)
    entries = list(_current(window, amounts.entries, now))
    if amount > 0 and _counts(window, at, now):
        insort(entries, (at, amount))
    return Amounts(_merged(window, tuple(entries)), held)


def gained(window: Window | None, entries: Sequence[Entry], new: Sequence[Entry], now: float) -> tuple[Entry, ...]:
    """What was spent, with what was spent beside it; without a window all of it, in order of time."""
    both = tuple(sorted((*entries, *new)))
    return both if window is None else _merged(window, _current(window, both, now))


def _counts(window: Window, at: float, now: float) -> bool:
    if window.technique == "fixed":
        return at >= start_of(window.interval_s, now)
    return at > now - window.interval_s


def _current(window: Window, entries: tuple[Entry, ...], now: float) -> tuple[Entry, ...]:
    if window.technique == "fixed":
        return entries[bisect_left(entries, (start_of(window.interval_s, now), -math.inf)) :]
    return entries[bisect_right(entries, (now - window.interval_s, math.inf)) :]


def _live(window: Window, amounts: Amounts, now: float) -> tuple[Entry, ...]:
    held = ((each.at, each.amount) for each in amounts.held if _counts(window, each.at, now))
    return (*_current(window, amounts.entries, now), *held)


def _merged(window: Window, entries: tuple[Entry, ...]) -> tuple[Entry, ...]:
    if window.technique == "fixed" and entries:
        start = start_of(window.interval_s, entries[-1][0])
        return ((start, sum(amount for _, amount in entries)),)
    if len(entries) <= MAX_ENTRIES:
        return entries
    slots: dict[float, Entry] = {}
    for at, amount in entries:
        slot = at // (window.interval_s / SLOTS)
        slots[slot] = (at, amount + slots.get(slot, (at, 0.0))[1])
    return tuple(slots.values())


def _retry_after_s(window: Window, live: tuple[Entry, ...], total: float, now: float) -> float:
    """Until the window holds less than its limit, if nothing else comes."""
    if window.technique == "fixed":
        return start_of(window.interval_s, now) + window.interval_s - now
    for at, amount in sorted(live):
        total -= amount
        if total < window.limit:
            return at + window.interval_s - now
    return window.interval_s
