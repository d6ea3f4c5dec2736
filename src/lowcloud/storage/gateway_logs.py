"""Logs of gateways' calls, with their bodies: added in batches, found by filters, bounded in number and in days.

How many a gateway has is kept beside them, in the same transactions, so that asking costs nothing.
"""

import sys
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from enum import Enum
from functools import partial
from itertools import accumulate
from operator import itemgetter, le
from typing import Any, Final, Literal, NamedTuple, TypeAlias

from sqlalchemy import ColumnElement, Connection, Row, Select, and_, delete, func, select, update

from lowcloud.storage.database import Database
from lowcloud.storage.gateway_log_query import EVERY_LOG, TOKENS, LogQuery, checked, conditions, labels_of, ordered
from lowcloud.storage.tables import (
    MAX_COUNT,
    Count,
    Name,
    Prose,
    gateway_log_bodies,
    gateway_log_counts,
    gateway_logs,
)
from lowcloud.storage.upsert import insert_many_new, insert_or_add

Body: TypeAlias = Literal["request", "response"]

DAY_S = 86_400.0
STEP = 500  # logs that go in one transaction
IDS = 1_000  # looked up at once
ROW_BYTES = 1_024  # what a log takes beside its bodies, their heads and its metadata, about
MAX_OFFSET = 2**62


class Unset(Enum):
    """What a patch leaves as it is."""

    UNSET = "unset"


UNSET: Final = Unset.UNSET


class LogRow(NamedTuple):
    """One call. ``id`` is a lowercase UUIDv7; ``created_at`` is seconds since 1970, and it and ``duration_ms`` are in
    whole milliseconds, as logs are shown and filtered; ``cost`` is dollars.

    ``metadata`` is a JSON object of texts, numbers, booleans and nulls. Sizes are bytes; heads are the first kilobyte
    of a body that is kept, ``..._complete`` where that is all of it.
    """

    id: str
    account_id: str
    gateway_id: str
    created_at: float
    provider: str = ""
    model: str = ""
    model_type: str = ""
    path: str = ""
    status_code: int = 0
    success: bool = False
    cached: bool = False
    duration_ms: float = 0.0
    step: int = 0
    tokens_in: int | None = None
    tokens_out: int | None = None
    cost: float | None = None
    custom_cost: bool = False
    metadata: str = "{}"
    request_type: str = ""
    request_content_type: str = ""
    response_content_type: str = ""
    request_size: int = 0
    request_head: str = ""
    request_head_complete: bool = True
    response_size: int = 0
    response_head: str = ""
    response_head_complete: bool = True
    event_id: str = ""
    feedback: int | None = None
    score: float | None = None
    user_agent: str = ""
    authentication: bool = False
    wholesale: bool = False
    compatibility_mode: bool = False
    dlp_action: str = ""


class NewLog(NamedTuple):
    """A log with its bodies; None: not kept."""

    row: LogRow
    request: bytes | None = None
    response: bytes | None = None


@dataclass(frozen=True, slots=True)
class LogPatch:
    """What changes in a log; ``metadata`` is a JSON object."""

    feedback: int | Unset | None = UNSET
    score: float | Unset | None = UNSET
    metadata: str | Unset = UNSET


@dataclass(frozen=True, slots=True)
class Range:
    """The least and the greatest; None: no log has any."""

    least: float | None
    greatest: float | None


@dataclass(frozen=True, slots=True)
class LogRanges:
    """Of all logs that are meant."""

    cost: Range
    duration_ms: Range
    tokens_in: Range
    tokens_out: Range
    total_tokens: Range


@dataclass(frozen=True, slots=True)
class LogPage:
    """The logs of a page; how many are meant in all, and their ranges where they were asked for."""

    rows: tuple[LogRow, ...]
    total: int
    ranges: LogRanges | None = None


@dataclass(frozen=True, slots=True)
class LogCount:
    """How many logs a gateway has, of about how many bytes."""

    logs: int = 0
    size_bytes: int = 0


