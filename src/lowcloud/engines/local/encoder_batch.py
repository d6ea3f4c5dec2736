"""Which inputs go through the encoder together: pure decisions, driven by ``now``.

Inputs of like length share a batch: attention is padded to the longest of a batch (the rest of the model is not), so a
long text among many short ones would make all of them dear. Inputs of up to 64 tokens are alike, then of up to 128,
256 and so on: what is lost to padding stays under a fifth of the work.
"""

from collections import OrderedDict
from dataclasses import dataclass

from lowcloud.core.requests import Pooling

_SHORTEST_CLASS = 64
# A pass over fewer tokens costs more a token.
_LEAST_SHARE = 128


@dataclass(frozen=True, slots=True)
class Job:
    """One input: ``ids`` with the special tokens in place; ``arrived_s`` on the clock of ``now``."""

    id: int
    ids: tuple[int, ...]
    pooling: Pooling
    arrived_s: float
    rank: int = 0


def length_class(n_tokens: int) -> int:
    """The least of 64, 128, 256, ... that holds ``n_tokens``."""
    return max(_SHORTEST_CLASS, 1 << (n_tokens - 1).bit_length())


class Batcher:
    """Waiting jobs, by class of length, in the order of their arrival.

    A batch closes when the jobs of one class fill ``budget_tokens``, or when the oldest job has waited ``wait_s``.
    It holds jobs of one class, the oldest first, and no more than the budget; a job that is over the budget
    by itself goes alone.
    """

    def __init__(self, budget_tokens: int, wait_s: float) -> None:
        self._budget = budget_tokens
        self._wait_s = wait_s
        self._waiting: OrderedDict[int, Job] = OrderedDict()
        self._tokens: dict[int, int] = {}

    def __len__(self) -> int:
        return len(self._waiting)

    def add(self, job: Job) -> None:
        """Let a job wait. Its id is in use by no other waiting job; ``arrived_s`` is not before the last one's."""
        self._waiting[job.id] = job
        self._count(job, len(job.ids))

    def cancel(self, job_id: int) -> None:
        """Forget a waiting job; an unknown id is no error."""
        job = self._waiting.pop(job_id, None)
        if job is not None:
            self._count(job, -len(job.ids))

    def due_in_s(self, now: float) -> float | None:
        """How long until a batch closes if nothing else comes; 0 when one is closed now, None when nothing waits."""
        if not self._waiting:
            return None
        if self._full() is not None:
            return 0.0
        return max(0.0, self._deadline_s(self._oldest()) - now)

    def take(self, now: float, idle_lanes: int = 1) -> tuple[Job, ...]:
        """The next closed batch, which no longer waits here; empty when none is closed.

        The oldest job's class goes first when it is due, so no job is passed over for long. With several
        ``idle_lanes`` to compute in, a batch is one lane's share of its class, but no less than 128 tokens.
        """
        if not self._waiting:
            return ()
        oldest = self._oldest()
        if now >= self._deadline_s(oldest):
            return self._batch(length_class(len(oldest.ids)), idle_lanes)
        full = self._full()
        return () if full is None else self._batch(full, idle_lanes)

    def _deadline_s(self, job: Job) -> float:
        return job.arrived_s + self._wait_s

    def _oldest(self) -> Job:
        return next(iter(self._waiting.values()))

    def _full(self) -> int | None:
        return next((kind for kind, tokens in self._tokens.items() if tokens >= self._budget), None)

    def _batch(self, kind: int, lanes: int) -> tuple[Job, ...]:
        batch: list[Job] = []
        left = min(self._budget, max(_LEAST_SHARE, -(-self._tokens[kind] // lanes)))
        for job in self._waiting.values():
            if length_class(len(job.ids)) != kind:
                continue
            if batch and len(job.ids) > left:
                break
            batch.append(job)
            left -= len(job.ids)
        for job in batch:
            self.cancel(job.id)
        return tuple(batch)

    def _count(self, job: Job, n_tokens: int) -> None:
        kind = length_class(len(job.ids))
        self._tokens[kind] = self._tokens.get(kind, 0) + n_tokens


class RankedBatcher:
    """A ``Batcher`` for each rank: nothing of a higher one is taken while something of a lower one waits.

    The ranks share no batch either: what is in a hurry should not be computed with what is not.
    """

    def __init__(self, budget_tokens: int, wait_s: float) -> None:
        self._budget, self._wait_s = budget_tokens, wait_s
        self._batchers: dict[int, Batcher] = {}

    def add(self, job: Job) -> None:
        """As ``Batcher.add``."""
        if job.rank not in self._batchers:
            self._batchers[job.rank] = Batcher(self._budget, self._wait_s)
        self._batchers[job.rank].add(job)

    def cancel(self, job_id: int) -> None:
        """Forget a waiting job; an unknown id is no error."""
        for batcher in self._batchers.values():
            batcher.cancel(job_id)

    def due_in_s(self, now: float) -> float | None:
        """How long until a batch closes if nothing else comes; None when nothing waits."""
        first = self._first()
        return first.due_in_s(now) if first else None

    def take(self, now: float, idle_lanes: int = 1) -> tuple[Job, ...]:
        """The next closed batch, which no longer waits here; empty when none of the lowest rank is closed."""
        first = self._first()
        return first.take(now, idle_lanes) if first else ()

    def _first(self) -> Batcher | None:
        return next((self._batchers[rank] for rank in sorted(self._batchers) if len(self._batchers[rank])), None)
