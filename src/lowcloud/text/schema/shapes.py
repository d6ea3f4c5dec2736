"""What JSON a schema allows, in a form without references between keywords. Pure data.

A shape is any of its kinds; no kind: nothing. What a kind doesn't bound is free.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from typing import TypeAlias

from lowcloud.text.schema.expressions import Pattern

NumberValue: TypeAlias = int | float


@dataclass(frozen=True, slots=True)
class Null:
    """null."""


@dataclass(frozen=True, slots=True)
class Boolean:
    """true or false, or the one of them."""

    value: bool | None = None


@dataclass(frozen=True, slots=True)
class Number:
    """A number within bounds that belong to it; or the one ``value``."""

    is_integer: bool = False
    minimum: NumberValue | None = None
    maximum: NumberValue | None = None
    multiple_of: Fraction | None = None
    value: NumberValue | None = None


@dataclass(frozen=True, slots=True)
class String:
    """A text of so many characters that matches the patterns; or the one ``value``."""

    min_length: int = 0
    max_length: int | None = None
    patterns: tuple[Pattern, ...] = ()
    value: str | None = None


@dataclass(frozen=True, slots=True)
class Array:
    """Items at the places of ``prefix``, then others of ``items``; None: of any shape."""

    prefix: "tuple[Shape, ...]" = ()
    items: "Shape | None" = None
    min_items: int = 0
    max_items: int | None = None


@dataclass(frozen=True, slots=True)
class Object:
    """``properties`` in their order, all that is ``required`` among them; then names that match patterns, then others.

    A pattern is written as text. A property whose shape is nothing mustn't be there. ``additional`` None: any shape.
    """

    properties: "Mapping[str, Shape]" = field(default_factory=dict)
    patterns: "tuple[tuple[Pattern, Shape], ...]" = ()
    additional: "Shape | None" = None
    required: frozenset[str] = frozenset()
    min_properties: int = 0
    max_properties: int | None = None


@dataclass(frozen=True, slots=True)
class Ref:
    """The shape of the definition at this JSON pointer."""

    pointer: str


Kind: TypeAlias = Null | Boolean | Number | String | Array | Object | Ref
Shape: TypeAlias = tuple[Kind, ...]
NOTHING: Shape = ()
FREE: dict[str, Kind] = {
    "null": Null(),
    "boolean": Boolean(),
    "number": Number(),
    "string": String(),
    "array": Array(),
    "object": Object(),
}
ANY: Shape = tuple(FREE.values())


class Unenforceable(Exception):
    """It can't be enforced; ``str(error)`` says why, ``path`` is below the whole schema, with its dot."""

    def __init__(self, why: str, path: str = "", *, is_malformed: bool = False) -> None:
        super().__init__(why)
        self.path = path
        self.is_malformed = is_malformed


class TooLarge(Unenforceable):
    """The schema as a whole is more than can be read in time."""
