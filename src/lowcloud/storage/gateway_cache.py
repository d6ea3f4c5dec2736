"""Replies that gateways keep to give them again, bounded in time and, for each account, in bytes."""

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from itertools import accumulate
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, Select, and_, bindparam, delete, func, select

from lowcloud.storage.database import Database
from lowcloud.storage.tables import gateway_cache
from lowcloud.storage.upsert import insert_or_replace

ROW_BYTES = 256  # what an entry takes beside its headers and body, about
SHARE = 16  # room is made each time an account has been given that part of what it may have
STEP = 100  # entries that make room at once
KEY = tuple(column.name for column in gateway_cache.primary_key)
CHANGED = tuple(column.name for column in gateway_cache.columns if column.name not in KEY)


@dataclass(frozen=True, slots=True)
class CacheRow:
    """A reply. ``key`` is a gateway's only one; ``headers`` are JSON. Times are seconds since 1970."""

    key: str
    account_id: str
    gateway_id: str
    status: int
    headers: str
    body: bytes
    created_at: float
    expires_at: float

    @property
    def size_bytes(self) -> int:
        """What it takes in the database, about."""
        return len(self.headers.encode()) + len(self.body) + ROW_BYTES


class CacheStore:
    """The entries of one database, of at most about ``account_bytes`` for each account: then its oldest go.

    ``clock`` gives seconds since 1970.
    """

    def __init__(self, database: Database, account_bytes: int = 2**30, clock: Callable[[], float] = time.time) -> None:
        self._database = database
        self._account_bytes = account_bytes
        self._clock = clock
        self._given: dict[str, int] = {}  # bytes, by account, since room was made

    async def get(self, account_id: str, gateway_id: str, key: str) -> CacheRow | None:
        """None: there is no such entry, or its time is over."""
        mine = and_(_of(account_id, gateway_id), gateway_cache.c.key == key)
        query = select(gateway_cache).where(mine, gateway_cache.c.expires_at > self._clock())
        row = await self._database.run(lambda connection: connection.execute(query).one_or_none())
        return None if row is None else _entry(row)

    async def put(self, row: CacheRow) -> None:
        """In the place of the one of the same key."""
        values = asdict(row) | {"size_bytes": row.size_bytes}
        given = self._given.get(row.account_id, self._account_bytes) + row.size_bytes
        is_due = given * SHARE > self._account_bytes

        def put(connection: Connection) -> None:
            connection.execute(insert_or_replace(connection, gateway_cache, CHANGED), values)
            if is_due:
                _make_room(connection, row.account_id, self._account_bytes)

        await self._database.writer.put(put)
        self._given[row.account_id] = 0 if is_due else given

    async def delete_expired(self, limit: int = STEP) -> int:
        """Delete at most ``limit`` whose time is over; how many."""
        over = select(*gateway_cache.primary_key).where(gateway_cache.c.expires_at <= self._clock())
        over = over.order_by(gateway_cache.c.expires_at).limit(limit).with_for_update(skip_locked=True)
        return await self._database.writer.put(lambda connection: _remove(connection, list(connection.execute(over))))

    async def delete_gateway(self, account_id: str, gateway_id: str) -> int:
        """Delete all of a gateway's, in steps; how many."""
        total = 0
        while step := await self._database.writer.put(
            lambda connection: remove_entries(connection, account_id, gateway_id, STEP)
        ):
            total += step
        return total


def remove_entries(connection: Connection, account_id: str, gateway_id: str, limit: int) -> int:
    """At most ``limit`` of a gateway's; how many."""
    found = select(*gateway_cache.primary_key).where(_of(account_id, gateway_id)).limit(limit)
    return _remove(connection, list(connection.execute(found.with_for_update())))


def _of(account_id: str, gateway_id: str) -> ColumnElement[bool]:
    return and_(gateway_cache.c.account_id == account_id, gateway_cache.c.gateway_id == gateway_id)


def _make_room(connection: Connection, account_id: str, account_bytes: int) -> None:
    """The account's oldest go, as many as must, in steps."""
    mine = gateway_cache.c.account_id == account_id
    total = connection.execute(select(func.sum(gateway_cache.c.size_bytes)).where(mine)).scalar() or 0
    excess = int(total) - account_bytes
    oldest: Select[Any] = select(*gateway_cache.primary_key, gateway_cache.c.size_bytes).where(mine)
    oldest = oldest.order_by(gateway_cache.c.created_at).limit(STEP).with_for_update(skip_locked=True)
    while excess > 0 and (rows := list(connection.execute(oldest))):
        before = list(accumulate((row.size_bytes for row in rows), initial=0))
        chosen = [row for row, freed in zip(rows, before, strict=False) if freed < excess]
        _remove(connection, chosen)
        excess -= before[len(chosen)]


def _remove(connection: Connection, rows: list[Row[Any]]) -> int:
    """One by one, since of many keys SQLite finds none by its index."""
    if rows:
        this = (column == bindparam(f"its_{column.name}") for column in gateway_cache.primary_key)
        keys = [{f"its_{name}": row._mapping[name] for name in KEY} for row in rows]
        connection.execute(delete(gateway_cache).where(*this), keys)
    return len(rows)


def _entry(row: Row[Any]) -> CacheRow:
    fields = {name: value for name, value in row._mapping.items() if name != "size_bytes"}
    return CacheRow(**fields)
