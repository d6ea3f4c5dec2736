"""Which of the oldest items go where there are too many. Pure.

Groups go whole: a call and its output, a reasoning and what it led to. Messages of the system and of developers stay,
and so do the newest of the user's and the outputs at the end, which are what is to be answered.
"""

from collections.abc import Sequence
from typing import TypeAlias, TypeVar

from lowcloud.http.responses.items import Item

Group: TypeAlias = tuple[int, ...]
Kept = TypeVar("Kept", bound=Item)
ROOM = 512  # tokens of an answer that nobody bounds
_OUTPUTS = ("function_call_output", "custom_tool_call_output")
_RULES = ("system", "developer")  # the roles of messages that stay


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
    answered = {("call", call_id) for call_id in _outputs_at_the_end(items)}
    return sorted(tuple(sorted(group)) for key, group in groups.items() if key not in answered)


def without(items: Sequence[Kept], n_groups: int) -> list[Kept]:
    """The items without the oldest ``n_groups`` groups."""
    gone = {place for group in droppable(items)[:n_groups] for place in group}
    return [item for place, item in enumerate(items) if place not in gone]


def room(default: int | None, window: int) -> int:
    """The tokens that are kept free for an answer whose caller names no bound: the card's ``default``, and never more
    than half of the ``window``."""
    return min(ROOM if default is None else default, window // 2)


def _outputs_at_the_end(items: Sequence[Item]) -> set[object]:
    """The calls whose outputs are behind everything else but rules."""
    calls: set[object] = set()
    for item in reversed(items):
        if item["type"] in _OUTPUTS:
            calls.add(item["call_id"])
        elif item["type"] != "message" or item["role"] not in _RULES:
            break
    return calls


def _kept(items: Sequence[Item]) -> set[int]:
    messages = [(place, item["role"]) for place, item in enumerate(items) if item["type"] == "message"]
    kept = {place for place, role in messages if role in _RULES}
    users = [place for place, role in messages if role == "user"]
    return kept | set(users[-1:])
