"""Responses: each with the items that it saw, was given and made, in one list: a chain is one query at any length.

A response listing an item of an older one keeps it, whatever becomes of the older one (``items``). Every response is
written whole, in one transaction, and ends once: what is over doesn't change any more.
"""

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, TypeAlias

from sqlalchemy import ColumnElement, Connection, Row, Select, and_, exists, func, insert, or_, select, update

from lowcloud.storage.clearing import clear_expired, make_room, over_bounds, remove_responses
from lowcloud.storage.completions import DAY_S
from lowcloud.storage.conversations import append, unlock
from lowcloud.storage.database import Database
from lowcloud.storage.items import ItemPage, StoredItem, clear_unlisted, insert_items, on_page, stored
from lowcloud.storage.tables import ITEM_ID, conversation_items, items, response_items, responses
from lowcloud.storage.writer import Work

Part: TypeAlias = Literal["context", "input", "output"]
Status: TypeAlias = Literal["queued", "in_progress", "completed", "incomplete", "failed", "cancelled"]

UNFINISHED: frozenset[str] = frozenset(["queued", "in_progress"])
OVER: frozenset[str] = frozenset(["completed", "incomplete", "failed", "cancelled"])
UNANSWERED: frozenset[str] = frozenset(["failed", "cancelled"])  # over, and their conversations gain nothing
RESPONSE_BYTES = 512  # what a response takes beside its head, pieces and items, about
LISTED_BYTES = 128  # what a place in its list takes, about
IDS = 500  # looked up at once


@dataclass(frozen=True, slots=True)
class KeepResponses:
    """For how many days responses are kept, and how many bytes of an account's: then the oldest go.

    ``grace_s`` is longer than any run takes: so long, items that nothing lists stay for a run that has read them.
    """

    days: int = 30
    account_bytes: int = 2**30
    grace_s: float = 7_200.0


@dataclass(frozen=True, slots=True)
class Kept:
    """A response. ``head`` is JSON, the response without its output, but ``status`` is right where the two differ;
    ``pieces`` is JSON, or empty until the response is over."""

    id: str
    account_id: str
    created_at: float
    model: str
    status: str
    head: str
    pieces: str = ""
    conversation_id: str | None = None
    output: tuple[StoredItem, ...] = ()


@dataclass(frozen=True, slots=True)
class NewResponse:
    """A response with what it goes on from, the keys of items that exist, and its own input, items that don't yet."""

    response: Kept
    context: tuple[str, ...] = ()
    input: tuple[StoredItem, ...] = ()


