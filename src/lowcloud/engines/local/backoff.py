"""How long to wait before a model's dead process is started again: a pure decision."""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Death:
    """A worker that ended: when, in seconds of some clock, and how long it had been ready (0: it never was)."""

    at: float
    ready_s: float


@dataclass(frozen=True, slots=True)
class Backoff:
    """``first_s`` doubles with each death up to ``most_s``; a life of ``healthy_s`` forgets the deaths before it."""

    first_s: float = 1.0
    most_s: float = 30.0
    healthy_s: float = 60.0


def restart_at(deaths: Sequence[Death], policy: Backoff) -> float:
    """The moment of the next start. ``deaths`` are all so far, oldest first, at least one.

    A worker that had been ready is started again at once, so that its streams go on; the next ones that die young, and
    any that never came up, wait.
    """
    last = deaths[-1]
    young = 0
    for death in reversed(deaths):
        if death.ready_s >= policy.healthy_s:
            break
        young += 1
    doublings = young - 1 if last.ready_s == 0 else young - 2
    if doublings < 0:
        return last.at
    return last.at + min(policy.most_s, policy.first_s * 2.0 ** min(doublings, 32))
