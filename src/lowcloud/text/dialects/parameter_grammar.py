"""The grammar of calls whose arguments are written one by one, as raw texts: each is bound by its property's schema.

Those that must be there are, in the schema's order; others may be. Keywords of an object as a whole (``minProperties``
and the like) bind JSON, not such calls: a strict tool that has one is refused.
"""

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from lowcloud.core.output import AnyText, Regex, Schema
from lowcloud.core.tools import Tool
from lowcloud.text.dialects.parameters import ANNOTATIONS, branches, definitions, kind_of, members, resolved
from lowcloud.text.dialects.reading import INPUT, arguments_schema
from lowcloud.text.grammar import LarkWriter, escaped_regex

STRING_BOUNDS = frozenset(("enum", "pattern", "format", "minLength", "maxLength", "allOf"))
_OBJECT = ANNOTATIONS | {"type", "properties", "required", "additionalProperties"}  # what calls keep to
_FIRST = {"integer": "-0-9", "number": "-0-9", "object": r"\{", "array": r"\["}  # how values of a type begin
_ANY_KEY = "\0"
_ANY = r"(.|\n)*"
_KEY = r"/[^<>\"'=\s]+/"


@dataclass(frozen=True, slots=True)
class ParameterSyntax:
    """How one argument is written: ``opening`` of its key, and of whether it is a string; its value; ``closing``.

    ``never`` are regular expressions of what no raw text holds, since it would be read as its end. ``tells_strings``:
    the opening shows whether the value is a string; else the value alone does, by the schema.
    """

    opening: Callable[[str, bool], str]
    closing: str
    never: tuple[str, ...]
    tells_strings: bool = False


def arguments_expression(lark: LarkWriter, tool: Tool, syntax: ParameterSyntax) -> str:
    """An expression for all arguments of a call. Raises UnsupportedSchema for a strict tool that can't."""
    return _Arguments(lark, tool, syntax).expression()


def string_terminal(branch: Schema) -> tuple[str, tuple[str, ...]]:
    """What a raw string may be, as a part of a terminal, and the keywords that it can't keep to."""
    values = branch.get("enum")
    if isinstance(values, Sequence):
        return "(" + " | ".join(json.dumps(value, ensure_ascii=False) for value in values) + ")", ()
    parts = [f"/{_ANY}/"]
    unkept: list[str] = []
    for part in (branch, *members(branch)):
        low, high = part.get("minLength"), part.get("maxLength")
        if isinstance(low, int) or isinstance(high, int):
            parts.append(rf"/(.|\n){{{low or 0},{high if isinstance(high, int) else ''}}}/")
        if isinstance(part.get("pattern"), str):
            pattern = _pattern(str(part["pattern"]))
            parts += [f"/{pattern}/"] if pattern else []
            unkept += [] if pattern else ["pattern"]
        unkept += ["format"] if "format" in part else []  # schemas have patterns in the place of those that are known
    return "(" + " & ".join(parts) + ")", tuple(unkept)


def _pattern(pattern: str) -> str | None:
    """A pattern that matches the whole, as a terminal's do: JSON Schema's may match anywhere. None: there is none."""
    inner = pattern.removeprefix("^")
    is_ended = inner.endswith("$") and not inner.endswith("\\$")
    inner = inner[:-1] if is_ended else inner
    is_whole = pattern.startswith("^(?:") and pattern.endswith(")$")  # as schemas are cut to what can be enforced
    if not is_whole and re.search(r"(?<![\\\[])\^|(?<!\\)\$|\\[bB]", inner):
        return None
    before, after = "" if pattern.startswith("^") else _ANY, "" if is_ended else _ANY
    return f"{before}({escaped_regex(inner)}){after}"


