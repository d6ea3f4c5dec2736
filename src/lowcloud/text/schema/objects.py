"""The keywords that bound objects, read into kinds. Pure."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from itertools import pairwise
from typing import TYPE_CHECKING

from lowcloud.text.schema import drafts, expressions, kinds
from lowcloud.text.schema.counting import counted
from lowcloud.text.schema.expressions import Pattern
from lowcloud.text.schema.kinds import Json
from lowcloud.text.schema.meeting import Meeting
from lowcloud.text.schema.shapes import ANY, FREE, NOTHING, Object, Shape, String, Unenforceable

_NONE: Mapping[str, Json] = {}

if TYPE_CHECKING:
    from lowcloud.text.schema.reading import Reader


def read(reader: "Reader", schema: Mapping[str, Json], path: str) -> Shape:
    """What the keywords of objects allow: one kind, or nothing."""
    properties = _properties(reader, schema, path)
    is_whole = "properties" not in schema or properties is not None
    additional = _additional(reader, schema, path)
    found = reader.tried(f"{path}.patternProperties", None, lambda: _patterns(reader, schema, path, additional))
    if not is_whole or found is None:
        additional = ANY  # which names are additional isn't known any more
    kind = Object(properties or {}, found or (), None if additional == ANY else additional)
    kind = reader.tried(
        f"{path}.patternProperties", replace(kind, patterns=(), additional=None), lambda: _checked(reader.meeting, kind)
    )
    if "propertyNames" in schema:
        at = f"{path}.propertyNames"
        names = reader.inner(schema["propertyNames"], at)
        kind = reader.tried(at, kind, lambda: _named(reader.meeting, kind, names))
    if "required" in schema:
        kind = reader.tried(
            f"{path}.required", kind, lambda: _required(reader.meeting, kind, kinds.names(schema["required"]))
        )
    return _counted(reader, kind, schema, path)


def without(names: list[str]) -> Shape:
    """Objects that lack at least one of the names."""
    return tuple(Object({name: NOTHING}) for name in names)


def dependencies(reader: "Reader", value: Json, path: str) -> Iterator[tuple[str, Callable[[], Shape]]]:
    """What an object must be where it has a property, as parts that must hold together."""
    found = reader.tried(path, _NONE, lambda: kinds.mapping(value))
    others = tuple(kind for name, kind in FREE.items() if name != "object")
    for name, wanted in found.items():
        at = f"{path}.{name}"

        def part(name: str = name, wanted: Json = wanted, at: str = at) -> Shape:
            if isinstance(wanted, list):
                there: Shape = (_required(reader.meeting, Object(), [name, *kinds.names(wanted)]),)
            else:
                there = reader.meeting.of((_required(reader.meeting, Object(), [name]),), reader.inner(wanted, at))
            return (*others, *without([name]), *there)

        yield at, part


def _properties(reader: "Reader", schema: Mapping[str, Json], path: str) -> dict[str, Shape] | None:
    at = f"{path}.properties"
    found = reader.tried(at, None, lambda: kinds.mapping(schema.get("properties", {})))
    if found is None:
        return None
    return {name: reader.inner(inner, f"{at}.{name}") for name, inner in found.items()}


def _additional(reader: "Reader", schema: Mapping[str, Json], path: str) -> Shape:
    if "additionalProperties" in schema:
        return reader.inner(schema["additionalProperties"], f"{path}.additionalProperties")
    if schema.get("unevaluatedProperties", True) in (True, {}):
        return ANY
    at = f"{path}.unevaluatedProperties"
    return reader.tried(at, ANY, lambda: _unevaluated(reader, schema, at))


def _unevaluated(reader: "Reader", schema: Mapping[str, Json], path: str) -> Shape:
    if not drafts.is_plain(schema):
        raise Unenforceable("this keyword isn't supported beside schemas that apply to the same object")
    return reader.inner(schema["unevaluatedProperties"], path)


def _patterns(
    reader: "Reader", schema: Mapping[str, Json], path: str, additional: Shape
) -> tuple[tuple[Pattern, Shape], ...]:
    found: list[tuple[Pattern, Shape]] = []
    for text, inner in kinds.mapping(schema.get("patternProperties", {})).items():
        pattern = kinds.pattern(text)
        if not pattern.is_exact and additional not in (ANY, NOTHING):
            raise Unenforceable(f"which names match {text!r} depends on the dialect; others have a schema, too")
        if additional == ANY:
            pattern = replace(pattern, narrow=pattern.wide)
        found.append((pattern, reader.inner(inner, f"{path}.patternProperties.{text}")))
    _check_disjoint([expressions.prefix(pattern.narrow) for pattern, _ in found])
    return tuple(found)


def _check_disjoint(prefixes: list[str]) -> None:
    if any(after.startswith(before) for before, after in pairwise(sorted(prefixes))):
        raise Unenforceable("a name may match two patterns; they must begin with ^ and different texts")


def _checked(meeting: Meeting, kind: Object) -> Object:
    meeting.check_names(kind)
    return kind


def _named(meeting: Meeting, kind: Object, names: Shape) -> Object:
    """The object with names of this shape only."""
    texts = [text for text in names if isinstance(text, String)]
    if String() in texts:
        return kind
    if kind.patterns:
        raise Unenforceable("this keyword isn't supported beside patternProperties")
    values = [text.value for text in texts if text.value is not None]
    if len(values) == len(names):
        allowed = {name: meeting.property_of(kind, name) for name in values}
        named = {name: shape if name in values else NOTHING for name, shape in kind.properties.items()}
        return replace(kind, properties={**named, **allowed}, additional=NOTHING)
    if kind.properties or len(texts) != 1 or len(texts[0].patterns) != 1 or texts[0].max_length or texts[0].min_length:
        raise Unenforceable("names can be bounded by an enum, or by one pattern where no property is named")
    additional = ANY if kind.additional is None else kind.additional
    return replace(kind, patterns=((texts[0].patterns[0], additional),), additional=NOTHING)


def _required(meeting: Meeting, kind: Object, names: list[str]) -> Object:
    added = {name: meeting.property_of(kind, name) for name in names if name not in kind.properties}
    found = replace(kind, properties={**kind.properties, **added}, required=frozenset(names))
    meeting.check_names(found)
    return found


def _counted(reader: "Reader", kind: Object, schema: Mapping[str, Json], path: str) -> Shape:
    least, most = reader.counts(schema, path, "Properties")
    at = f"{path}.{'minProperties' if least else 'maxProperties'}"
    bounded = replace(kind, min_properties=least or 0, max_properties=most)
    found = reader.tried(at, None, lambda: (counted(bounded),))
    kept = counted(kind) if found is None else found[0]
    return NOTHING if kept is None else (kept,)