class ResponseStore:
    """The responses of one database. ``clock`` gives seconds since 1970."""

    def __init__(
        self, database: Database, keep: KeepResponses = KeepResponses(), clock: Callable[[], float] = time.time
    ) -> None:
        self._database = database
        self._keep = keep
        self._clock = clock

    async def save(self, new: NewResponse) -> None:
        """A response that is over. Its conversation, if there is one still, gains its input and its output and is
        unlocked; one that failed or was cancelled only unlocks it."""
        await self.queue(new, lambda connection: _close(connection, new.response))

    async def queue(self, new: NewResponse, also: Work) -> None:
        """A response that isn't over yet, and in the same transaction ``also``: whose error leaves nothing of both."""
        now = self._clock()
        expires_at = now + self._keep.days * DAY_S

        def save(connection: Connection) -> None:
            _insert(connection, new, now, expires_at)
            also(connection)

        await self._database.writer.put(save)

    async def start(self, account_id: str, response_id: str) -> bool:
        """It is in progress, maybe once more. False: it is over, or gone."""
        change = update(responses).where(self._is_unfinished(account_id, response_id)).values(status="in_progress")
        return await self._database.writer.put(lambda connection: connection.execute(change).rowcount == 1)

    async def finish(self, response: Kept) -> bool:
        """What was queued or in progress is what ``response`` says, and its conversation as ``save`` leaves it.

        False, and nothing is written: it was over already, or is gone.
        """
        is_open = self._is_unfinished(response.account_id, response.id)
        change = {"status": response.status, "head": response.head, "pieces": response.pieces}
        now = self._clock()

        def finish(connection: Connection) -> bool:
            if connection.execute(update(responses).where(is_open).values(change)).rowcount != 1:
                return False
            listed = select(func.count()).where(response_items.c.response_id == response.id)
            start = connection.execute(listed).scalar_one()
            insert_items(connection, response.account_id, response.output, now)
            _list(connection, response.id, "output", start, [item.key for item in response.output])
            size = _size_bytes(response, start + len(response.output))
            connection.execute(update(responses).where(responses.c.id == response.id).values(size_bytes=size))
            _close(connection, response)
            return True

        return await self._database.writer.put(finish)

    async def get(self, account_id: str, response_id: str) -> Kept | None:
        """One of an account's, with its output."""
        query = _whole(self._is(account_id, response_id))
        return await self._database.run(lambda connection: _kept(connection, query))

    async def context(self, account_id: str, response_id: str) -> tuple[str, tuple[StoredItem, ...]] | None:
        """Its status and all its items, for a response that goes on from it. None: there is none of that id."""
        query: Select[Any] = (
            select(responses.c.status, items.c.key, items.c.id.label("item_id"), items.c.body)
            .select_from(
                responses.outerjoin(response_items, response_items.c.response_id == responses.c.id).outerjoin(
                    items, items.c.key == response_items.c.item_key
                )
            )
            .where(self._is(account_id, response_id))
            .order_by(response_items.c.part, response_items.c.position)
        )
        rows = await self._database.run(lambda connection: connection.execute(query).all())
        return (rows[0].status, _items(rows)) if rows else None

    async def input_items(self, account_id: str, response_id: str, page: ItemPage) -> tuple[StoredItem, ...] | None:
        """What it saw and was given. None: there is none of that id. Raises BadRequest for an unknown ``after``."""
        known = select(responses.c.id).where(self._is(account_id, response_id))
        listed = _listed(response_id).where(response_items.c.part < "output")  # by name, as the key is sorted

        def look_up(connection: Connection) -> tuple[StoredItem, ...] | None:
            if connection.execute(known).one_or_none() is None:
                return None
            return on_page(connection, listed, [response_items.c.part, response_items.c.position], page)

        return await self._database.run(look_up)

    async def items(self, account_id: str, ids: Sequence[str]) -> dict[str, StoredItem]:
        """By the wire's ids, the newest of each that a response or a conversation of the account's lists."""
        wanted = sorted(set(ids))
        chunks = [wanted[start : start + IDS] for start in range(0, len(wanted), IDS)]
        query = (
            select(items.c.key, items.c.id.label("item_id"), items.c.body)
            .where(items.c.account_id == account_id, self._are_listed())
            .order_by(items.c.created_at)
        )

        def look_up(connection: Connection) -> dict[str, StoredItem]:
            found: list[Row[Any]] = []
            for chunk in chunks:
                found += connection.execute(query.where(items.c.id.in_(chunk)))
            by_id = {row.item_id: stored(row) for row in found}
            as_stored = {name: ITEM_ID.stored(name) for name in wanted}
            return {name: by_id[row_id] for name, row_id in as_stored.items() if row_id in by_id}

        return await self._database.run(look_up)

    async def delete(self, account_id: str, response_id: str) -> bool:
        """One is gone, also while it is queued or in progress. False: there is none of that id."""
        found = select(responses.c.id, responses.c.conversation_id).where(self._is(account_id, response_id))
        now = self._clock()

        def remove(connection: Connection) -> bool:
            row = connection.execute(found.with_for_update()).one_or_none()
            if row is None:
                return False
            remove_responses(connection, [row.id], now)
            _unlock(connection, row.conversation_id, row.id)
            return True

        return await self._database.writer.put(remove)

    async def cancel(self, account_id: str, response_id: str, head: str | None = None) -> Kept | None:
        """One as it is now: cancelled, with that head if there is one, unless it was over. None: there is none."""
        change = {"status": "cancelled"} | ({} if head is None else {"head": head})
        cancelled = update(responses).where(self._is_unfinished(account_id, response_id)).values(change)
        query = _whole(self._is(account_id, response_id))

        def cancel(connection: Connection) -> Kept | None:
            has_ended = connection.execute(cancelled).rowcount == 1
            response = _kept(connection, query)
            if has_ended and response is not None:
                _close(connection, response)
            return response

        return await self._database.writer.put(cancel)

    async def clear(self, limit: int = 100) -> int:
        """A step of clearing: responses whose time is over, the oldest of accounts that have too much, and items that
        nothing has listed for a while. How many it dealt with, of each at most about ``limit``; 0: all is done."""
        now, keep, put = self._clock(), self._keep, self._database.writer.put
        done = await put(lambda connection: clear_expired(connection, now, limit))
        for over in await self._database.run(lambda connection: over_bounds(connection, keep.account_bytes)):
            done += await put(partial(make_room, over=over, limit=limit, now=now))
        return done + await put(lambda connection: clear_unlisted(connection, now - keep.grace_s, limit))

    def _is(self, account_id: str, response_id: str) -> ColumnElement[bool]:
        mine = and_(responses.c.id == response_id, responses.c.account_id == account_id)
        return and_(mine, responses.c.expires_at > self._clock())

    def _is_unfinished(self, account_id: str, response_id: str) -> ColumnElement[bool]:
        return and_(self._is(account_id, response_id), responses.c.status.in_(UNFINISHED))

    def _are_listed(self) -> ColumnElement[bool]:
        """By a conversation, or by a response whose time isn't over."""
        listing = response_items.join(responses, responses.c.id == response_items.c.response_id)
        is_its_item = and_(response_items.c.item_key == items.c.key, responses.c.expires_at > self._clock())
        by_response = exists(select(response_items.c.item_key).select_from(listing).where(is_its_item))
        by_conversation = exists().where(conversation_items.c.item_key == items.c.key)
        return or_(by_response, by_conversation)


