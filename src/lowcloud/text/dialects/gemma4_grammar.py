"""The grammar of Gemma 4's calls: bare keys, sorted as its templates sort them; strings raw between quote tokens.

Keywords of an object or a list that such a call can't keep to are refused for a strict tool.
"""

import json
import re
from collections.abc import Mapping, Sequence

from lowcloud.core.output import Lark, Schema
from lowcloud.core.tools import Tool
from lowcloud.text.dialects.gemma4_arguments import QUOTE
from lowcloud.text.dialects.parameter_grammar import STRING_BOUNDS, string_terminal
from lowcloud.text.dialects.parameters import ANNOTATIONS, branches, definitions, kind_of
from lowcloud.text.dialects.reading import INPUT, arguments_schema
from lowcloud.text.grammar import CallSyntax, LarkWriter, alternatives

OPEN, CLOSE = "<|tool_call>", "<tool_call|>"
HEAD = "call:"
_OBJECT = ANNOTATIONS | {"type", "properties", "required", "additionalProperties", "enum"}
_LIST = ANNOTATIONS | {"type", "items", "minItems", "maxItems", "enum"}
_KEY = r"/[^:{}\[\],<>\"\s]+/"
_SCALARS: Schema = {"type": ["number", "boolean", "null"]}


def _call(lark: LarkWriter, tool: Tool) -> str:
    return f"{lark.literal(HEAD + tool.name)} {_arguments(lark, tool)} {lark.literal(CLOSE)}"


def _arguments(lark: LarkWriter, tool: Tool) -> str:
    if isinstance(tool.input, Lark):  # as JSON, in which no text can end the string
        return f'"{{{INPUT}:" {lark.json_text(tool.input)} "}}"'
    schema = arguments_schema(tool)
    return _Values(lark, tool, schema).value(schema)


SYNTAX = CallSyntax(_call, opener=OPEN, between=OPEN)


class _Values:
    """Expressions for the values of one tool's arguments; a schema that comes again is the same rule."""

    def __init__(self, lark: LarkWriter, tool: Tool, root: Schema) -> None:
        self._lark, self._tool, self._root = lark, tool, root
        self._known: dict[str, str] = {}

    def value(self, schema: object, path: str = "") -> str:
        """A value that a schema allows; its name stands before its body does, for schemas that hold themselves.

        ``path`` is the schema's in the tool's, and a dot where it isn't that itself.
        """
        found = branches(schema, self._root)
        key = json.dumps(found, sort_keys=True)
        if key not in self._known:
            name = self._known[key] = self._lark.rule("")
            index = len(self._lark.rules) - 1
            self._lark.rules[index] = f"{name}: {alternatives([self._branch(branch, path) for branch in found])}"
        return self._known[key]

    def _branch(self, branch: Schema, path: str) -> str:
        match kind_of(branch):
            case "string":
                return self._string(branch, path)
            case "object" | "array" if "enum" in branch:
                return f"({alternatives([self._lark.literal(_written(value)) for value in _listed(branch)])})"
            case "object":
                return self._object(branch, path)
            case "array":
                return self._list(branch, path)
            case None:
                kinds: list[Schema] = [{"type": kind} for kind in ("string", "object", "array")]
                return alternatives([self._lark.json(_SCALARS), *map(self.value, kinds)])
            case _:
                return self._lark.json({**branch, **definitions(self._root)})

    def _string(self, branch: Schema, path: str) -> str:
        if not set(branch) & STRING_BOUNDS:
            return f"{self._lark.literal(QUOTE)} {self._lark.text_until(QUOTE)}"
        body, unkept = string_terminal(branch)
        for word in unkept:
            self._lark.leave_out(self._tool, path + word)
        if not self._lark.has_token(QUOTE):
            body = f"{body} & ~/(.|\\n)*{re.escape(QUOTE)}(.|\\n)*/"
        return f"{self._lark.literal(QUOTE)} {self._lark.ended(body, QUOTE)}"

    def _object(self, branch: Schema, path: str) -> str:
        self._check(branch, _OBJECT, path)
        properties, required = branch.get("properties"), branch.get("required")
        declared = dict(properties) if isinstance(properties, Mapping) else {}
        needed = set(required) if isinstance(required, Sequence) else set()
        declared.update({key: {} for key in needed if key not in declared})
        if not declared and branch.get("additionalProperties") is not False:
            value = self.value(branch.get("additionalProperties"), f"{path}additionalProperties.")
            member = f'{self._lark.terminal(_KEY)} ":" {value}'
            return f'"{{" ({member} ("," {member})*)? "}}"'
        known = {key: schema for key, schema in declared.items() if schema is not False}
        keys = sorted(known, key=str.lower)
        values = {key: self.value(known[key], f"{path}properties.{key}.") for key in keys}
        members = [(f"{self._lark.literal(_key(key) + ':')} {values[key]}", key in needed) for key in keys]
        return f'"{{" {self._members(members)} "}}"'

    def _members(self, members: Sequence[tuple[str, bool]]) -> str:
        """Members in their order, commas between those that are there."""
        firsts: list[str] = []
        rest = ""
        for member, is_needed in reversed(members):
            if is_needed:
                firsts.clear()
            firsts.append(f"{member} {rest}".strip())
            rest = self._lark.rule(f'("," {member}){"" if is_needed else "?"} {rest}')
        is_empty = not any(is_needed for _, is_needed in members)
        return f"({alternatives(firsts)}){'?' if is_empty else ''}" if firsts else ""

    def _list(self, branch: Schema, path: str) -> str:
        self._check(branch, _LIST, path)
        low, high = branch.get("minItems"), branch.get("maxItems")
        low = low if isinstance(low, int) else 0
        if branch.get("items") is False or (isinstance(high, int) and high < 1):
            return '"[" "]"'
        item = self.value(branch.get("items"), f"{path}items.")
        more = f"{{{max(low - 1, 0)},{high - 1}}}" if isinstance(high, int) else f"{{{max(low - 1, 0)},}}"
        return f'"[" ({item} ("," {item}){more}){"" if low else "?"} "]"'

    def _check(self, branch: Schema, kept: frozenset[str], path: str) -> None:
        for word in sorted(set(branch) - kept):
            self._lark.leave_out(self._tool, path + word)


def _listed(branch: Schema) -> Sequence[object]:
    values = branch.get("enum")
    return values if isinstance(values, Sequence) else ()


def _key(key: str) -> str:
    """A key as the model writes it: bare, or in quotes where it would be read otherwise."""
    return f"{QUOTE}{key}{QUOTE}" if re.search(r'[:{}<"]|^\s|\s$|^$', key) else key


def _written(value: object) -> str:
    """A value as the model writes it."""
    match value:
        case str():
            return f"{QUOTE}{value}{QUOTE}"
        case Mapping():
            return "{" + ",".join(f"{_key(key)}:{_written(value[key])}" for key in sorted(value, key=str.lower)) + "}"
        case list() | tuple():
            return "[" + ",".join(map(_written, value)) + "]"
        case _:
            return json.dumps(value)
