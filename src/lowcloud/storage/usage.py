"""What models were used for: counts by account, day and model, bounded in days and in models of a day."""

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, fields
from datetime import UTC, datetime, timedelta
from operator import attrgetter
from typing import Any

from sqlalchemy import Connection, Row, delete, func, select
from sqlalchemy.dialects import postgresql, sqlite

from lowcloud.storage.database import Database
from lowcloud.storage.tables import usage

MODELS_A_DAY = 1_000  # of an account; a mapping of "*" lets callers ask for any id
OTHERS = "(others)"


@dataclass(frozen=True, slots=True, order=True)
class UsageKey:
    """``day`` is UTC's, YYYY-MM-DD; ``model`` is the id that was asked for, ``answered_by`` the one that answered."""

    account_id: str
    day: str
    model: str
    answered_by: str


@dataclass(frozen=True, slots=True)
class UsageCounts:
    """``requests`` are all, with those that ``failed`` and those whose client was gone; tokens and neurons of all."""

    requests: int = 0
    failed: int = 0
    client_gone: int = 0
    prompt_tokens: int = 0
    cached_tokens: int = 0
    completion_tokens: int = 0
    neurons: float = 0.0

    def __add__(self, other: "UsageCounts") -> "UsageCounts":
        return UsageCounts(*(mine + theirs for mine, theirs in zip(_numbers(self), _numbers(other), strict=True)))


COUNTS = tuple(field.name for field in fields(UsageCounts))
_numbers = attrgetter(*COUNTS)  # astuple copies deeply, which takes many times as long


@dataclass(frozen=True, slots=True)
class Usage:
    """One row: what was used, and how much."""

    key: UsageKey
    counts: UsageCounts


class UsageStore:
    """The usage of one database, of the last ``days``. ``clock`` gives seconds since 1970."""

    def __init__(self, database: Database, days: int = 400, clock: Callable[[], float] = time.time) -> None:
        self._database = database
        self._days = days
        self._clock = clock

    async def add(self, deltas: Mapping[UsageKey, UsageCounts]) -> None:
        """Count all of ``deltas``, or none where it raises; days that are over go."""
        oldest = utc_day(self._clock(), days_ago=self._days)

        def add(connection: Connection) -> None:
            rows = _bounded(connection, deltas)
            if rows:
                connection.execute(_upsert(connection), [asdict(key) | asdict(rows[key]) for key in sorted(rows)])
            connection.execute(delete(usage).where(usage.c.day <= oldest))

        await self._database.writer.put(add)

    async def of_day(self, account_id: str, day: str) -> UsageCounts:
        """All that an account used on a day."""
        sums = [func.coalesce(func.sum(usage.c[name]), 0).label(name) for name in COUNTS]
        query = select(*sums).where(usage.c.account_id == account_id, usage.c.day == day)
        return _counts(await self._database.run(lambda connection: connection.execute(query).one()))

    async def list(self, account_id: str, first: str, last: str, limit: int) -> tuple[Usage, ...]:
        """What an account used from the day ``first`` to the day ``last``: the newest day first, then by model."""
        query = (
            select(usage)
            .where(usage.c.account_id == account_id, usage.c.day.between(first, last))
            .order_by(usage.c.day.desc(), usage.c.model, usage.c.answered_by)
            .limit(limit)
        )
        rows = await self._database.run(lambda connection: connection.execute(query).all())
        return tuple(Usage(UsageKey(row.account_id, row.day, row.model, row.answered_by), _counts(row)) for row in rows)


def utc_day(seconds: float, *, days_ago: int = 0) -> str:
    """The day of a time, as UsageKey has it."""
    return (datetime.fromtimestamp(seconds, UTC) - timedelta(days=days_ago)).strftime("%Y-%m-%d")


def merged(counted: Iterable[tuple[UsageKey, UsageCounts]]) -> dict[UsageKey, UsageCounts]:
    """One sum for each key."""
    sums: dict[UsageKey, UsageCounts] = {}
    for key, counts in counted:
        sums[key] = sums[key] + counts if key in sums else counts
    return sums


def _bounded(connection: Connection, deltas: Mapping[UsageKey, UsageCounts]) -> dict[UsageKey, UsageCounts]:
    """``deltas``, in which the models that are too many for their account's day are one: OTHERS."""
    known: dict[tuple[str, str], set[tuple[str, str]]] = {}
    rows: list[tuple[UsageKey, UsageCounts]] = []
    for key in sorted(deltas):
        day = key.account_id, key.day
        if day not in known:
            known[day] = _models(connection, *day)
        models = known[day]
        names = key.model, key.answered_by
        if names not in models and len(models) >= MODELS_A_DAY:
            names = OTHERS, OTHERS
        models.add(names)
        rows.append((UsageKey(*day, *names), deltas[key]))
    return merged(rows)


def _models(connection: Connection, account_id: str, day: str) -> set[tuple[str, str]]:
    query = select(usage.c.model, usage.c.answered_by).where(usage.c.account_id == account_id, usage.c.day == day)
    return {(row.model, row.answered_by) for row in connection.execute(query)}


def _upsert(connection: Connection) -> sqlite.Insert | postgresql.Insert:
    """A new row, or more in the one that is there. Both databases know it, SQLAlchemy only each one's own."""
    insert = postgresql.insert if connection.dialect.name == "postgresql" else sqlite.insert
    new = insert(usage)
    more = {name: usage.c[name] + new.excluded[name] for name in COUNTS}
    return new.on_conflict_do_update(index_elements=list(usage.primary_key), set_=more)


def _counts(row: Row[Any]) -> UsageCounts:
    """PostgreSQL's sums of integers are decimals."""
    *numbers, neurons = (getattr(row, name) for name in COUNTS)
    return UsageCounts(*map(int, numbers)) + UsageCounts(neurons=float(neurons))
