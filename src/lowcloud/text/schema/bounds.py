"""How large a schema may be, and how long its reading. Pure."""

import math
from collections.abc import Mapping

from lowcloud.text.schema.shapes import TooLarge, Unenforceable

MAX_DEPTH = 100  # of the JSON, two levels for most of a schema's
MAX_NODES = 50_000  # values in all
MAX_TEXT = 500_000  # characters of all names and texts
MAX_MEMBERS = 5000  # of one list or object
MAX_STEPS = 1_000_000


class Budget:
    """What reading one schema may take, in steps of a microsecond or two."""

    def __init__(self, n_steps: int = MAX_STEPS) -> None:
        self._n_left = n_steps

    def spend(self, n_steps: int) -> None:
        """Raises TooLarge where no more is left."""
        self._n_left -= n_steps
        if self._n_left < 0:
            raise TooLarge("it takes too long to read", is_malformed=True)


def check_size(schema: object) -> None:
    """Raises Unenforceable for a schema beyond the bounds, or for what JSON has no words for."""
    n_nodes, n_chars = 0, 0
    waiting: list[tuple[object, int]] = [(schema, 0)]
    while waiting:
        place, depth = waiting.pop()
        n_nodes += 1
        n_chars += _checked_text(place) if isinstance(place, str) else 0
        if isinstance(place, Mapping):
            n_chars += sum(_checked_text(name) for name in place)
        members = list(place.values()) if isinstance(place, Mapping) else place if isinstance(place, list) else []
        _refuse(depth > MAX_DEPTH, f"nests more than {MAX_DEPTH} levels")
        _refuse(n_nodes > MAX_NODES, f"has more than {MAX_NODES} values")
        _refuse(n_chars > MAX_TEXT, f"has more than {MAX_TEXT} characters")
        _refuse(len(members) > MAX_MEMBERS, f"has a list or an object of more than {MAX_MEMBERS}")
        _refuse(isinstance(place, float) and not math.isfinite(place), "has a number that isn't finite")
        waiting += [(member, depth + 1) for member in members]


def _refuse(is_beyond: bool, what: str) -> None:
    if is_beyond:
        raise Unenforceable(f"it {what}", is_malformed=True)


def _checked_text(text: object) -> int:
    _refuse(not isinstance(text, str), "has a name that isn't a text")
    _refuse(any("\ud800" <= char <= "\udfff" for char in str(text)), "has half a surrogate pair")
    return len(str(text))
