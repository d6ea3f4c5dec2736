"""Chat completions that their callers asked to keep: per account, bounded in number, in bytes and in days."""

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, Select, delete, func, insert, or_, select, update

from lowcloud.storage.database import Database
from lowcloud.storage.tables import completions

DAY_S = 86_400.0


@dataclass(frozen=True, slots=True)
class Keep:
    """How many completions of an account are kept, of how many bytes together, and for how many days."""

    completions: int = 1_000
    size_bytes: int = 256 * 2**20
    days: int = 30


@dataclass(frozen=True, slots=True)
class StoredCompletion:
    """``messages`` and ``answer`` are JSON, as they were sent and answered."""

    id: str
    account_id: str
    model: str
    metadata: Mapping[str, str]
    messages: str
    answer: str


@dataclass(frozen=True, slots=True)
class Page:
    """Which of an account's completions, in which order: at most ``limit`` behind the one with the id ``after``."""

    limit: int
    after: str | None = None
    is_descending: bool = False
    model: str | None = None
    metadata: Mapping[str, str] = field(default_factory=dict)


class CompletionStore:
    """The completions of one database. ``clock`` gives seconds since 1970."""

    def __init__(self, database: Database, keep: Keep, clock: Callable[[], float] = time.time) -> None:
        self._database = database
        self._keep = keep
        self._clock = clock

    async def save(self, completion: StoredCompletion) -> None:
        """Keep it; the oldest of its account make room, and those whose days are over."""
        metadata = _lines(completion.metadata)
        size = sum(len(part.encode()) for part in (metadata, completion.messages, completion.answer))
        values = {
            "id": completion.id,
            "account_id": completion.account_id,
            "created_at": self._clock(),
            "model": completion.model,
            "metadata": metadata,
            "messages": completion.messages,
            "answer": completion.answer,
            "size_bytes": size,
        }

        def save(connection: Connection) -> None:
            connection.execute(insert(completions).values(values))
            self._prune(connection, completion.account_id)

        await self._database.writer.put(save)

    async def get(self, account_id: str, completion_id: str) -> StoredCompletion | None:
        """One of an account's."""
        query = select(completions).where(self._is(account_id, completion_id))
        return await self._database.run(lambda connection: _first(connection, query))

    async def list(self, account_id: str, page: Page) -> tuple[StoredCompletion, ...] | None:
        """A page; None where ``page.after`` is none of the account's."""

        def look_up(connection: Connection) -> tuple[StoredCompletion, ...] | None:
            query = self._query(account_id, page)
            if page.after is not None:
                mark = select(completions.c.position).where(self._is(account_id, page.after))
                position = connection.execute(mark).scalar()
                if position is None:
                    return None
                column = completions.c.position
                query = query.where(column < position if page.is_descending else column > position)
            return tuple(_completion(row) for row in connection.execute(query))

        return await self._database.run(look_up)

    async def relabel(self, account_id: str, completion_id: str, labels: Mapping[str, str]) -> StoredCompletion | None:
        """Give one of an account's other metadata. None: there is none of that id."""
        mine = self._is(account_id, completion_id)
        change = update(completions).where(mine).values(metadata=_lines(labels))

        def relabel(connection: Connection) -> StoredCompletion | None:
            connection.execute(change)
            return _first(connection, select(completions).where(mine))

        return await self._database.writer.put(relabel)

    async def delete(self, account_id: str, completion_id: str) -> bool:
        """False: there is none of that id."""
        change = delete(completions).where(self._is(account_id, completion_id))
        return await self._database.writer.put(lambda connection: connection.execute(change).rowcount == 1)

    def _query(self, account_id: str, page: Page) -> Select[Any]:
        order = completions.c.position.desc() if page.is_descending else completions.c.position
        query = select(completions).where(self._are_kept(account_id)).order_by(order).limit(page.limit)
        if page.model is not None:
            query = query.where(completions.c.model == page.model)
        for key, value in page.metadata.items():
            pair = f"\n{json.dumps(key)}: {json.dumps(value)}"
            query = query.where(func.replace(completions.c.metadata, pair, "") != completions.c.metadata)
        return query

    def _is(self, account_id: str, completion_id: str) -> ColumnElement[bool]:
        return self._are_kept(account_id) & (completions.c.id == completion_id)

    def _are_kept(self, account_id: str) -> ColumnElement[bool]:
        return (completions.c.account_id == account_id) & (completions.c.created_at > self._oldest())

    def _oldest(self) -> float:
        return self._clock() - self._keep.days * DAY_S

    def _prune(self, connection: Connection, account_id: str) -> None:
        """The newest stays, however large it is."""
        newest_first = completions.c.position.desc()
        ranked = (
            select(
                completions.c.position,
                func.row_number().over(order_by=newest_first).label("rank"),
                func.sum(completions.c.size_bytes).over(order_by=newest_first).label("total"),
            )
            .where(completions.c.account_id == account_id)
            .subquery()
        )
        is_over = (ranked.c.rank > self._keep.completions) | (ranked.c.total > self._keep.size_bytes)
        over = select(ranked.c.position).where(ranked.c.rank > 1, is_over)
        is_old = completions.c.created_at <= self._oldest()
        connection.execute(delete(completions).where(or_(is_old, completions.c.position.in_(over))))


def _lines(labels: Mapping[str, str]) -> str:
    """JSON with a pair a line. A string of JSON holds no line's end, so what follows one is a key."""
    return json.dumps(dict(labels), indent=0)


def _first(connection: Connection, query: Select[Any]) -> StoredCompletion | None:
    row = connection.execute(query).one_or_none()
    return None if row is None else _completion(row)


def _completion(row: Row[Any]) -> StoredCompletion:
    labels: dict[str, str] = json.loads(row.metadata)
    return StoredCompletion(row.id, row.account_id, row.model, labels, row.messages, row.answer)
