"""How large a value of a template's may become. Every check comes before the value is made, and raises TooLong."""

import re
from collections.abc import ItemsView, Iterable, KeysView, Mapping, Sequence, Sized, ValuesView
from itertools import chain

MAX_CHARACTERS = 64 * 2**20
MAX_ITEMS = 2**20
MAX_BITS = 2**12
_N_SCALAR = 24  # characters of a number, or of the brackets of a list, at the most that matters
PADDING = frozenset({"batch", "center", "expandtabs", "indent", "ljust", "rjust", "slice", "wordwrap", "zfill"})
GROWING = PADDING | {"join", "replace", "round"}
_LONG_FORMAT = re.compile(r"\d{5,}|\*|\{[^{}]*\{")  # a long field, or one as long as a value says


class TooLong(Exception):
    """A template makes more than it may, or takes longer."""


def check_length(n_characters: int) -> None:
    """Whether a text may be that long."""
    if n_characters > MAX_CHARACTERS:
        raise TooLong


def check_written(*values: object) -> None:
    """Whether the texts of these values may be made: what holds one thing many times over is small only until then."""
    known: dict[int, int] = {}
    check_length(sum(_size(value, known) for value in values))


def check_format(form: str, *values: object) -> None:
    """Whether these values may be put into a format."""
    if _LONG_FORMAT.search(form):
        raise TooLong
    check_written(*values)


def check_operation(operator: str, left: object, right: object) -> None:
    """Whether a value may be made by ``+``, ``*``, ``**`` or ``%``."""
    if operator == "%" and isinstance(left, str):
        check_format(left, right)
    elif operator in ("*", "**") and isinstance(left, int) and isinstance(right, int):
        n_bits = left.bit_length() * right if operator == "**" else left.bit_length() + right.bit_length()
        _check(n_bits, MAX_BITS)
    elif operator in ("+", "*"):
        n_left, n_right = _length(left), _length(right)
        is_text = isinstance(left, str) or isinstance(right, str)
        _check(n_left + n_right if operator == "+" else n_left * n_right, MAX_CHARACTERS if is_text else MAX_ITEMS)


def check_growth(name: str, value: object, arguments: Sequence[object]) -> None:
    """Whether a filter of this name, or a text's method, may be applied: it is one of GROWING."""
    check_written(value, *arguments)
    longest = max(map(_length, arguments), default=0)
    if name == "round":
        return _check(4 * longest, MAX_BITS)
    if name in PADDING:
        return _check((_lines(value) + 1) * longest, MAX_CHARACTERS)
    if name == "replace":
        n_times = str(value).count(str(arguments[0])) if arguments else 0
        return check_length(_length(value) + n_times * longest)
    return check_length((_length(value) + 1) * (longest + 1))  # join: of a list by a text, or by a text of a list


def _size(value: object, known: dict[int, int]) -> int:
    """About how many characters its text has. ``known``: the sizes of what has been seen, by identity."""
    if isinstance(value, str):
        return len(value)
    if not isinstance(value, list | tuple | Mapping | KeysView | ValuesView | ItemsView):
        return _N_SCALAR
    if id(value) not in known:
        known[id(value)] = _N_SCALAR + sum(_size(item, known) for item in _inside(value))
    return known[id(value)]


def _inside(value: Iterable[object]) -> Iterable[object]:
    """What a collection holds, and no object that is made for the asking."""
    if isinstance(value, Mapping):
        return chain(value, value.values())
    return chain.from_iterable(value) if isinstance(value, ItemsView) else value


def _check(size: int, most: int) -> None:
    if size > most:
        raise TooLong


def _lines(value: object) -> int:
    return value.count("\n") + value.count("\t") if isinstance(value, str) else 1


def _length(value: object) -> int:
    """Of a number, itself: how often, or how long."""
    if isinstance(value, int):
        return max(value, 0)
    return len(value) if isinstance(value, Sized) else MAX_ITEMS
