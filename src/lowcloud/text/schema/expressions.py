"""Regular expressions as trees: what they match, how long that is, and how they are written for llguidance. Pure."""

import unicodedata
from collections.abc import Callable, Set
from dataclasses import dataclass, replace
from typing import TypeAlias

LAST = 0x10FFFF
# A grammar's texts have no \u escapes, so these have no way to be written; llguidance would leave them out.
UNWRITABLE = ((0x00, 0x07), (0x0B, 0x0B), (0x0E, 0x1F), (0x7F, 0x7F))


class BadPattern(Exception):
    """The pattern isn't well formed, or not of the part that can be enforced; ``str(error)`` says why."""


@dataclass(frozen=True, slots=True)
class Chars:
    """One character: of ``ranges`` or of a general category that begins with one of ``categories``; or of neither."""

    ranges: tuple[tuple[int, int], ...] = ()
    categories: tuple[str, ...] = ()
    is_negated: bool = False


@dataclass(frozen=True, slots=True)
class Sequence:
    """One after the other."""

    items: "tuple[Node, ...]"


@dataclass(frozen=True, slots=True)
class Either:
    """One of them."""

    options: "tuple[Node, ...]"


@dataclass(frozen=True, slots=True)
class Repeat:
    """``least`` to ``most`` times; None: without end."""

    item: "Node"
    least: int
    most: int | None


@dataclass(frozen=True, slots=True)
class Anchor:
    """The beginning of the text or its end; in trees that ``pattern`` returns there is none."""

    is_start: bool


Spend: TypeAlias = Callable[[int], None]
Node: TypeAlias = Chars | Sequence | Either | Repeat | Anchor

ANY_CHARS = Repeat(Chars(is_negated=True), 0, None)
NOTHING = Sequence(())


@dataclass(frozen=True, slots=True)
class Pattern:
    """The same expression, read narrowly and widely."""

    narrow: Node
    wide: Node

    @property
    def is_exact(self) -> bool:
        """Whether all dialects agree."""
        return self.narrow == self.wide


def regex(node: Node) -> str:
    """The tree as an expression of Rust's regex crate that matches whole texts."""
    return f"^(?:{_written(node)})$"


def lengths(node: Node) -> tuple[int, int | None]:
    """The lengths of the texts that the tree matches; None: any."""
    match node:
        case Sequence(items=items):
            pairs = [lengths(item) for item in items]
            most = [pair[1] for pair in pairs]
            return sum(pair[0] for pair in pairs), None if None in most else sum(filter(None, most))
        case Either(options=options):
            pairs = [lengths(option) for option in options]
            most = [pair[1] for pair in pairs]
            return min(pair[0] for pair in pairs), None if None in most else max(size or 0 for size in most)
        case Repeat(item=item, least=least, most=upper):
            shortest, longest = lengths(item)
            if longest == 0 or upper == 0:
                return least * shortest, 0
            return least * shortest, None if longest is None or upper is None else longest * upper
        case _:
            return 1, 1


def of_length(node: Node, least: int, most: int | None) -> Node | None:
    """The tree, cut to texts of these lengths; None where that can't be written simply."""
    shortest, longest = lengths(node)
    if shortest >= least and (most is None or (longest is not None and longest <= most)):
        return node
    if isinstance(node, Sequence) and len(node.items) == 1:
        return of_length(node.items[0], least, most)
    if not isinstance(node, Repeat) or not isinstance(node.item, Chars):
        return None
    upper = most if node.most is None else node.most if most is None else min(most, node.most)
    lower = max(least, node.least)
    return replace(node, least=lower, most=upper) if upper is None or lower <= upper else None


def matches(node: Node, text: str, spend: Spend) -> bool:
    """Whether the tree matches the whole text. Of nested repetitions some take long: it spends a step for each look."""
    return len(text) in _ends(node, text, frozenset({0}), spend)


def is_writable(text: str) -> bool:
    """Whether a grammar can spell each of the characters."""
    return not any(first <= ord(char) <= last for char in text for first, last in UNWRITABLE)


def prefix(node: Node) -> str:
    """The text that all matches begin with, as far as it is plain to see."""
    found = ""
    for item in node.items if isinstance(node, Sequence) else (node,):
        if not isinstance(item, Chars) or item.is_negated or item.categories or len(item.ranges) != 1:
            break
        first, last = item.ranges[0]
        if first != last:
            break
        found += chr(first)
    return found


