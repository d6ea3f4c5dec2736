"""What goes of the responses: those whose time is over, and the oldest of accounts that have too much."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

from sqlalchemy import Connection, Select, and_, delete, func, select, union_all

from lowcloud.storage.items import are_listed, unlist
from lowcloud.storage.tables import conversations, items, response_items, responses

ACCOUNTS = 100  # that a step makes room in


@dataclass(frozen=True, slots=True)
class OverBounds:
    """An account whose responses have too many bytes, and how many."""

    account_id: str
    excess_bytes: int


def remove_responses(connection: Connection, ids: Sequence[str], now: float) -> None:
    """The caller has locked them, so that nothing is added to their lists meanwhile."""
    listed = response_items.c.response_id.in_(ids)
    unlist(connection, select(response_items.c.item_key).where(listed), now)
    connection.execute(delete(response_items).where(listed))
    connection.execute(delete(responses).where(responses.c.id.in_(ids)))


def clear_expired(connection: Connection, now: float, limit: int) -> int:
    """Remove at most ``limit`` responses whose time is over; how many."""
    due = select(responses.c.id).where(responses.c.expires_at <= now).limit(limit).with_for_update(skip_locked=True)
    ids = list(connection.execute(due).scalars())
    if ids:
        remove_responses(connection, ids, now)
    return len(ids)


def over_bounds(connection: Connection, account_bytes: int) -> list[OverBounds]:
    """Some of the accounts whose responses have more bytes than that.

    Not counted are items that wait to go, and those of conversations, which have a bound of their own.
    """
    marked = and_(items.c.unlisted_at > 0, ~are_listed())  # a range, which its index answers
    parts = union_all(
        _bytes(select(responses.c.account_id, func.sum(responses.c.size_bytes).label("bytes"))),
        _bytes(select(items.c.account_id, func.sum(items.c.size_bytes).label("bytes"))),
        select(items.c.account_id, -items.c.size_bytes).where(marked),
        _bytes(select(conversations.c.account_id, (-func.sum(conversations.c.size_bytes)).label("bytes"))),
    ).subquery()
    total = func.sum(parts.c.bytes)
    query = select(parts.c.account_id, total.label("bytes")).group_by(parts.c.account_id)
    found = connection.execute(query.having(total > account_bytes).limit(ACCOUNTS))
    return [OverBounds(row.account_id, int(row.bytes) - account_bytes) for row in found]


def make_room(connection: Connection, over: OverBounds, limit: int, now: float) -> int:
    """Remove the account's oldest responses that are over, about as many as is needed, at most ``limit``; how many.

    What others list too stays, so it may take another step.
    """
    own = and_(response_items.c.response_id == responses.c.id, response_items.c.part != "context")
    tables = responses.outerjoin(response_items, own).outerjoin(items, items.c.key == response_items.c.item_key)
    oldest = (
        select(responses.c.id)
        .where(responses.c.account_id == over.account_id, responses.c.status.not_in(["queued", "in_progress"]))
        .order_by(responses.c.created_at)
        .limit(limit)
    )
    ids = list(connection.execute(oldest.with_for_update(skip_locked=True)).scalars())
    size = (responses.c.size_bytes + func.coalesce(func.sum(items.c.size_bytes), 0)).label("bytes")
    sizes = select(responses.c.id, size).select_from(tables).where(responses.c.id.in_(ids)).group_by(responses.c.id)
    by_id = {row.id: int(row.bytes) for row in connection.execute(sizes)}
    before = accumulate((by_id[each] for each in ids), initial=0)
    chosen = [each for each, freed in zip(ids, before, strict=False) if freed < over.excess_bytes]
    if chosen:
        remove_responses(connection, chosen, now)
    return len(chosen)


def _bytes(query: Select[Any]) -> Select[Any]:
    return query.group_by(query.selected_columns.account_id)
