"""A grammar as trees. Pure data; a tree is itself alone, however like it another is."""

from dataclasses import dataclass
from typing import TypeAlias

from lowcloud.text.schema.expressions import Chars


class BadGrammar(Exception):
    """It isn't a grammar that can be read, or not of the part that can be enforced; ``str(error)`` says why."""


@dataclass(frozen=True, slots=True, eq=False)
class Letter:
    """One character."""

    chars: Chars
    ignores_case: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class Row:
    """One after the other."""

    items: "tuple[Tree, ...]"


@dataclass(frozen=True, slots=True, eq=False)
class Either:
    """One of them."""

    options: "tuple[Tree, ...]"


@dataclass(frozen=True, slots=True, eq=False)
class Repeat:
    """``least`` to ``most`` times; None: without end."""

    item: "Tree"
    least: int
    most: int | None


@dataclass(frozen=True, slots=True, eq=False)
class Name:
    """What a rule, or a terminal, of this name derives."""

    name: str


@dataclass(frozen=True, slots=True, eq=False)
class Word:
    """A text that is read as one, and as long as can be: a tree of letters."""

    body: "Tree"


Tree: TypeAlias = Letter | Row | Either | Repeat | Name | Word
NOTHING = Row(())
