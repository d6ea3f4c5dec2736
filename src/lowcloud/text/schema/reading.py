"""Reads a JSON schema, draft 4 to 2020-12, into shapes; what it can't, it refuses or leaves out. Pure.

A reader is strict (the first thing that can't be enforced is raised) or not (it is left out, and its path noted).
"""

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import NoReturn, TypeVar

from lowcloud.text.schema import drafts, kinds, objects
from lowcloud.text.schema.bounds import Budget
from lowcloud.text.schema.kinds import Json
from lowcloud.text.schema.meeting import Meeting, array
from lowcloud.text.schema.references import References, path_of
from lowcloud.text.schema.shapes import (
    ANY,
    FREE,
    NOTHING,
    Array,
    Kind,
    Number,
    Ref,
    Shape,
    String,
    TooLarge,
    Unenforceable,
)

T = TypeVar("T")
Exclusion = tuple[str, list[Shape], Shape]
NUMBER_BOUNDS = ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf")
STRING_BOUNDS = ("minLength", "maxLength", "pattern", "format")
SCHEMA = 10  # steps that the reading of one takes
MAX_NESTED = 30  # definitions read within each other
OWN = frozenset(
    {*NUMBER_BOUNDS, *STRING_BOUNDS, "type", "items", "prefixItems", "additionalItems", "minItems", "maxItems"}
    | {"uniqueItems", "contains", "unevaluatedItems", "unevaluatedProperties", "properties", "patternProperties"}
    | {"additionalProperties", "required", "minProperties", "maxProperties", "propertyNames"}
)
APPLICATORS = ("$ref", "const", "enum", "allOf", "anyOf", "oneOf", "not", "if", "$dynamicRef", "$recursiveRef")
DEPENDENT = ("dependentRequired", "dependentSchemas", "dependencies")


