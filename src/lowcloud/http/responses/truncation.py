"""Which of the oldest items go where there are too many. Pure.

Groups go whole: a call and its output, a reasoning and what it led to. Messages of the system and of developers stay,
and so does the newest of the user's.
"""

from collections.abc import Sequence
from typing import TypeAlias, TypeVar

from lowcloud.http.responses.items import Item

Group: TypeAlias = tuple[int, ...]
Kept = TypeVar("Kept", bound=Item)


def droppable(items: Sequence[Item]) -> list[Group]:
    """The places of the items that may go, the oldest group first."""
    kept = _kept(items)
    groups: dict[object, list[int]] = {}
    pending: list[int] = []  # reasoning, before what follows it
    for place, item in enumerate(items):
        if place in kept:
            groups.update({("place", alone): [alone] for alone in pending})
            pending = []
        elif item["type"] == "reasoning":
            pending.append(place)
        else:
            key = ("call", item["call_id"]) if "call_id" in item else ("place", place)
            groups.setdefault(key, []).extend([*pending, place])
            pending = []
    groups.update({("place", alone): [alone] for alone in pending})
    return sorted(tuple(sorted(group)) for group in groups.values())


def without(items: Sequence[Kept], n_groups: int) -> list[Kept]:
    """The items without the oldest ``n_groups`` groups."""
    gone = {place for group in droppable(items)[:n_groups] for place in group}
    return [item for place, item in enumerate(items) if place not in gone]


def _kept(items: Sequence[Item]) -> set[int]:
    messages = [(place, item["role"]) for place, item in enumerate(items) if item["type"] == "message"]
    kept = {place for place, role in messages if role in ("system", "developer")}
    users = [place for place, role in messages if role == "user"]
    return kept | set(users[-1:])
