"""Calls whose arguments are written one by one, as raw texts: what each is by the tool's schema, as pieces of JSON."""

import ast
import json
from collections.abc import Mapping, Sequence

from lowcloud.core.output import Lark, Schema
from lowcloud.core.tools import Tool
from lowcloud.text.channels import Reader
from lowcloud.text.dialects.reading import arguments_schema, not_json, shown

MOST_BRANCHES = 10_000  # a schema of more is taken for one of anything; those that can be enforced have fewer
DEFINITIONS = ("$defs", "definitions")
ANNOTATIONS = frozenset(  # keywords that bind nothing by themselves
    (*DEFINITIONS, "$schema", "$id", "$comment", "title", "description", "default", "examples", "deprecated", "strict")
)
UNIONS = ("anyOf", "oneOf")
_LITERALS = {"True": "true", "False": "false", "None": "null"}  # as templates that print Python values write them


class Arguments:
    """The present call's arguments, passed on as pieces of one JSON object. ``tool``: None for one that isn't known.

    A text that a caller's grammar binds is written as JSON.
    """

    def __init__(self, reader: Reader, name: str, tool: Tool | None) -> None:
        self._reader = reader
        self._root = {} if tool is None else arguments_schema(tool)
        self._is_json = tool is not None and isinstance(tool.input, Lark)
        self._n = 0
        reader.begin(name)

    def add(self, key: str, text: str, *, is_text: bool | None = None) -> None:
        """One argument. ``is_text``: the model says whether it is a string; None: only the schema can tell."""
        is_text = False if self._is_json else is_text
        schema = property_schema(self._root, key)
        if is_text or (is_text is None and _is_named(text, schema, self._root)):
            value = shown(text)
        else:
            kinds = kinds_of(schema, self._root)
            value = value_json(text, kinds if is_text is None else kinds - {"string"})
        self._reader.arguments(f"{', ' if self._n else '{'}{shown(key)}: {value}")
        self._n += 1

    def end(self) -> None:
        """Nothing follows, and the call is well formed."""
        self._reader.arguments("}" if self._n else "{}")
        self._reader.end()


def value_json(text: str, kinds: frozenset[str]) -> str:
    """The JSON of a value that was written raw and is of one of ``kinds``, JSON's type names; none: not known.

    What may be a string is one unless it is, to the letter, JSON of another kind that it may be.
    """
    if kinds == {"string"}:
        return shown(text)
    if "string" in kinds:
        kind = None if text != text.strip() else _kind_of(text)
        return text if kind is not None and kind in _widened(kinds - {"string"}) else shown(text)
    stripped = text.strip()
    if _kind_of(stripped) is not None:
        return stripped
    return (_from_python(stripped) if kinds else None) or shown(text)


def property_schema(root: Schema, key: str) -> object:
    """The schema of an object's member."""
    members = resolved(root, root)
    properties = members.get("properties")
    if isinstance(properties, Mapping) and key in properties:
        found: object = properties[key]
        return found
    return members.get("additionalProperties")


def kinds_of(schema: object, root: Schema) -> frozenset[str]:
    """JSON's names of the types that a schema allows; none where it doesn't say."""
    kinds = [kind_of(branch) for branch in branches(schema, root)]
    return frozenset() if None in kinds else frozenset(filter(None, kinds))


def kind_of(branch: Schema) -> str | None:
    """The one type of a branch; None where it doesn't say."""
    kinds = [part["type"] for part in (branch, *members(branch)) if isinstance(part.get("type"), str)]
    if kinds:
        return str(kinds[0])
    return "object" if "properties" in branch else "array" if "items" in branch else None


def members(branch: Schema) -> list[Schema]:
    """The schemas that hold with a branch."""
    parts = branch.get("allOf")
    return [part for part in parts if isinstance(part, Mapping)] if isinstance(parts, Sequence) else []


def branches(schema: object, root: Schema) -> list[Schema]:
    """A schema as alternatives without references, unions and lists of types at their tops; none for ``false``."""
    found: list[Schema] = []
    waiting = [] if schema is False else [resolved(schema, root)]
    seen: set[str] = set()  # unions may hold themselves, and each other many times
    while waiting:
        here = waiting.pop()
        known = json.dumps(here, sort_keys=True)
        if known in seen:
            continue
        seen.add(known)
        if len(seen) > MOST_BRANCHES:
            return [{}]
        options = _union(here, root)
        waiting += reversed(options)
        found += [] if options else _by_kind(here)
    return found