def _insert(connection: Connection, new: NewResponse, now: float, expires_at: float) -> None:
    response = new.response
    row = {
        "id": response.id,
        "account_id": response.account_id,
        "created_at": response.created_at,
        "expires_at": expires_at,
        "status": response.status,
        "model": response.model,
        "conversation_id": response.conversation_id,
        "size_bytes": _size_bytes(response, len(new.context) + len(new.input) + len(response.output)),
        "head": response.head,
        "pieces": response.pieces,
    }
    connection.execute(insert(responses).values(row))
    insert_items(connection, response.account_id, [*new.input, *response.output], now)
    parts: list[tuple[Part, Sequence[str]]] = [
        ("context", new.context),
        ("input", [item.key for item in new.input]),
        ("output", [item.key for item in response.output]),
    ]
    start = 0
    for part, keys in parts:
        _list(connection, response.id, part, start, keys)
        start += len(keys)


def _list(connection: Connection, response_id: str, part: Part, start: int, keys: Iterable[str]) -> None:
    rows = [
        {"response_id": response_id, "part": part, "position": position, "item_key": key}
        for position, key in enumerate(keys, start)
    ]
    if rows:
        connection.execute(insert(response_items), rows)


def _close(connection: Connection, response: Kept) -> None:
    """What the end of a response does to its conversation."""
    if response.conversation_id is None:
        return
    if response.status not in UNANSWERED:
        own = (
            select(items.c.key, items.c.size_bytes)
            .select_from(response_items.join(items, items.c.key == response_items.c.item_key))
            .where(response_items.c.response_id == response.id, response_items.c.part > "context")
            .order_by(response_items.c.part, response_items.c.position)
        )
        gained = [(row.key, row.size_bytes) for row in connection.execute(own)]
        append(connection, response.account_id, response.conversation_id, gained)
    unlock(connection, response.conversation_id, response.id)


def _unlock(connection: Connection, conversation_id: str | None, response_id: str) -> None:
    if conversation_id is not None:
        unlock(connection, conversation_id, response_id)


def _size_bytes(response: Kept, n_items: int) -> int:
    return len(response.head.encode()) + len(response.pieces.encode()) + RESPONSE_BYTES + LISTED_BYTES * n_items


def _listed(response_id: str) -> Select[Any]:
    return (
        select(items.c.key, items.c.id.label("item_id"), items.c.body)
        .select_from(response_items.join(items, items.c.key == response_items.c.item_key))
        .where(response_items.c.response_id == response_id)
    )


def _whole(condition: ColumnElement[bool]) -> Select[Any]:
    """A row for every item of the output, at least one."""
    is_output = and_(response_items.c.response_id == responses.c.id, response_items.c.part == "output")
    tables = responses.outerjoin(response_items, is_output).outerjoin(items, items.c.key == response_items.c.item_key)
    output = (items.c.key, items.c.id.label("item_id"), items.c.body)
    return select(responses, *output).select_from(tables).where(condition).order_by(response_items.c.position)


def _kept(connection: Connection, query: Select[Any]) -> Kept | None:
    rows = connection.execute(query).all()
    if not rows:
        return None
    first = rows[0]
    return Kept(
        first.id,
        first.account_id,
        first.created_at,
        first.model,
        first.status,
        first.head,
        first.pieces,
        first.conversation_id,
        _items(rows),
    )


def _items(rows: Sequence[Row[Any]]) -> tuple[StoredItem, ...]:
    """Of an outer join: a row without a key is a list without items."""
    return tuple(stored(row) for row in rows if row.key is not None)
