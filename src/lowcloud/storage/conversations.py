"""Conversations: lists of items that callers keep, and that a response goes on, one at a time."""

import json
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, Select, and_, delete, exists, func, insert, or_, select, update

from lowcloud.core.errors import BadRequest, ConversationLocked
from lowcloud.storage.database import Database
from lowcloud.storage.items import ItemPage, StoredItem, insert_items, on_page, stored, unlist
from lowcloud.storage.jobs import QUEUED, RUNNING
from lowcloud.storage.tables import ITEM_ID, conversation_items, conversations, items, jobs

CONVERSATION_BYTES = 1_024  # what one takes beside its items, about; its metadata too


@dataclass(frozen=True, slots=True)
class KeepConversations:
    """Items of one conversation, and bytes of all that an account has. They are kept until they are deleted."""

    items: int = 10_000
    account_bytes: int = 2**30


@dataclass(frozen=True, slots=True)
class Conversation:
    """What one is besides its items."""

    id: str
    account_id: str
    created_at: float
    metadata: Mapping[str, str]


class ConversationStore:
    """The conversations of one database. ``clock`` gives seconds since 1970."""

    def __init__(
        self,
        database: Database,
        keep: KeepConversations = KeepConversations(),
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._database = database
        self._keep = keep
        self._clock = clock

    async def create(self, conversation: Conversation, new: Sequence[StoredItem] = ()) -> None:
        """Raises BadRequest where it would be more than the account may have."""
        now = self._clock()
        account_id = conversation.account_id
        row = {
            "id": conversation.id,
            "account_id": account_id,
            "created_at": conversation.created_at,
            "metadata": json.dumps(dict(conversation.metadata)),
            "n_items": 0,
            "size_bytes": 0,
        }

        def create(connection: Connection) -> None:
            self._check_room(connection, account_id, 0, new, CONVERSATION_BYTES)
            connection.execute(insert(conversations).values(row))
            insert_items(connection, account_id, new, now)
            append(connection, account_id, conversation.id, [(item.key, item.size_bytes) for item in new])

        await self._database.writer.put(create)

    async def get(self, account_id: str, conversation_id: str) -> Conversation | None:
        """One of an account's."""
        query = select(conversations).where(_is(account_id, conversation_id))
        return await self._database.run(lambda connection: _first(connection, query))

    async def relabel(self, account_id: str, conversation_id: str, metadata: Mapping[str, str]) -> Conversation | None:
        """Give one of an account's other metadata. None: there is none of that id."""
        mine = _is(account_id, conversation_id)
        change = update(conversations).where(mine).values(metadata=json.dumps(dict(metadata)))

        def relabel(connection: Connection) -> Conversation | None:
            connection.execute(change)
            return _first(connection, select(conversations).where(mine))

        return await self._database.writer.put(relabel)

    async def delete(self, account_id: str, conversation_id: str) -> bool:
        """False: there is none of that id. Items that a response lists stay there."""
        mine = _is(account_id, conversation_id)
        its_own = conversation_items.c.conversation_id == conversation_id
        now = self._clock()

        def remove(connection: Connection) -> bool:
            if connection.execute(select(conversations.c.id).where(mine).with_for_update()).one_or_none() is None:
                return False
            unlist(connection, select(conversation_items.c.item_key).where(its_own), now)
            connection.execute(delete(conversation_items).where(its_own))
            connection.execute(delete(conversations).where(mine))
            return True

        return await self._database.writer.put(remove)

    async def items(self, account_id: str, conversation_id: str, page: ItemPage) -> tuple[StoredItem, ...] | None:
        """None: there is no such conversation. Raises BadRequest for an ``after`` that it doesn't list."""
        known = select(conversations.c.id).where(_is(account_id, conversation_id))

        def look_up(connection: Connection) -> tuple[StoredItem, ...] | None:
            if connection.execute(known).one_or_none() is None:
                return None
            return on_page(connection, _listed(conversation_id), [conversation_items.c.position], page)

        return await self._database.run(look_up)

    async def item(self, account_id: str, conversation_id: str, item_id: str) -> StoredItem | None:
        """The last of that wire's id."""
        query = (
            _listed(conversation_id)
            .join(conversations, conversations.c.id == conversation_items.c.conversation_id)
            .where(_is(account_id, conversation_id), items.c.account_id == account_id, items.c.id == item_id)
            .order_by(conversation_items.c.position.desc())
            .limit(1)
        )

        def look_up(connection: Connection) -> StoredItem | None:
            row = connection.execute(query).one_or_none()
            return None if row is None else stored(row)

        return await self._database.run(look_up)

    async def add(self, account_id: str, conversation_id: str, new: Sequence[StoredItem]) -> bool:
        """Append items. False: there is no such conversation. Raises BadRequest where it would be too many, and for an
        item whose id another has that it lists, by the place in ``new``."""
        now = self._clock()

        def add(connection: Connection) -> bool:
            row = _held(connection, account_id, conversation_id)
            if row is None:
                return False
            _check_ids(connection, conversation_id, new)
            self._check_room(connection, account_id, row.n_items, new)
            insert_items(connection, account_id, new, now)
            return append(connection, account_id, conversation_id, [(item.key, item.size_bytes) for item in new])

        return await self._database.writer.put(add)

    async def remove_item(self, account_id: str, conversation_id: str, item_id: str) -> Conversation | None:
        """The conversation without any item of that wire's id. None: there is no such conversation, or item in it."""
        now = self._clock()

        def remove(connection: Connection) -> Conversation | None:
            row = _held(connection, account_id, conversation_id)
            if row is None or not _remove(connection, account_id, conversation_id, item_id, now):
                return None
            return _conversation(row)

        return await self._database.writer.put(remove)

    async def lock(
        self, account_id: str, conversation_id: str, response_id: str, until: float
    ) -> tuple[StoredItem, ...] | None:
        """All its items, for a response that goes on from them. None: there is no such conversation.

        Raises ConversationLocked while another response has it, and BadRequest where it can't grow. A lock lasts until
        ``until``, and for as long as the response has a job that hasn't ended, whoever runs it and however often the
        server dies; a response may lock again what it has locked.
        """
        change = {"locked_by": response_id, "locked_until": until}
        listed = _listed(conversation_id).order_by(conversation_items.c.position)

        def lock(connection: Connection) -> tuple[StoredItem, ...] | None:
            row = _held(connection, account_id, conversation_id)
            if row is None:
                return None
            if row.locked_by not in (None, response_id) and _is_locked(connection, row, self._clock()):
                raise ConversationLocked("Another response is being made in the conversation.", param="conversation")
            self._check_room(connection, account_id, row.n_items + 1)
            connection.execute(update(conversations).where(_is(account_id, conversation_id)).values(change))
            return tuple(stored(each) for each in connection.execute(listed))

        return await self._database.writer.put(lock)

    async def renew(self, locks: Iterable[tuple[str, str]], until: float) -> None:
        """Keep locks, pairs of a conversation and its response, for longer; those that still are the response's."""
        held = [and_(conversations.c.id == name, conversations.c.locked_by == owner) for name, owner in locks]
        if held:
            change = update(conversations).where(or_(*held)).values(locked_until=until)
            await self._database.writer.put(lambda connection: connection.execute(change))

    async def unlock(self, conversation_id: str, response_id: str) -> None:
        """Unless it is another response's by now."""
        await self._database.writer.put(lambda connection: unlock(connection, conversation_id, response_id))

    def _check_room(
        self, connection: Connection, account_id: str, n_items: int, new: Sequence[StoredItem] = (), more_bytes: int = 0
    ) -> None:
        if n_items + len(new) > self._keep.items:
            raise BadRequest(f"A conversation has at most {self._keep.items} items.", param="conversation")
        sizes = func.coalesce(func.sum(conversations.c.size_bytes + CONVERSATION_BYTES), 0)
        taken = connection.execute(select(sizes).where(conversations.c.account_id == account_id)).scalar_one()
        if taken + sum(item.size_bytes for item in new) + more_bytes > self._keep.account_bytes:
            most = f"The conversations of an account have at most {self._keep.account_bytes} bytes in all"
            raise BadRequest(f"{most}: delete some.", param="conversation")


def append(connection: Connection, account_id: str, conversation_id: str, gained: Sequence[tuple[str, int]]) -> bool:
    """Items that exist, by their keys, with their sizes. False: there is no such conversation."""
    change = {
        "n_items": conversations.c.n_items + len(gained),
        "size_bytes": conversations.c.size_bytes + sum(size for _, size in gained),
    }
    # The first statement, since it keeps others from appending at the same positions.
    if not connection.execute(update(conversations).where(_is(account_id, conversation_id)).values(change)).rowcount:
        return False
    column = conversation_items.c.position
    last = select(func.coalesce(func.max(column), -1)).where(conversation_items.c.conversation_id == conversation_id)
    start = connection.execute(last).scalar_one() + 1
    rows = [
        {"conversation_id": conversation_id, "position": position, "item_key": key}
        for position, (key, _) in enumerate(gained, start)
    ]
    if rows:
        connection.execute(insert(conversation_items), rows)
    return True


def unlock(connection: Connection, conversation_id: str, response_id: str) -> None:
    """Unless it is another response's by now."""
    is_held = and_(conversations.c.id == conversation_id, conversations.c.locked_by == response_id)
    connection.execute(update(conversations).where(is_held).values(locked_by=None, locked_until=None))


def _remove(connection: Connection, account_id: str, conversation_id: str, item_id: str, now: float) -> bool:
    keys = select(items.c.key).where(items.c.account_id == account_id, items.c.id == item_id)
    those = and_(conversation_items.c.conversation_id == conversation_id, conversation_items.c.item_key.in_(keys))
    found = select(func.count(), func.coalesce(func.sum(items.c.size_bytes), 0)).select_from(
        conversation_items.join(items, items.c.key == conversation_items.c.item_key)
    )
    count, size = connection.execute(found.where(those)).one()
    if not count:
        return False
    unlist(connection, select(conversation_items.c.item_key).where(those), now)
    connection.execute(delete(conversation_items).where(those))
    change = {"n_items": conversations.c.n_items - count, "size_bytes": conversations.c.size_bytes - int(size)}
    connection.execute(update(conversations).where(_is(account_id, conversation_id)).values(change))
    return True


def _check_ids(connection: Connection, conversation_id: str, new: Sequence[StoredItem]) -> None:
    listed = _listed(conversation_id).where(items.c.id.in_([item.id for item in new]))
    known = {row.item_id for row in connection.execute(listed)}
    for place, item in enumerate(new):
        if ITEM_ID.stored(item.id) in known:
            path = f"items[{place}].id"
            raise BadRequest(f"{path}: there is another item of the id {item.id[:64]}.", param=path)


def _held(connection: Connection, account_id: str, conversation_id: str) -> Row[Any] | None:
    """The conversation, which no other server changes until the transaction ends."""
    query = select(conversations).where(_is(account_id, conversation_id)).with_for_update()
    return connection.execute(query).one_or_none()


def _is_locked(connection: Connection, row: Row[Any], now: float) -> bool:
    if row.locked_until > now:
        return True
    is_its_job = and_(jobs.c.account_id == row.account_id, jobs.c.group_id == row.locked_by)
    is_left = and_(is_its_job, jobs.c.state.in_([QUEUED, RUNNING]), jobs.c.expires_at > now)
    return bool(connection.execute(select(exists().where(is_left))).scalar_one())


def _listed(conversation_id: str) -> Select[Any]:
    return (
        select(items.c.key, items.c.id.label("item_id"), items.c.body)
        .select_from(conversation_items.join(items, items.c.key == conversation_items.c.item_key))
        .where(conversation_items.c.conversation_id == conversation_id)
    )


def _is(account_id: str, conversation_id: str) -> ColumnElement[bool]:
    return and_(conversations.c.id == conversation_id, conversations.c.account_id == account_id)


def _first(connection: Connection, query: Select[Any]) -> Conversation | None:
    row = connection.execute(query).one_or_none()
    return None if row is None else _conversation(row)


def _conversation(row: Row[Any]) -> Conversation:
    labels: dict[str, str] = json.loads(row.metadata)
    return Conversation(row.id, row.account_id, row.created_at, labels)