class _Arguments:
    def __init__(self, lark: LarkWriter, tool: Tool, syntax: ParameterSyntax) -> None:
        self._lark, self._tool, self._syntax = lark, tool, syntax
        self._root = arguments_schema(tool)
        self._whole = resolved(self._root, self._root)

    def expression(self) -> str:
        if self._tool.input is not None:
            return self._input()
        for word in sorted(self._whole.keys() - _OBJECT):
            self._lark.leave_out(self._tool, word)
        properties = self._whole.get("properties")
        known = dict(properties) if isinstance(properties, Mapping) else {}
        required = self._whole.get("required")
        needed = list(required) if isinstance(required, Sequence) else []
        known.update({key: {} for key in needed if key not in known})
        if not known and properties is None and self._whole.get("additionalProperties") is not False:
            return f"({self._lark.rule(self._property(_ANY_KEY, self._whole.get('additionalProperties')))})*"
        given = {key: schema for key, schema in known.items() if schema is not False}
        written = [(key, self._lark.rule(self._property(key, schema))) for key, schema in given.items()]
        return " ".join(name if key in needed else f"{name}?" for key, name in written)

    def _input(self) -> str:
        """A custom tool's one argument: a raw text; where a grammar binds it JSON, so that it can't hold its end."""
        opening = self._opening(INPUT, is_text=True)
        if self._tool.input is None or isinstance(self._tool.input, AnyText):
            return f"{opening} {self._text(f'/{_ANY}/')}"
        if isinstance(self._tool.input, Regex):
            return f"{opening} {self._text(f'/{escaped_regex(self._tool.input.pattern)}/')}"
        closing = self._syntax.closing
        may_hold_it = not (closing.startswith("\n") or self._lark.has_token(closing))
        written = self._lark.json_text(self._tool.input, escapes_slash=may_hold_it)
        return f"{self._opening(INPUT, is_text=False)} {written} {self._lark.literal(closing)}"

    def _opening(self, key: str, *, is_text: bool) -> str:
        before, any_key, after = self._syntax.opening(key, is_text).partition(_ANY_KEY)
        free = self._lark.terminal(_KEY) if any_key else ""
        return " ".join(filter(None, (self._lark.literal(before), free, self._lark.literal(after))))

    def _property(self, key: str, schema: object) -> str:
        """One argument: any of what its schema allows."""
        found = branches(schema, self._root)
        strings = [branch for branch in found if kind_of(branch) in (None, "string")]
        values = [branch for branch in found if branch not in strings]
        first = ""
        if not self._syntax.tells_strings and not all(set(branch) & STRING_BOUNDS for branch in strings):
            # A free text holds plain values too, and is read as one; other values must begin as no text does.
            values = [branch for branch in values if not _is_plain(branch)]
            first = "".join(sorted({_FIRST.get(str(kind_of(branch)), "") for branch in values}))
        shown = [self._as_json(key, branch) for branch in values]
        if strings:
            body = " | ".join(self._body(key, branch) for branch in strings)
            bounded = f"({body}) & ~/[{first}]{_ANY}/" if first else f"({body})"
            shown.insert(0, f"{self._opening(key, is_text=True)} {self._text(bounded)}")
        return " | ".join(shown)

    def _as_json(self, key: str, branch: Schema) -> str:
        value = self._lark.json({**branch, **definitions(self._root)})
        return f"{self._opening(key, is_text=False)} {value} {self._lark.literal(self._syntax.closing)}"

    def _text(self, body: str) -> str:
        """A raw text and what closes it."""
        closing = self._syntax.closing
        if not self._lark.has_token(closing):
            body = f"{body} & ~/{_ANY}({'|'.join(self._syntax.never)}){_ANY}/"
        return self._lark.ended(body, closing)

    def _body(self, key: str, branch: Schema) -> str:
        body, unkept = string_terminal(branch)
        for word in unkept:
            self._lark.leave_out(self._tool, f"properties.{key}.{word}")
        return body


def _is_plain(branch: Schema) -> bool:
    """A null, boolean or number without bounds."""
    return set(branch) <= ANNOTATIONS | {"type"} and kind_of(branch) not in ("object", "array")
