"""Regular expressions of Rust's regex crate, in which grammars are written, read into the same trees. Pure."""

from collections.abc import Mapping
from typing import ClassVar

from lowcloud.text.schema.expressions import BadPattern, Chars, Node
from lowcloud.text.schema.patterns import Parser, check_copies

_WHITE_SPACE = (
    *((0x09, 0x0D), (0x20, 0x20), (0x85, 0x85), (0xA0, 0xA0), (0x1680, 0x1680), (0x2000, 0x200A)),
    *((0x2028, 0x2029), (0x202F, 0x202F), (0x205F, 0x205F), (0x3000, 0x3000)),
)
_SETS = ("&&", "--", "~~")


def rust_expression(text: str, *, is_dot_all: bool) -> Node:
    """The tree of an expression that matches whole texts. ``is_dot_all``: the flag s. Raises BadPattern.

    Anchors stay in it; flags in groups, properties (``\\p``) and operators on sets of characters are refused.
    """
    node = _Parser(text, is_dot_all).parse()
    check_copies(node)
    return node


def _alike(chars: Chars) -> Mapping[bool, Chars]:
    return {False: chars, True: chars}


class _Parser(Parser):
    """``is_wide`` is the flag s."""

    classes: ClassVar[Mapping[str, Mapping[bool, Chars]]] = {
        "d": _alike(Chars(categories=("Nd",))),
        "w": _alike(Chars(categories=("Alphabetic", "M", "Nd", "Pc", "Join_Control"))),
        "s": _alike(Chars(_WHITE_SPACE)),
    }
    dot: ClassVar[Mapping[bool, Chars]] = {
        False: Chars(((0x0A, 0x0A),), is_negated=True),
        True: Chars(is_negated=True),
    }

    def bracket(self) -> Chars:
        start = self.at
        chars = super().bracket()
        if any(operator in self.text[start : self.at] for operator in _SETS):
            raise BadPattern("sets of characters can't be combined")
        return chars
