"""Shapes of what two shapes both allow, and whether two have nothing in common. Pure."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from fractions import Fraction
from math import gcd
from typing import TypeVar

from lowcloud.text.schema import expressions, numbers
from lowcloud.text.schema.counting import counted
from lowcloud.text.schema.expressions import Spend
from lowcloud.text.schema.shapes import (
    ANY,
    NOTHING,
    Array,
    Boolean,
    Kind,
    Null,
    Number,
    Object,
    Ref,
    Shape,
    String,
    Unenforceable,
)

MAX_DEPTH = 24
MAX_KINDS = 20_000
FEW = 50  # kinds among which doubles are looked for
PAIR = 4  # steps that the meeting of two kinds, or of two properties, takes


class Meeting:
    """Intersects shapes. ``definition`` gives a pointer's shape; it raises Unenforceable where that isn't known yet.

    ``may_compile_late``: texts may be bounded in ways whose emptiness only llguidance finds out.
    """

    def __init__(self, definition: Callable[[str], Shape], spend: Spend, *, may_compile_late: bool) -> None:
        self.definition = definition
        self.spend = spend
        self.may_compile_late = may_compile_late
        self.n_kinds = 0

    def of(self, one: Shape, other: Shape, depth: int = 0) -> Shape:
        """What both allow, in the order of the first."""
        if one in (ANY, other):
            return other
        if other == ANY:
            return one
        if depth > MAX_DEPTH:
            raise Unenforceable("the schemas that must hold together recurse or nest too deep")
        found: list[Kind] = []
        for left in self._expanded(one):
            for right in self._expanded(other):
                self.spend(PAIR)
                kind = self._kind(left, right, depth + 1)
                if kind is not None and (len(found) > FEW or kind not in found):
                    found.append(kind)
                    self._count()
        return tuple(found)

    def are_disjoint(self, one: Shape, other: Shape, depth: int = 0) -> bool:
        """Whether no value can be of both; False where that isn't plain to see."""
        if depth > MAX_DEPTH:
            return False
        try:
            lefts, rights = list(self._expanded(one)), list(self._expanded(other))
        except Unenforceable:
            return False
        self._count(len(lefts) * len(rights))
        return all(self._are_disjoint(left, right, depth + 1) for left in lefts for right in rights)

    def _count(self, n: int = 1) -> None:
        self.n_kinds += n
        if self.n_kinds > MAX_KINDS:
            raise Unenforceable(f"the schemas that must hold together have more than {MAX_KINDS} combinations")

    def _expanded(self, shape: Shape, depth: int = 0) -> Iterator[Kind]:
        if depth > MAX_DEPTH:
            raise Unenforceable("its references lead only to each other")
        for kind in shape:
            if isinstance(kind, Ref):
                yield from self._expanded(self.definition(kind.pointer), depth + 1)
            else:
                yield kind

    def _kind(self, left: Kind, right: Kind, depth: int) -> Kind | None:
        match left, right:
            case Array(), Array():
                return self._arrays(left, right, depth)
            case Object(), Object():
                return self._objects(left, right, depth)
            case String(), String():
                return self._strings(left, right)
            case Number(), Number():
                return _numbers(left, right)
        return _plain(left, right)

    def _arrays(self, left: Array, right: Array, depth: int) -> Array | None:
        size = max(len(left.prefix), len(right.prefix))
        prefix = tuple(self.of(item_at(left, at), item_at(right, at), depth) for at in range(size))
        items = self.of(item_at(left, size), item_at(right, size), depth)
        most = _least(left.max_items, right.max_items)
        least = max(left.min_items, right.min_items)
        return array(Array(prefix, None if items == ANY else items, least, most))

    def _objects(self, left: Object, right: Object, depth: int) -> Object | None:
        if left == Object() or right == Object():
            return right if left == Object() else left
        for one, other in ((left, right), (right, left)):
            if one.patterns and (other.patterns or other.additional is not None):
                raise Unenforceable("patternProperties beside other schemas of objects")
        names = [*left.properties, *(name for name in right.properties if name not in left.properties)]
        self.spend(PAIR * len(names))
        properties = {
            name: self.of(self.property_of(left, name), self.property_of(right, name), depth) for name in names
        }
        additional = self.of(_others(left), _others(right), depth)
        both = Object(
            properties,
            left.patterns + right.patterns,
            None if additional == ANY else additional,
            left.required | right.required,
            max(left.min_properties, right.min_properties),
            _least(left.max_properties, right.max_properties),
        )
        self.check_names(both)
        return counted(both)

    def property_of(self, kind: Object, name: str) -> Shape:
        """The shape of a property. Raises Unenforceable where dialects of patterns disagree."""
        if name in kind.properties:
            return kind.properties[name]
        for pattern, shape in kind.patterns:
            if self._matches(pattern, name):
                return shape
        return _others(kind)

    def check_names(self, kind: Object) -> None:
        """Raises Unenforceable where a named property matches a pattern: llguidance would join their schemas itself."""
        for pattern, shape in kind.patterns:
            for name in kind.properties:
                if self._matches(pattern, name) and shape not in (ANY, NOTHING):
                    raise Unenforceable(f"{name!r} is of both properties and patternProperties")

    def _matches(self, pattern: expressions.Pattern, name: str) -> bool:
        """Whether a name matches. Raises Unenforceable where dialects of patterns disagree."""
        is_match = expressions.matches(pattern.narrow, name, self.spend)
        if not pattern.is_exact and is_match != expressions.matches(pattern.wide, name, self.spend):
            raise Unenforceable(f"whether {name!r} matches depends on the dialect of regular expressions")
        return is_match

    def _strings(self, left: String, right: String) -> String | None:
        """A text of both. Raises Unenforceable where it would take a pattern and another bound that don't merge."""
        value = left.value if left.value is not None else right.value
        least = max(left.min_length, right.min_length)
        most = _least(left.max_length, right.max_length)
        both = left.patterns + tuple(pattern for pattern in right.patterns if pattern not in left.patterns)
        if value is not None:
            is_same = right.value in (None, value) and left.value in (None, value)
            is_within = len(value) >= least and (most is None or len(value) <= most)
            is_match = min((self._matches(one, value) for one in both), default=True)
            return String(value=value) if is_same and is_within and is_match else None
        if most is not None and least > most:
            return None
        if not both or (least == 0 and most is None and len(both) == 1):
            return String(least, most, both)
        if len(both) == 1:
            shortest, longest = expressions.lengths(both[0].narrow)
            if (most is not None and shortest > most) or (longest is not None and longest < least):
                return None
            cut = expressions.of_length(both[0].narrow, least, most)
            if cut is not None:
                return String(patterns=(replace(both[0], narrow=cut),))
        if not self.may_compile_late:
            raise Unenforceable("a pattern or format beside other bounds of the text")
        return String(least, most, both)

    def _are_disjoint(self, left: Kind, right: Kind, depth: int) -> bool:
        match left, right:
            case Boolean(), Boolean():
                return None not in (left.value, right.value) and left.value != right.value
            case String(), String():
                return None not in (left.value, right.value) and left.value != right.value
            case Number(), Number():
                return None not in (left.value, right.value) and left.value != right.value
            case Object(), Object():
                return any(
                    self.are_disjoint(_property_or_any(left, name), _property_or_any(right, name), depth)
                    for name in sorted(left.required | right.required)
                )
            case _:
                return type(left) is not type(right)