class Reader:
    """Holds the definitions that were met so far, as shapes, and what was left out."""

    def __init__(self, document: Mapping[str, Json], *, is_strict: bool) -> None:
        self.is_strict = is_strict
        self.loosened: dict[str, None] = {}
        self.references = References(document)
        self.definitions: dict[str, Shape] = {}
        self.spend = Budget().spend
        self.meeting = Meeting(self.definition, self.spend, may_compile_late=is_strict)
        self.draft = drafts.LATEST
        self._reading: set[str] = set()
        self._waiting: dict[str, None] = {}
        self._in_place: dict[str, dict[str, str]] = {}  # of each definition the references at its own place, with paths
        self._holder: str | None = None
        self._exclusions: list[Exclusion] = []

    def read(self) -> Shape:
        """The shape of the document."""
        declared = self.references.document.get("$schema")
        self.draft = self.tried(".$schema", drafts.LATEST, lambda: drafts.draft(declared))
        self.definition("")
        while self._waiting:
            pointer = next(iter(self._waiting))
            del self._waiting[pointer]
            self.definition(pointer)
        self._check_loops()
        for exclusion in self._exclusions:
            self._check_exclusion(exclusion)
        return self.definitions[""]

    def definition(self, pointer: str) -> Shape:
        """The shape at a pointer. Raises Unenforceable within its own reading."""
        if pointer in self._reading:
            raise Unenforceable("a schema refers to itself at its own place")
        if len(self._reading) > MAX_NESTED:
            raise TooLarge("too many references that follow each other must hold together", is_malformed=True)
        if pointer not in self.definitions:
            self._reading.add(pointer)
            holder, self._holder = self._holder, pointer
            try:
                self.definitions[pointer] = self._schema(self.references.target(pointer), path_of(pointer))
            finally:
                self._holder = holder
                self._reading.discard(pointer)
        return self.definitions[pointer]

    def tried(self, path: str, fallback: T, make: Callable[[], T]) -> T:
        """What ``make`` returns; where it can't and the reader isn't strict, ``fallback``, and the path is noted."""
        try:
            return make()
        except Unenforceable as error:
            error.path = error.path or path
            if self.is_strict or isinstance(error, TooLarge):
                raise
            self.loosened[error.path] = None
            return fallback

    def inner(self, schema: Json, path: str) -> Shape:
        """The shape of a schema for a part of the value: an item, a property."""
        holder, self._holder = self._holder, None
        try:
            return self._schema(schema, path)
        finally:
            self._holder = holder

    def _schema(self, schema: Json, path: str) -> Shape:
        if isinstance(schema, bool):
            return ANY if schema else NOTHING
        if not isinstance(schema, Mapping):
            malformed = Unenforceable("it must be an object, true or false", path or ".", is_malformed=True)
            return self.tried(path, ANY, partial(fail, malformed))
        self.spend(SCHEMA)
        if "$ref" in schema and self.draft <= drafts.REF_STANDS_ALONE:
            schema = {"$ref": schema["$ref"]}
        for keyword in schema:
            self.tried(f"{path}.{keyword}", None, partial(drafts.check, keyword, self.draft))
        shape = ANY
        for part_path, make in self._parts(schema, path):
            shape = self.tried(part_path, shape, partial(self._met, shape, make))
        return shape

    def _met(self, shape: Shape, make: Callable[[], Shape]) -> Shape:
        return self.meeting.of(shape, make())

    def _parts(self, schema: Mapping[str, Json], path: str) -> Iterator[tuple[str, Callable[[], Shape]]]:
        """What must hold together, in the order that properties shall have."""
        schema = {keyword: value for keyword, value in schema.items() if drafts.is_known(keyword, self.draft)}
        own = ANY if OWN.isdisjoint(schema) else self._own(schema, path)
        first = "properties" if "properties" in schema else next(iter(schema), "")
        for keyword, value in schema.items():
            at = f"{path}.{keyword}"
            if keyword == first:
                yield path or ".", lambda: own
            if keyword == "oneOf":
                yield at, partial(self._one_of, value, own, at)
            elif keyword in APPLICATORS:
                yield at, partial(self._applied, keyword, schema, at)
            elif keyword in DEPENDENT:
                yield from objects.dependencies(self, value, at)

    def _applied(self, keyword: str, schema: Mapping[str, Json], path: str) -> Shape:
        value = schema[keyword]
        match keyword:
            case "$ref":
                return self._reference(value, path)
            case "const" | "enum":
                return self._values([value] if keyword == "const" else value)
            case "allOf":
                return self._all_of(value, path)
            case "anyOf":
                return union(self._options(value, path))
            case "not":
                return negated(value)
            case "if" if "then" not in schema and "else" not in schema:
                self._schema(value, path)  # it asks for nothing, but must be one
                return ANY
            case _:
                raise Unenforceable("this keyword isn't supported")

    def _options(self, value: Json, path: str) -> list[Shape]:
        return [self._schema(option, f"{path}[{at}]") for at, option in enumerate(kinds.schemas(value))]

    def _values(self, value: Json) -> Shape:
        if not isinstance(value, list):
            raise Unenforceable("it must be a list", is_malformed=True)
        return tuple(kinds.literal(option) for option in value)

    def _all_of(self, value: Json, path: str) -> Shape:
        shape = ANY
        for at, option in enumerate(kinds.schemas(value)):
            each = f"{path}[{at}]"
            shape = self.tried(each, shape, partial(self._met, shape, partial(self._schema, option, each)))
        return shape

    def _one_of(self, value: Json, beside: Shape, path: str) -> Shape:
        options = self._options(value, path)
        self._exclusions.append((path, options, beside))
        return union(options)

    def _reference(self, value: Json, path: str) -> Shape:
        pointer = self.references.pointer(value)
        if self._holder is not None:
            self._in_place.setdefault(self._holder, {})[pointer] = path
        if pointer not in self.definitions and pointer not in self._reading:
            self._waiting[pointer] = None
        return (Ref(pointer),)

    def _check_loops(self) -> None:
        """References that lead to themselves without a property or an item between say nothing."""
        for start in list(self._in_place):
            seen: set[str] = set()
            waiting = list(self._in_place.get(start, ()))
            while waiting:
                self.spend(1)
                pointer = waiting.pop()
                if pointer == start:
                    path = next(iter(self._in_place[start].values()))
                    self.tried(path, None, partial(fail, Unenforceable("it leads only to itself", path)))
                    self.definitions[start] = ANY
                    del self._in_place[start]
                    break
                if pointer not in seen:
                    seen.add(pointer)
                    waiting += self._in_place.get(pointer, ())

    def _check_exclusion(self, exclusion: Exclusion) -> None:
        path, options, beside = exclusion
        self.tried(path, None, lambda: self._exclude(options, beside))

    def _exclude(self, options: list[Shape], beside: Shape) -> None:
        for at, option in enumerate(options):
            for other in options[:at]:
                if not self.meeting.are_disjoint(option, other) and not (
                    beside != ANY
                    and self.meeting.are_disjoint(self.meeting.of(beside, option), self.meeting.of(beside, other))
                ):
                    raise Unenforceable("it isn't plain that at most one of the schemas holds; use anyOf")

    def _own(self, schema: Mapping[str, Json], path: str) -> Shape:
        """What the keywords of single kinds allow."""
        found: list[Kind] = []
        for name in self.tried(f"{path}.type", [*FREE], lambda: drafts.types(schema.get("type", [*FREE]))):
            found += self._kind(name, schema, path)
        return tuple(found)

    def _kind(self, name: str, schema: Mapping[str, Json], path: str) -> Shape:
        match name:
            case "number" | "integer":
                shape: Shape = (Number(is_integer=name == "integer"),)
                for keyword in NUMBER_BOUNDS:
                    shape = self._bounded(
                        shape,
                        keyword,
                        schema,
                        path,
                        partial(kinds.number_bound, schema=schema, draft=self.draft),
                    )
                return shape
            case "string":
                shape = (String(),)
                for keyword in STRING_BOUNDS:
                    shape = self._bounded(shape, keyword, schema, path, kinds.string_bound)
                return shape
            case "array":
                return self._array(schema, path)
            case "object":
                return objects.read(self, schema, path)
            case _:
                return (FREE[name],)

    def _bounded(
        self,
        shape: Shape,
        keyword: str,
        schema: Mapping[str, Json],
        path: str,
        make: Callable[[str, Json], Kind],
    ) -> Shape:
        if keyword not in schema:
            return shape
        return self.tried(
            f"{path}.{keyword}", shape, partial(self._met, shape, lambda: (make(keyword, schema[keyword]),))
        )

    def _array(self, schema: Mapping[str, Json], path: str) -> Shape:
        prefix, items = self._items(schema, path)
        least, most = self.counts(schema, path, "Items")
        for keyword in ("uniqueItems", "contains", "unevaluatedItems"):
            if keyword in schema and not drafts.holds_anyway(keyword, schema, most):
                why = Unenforceable("this keyword isn't supported", f"{path}.{keyword}")
                self.tried(path, None, partial(fail, why))
        kind = array(Array(prefix, None if items == ANY else items, least or 0, most))
        return NOTHING if kind is None else (kind,)

    def counts(self, schema: Mapping[str, Json], path: str, what: str) -> tuple[int | None, int | None]:
        """``minItems`` and ``maxItems``, or those of other things."""
        least, most = f"min{what}", f"max{what}"
        return (
            self.tried(f"{path}.{least}", None, partial(kinds.least, schema[least])) if least in schema else None,
            self.tried(f"{path}.{most}", None, partial(kinds.most, schema[most])) if most in schema else None,
        )

    def _items(self, schema: Mapping[str, Json], path: str) -> tuple[tuple[Shape, ...], Shape]:
        keyword, rest = ("prefixItems", "items")
        if isinstance(schema.get("items"), list):
            keyword, rest = ("items", "additionalItems")
        if rest not in schema and drafts.is_plain(schema):
            rest = "unevaluatedItems"
        if keyword not in schema:
            return (), self.inner(schema.get(rest, True), f"{path}.{rest}")
        read = self.tried(f"{path}.{keyword}", None, lambda: kinds.schemas(schema[keyword]))
        if read is None:
            return (), ANY
        prefix = tuple(self.inner(item, f"{path}.{keyword}[{at}]") for at, item in enumerate(read))
        return prefix, self.inner(schema.get(rest, True), f"{path}.{rest}")


def union(shapes: list[Shape]) -> Shape:
    """What any of the shapes allows."""
    if ANY in shapes:
        return ANY
    return tuple(kind for shape in shapes for kind in shape)


def negated(value: Json) -> Shape:
    """What a schema excludes, for the few that have a plain opposite. Raises Unenforceable."""
    if value in (True, {}):
        return NOTHING
    if value is False:
        return ANY
    match value:
        case {"type": str() | list() as named, **others} if not others:
            excluded = drafts.types(named)
            if "integer" not in excluded or "number" in excluded:
                return tuple(kind for name, kind in FREE.items() if name not in excluded)
        case {"required": list() as names, **others} if not others or others == {"type": "object"}:
            absent = objects.without(kinds.names(names))
            return absent if not others else (*absent, *(kind for name, kind in FREE.items() if name != "object"))
    raise Unenforceable("only the opposites of types and of required properties are supported")


def fail(error: Unenforceable) -> NoReturn:
    """Raise it."""
    raise error
