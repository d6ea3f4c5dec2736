"""Usage in memory, for a ledger."""

from collections.abc import Mapping

import anyio

from lowcloud.storage.usage import UsageCounts, UsageKey


class Sums:
    """A store. ``fails``: what is added isn't, and raises; ``held``: it waits for that event."""

    def __init__(self) -> None:
        self.rows: dict[UsageKey, UsageCounts] = {}
        self.writes = 0
        self.reads: list[tuple[str, str]] = []
        self.fails = False
        self.held: anyio.Event | None = None

    async def add(self, deltas: Mapping[UsageKey, UsageCounts]) -> None:
        if self.held is not None:
            await self.held.wait()
        if self.fails:
            raise OSError("disk full")
        self.writes += 1
        for key, counts in deltas.items():
            self.rows[key] = self.rows.get(key, UsageCounts()) + counts

    async def of_day(self, account_id: str, day: str) -> UsageCounts:
        self.reads.append((account_id, day))
        found = [counts for key, counts in self.rows.items() if (key.account_id, key.day) == (account_id, day)]
        return sum(found, UsageCounts())


class UsageTold:
    """A ledger's meter that keeps what it was told."""

    def __init__(self) -> None:
        self.runs: list[tuple[str, str, str, float]] = []
        self.refusals: list[str] = []

    def run(self, model: str, task: str, outcome: str, neurons: float) -> None:
        self.runs.append((model, task, outcome, neurons))

    def refused(self, limit: str) -> None:
        self.refusals.append(limit)
