"""Regular expressions of JSON schemas, read into trees and kept to what can be enforced. Pure.

Dialects differ: ``\\d`` is ASCII in JavaScript and not in Python, ``$`` in Python also stands before a last line break.
A ``Pattern`` has two trees: what ``narrow`` matches, each dialect matches; what one dialect matches, ``wide`` does.
Both match whole texts, so they hold no anchors. Look-around, back-references, flags and word boundaries are refused.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import ClassVar

from lowcloud.text.schema.expressions import (
    ANY_CHARS,
    Anchor,
    BadPattern,
    Chars,
    Either,
    Node,
    Pattern,
    Repeat,
    Sequence,
    checked,
    copies,
)

MAX_LENGTH = 2000  # characters of a pattern
MAX_COUNT = 1000  # of a repetition
MAX_COPIES = 10_000  # of the innermost of nested repetitions
MAX_DEPTH = 30


def pattern(text: str) -> Pattern:
    """The pattern, searched for in a text as JSON Schema says. Raises BadPattern."""
    narrow, wide = (_whole(Parser(text, is_wide).parse(), is_wide, "open", "open") for is_wide in (False, True))
    check_copies(narrow)
    return Pattern(narrow, wide)


def check_copies(node: Node) -> None:
    """Raises BadPattern for repetitions that come to too much."""
    if copies(node) > MAX_COPIES:
        raise BadPattern(f"its repetitions make more than {MAX_COPIES} copies")


def _whole(node: Node, is_wide: bool, left: str, right: str) -> Node:
    """The tree for whole texts. A side is "open" (anything may be there), "closed", or "inner" (no anchor either)."""
    match node:
        case Either(options=options):
            return Either(tuple(_whole(option, is_wide, left, right) for option in options))
        case Sequence(items=items):
            return _whole_sequence(list(items), is_wide, left, right)
        case Anchor():
            return _whole_sequence([node], is_wide, left, right)
        case Repeat(item=item) if _has_anchor(item):
            raise BadPattern("an anchor stands within a repetition")
        case _:
            return _filled([node], left, right)


def _whole_sequence(items: list[Node], is_wide: bool, left: str, right: str) -> Node:
    tail: list[Node] = []
    while items and items[0] == Anchor(is_start=True) and left != "inner":
        items, left = items[1:], "closed"
    while items and items[-1] == Anchor(is_start=False) and right != "inner":
        items, right = items[:-1], "closed"
        tail = [Repeat(Chars(((10, 10),)), 0, 1)] if is_wide else []
    if any(isinstance(item, Anchor) for item in items):
        raise BadPattern("an anchor stands within the text")
    sides = [(left if at == 0 else "inner", right if at == len(items) - 1 else "inner") for at in range(len(items))]
    whole: list[Node] = []
    for item, (before, after) in zip(items, sides, strict=True):
        if _has_anchor(item):
            whole.append(_whole(item, is_wide, before, after))
        else:
            whole += _filled([item], before, after).items
    if not items:
        whole += _filled([], left, right).items
    return Sequence((*whole, *tail))


def _filled(items: list[Node], left: str, right: str) -> Sequence:
    before: list[Node] = [ANY_CHARS] if left == "open" else []
    after: list[Node] = [ANY_CHARS] if right == "open" else []
    return Sequence((*before, *items, *after))


def _has_anchor(node: Node) -> bool:
    match node:
        case Anchor():
            return True
        case Sequence(items=parts) | Either(options=parts):
            return any(_has_anchor(part) for part in parts)
        case Repeat(item=item):
            return _has_anchor(item)
        case _:
            return False


def _ranges(text: str) -> tuple[tuple[int, int], ...]:
    """``"az09"`` as ranges."""
    return tuple((ord(text[at]), ord(text[at + 1])) for at in range(0, len(text), 2))


_DIGITS = {False: Chars(_ranges("09")), True: Chars(categories=("Nd",))}
_WORDS = {False: Chars(_ranges("09AZaz__")), True: Chars(_ranges("__"), ("L", "N"))}
_NARROW_SPACE = "\t\r  "
_WIDE_SPACE = (
    "\t\r\x1c \x85\x85\xa0\xa0\u1680\u1680\u2000\u200a\u2028\u2029\u202f\u202f\u205f\u205f\u3000\u3000\ufeff\ufeff"
)
_SPACES = {False: Chars(_ranges(_NARROW_SPACE)), True: Chars(_ranges(_WIDE_SPACE))}
_CLASSES = {"d": _DIGITS, "w": _WORDS, "s": _SPACES}
_DOT = {False: Chars(_ranges("\n\n\r\r\u2028\u2029"), is_negated=True), True: Chars(_ranges("\n\n"), is_negated=True)}
_CONTROLS = {"t": "\t", "n": "\n", "r": "\r", "f": "\f", "v": "\v"}
_HEX = {"x": 2, "u": 4}
_COUNT = re.compile(r"\{([0-9]{1,5})(?:(,)([0-9]{1,5})?)?\}")


class Parser:
    """Reads what Python, JavaScript and Rust read alike, but for their character classes. Raises BadPattern."""

    classes: ClassVar[Mapping[str, Mapping[bool, Chars]]] = _CLASSES
    dot: ClassVar[Mapping[bool, Chars]] = _DOT

    def __init__(self, text: str, is_wide: bool) -> None:
        if len(text) > MAX_LENGTH:
            raise BadPattern(f"it is longer than {MAX_LENGTH} characters")
        self.text = text
        self.is_wide = is_wide
        self.at = 0
        self.depth = 0

    def parse(self) -> Node:
        node = self.either()
        if self.at < len(self.text):
            raise BadPattern(f"there is a {self.text[self.at]!r} too many at {self.at}")
        return node

    def peek(self, size: int = 1) -> str:
        return self.text[self.at : self.at + size]

    def take(self) -> str:
        if self.at >= len(self.text):
            raise BadPattern("it ends too early")
        self.at += 1
        return self.text[self.at - 1]

    def either(self) -> Node:
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise BadPattern(f"its groups nest more than {MAX_DEPTH} levels")
        options = [self.sequence()]
        while self.peek() == "|":
            self.at += 1
            options.append(self.sequence())
        self.depth -= 1
        return options[0] if len(options) == 1 else Either(tuple(options))

    def sequence(self) -> Node:
        items: list[Node] = []
        while self.peek() not in ("", "|", ")"):
            items.append(self.repeated(self.item()))
        return items[0] if len(items) == 1 else Sequence(tuple(items))

    def item(self) -> Node:
        char = self.take()
        match char:
            case "(":
                return self.group()
            case "[":
                return self.bracket()
            case ".":
                return self.dot[self.is_wide]
            case "^" | "$":
                return Anchor(is_start=char == "^")
            case "\\":
                return self.escape()
            case "*" | "+" | "?" | "{":
                raise BadPattern(f"there is nothing to repeat for the {char!r} at {self.at - 1}")
            case _:
                return checked(_char(char))

    def group(self) -> Node:
        if self.peek(2) == "?:":
            self.at += 2
        elif self.peek() == "?":
            raise BadPattern(f"groups such as ({self.peek(3)} can't be enforced: look-around, flags, names")
        node = self.either()
        if self.peek() != ")":
            raise BadPattern("a group isn't closed")
        self.at += 1
        return node if isinstance(node, Either | Sequence | Anchor) else Sequence((node,))

    def repeated(self, item: Node) -> Node:
        counts = self.counts()
        if counts is None:
            return item
        least, most = counts
        if max(least, most or 0) > MAX_COUNT:
            raise BadPattern(f"it repeats more than {MAX_COUNT} times")
        if most is not None and least > most:
            raise BadPattern("a repetition's bounds are the wrong way round")
        if self.peek() == "?":
            self.at += 1  # lazy: the same texts
        if self.peek() in ("*", "+", "?") or _COUNT.match(self.text, self.at):
            raise BadPattern("a repetition is repeated")
        return Repeat(item, least, most)

    def counts(self) -> tuple[int, int | None] | None:
        simple: dict[str, tuple[int, int | None]] = {"*": (0, None), "+": (1, None), "?": (0, 1)}
        if self.peek() in simple:
            return simple[self.take()]
        found = _COUNT.match(self.text, self.at)
        if found is None:
            return None
        self.at = found.end()
        least = int(found[1])
        return least, (int(found[3]) if found[3] else None) if found[2] else least

    def escape(self) -> Chars:
        char = self.take()
        if char.lower() in self.classes:
            return self.named(char)
        return checked(_char(self.escaped(char)))

    def named(self, char: str) -> Chars:
        if char.islower():
            return self.classes[char][self.is_wide]
        return replace(self.classes[char.lower()][not self.is_wide], is_negated=True)

    def escaped(self, char: str) -> str:
        """The one character that a backslash and ``char`` stand for."""
        if char in _CONTROLS:
            return _CONTROLS[char]
        if char in _HEX:
            digits = self.text[self.at : self.at + _HEX[char]]
            if not re.fullmatch(f"[0-9a-fA-F]{{{_HEX[char]}}}", digits) or 0xD800 <= int(digits, 16) <= 0xDFFF:
                raise BadPattern(f"\\{char}{digits} is no character")
            self.at += _HEX[char]
            return chr(int(digits, 16))
        if char.isalnum() or not char.isascii():
            raise BadPattern(f"\\{char} can't be enforced")
        return char

    def bracket(self) -> Chars:
        is_negated = self.peek() == "^"
        self.at += is_negated
        outer, self.is_wide = self.is_wide, self.is_wide != is_negated
        sets: list[Chars] = []
        while self.peek() != "]":
            sets.append(self.member())
        self.at += 1
        self.is_wide = outer
        joined = self.union(sets)
        return checked(replace(joined, is_negated=joined.is_negated != is_negated))

    def member(self) -> Chars:
        char = self.take()
        if char == "[":
            raise BadPattern("a '[' within brackets must be written '\\['")
        if char == "\\":
            char = self.take()
            if char.lower() in self.classes:
                if self.peek() == "-" and self.peek(2) != "-]":
                    raise BadPattern("a class can't begin a range")
                return self.named(char)
            char = self.escaped(char) if char != "b" else "\b"
        if self.peek() != "-" or self.peek(2) in ("-", "-]"):
            return _char(char)
        self.at += 1
        last = self.take()
        if last == "\\":
            last = self.take()
            if last.lower() in self.classes:
                raise BadPattern("a class can't end a range")
            last = self.escaped(last)
        if last == "[" or ord(last) < ord(char):
            raise BadPattern("a range's ends are the wrong way round")
        return _span(ord(char), ord(last))

    def union(self, sets: list[Chars]) -> Chars:
        if not sets:
            raise BadPattern("brackets are empty")
        if len(sets) == 1:
            return sets[0]
        inner = [chars for chars in sets if not chars.is_negated]
        if len(inner) == len(sets):
            return _joined(inner)
        outer = [replace(chars, is_negated=False) for chars in sets if chars.is_negated]
        for group in (set(each.values()) for each in self.classes.values()):
            if group & set(inner) and group & set(outer):
                return Chars(is_negated=True)  # such as [\s\S]
        raise BadPattern("\\D, \\W and \\S can't be enforced beside others within brackets")


def _char(char: str) -> Chars:
    return _span(ord(char), ord(char))


def _span(first: int, last: int) -> Chars:
    if 0xD800 <= first <= 0xDFFF or 0xD800 <= last <= 0xDFFF:
        raise BadPattern("half a surrogate pair is no character")
    if first < 0xD800 and last > 0xDFFF:
        return Chars(((first, 0xD7FF), (0xE000, last)))
    return Chars(((first, last),))


def _joined(sets: Iterable[Chars]) -> Chars:
    sets = list(sets)
    ranges = sorted({pair for chars in sets for pair in chars.ranges})
    categories = sorted({category for chars in sets for category in chars.categories})
    return Chars(tuple(ranges), tuple(categories))