def item_at(kind: Array, at: int) -> Shape:
    """The shape of the item at a place."""
    if at < len(kind.prefix):
        return kind.prefix[at]
    return ANY if kind.items is None else kind.items


def array(kind: Array) -> Array | None:
    """The array, or None where its bounds leave none."""
    if kind.max_items is not None and kind.min_items > kind.max_items:
        return None
    if any(item_at(kind, at) == NOTHING for at in range(min(kind.min_items, len(kind.prefix) + 1))):
        return None
    return kind


def _plain(left: Kind, right: Kind) -> Kind | None:
    match left, right:
        case (Null(), Null()) | (Boolean(value=None), Boolean()):
            return right
        case Boolean(), Boolean() if right.value in (None, left.value):
            return left
    return None


def _numbers(left: Number, right: Number) -> Number | None:
    if left.value is not None and right.value is not None and left.value != right.value:
        return None
    steps = [step for step in (left.multiple_of, right.multiple_of) if step is not None]
    step = steps[0] if steps else None
    if len(steps) == 2:
        step = _common(*steps)
        if step > numbers.MAX_MULTIPLE:
            raise Unenforceable(f"multiples of {step}")
    return numbers.settled(
        Number(
            left.is_integer or right.is_integer,
            _most(left.minimum, right.minimum),
            _least(left.maximum, right.maximum),
            step,
            left.value if left.value is not None else right.value,
        )
    )


def _common(one: Fraction, other: Fraction) -> Fraction:
    size = one.denominator * other.denominator
    left, right = int(one * size), int(other * size)
    return Fraction(left * right // gcd(left, right), size)


def _others(kind: Object) -> Shape:
    return ANY if kind.additional is None else kind.additional


def _property_or_any(kind: Object, name: str) -> Shape:
    return kind.properties.get(name, ANY if kind.patterns else _others(kind))


_Bound = TypeVar("_Bound", int, float)


def _least(one: _Bound | None, other: _Bound | None) -> _Bound | None:
    return other if one is None else one if other is None else min(one, other)


def _most(one: _Bound | None, other: _Bound | None) -> _Bound | None:
    return other if one is None else one if other is None else max(one, other)
