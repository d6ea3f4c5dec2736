"""Writes shapes as a schema of the few keywords that llguidance enforces whole. Pure."""

from collections.abc import Mapping, Sequence, Set

from lowcloud.text.schema.breadth import check_breadth
from lowcloud.text.schema.expressions import Pattern, Spend, regex
from lowcloud.text.schema.meeting import item_at
from lowcloud.text.schema.shapes import (
    ANY,
    Array,
    Boolean,
    Kind,
    Null,
    Number,
    NumberValue,
    Object,
    Ref,
    Shape,
    String,
    TooLarge,
)

Schema = dict[str, object]
MAX_KINDS = 5000  # in all, single values not counted: beyond them llguidance takes seconds, or refuses
MAX_STEPS = 20_000  # of all multipleOf together: states of automata
MAX_DEPTH = 10  # of shapes; deeper ones are written as definitions, since readers of JSON bound its nesting


def written(root: Shape, definitions: Mapping[str, Shape], spend: Spend) -> Schema | None:
    """The schema; None where nothing finite is of the shape. Raises TooLarge."""
    check_breadth(root, definitions)
    writer = _Writer(definitions, _finite(definitions, spend))
    schema = writer.shape(root, 0)
    if schema is False:
        return None
    if not isinstance(schema, dict):
        return {}
    while writer.waiting:
        name, shape = writer.waiting.popitem()
        writer.definitions[name] = writer.shape(shape, 0)
    return {**schema, "$defs": writer.definitions} if writer.definitions else schema


def _finite(definitions: Mapping[str, Shape], spend: Spend) -> Set[str]:
    """The definitions of which a value can be finite: those that must hold themselves can't."""
    found: set[str] = set()
    inner_first = list(definitions)[::-1]
    n_before = -1
    while len(found) > n_before:
        n_before = len(found)
        spend(len(inner_first))
        for name in inner_first:
            if name not in found and _shape_ends(definitions[name], found):
                found.add(name)
    return found


def _ends(kind: Kind, finite: Set[str]) -> bool:
    match kind:
        case Ref(pointer=pointer):
            return pointer in finite
        case Array():
            places = range(min(kind.min_items, len(kind.prefix) + 1))
            return all(_shape_ends(item_at(kind, at), finite) for at in places)
        case Object():
            if not all(_shape_ends(kind.properties[name], finite) for name in kind.required):
                return False
            if kind.min_properties <= len(kind.required):
                return True
            others = [shape for name, shape in kind.properties.items() if name not in kind.required]
            others += [shape for _, shape in kind.patterns] + [ANY if kind.additional is None else kind.additional]
            return any(_shape_ends(shape, finite) for shape in others)
        case _:
            return True


def _shape_ends(shape: Shape, finite: Set[str]) -> bool:
    return any(_ends(kind, finite) for kind in shape)


class _Writer:
    def __init__(self, shapes: Mapping[str, Shape], finite: Set[str]) -> None:
        self.shapes = shapes
        self.finite = finite
        self.names: dict[str, str] = {}
        self.waiting: dict[str, Shape] = {}
        self.definitions: Schema = {}
        self.n_names = 0
        self.n_kinds = 0
        self.n_steps = 0

    def shape(self, shape: Shape, depth: int) -> Schema | bool:
        if shape == ANY:
            return True
        kinds = [kind for kind in shape if _ends(kind, self.finite)]
        if depth > MAX_DEPTH and any(isinstance(kind, Array | Object) for kind in kinds):
            return {"$ref": f"#/$defs/{self._hoisted(tuple(kinds))}"}
        values = [
            kind.value for kind in kinds if isinstance(kind, Boolean | Number | String) and kind.value is not None
        ]
        options: list[Schema] = [{"enum": _distinct(values)}] if values else []
        options += [self._kind(kind, depth) for kind in kinds if getattr(kind, "value", None) is None]
        if len(options) > 1:
            return {"anyOf": options}
        return options[0] if options else False

    def _hoisted(self, shape: Shape) -> str:
        self.n_names += 1
        name = f"d{self.n_names}"
        self.waiting[name] = shape
        return name

    def _kind(self, kind: Kind, depth: int) -> Schema:
        self.n_kinds += 1
        if self.n_kinds > MAX_KINDS:
            raise TooLarge(f"it comes to more than {MAX_KINDS} parts", is_malformed=True)
        if isinstance(kind, Number) and kind.multiple_of is not None:
            self.n_steps += kind.multiple_of.numerator
            if self.n_steps > MAX_STEPS:
                raise TooLarge(f"its steps of multipleOf come to more than {MAX_STEPS}", is_malformed=True)
        match kind:
            case Null() | Boolean():
                return {"type": "null" if kind == Null() else "boolean"}
            case Number():
                return _number(kind)
            case String():
                return _string(kind)
            case Array():
                return self._array(kind, depth + 1)
            case Object():
                return self._object(kind, depth + 1)
            case Ref(pointer=pointer):
                if pointer not in self.names:
                    self.names[pointer] = self._hoisted(self.shapes[pointer])
                return {"$ref": f"#/$defs/{self.names[pointer]}"}

    def _array(self, kind: Array, depth: int) -> Schema:
        schema: Schema = {"type": "array"}
        if kind.prefix:
            schema["prefixItems"] = [self.shape(item, depth) for item in kind.prefix]
        if kind.items is not None:
            schema["items"] = self.shape(kind.items, depth)
        if kind.min_items:
            schema["minItems"] = kind.min_items
        if kind.max_items is not None:
            schema["maxItems"] = kind.max_items
        return schema

    def _object(self, kind: Object, depth: int) -> Schema:
        schema: Schema = {"type": "object"}
        if kind.properties:
            schema["properties"] = {name: self.shape(shape, depth) for name, shape in kind.properties.items()}
        if kind.patterns:
            schema["patternProperties"] = {_text(pattern): self.shape(shape, depth) for pattern, shape in kind.patterns}
        if kind.additional is not None:
            schema["additionalProperties"] = self.shape(kind.additional, depth)
        if kind.required:
            schema["required"] = [name for name in kind.properties if name in kind.required]
        if kind.min_properties:
            schema["minProperties"] = kind.min_properties
        if kind.max_properties is not None:
            schema["maxProperties"] = kind.max_properties
        return schema


def _number(kind: Number) -> Schema:
    schema: Schema = {"type": "integer" if kind.is_integer else "number"}
    if kind.minimum is not None:
        schema["minimum"] = kind.minimum
    if kind.maximum is not None:
        schema["maximum"] = kind.maximum
    if kind.multiple_of is not None:
        step = kind.multiple_of
        schema["multipleOf"] = step.numerator if step.denominator == 1 else float(step)
    return schema


def _string(kind: String) -> Schema:
    schema: Schema = {"type": "string"}
    if kind.min_length:
        schema["minLength"] = kind.min_length
    if kind.max_length is not None:
        schema["maxLength"] = kind.max_length
    if len(kind.patterns) == 1:
        schema["pattern"] = _text(kind.patterns[0])
    elif kind.patterns:
        schema = {"allOf": [schema, *({"type": "string", "pattern": _text(pattern)} for pattern in kind.patterns)]}
    return schema


def _text(pattern: Pattern) -> str:
    return regex(pattern.narrow)


def _distinct(values: Sequence[bool | NumberValue | str]) -> list[bool | NumberValue | str]:
    return list({(type(value), value): value for value in values}.values())
