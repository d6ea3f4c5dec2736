"""The keywords that bound one kind of JSON, read into kinds. Pure."""

from collections.abc import Mapping
from typing import TypeAlias

from lowcloud.text.schema import expressions, numbers, patterns
from lowcloud.text.schema.formats import PATTERNS
from lowcloud.text.schema.shapes import (
    Array,
    Boolean,
    Kind,
    Null,
    Number,
    NumberValue,
    Object,
    Shape,
    String,
    Unenforceable,
)

Json: TypeAlias = object
MAX_SIZE = 1_000_000


def literal(value: Json) -> Kind:
    """The kind that allows this value only. Raises Unenforceable for numbers that can't be written exactly."""
    match value:
        case None:
            return Null()
        case bool():
            return Boolean(value)
        case int() | float():
            return Number(value=numbers.literal(value))
        case str() if not expressions.is_writable(value):
            raise Unenforceable("it has control characters, which can't be written")
        case str():
            return String(value=value)
        case list():
            return Array(tuple((literal(item),) for item in value), (), len(value), len(value))
        case Mapping():
            properties: dict[str, Shape] = {name: (literal(item),) for name, item in value.items()}
            return Object(properties, (), (), frozenset(properties))
        case _:
            raise Unenforceable("it isn't JSON", is_malformed=True)


def number_bound(keyword: str, value: Json, schema: Mapping[str, Json], draft: int) -> Number:
    """What one keyword asks of a number."""
    if draft == 4 and keyword.startswith("exclusive"):
        if not isinstance(value, bool):
            raise Unenforceable("it is true or false in draft 4", is_malformed=True)
        other = keyword.removeprefix("exclusive").lower()
        if not value or other not in schema:
            return Number()
        return _bound(other, number(schema[other]), is_exclusive=True)
    return _bound(keyword, number(value), is_exclusive=keyword.startswith("exclusive"))


def _bound(keyword: str, value: NumberValue, *, is_exclusive: bool) -> Number:
    if keyword == "multipleOf":
        if value <= 0:
            raise Unenforceable("it must be more than 0", is_malformed=True)
        step = numbers.multiple(value)
        if isinstance(value, float):  # a checker divides floating point numbers then
            return Number(multiple_of=step, minimum=-numbers.EXACT, maximum=numbers.EXACT)
        return Number(multiple_of=step)
    if keyword.lower().endswith("minimum"):
        return Number(minimum=numbers.lower(value, is_exclusive=is_exclusive))
    return Number(maximum=numbers.upper(value, is_exclusive=is_exclusive))


def number(value: Json) -> NumberValue:
    """The value as a number. Raises Unenforceable."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise Unenforceable("it must be a number", is_malformed=True)
    return value


def most(value: Json) -> int:
    """The value as an upper bound of a count; 3.0 is 3. Raises Unenforceable."""
    found = number(value)
    if found < 0 or found != int(found):
        raise Unenforceable("it must be a whole number of at least 0", is_malformed=True)
    return min(int(found), MAX_SIZE)


def least(value: Json) -> int:
    """The value as a lower bound of a count. Raises Unenforceable."""
    found = most(value)
    if found == MAX_SIZE:
        raise Unenforceable(f"it is {MAX_SIZE} or more")
    return found


def string_bound(keyword: str, value: Json) -> String:
    """What one keyword asks of a text."""
    match keyword:
        case "minLength":
            return String(min_length=least(value))
        case "maxLength":
            return String(max_length=most(value))
        case "pattern":
            return String(patterns=(pattern(value),))
        case _:
            if not isinstance(value, str):
                raise Unenforceable("it must be a text", is_malformed=True)
            if value not in PATTERNS:
                raise Unenforceable(f"of formats only these are supported: {', '.join(PATTERNS)}")
            return String(patterns=(patterns.pattern(PATTERNS[value]),))


def pattern(value: Json) -> expressions.Pattern:
    """A pattern. Raises Unenforceable."""
    if not isinstance(value, str):
        raise Unenforceable("it must be a text", is_malformed=True)
    try:
        return patterns.pattern(value)
    except expressions.BadPattern as error:
        raise Unenforceable(f"of the pattern {value[:100]!r} {error}") from error


def names(value: Json) -> list[str]:
    """A list of names. Raises Unenforceable."""
    if not isinstance(value, list) or not all(isinstance(name, str) for name in value):
        raise Unenforceable("it must be a list of names", is_malformed=True)
    return list(dict.fromkeys(str(name) for name in value))


def mapping(value: Json) -> Mapping[str, Json]:
    """An object. Raises Unenforceable."""
    if not isinstance(value, Mapping):
        raise Unenforceable("it must be an object", is_malformed=True)
    return value


def schemas(value: Json) -> list[Json]:
    """A list of schemas, not empty. Raises Unenforceable."""
    if not isinstance(value, list) or not value:
        raise Unenforceable("it must be a list, and not empty", is_malformed=True)
    return value