def resolved(schema: object, root: Schema) -> Schema:
    """A schema without a reference, or an ``allOf`` of one schema, at its top; {} for one that leads to itself."""
    here: Schema = schema if isinstance(schema, Mapping) else {}
    followed: set[str] = set()
    while True:
        only = here.get("allOf")
        if isinstance(here.get("$ref"), str):
            reference = str(here["$ref"])
            if reference in followed:
                return {}
            followed.add(reference)
            inner = _pointed(reference, root)
        elif isinstance(only, Sequence) and len(only) == 1 and isinstance(only[0], Mapping):
            inner = only[0]
        else:
            return here
        here = {**{key: value for key, value in here.items() if key not in ("$ref", "allOf")}, **inner}


def definitions(root: Schema) -> Schema:
    """What a part of a schema must have beside it so that its references lead somewhere."""
    return {word: root[word] for word in DEFINITIONS if word in root}


def _union(here: Schema, root: Schema) -> list[Schema]:
    """What a union is one of, each with what stands beside it; nothing for a schema that is none."""
    for word in UNIONS:
        options = here.get(word)
        if isinstance(options, Sequence) and options:
            rest = {key: value for key, value in here.items() if key != word}
            return [{**rest, **resolved(option, root)} for option in options]
    return []


def _is_named(text: str, schema: object, root: Schema) -> bool:
    """Whether the schema names this string: then no other value is meant by it."""
    named = (_values(branch) for branch in branches(schema, root))
    return any(text in values for values in named if values is not None)


def _by_kind(here: Schema) -> list[Schema]:
    kinds, values = here.get("type"), _values(here)
    if values is not None:
        rest = {key: value for key, value in here.items() if key != "const"}
        allowed = [value for value in values if kinds is None or _kind(value) in _widened(_names(kinds))]
        grouped = {_kind(value): [other for other in allowed if _kind(other) == _kind(value)] for value in allowed}
        return [{**rest, "type": kind, "enum": group} for kind, group in grouped.items()]
    if isinstance(kinds, str) or not isinstance(kinds, Sequence):
        return [here]
    return [{**here, "type": kind} for kind in kinds]


def _values(here: Schema) -> list[object] | None:
    if "const" in here:
        return [here["const"]]
    values = here.get("enum")
    return list(values) if isinstance(values, Sequence) and not isinstance(values, str) else None


def _names(kinds: object) -> frozenset[str]:
    return frozenset([kinds] if isinstance(kinds, str) else kinds if isinstance(kinds, Sequence) else [])


def _widened(kinds: frozenset[str]) -> frozenset[str]:
    return kinds | {"integer"} if "number" in kinds else kinds


def _pointed(reference: str, root: Schema) -> Schema:
    here: object = root if reference.startswith("#") else {}
    for step in reference.lstrip("#").split("/")[1:]:
        name = step.replace("~1", "/").replace("~0", "~")
        here = here.get(name) if isinstance(here, Mapping) else None
    return here if isinstance(here, Mapping) else {}


def _kind_of(text: str) -> str | None:
    """The type of a JSON text; None for what isn't JSON."""
    try:
        return _kind(json.loads(text, parse_constant=not_json, parse_int=float))
    except (ValueError, RecursionError):
        return None


def _kind(value: object) -> str:
    match value:
        case None:
            return "null"
        case bool():
            return "boolean"
        case float() | int():
            return "integer" if float(value).is_integer() else "number"
        case str():
            return "string"
        case Mapping():
            return "object"
        case _:
            return "array"


def _from_python(text: str) -> str | None:
    """JSON of an object or a list that was written as Python prints it, and of True, False and None."""
    if text in _LITERALS or not text.startswith(("{", "[")):
        return _LITERALS.get(text)
    try:
        return json.dumps(ast.literal_eval(text), ensure_ascii=False, allow_nan=False)
    except (ValueError, SyntaxError, TypeError, RecursionError, MemoryError):
        return None