FIELDS = LogRow._fields
_types = tuple(gateway_logs.c[name].type for name in FIELDS)
_stored = tuple(getattr(kind, "stored", None) for kind in _types)
_texts = itemgetter(*(n for n, kind in enumerate(_types) if isinstance(kind, Name | Prose)))
_LENGTHS = tuple(kind.length or sys.maxsize for kind in _types if isinstance(kind, Name | Prose))
_counts = itemgetter(*(n for n, kind in enumerate(_types) if isinstance(kind, Count)))
_columns = tuple(gateway_logs.c[name] for name in FIELDS)
_keys: Select[Any] = select(*(gateway_logs.c[name] for name in ("id", "account_id", "gateway_id", "size_bytes")))


class LogStore:
    """The logs of one database, of the last ``days``. ``clock`` gives seconds since 1970."""

    def __init__(self, database: Database, days: int = 30, clock: Callable[[], float] = time.time) -> None:
        self._database = database
        self._days = days
        self._clock = clock

    async def add(self, new: Iterable[NewLog]) -> int:
        """All, or none where it raises; how many weren't there yet. Those that are stay as they are.

        ``new`` is gone through in the thread that writes.
        """
        return await self._database.writer.put(lambda connection: _add(connection, new))

    async def known(self, ids: Iterable[str]) -> set[str]:
        """Those of the ids that there are logs of, whosever."""
        wanted = list(dict.fromkeys(ids))
        return await self._database.run(lambda connection: _known(connection, wanted))

    async def get(self, account_id: str, gateway_id: str, log_id: str) -> LogRow | None:
        """One of a gateway's."""
        query = _one(account_id, gateway_id, log_id)
        return await self._database.run(lambda connection: _first(connection, query))

    async def body(self, account_id: str, gateway_id: str, log_id: str, which: Body) -> bytes | None:
        """As it was sent or answered. None: there is no such log, or the body wasn't kept."""
        query = (
            select(gateway_log_bodies.c[which])
            .select_from(gateway_logs.join(gateway_log_bodies, gateway_log_bodies.c.log_id == gateway_logs.c.id))
            .where(gateway_logs.c.id == log_id, _of(account_id, gateway_id))
        )
        found: bytes | None = await self._database.run(lambda connection: connection.execute(query).scalar())
        return found

    async def patch(self, account_id: str, gateway_id: str, log_id: str, patch: LogPatch) -> LogRow | None:
        """It as it is now; None: there is none of that id."""
        values: dict[str, Any] = {"feedback": patch.feedback, "score": patch.score, "metadata": patch.metadata}
        values = {name: value for name, value in values.items() if value is not UNSET}
        if "metadata" in values:
            values["labels"] = labels_of(values["metadata"])
        query = _one(account_id, gateway_id, log_id)
        change = update(gateway_logs).where(gateway_logs.c.id == log_id, _of(account_id, gateway_id)).values(values)

        def change_it(connection: Connection) -> LogRow | None:
            if values:
                connection.execute(change)
            return _first(connection, query)

        return await self._database.writer.put(change_it)

    async def search(self, account_id: str, gateway_id: str, query: LogQuery = EVERY_LOG) -> LogPage:
        """A page of a gateway's. Raises BadRequest, naming the field, for what can't be looked for."""
        checked(query)
        return await self._database.run(lambda connection: _search(connection, account_id, gateway_id, query))

    async def delete(
        self, account_id: str, gateway_id: str, query: LogQuery = EVERY_LOG, limit: int | None = None
    ) -> int:
        """Delete those that are meant, in their order, at most ``limit``, in steps; how many. Pages don't count.

        Raises BadRequest as ``search`` does.
        """
        checked(query)
        total = 0
        while limit is None or total < limit:
            most = STEP if limit is None else min(STEP, limit - total)
            step = await self._database.writer.put(
                partial(_delete, account_id=account_id, gateway_id=gateway_id, query=query, limit=most)
            )
            total += step
            if step < most:
                break
        return total

    async def count(self, account_id: str, gateway_id: str) -> LogCount:
        """One row is read for it, however many there are."""
        query = select(gateway_log_counts).where(_counted(account_id, gateway_id))
        row = await self._database.run(lambda connection: connection.execute(query).one_or_none())
        return LogCount() if row is None else LogCount(row.n_logs, row.size_bytes)

    async def trim(self, account_id: str, gateway_id: str, most: LogCount) -> int:
        """Delete the oldest that are more than ``most``, in number or in bytes, in steps; how many."""
        total = 0
        while step := await self._database.writer.put(
            lambda connection: _trim(connection, account_id, gateway_id, most)
        ):
            total += step
        return total

    async def delete_expired(self, limit: int = STEP) -> int:
        """Delete at most ``limit`` whose days are over; how many."""
        over = _keys.where(gateway_logs.c.created_at <= self._clock() - self._days * DAY_S)
        over = over.order_by(gateway_logs.c.created_at).limit(limit).with_for_update(skip_locked=True)
        return await self._database.writer.put(lambda connection: _remove(connection, connection.execute(over).all()))


