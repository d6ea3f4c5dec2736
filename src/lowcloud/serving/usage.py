"""What accounts use: a record a run, summed by account, day and model in the database, and the limits on it."""

import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Literal, Protocol, TypeAlias

import anyio
import structlog

from lowcloud.core.errors import DailyLimitReached, LimitReached
from lowcloud.core.requests import Caller
from lowcloud.models.card import Card, Task
from lowcloud.serving.limits import MINUTE_S, Allowance, check_day, check_minute
from lowcloud.storage.usage import UsageCounts, UsageKey, merged, utc_day

FLUSH_S = 1.0
MAX_PENDING = 10_000  # sums that wait to be written
MAX_ACCOUNTS = 10_000  # whose neurons of the day are kept in memory

Outcome: TypeAlias = Literal["done", "failed", "client_gone"]


@dataclass(frozen=True, slots=True)
class UsageRecord:
    """What one run used. ``model`` is the id that was asked for, ``answered_by`` the card that answered."""

    account_id: str
    model: str
    answered_by: str
    task: Task
    outcome: Outcome
    prompt_tokens: int
    cached_tokens: int
    completion_tokens: int
    neurons: float


class Store(Protocol):
    """Where sums are kept; ``storage/usage.py`` has the real one."""

    async def add(self, deltas: Mapping[UsageKey, UsageCounts], /) -> None: ...
    async def of_day(self, account_id: str, day: str, /) -> UsageCounts: ...


class UsageMeter(Protocol):
    """Where the numbers of all accounts together go. ``model`` is the card that answers."""

    def run(self, model: str, task: str, outcome: str, neurons: float) -> None: ...
    def refused(self, limit: str) -> None: ...


class Ledger:
    """Counts what accounts use and refuses what is over ``allowance``. ``clock`` gives seconds since 1970.

    Sums are in memory until ``run`` writes them, about once a second; what can't be written is kept for the next time.
    """

    def __init__(
        self,
        store: Store,
        meter: UsageMeter,
        allowance: Allowance | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._store = store
        self._meter = meter
        self._allowance = allowance or Allowance()
        self._clock = clock
        self._pending: dict[UsageKey, UsageCounts] = {}
        self._lost = 0
        self._fails = False
        self._minute = 0
        # Of this minute: other servers may count on the same database, and requests are as few as a minute's.
        self._used: dict[tuple[str, str], float] = {}  # neurons by account and day
        self._requests: dict[tuple[str, Task], int] = {}
        self._writing = anyio.Lock()
        self._log = structlog.get_logger("lowcloud.usage")

    async def admit(self, caller: Caller, card: Card) -> None:
        """Let a run begin, and count it as a request of this minute. A card that costs nothing has no daily limit.

        Raises LimitReached, DailyLimitReached; what is refused isn't counted.
        """
        await self.check(caller, card)
        if _is_request(caller) and card.task in self._allowance.requests_per_minute:
            key = caller.account_id, card.task
            self._requests[key] = self._requests.get(key, 0) + 1

    async def check(self, caller: Caller, card: Card) -> None:
        """Refuse what ``admit`` would refuse now; nothing is counted. Raises as it does."""
        self._turn()
        try:
            if self._allowance.neurons_per_day is not None and card.price:
                used = await self._neurons_today(caller.account_id)
                check_day(used, self._allowance.neurons_per_day, self._clock())
            if _is_request(caller):
                self._check_minute(caller.account_id, card.task)
        except LimitReached as error:
            self._meter.refused("neurons_per_day" if isinstance(error, DailyLimitReached) else "requests_per_minute")
            raise

    def add(self, record: UsageRecord) -> None:
        """Count a run, on the day that it ends."""
        key = UsageKey(record.account_id, utc_day(self._clock()), record.model, record.answered_by)
        if key in self._pending or len(self._pending) < MAX_PENDING:
            self._pending[key] = self._pending.get(key, UsageCounts()) + _counts(record)
        else:
            self._lost += 1
        account = key.account_id, key.day
        if account in self._used:
            self._used[account] += record.neurons
        self._meter.run(record.answered_by, record.task.value, record.outcome, record.neurons)

    async def run(self, sleep: Callable[[float], Awaitable[None]] = anyio.sleep) -> None:
        """Write what is counted, again and again until cancelled; then what is left."""
        try:
            while True:
                await sleep(FLUSH_S)
                await self.flush()
        finally:
            with anyio.CancelScope(shield=True):
                await self.flush()

    async def flush(self) -> None:
        """Write what is counted since the last time."""
        async with self._writing:
            pending, self._pending = self._pending, {}
            if self._lost:
                self._log.error("usage was lost: too many sums wait to be written", runs=self._lost)
                self._lost = 0
            if not pending:
                return
            try:
                # shielded: of a write that is cancelled nobody knows whether it was done
                with anyio.CancelScope(shield=True):
                    await self._store.add(pending)
            except Exception:  # the outermost place of this task: whatever it is, the sums must not be lost
                self._pending = merged([*pending.items(), *self._pending.items()])
                if not self._fails:
                    self._log.exception("usage can't be written; it is tried again every second", sums=len(pending))
                self._fails = True
            else:
                self._fails = False

    async def _neurons_today(self, account_id: str) -> float:
        """What the database has and what waits to be written, once a minute; from then on ``add`` counts."""
        key = account_id, utc_day(self._clock())
        if key in self._used:
            return self._used[key]
        async with self._writing:  # nothing is on its way to the database meanwhile
            if key not in self._used:
                stored = await self._store.of_day(*key)
                waiting = [counts.neurons for one, counts in self._pending.items() if (one.account_id, one.day) == key]
                if len(self._used) >= MAX_ACCOUNTS:
                    self._used.clear()
                self._used[key] = stored.neurons + sum(waiting)
        return self._used[key]

    def _turn(self) -> None:
        """Begin a minute, where one has ended."""
        minute = int(self._clock() // MINUTE_S)
        if minute != self._minute:
            self._minute, self._used, self._requests = minute, {}, {}

    def _check_minute(self, account_id: str, task: Task) -> None:
        limit = self._allowance.requests_per_minute.get(task)
        if limit is not None:
            check_minute(task, self._requests.get((account_id, task), 0), limit, self._clock())


def _is_request(caller: Caller) -> bool:
    """What is counted by the minute: not what is run later, nor a part of a request."""
    return caller.admission == "live" and not caller.is_part


def _counts(record: UsageRecord) -> UsageCounts:
    return UsageCounts(
        requests=1,
        failed=int(record.outcome == "failed"),
        client_gone=int(record.outcome == "client_gone"),
        prompt_tokens=record.prompt_tokens,
        cached_tokens=record.cached_tokens,
        completion_tokens=record.completion_tokens,
        neurons=record.neurons,
    )