def without(chars: Chars, excluded: tuple[tuple[int, int], ...]) -> str:
    """An expression for those of the characters that aren't of ``excluded``; empty where there are none."""
    if chars.is_negated:
        return _class(replace(chars, ranges=(*chars.ranges, *excluded)))
    left = replace(chars, ranges=_minus(chars.ranges, excluded))
    if left.categories:
        return f"[{_class(left)}--{_class(Chars(excluded))}]"
    return _class(left) if left.ranges else ""


def _ends(node: Node, text: str, starts: Set[int], spend: Spend) -> Set[int]:
    spend(1 + len(starts))
    match node:
        case Chars():
            return frozenset(at + 1 for at in starts if at < len(text) and has(node, text[at]))
        case Sequence(items=items):
            for item in items:
                starts = _ends(item, text, starts, spend)
            return starts
        case Either(options=options):
            return frozenset().union(*(_ends(option, text, starts, spend) for option in options))
        case Repeat(item=item, least=least, most=most):
            for _ in range(least):
                starts = _ends(item, text, starts, spend)
            found, count = set(starts), least
            while starts and (most is None or count < most):
                starts = _ends(item, text, starts, spend) - found
                found |= starts
                count += 1
            return found
        case Anchor():
            raise AssertionError("anchors are gone")


def has(chars: Chars, char: str) -> bool:
    """Whether it is one of the characters."""
    is_in = any(first <= ord(char) <= last for first, last in chars.ranges) or unicodedata.category(char).startswith(
        chars.categories
    )
    return is_in != chars.is_negated


def copies(node: Node) -> int:
    match node:
        case Sequence(items=parts) | Either(options=parts):
            return max((copies(part) for part in parts), default=1)
        case Repeat(item=item, least=least, most=most):
            return copies(item) * max(1, least, most or 0)
        case _:
            return 1


def _written(node: Node) -> str:
    match node:
        case Chars():
            return _written_chars(node)
        case Sequence(items=items):
            return "".join(_written(item) for item in items)
        case Either(options=options):
            return "(?:" + "|".join(_written(option) for option in options) + ")"
        case Repeat(item=item, least=least, most=most):
            inner = _written(item) if isinstance(item, Chars) else f"(?:{_written(item)})"
            return inner + ("*" if (least, most) == (0, None) else f"{{{least},{'' if most is None else most}}}")
        case Anchor():
            raise AssertionError("anchors are gone")


def _written_chars(chars: Chars) -> str:
    if not chars.ranges and not chars.categories:
        return "(?s:.)"
    if not chars.is_negated:
        chars = replace(chars, ranges=_minus(chars.ranges, UNWRITABLE))
    is_one = len(chars.ranges) == 1 and chars.ranges[0][0] == chars.ranges[0][1] and not chars.categories
    return _escaped(chars.ranges[0][0]) if is_one and not chars.is_negated else _class(chars)


def _class(chars: Chars) -> str:
    shown = "".join(
        _escaped(first) if first == last else f"{_escaped(first)}-{_escaped(last)}" for first, last in chars.ranges
    )
    shown += "".join(rf"\p{{{category}}}" for category in chars.categories)
    return f"[{'^' if chars.is_negated else ''}{shown}]"


def _minus(ranges: tuple[tuple[int, int], ...], excluded: tuple[tuple[int, int], ...]) -> tuple[tuple[int, int], ...]:
    for first, last in excluded:
        pieces = [((low, min(high, first - 1)), (max(low, last + 1), high)) for low, high in ranges]
        ranges = tuple(piece for pair in pieces for piece in pair if piece[0] <= piece[1])
    return tuple(dict.fromkeys(ranges))


def checked(chars: Chars) -> Chars:
    """Raises BadPattern for characters none of which can be written."""
    left = _complement(chars.ranges) if chars.is_negated else chars.ranges
    if not chars.categories and not _minus(left, UNWRITABLE):
        raise BadPattern("it needs control characters, which can't be written")
    return chars


def _complement(ranges: tuple[tuple[int, int], ...]) -> tuple[tuple[int, int], ...]:
    found, start = [], 0
    for first, last in sorted(ranges):
        if first > start:
            found.append((start, first - 1))
        start = max(start, last + 1)
    return (*found, (start, LAST)) if start <= LAST else tuple(found)


def _escaped(code: int) -> str:
    return chr(code) if chr(code).isascii() and chr(code).isalnum() else f"\\x{{{code:x}}}"