def remove_all_logs(connection: Connection, account_id: str, gateway_id: str, limit: int) -> int:
    """At most ``limit`` of a gateway's; how many."""
    return _delete(connection, account_id, gateway_id, LogQuery(is_descending=False), limit)


def remove_count(connection: Connection, account_id: str, gateway_id: str) -> None:
    """Of a gateway that has no logs any more."""
    connection.execute(delete(gateway_log_counts).where(_counted(account_id, gateway_id)))


def _of(account_id: str, gateway_id: str) -> ColumnElement[bool]:
    return and_(gateway_logs.c.account_id == account_id, gateway_logs.c.gateway_id == gateway_id)


def _counted(account_id: str, gateway_id: str) -> ColumnElement[bool]:
    counts = gateway_log_counts.c
    return and_(counts.account_id == account_id, counts.gateway_id == gateway_id)


def _one(account_id: str, gateway_id: str, log_id: str) -> Select[Any]:
    return select(*_columns).where(gateway_logs.c.id == log_id, _of(account_id, gateway_id))


def _known(connection: Connection, ids: Sequence[str]) -> set[str]:
    there: set[str] = set()
    for start in range(0, len(ids), IDS):
        known = select(gateway_logs.c.id).where(gateway_logs.c.id.in_(ids[start : start + IDS]))
        there.update(connection.execute(known).scalars())
    return there


def _add(connection: Connection, given: Iterable[NewLog]) -> int:
    by_id = {each.row.id: each for each in reversed(list(given))}
    there = _known(connection, list(by_id))
    new = [each for log_id, each in sorted(by_id.items()) if log_id not in there]
    if not new:
        return 0
    rows = [_row(each) for each in new]
    insert_many_new(connection, gateway_logs, rows)
    kept = [each.request is not None or each.response is not None for each in new]
    bodies = [
        (row[0], each.request, each.response) for row, each, is_kept in zip(rows, new, kept, strict=True) if is_kept
    ]
    if bodies:
        insert_many_new(connection, gateway_log_bodies, bodies)
    _count(connection, [(row[1], row[2], row[-1]) for row in rows], 1)
    return len(rows)


def _row(new: NewLog) -> tuple[Any, ...]:
    """The columns of the table: id, account and gateway first, the size last."""
    row = new.row
    labels = labels_of(row.metadata)
    kept = len(new.request or b"") + len(new.response or b"")
    size = ROW_BYTES + kept + len(row.request_head) + len(row.response_head) + 2 * len(labels)
    return (*(row if _is_storable(row) else _storable(row)), labels, size)


def _is_storable(row: LogRow) -> bool:
    """Whether all of it may be stored as it is, which is asked sooner than done."""
    texts = _texts(row)
    whole = "".join(texts)
    return (
        whole.isascii()
        and "\0" not in whole
        and all(map(le, map(len, texts), _LENGTHS))
        and max(map(abs, filter(None, _counts(row))), default=0) <= MAX_COUNT
    )


def _storable(row: LogRow) -> Iterable[Any]:
    return (value if stored is None else stored(value) for stored, value in zip(_stored, row, strict=True))


