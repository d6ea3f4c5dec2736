"""Items: immutable pieces of conversations, which responses and conversations list.

An item that nothing lists goes, but not at once: who reads a list to go on from it (a run) has the items until it
stores what came of it. So what ceases to list an item marks it, and only ``clear_unlisted`` looks whether it is listed.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Column, ColumnElement, Connection, Row, Select, delete, func, insert, or_, select, update

from lowcloud.core.errors import BadRequest
from lowcloud.storage.tables import conversation_items, items, response_items

ROW_BYTES = 256  # what an item takes beside its body, about


@dataclass(frozen=True, slots=True)
class StoredItem:
    """``key`` is ours and no other's; ``id`` the wire's; ``body`` JSON, the item as it is shown."""

    key: str
    id: str
    body: str

    @property
    def size_bytes(self) -> int:
        """What it takes in the database, about."""
        return len(self.body.encode()) + ROW_BYTES


@dataclass(frozen=True, slots=True)
class ItemPage:
    """Which items of a list, in which order: at most ``limit`` behind the one with the wire's id ``after``."""

    limit: int
    after: str | None = None
    is_descending: bool = True


def insert_items(connection: Connection, account_id: str, new: Iterable[StoredItem], now: float) -> None:
    """New rows, which must be listed in the same transaction."""
    rows = [
        {
            "key": item.key,
            "id": item.id,
            "account_id": account_id,
            "created_at": now,
            "size_bytes": item.size_bytes,
            "body": item.body,
        }
        for item in new
    ]
    if rows:
        connection.execute(insert(items), rows)


def stored(row: Row[Any]) -> StoredItem:
    """Of a row with the columns ``key``, ``item_id`` and ``body``."""
    return StoredItem(row.key, row.item_id, row.body)


def on_page(
    connection: Connection, listed: Select[Any], order: Sequence[Column[Any]], page: ItemPage
) -> tuple[StoredItem, ...]:
    """Those of the list that are on the page. ``order`` sorts the list; its last column does so alone.

    Raises BadRequest where ``page.after`` isn't in the list. One that is there twice stands for its last place.
    """
    position = order[-1]
    query = listed.order_by(*(column.desc() if page.is_descending else column for column in order))
    if page.after is not None:
        last = func.min(position) if page.is_descending else func.max(position)
        mark = connection.execute(listed.with_only_columns(last).where(items.c.id == page.after)).scalar()
        if mark is None:
            raise BadRequest("after: there is no such item in the list.", param="after")
        query = query.where(position < mark if page.is_descending else position > mark)
    return tuple(stored(row) for row in connection.execute(query.limit(page.limit)))


def unlist(connection: Connection, keys: Select[Any], now: float) -> None:
    """Mark the items: something ceases to list them. They are locked in one order, whoever else does so too."""
    locked = select(items.c.key).where(items.c.key.in_(keys)).order_by(items.c.key).with_for_update(key_share=True)
    connection.execute(update(items).where(items.c.key.in_(locked)).values(unlisted_at=now))


def are_listed() -> ColumnElement[bool]:
    """By a response or a conversation."""
    by_response = select(response_items.c.item_key).where(response_items.c.item_key == items.c.key).exists()
    by_conversation = select(conversation_items.c.item_key).where(conversation_items.c.item_key == items.c.key).exists()
    return or_(by_response, by_conversation)


def clear_unlisted(connection: Connection, before: float, limit: int) -> int:
    """Look at no more than ``limit`` items that were marked before then: those that nothing lists go. How many it saw.

    The condition is asked again with each change: another server may mark an item meanwhile.
    """
    are_due = items.c.unlisted_at <= before
    due = select(items.c.key).where(are_due).order_by(items.c.unlisted_at).limit(limit)
    keys = list(connection.execute(due.with_for_update(skip_locked=True)).scalars())
    if keys:
        those = items.c.key.in_(keys) & are_due
        connection.execute(delete(items).where(those, ~are_listed()))
        connection.execute(update(items).where(those).values(unlisted_at=None))
    return len(keys)
