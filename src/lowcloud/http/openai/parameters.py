"""What becomes of each parameter: one table a format, which the docs repeat and a test compares.

A known parameter that would change the answer and isn't done is refused by name, unless its value asks for nothing.
A hint, and a name that nobody knows, is accepted and named in the header ``lowcloud-ignored``. Null asks for nothing.
"""

import json
import re
from collections.abc import Container, Mapping
from enum import StrEnum

from lowcloud.core.errors import LoraUnsupported, Unsupported

# Of chats and of responses.
OPENAI_HINTS: Mapping[str, tuple[object, ...]] = {
    "user": (),
    "prompt_cache_key": (),
    "prompt_cache_options": ({},),
    "prompt_cache_retention": (),
    "safety_identifier": (),
    "service_tier": ("auto", "default"),
}
_INDEX = re.compile(r"\[\d+\]")


class Fate(StrEnum):
    """What becomes of a parameter."""

    HONOURED = "honoured"
    IGNORED = "ignored"  # checked, accepted, and named in the header unless the value asks for nothing
    REFUSED = "refused"  # but for the values that ask for nothing


def refuse(body: Mapping[str, object], refused: Mapping[str, tuple[object, ...]]) -> None:
    """Raises Unsupported for the first parameter of ``refused`` whose value isn't one that asks for nothing."""
    for name, nothing in refused.items():
        if name in body and not _asks_nothing(body[name], nothing):
            hint = f" (accepted: {', '.join(map(json.dumps, nothing))})" if nothing else ""
            kind = LoraUnsupported if name == "lora" else Unsupported
            raise kind(f"{name} is not supported here{hint}.", param=name)


def named(body: Mapping[str, object], known: Container[str], hints: Mapping[str, tuple[object, ...]]) -> list[str]:
    """The names to put into ``lowcloud-ignored``: hints whose value asks for something, and names that aren't known."""
    unmet = [name for name in body if name in hints or name not in known]
    return [name for name in unmet if not _asks_nothing(body[name], hints.get(name, ()))]


def note_unread(value: object, read: Container[str], path: str, unread: dict[str, None]) -> None:
    """Put the members of the object at ``path`` that aren't in ``read`` into ``unread``; null asks for nothing.

    They are named once for all items of a list: ``messages[].name``.
    """
    if isinstance(value, dict):
        names = [name for name in value if name not in read and value[name] is not None]
        unread.update({f"{_INDEX.sub('[]', path)}.{name}": None for name in names})


def _asks_nothing(value: object, nothing: tuple[object, ...]) -> bool:
    """Compared as JSON, where false isn't 0."""
    return value is None or any(type(value) is type(one) and value == one for one in nothing)