def _count(connection: Connection, changed: Iterable[tuple[str, str, int]], sign: int) -> None:
    """Those logs, each with its bytes, are more, or fewer. Counts are locked in one order."""
    sums: dict[tuple[str, str], tuple[int, int]] = {}
    for account_id, gateway_id, size in changed:
        n, total = sums.get((account_id, gateway_id), (0, 0))
        sums[account_id, gateway_id] = n + sign, total + sign * size
    rows = [
        {"account_id": account_id, "gateway_id": gateway_id, "n_logs": n, "size_bytes": size}
        for (account_id, gateway_id), (n, size) in sorted(sums.items())
    ]
    connection.execute(insert_or_add(connection, gateway_log_counts, ["n_logs", "size_bytes"]), rows)


def _remove(connection: Connection, rows: Sequence[Row[Any]]) -> int:
    if rows:
        ids = [row.id for row in rows]
        connection.execute(delete(gateway_log_bodies).where(gateway_log_bodies.c.log_id.in_(ids)))
        connection.execute(delete(gateway_logs).where(gateway_logs.c.id.in_(ids)))
        _count(connection, [(row.account_id, row.gateway_id, row.size_bytes) for row in rows], -1)
    return len(rows)


def _delete(connection: Connection, account_id: str, gateway_id: str, query: LogQuery, limit: int) -> int:
    dialect = connection.dialect.name
    found = _keys.where(_of(account_id, gateway_id), *conditions(query, dialect))
    found = found.order_by(*ordered(query, dialect)).limit(limit).with_for_update()
    return _remove(connection, connection.execute(found).all())


def _trim(connection: Connection, account_id: str, gateway_id: str, most: LogCount) -> int:
    """A step."""
    count = connection.execute(select(gateway_log_counts).where(_counted(account_id, gateway_id))).one_or_none()
    if count is None or (count.n_logs <= most.logs and count.size_bytes <= most.size_bytes):
        return 0
    logs, size_bytes = count.n_logs - most.logs, count.size_bytes - most.size_bytes
    oldest = _keys.where(_of(account_id, gateway_id))
    oldest = oldest.order_by(gateway_logs.c.created_at, gateway_logs.c.id).limit(STEP)
    rows = connection.execute(oldest.with_for_update(skip_locked=True)).all()
    before = accumulate((row.size_bytes for row in rows), initial=0)
    freed = enumerate(zip(rows, before, strict=False))
    return _remove(connection, [row for n, (row, size) in freed if n < logs or size < size_bytes])


def _search(connection: Connection, account_id: str, gateway_id: str, query: LogQuery) -> LogPage:
    dialect = connection.dialect.name
    meant = and_(_of(account_id, gateway_id), *conditions(query, dialect))
    offset = min((query.page - 1) * query.per_page, MAX_OFFSET)
    page = select(*_columns).where(meant).order_by(*ordered(query, dialect)).limit(query.per_page).offset(offset)
    rows = tuple(_log(row) for row in connection.execute(page))
    if query.is_narrowed:
        total = connection.execute(select(func.count()).select_from(gateway_logs).where(meant)).scalar_one()
    else:
        counted = select(gateway_log_counts.c.n_logs).where(_counted(account_id, gateway_id))
        total = connection.execute(counted).scalar() or 0
    return LogPage(rows, total, _ranges(connection, meant) if query.with_ranges else None)


def _ranges(connection: Connection, meant: ColumnElement[bool]) -> LogRanges:
    log = gateway_logs.c
    measures = (log.cost, log.duration_ms, log.tokens_in, log.tokens_out, TOKENS)
    ends = [end for measure in measures for end in (func.min(measure), func.max(measure))]
    found = connection.execute(select(*ends).where(meant)).one()
    return LogRanges(*(Range(found[n], found[n + 1]) for n in range(0, len(ends), 2)))


def _first(connection: Connection, query: Select[Any]) -> LogRow | None:
    row = connection.execute(query).one_or_none()
    return None if row is None else _log(row)


def _log(row: Row[Any]) -> LogRow:
    return LogRow(**row._mapping)
