"""Calls written as Python, ``[name(key=value, ...)]``: how they are read, as JSON, and the grammar that bounds them."""

import ast
import json
import math
import re
from collections.abc import Generator, Iterable, Mapping, Sequence

from lowcloud.core.output import Lark, Schema
from lowcloud.core.tools import Tool
from lowcloud.text.channels import Emit, Reader, Script
from lowcloud.text.dialects.dialect import Outlook
from lowcloud.text.dialects.parameters import ANNOTATIONS, definitions
from lowcloud.text.dialects.reading import INPUT, arguments_schema, shown
from lowcloud.text.grammar import CallSyntax, LarkWriter, alternatives

_MAX_DEPTH = 64
_MAX_SCALAR = 64  # characters of a number that isn't written as in JSON
_KEY = re.compile(r"[^\s=(),\[\]'\"]+")
_NUMBER = re.compile(r"-?(0|[1-9]\d*)(\.\d+)?([eE][+-]?\d+)?")
_CONSTANTS = {"True": "true", "False": "false", "None": "null", "true": "true", "false": "false", "null": "null"}
_ESCAPES = {"a": "\x07", "v": "\x0b", "'": "'", "\n": "", **{char: json.loads(f'"\\{char}"') for char in 'bfnrt"\\'}}
_QUOTES = ("'''", '"""', "'", '"')
_HEX_DIGITS = {"x": 2, "u": 4, "U": 8}
_OBJECT = ANNOTATIONS | {"type", "properties", "required", "additionalProperties"}  # what calls keep to

# how calls are read


def begins_calls(reader: Reader, outlook: Outlook) -> Generator[None, None, bool]:
    """Whether a list of calls follows, whose first is of a tool that may be called. For ``Reader.ahead``."""
    yield from reader.spaces()
    if (yield from reader.goes_on(("[",))) is None:
        return False
    yield from reader.spaces()
    if (yield from reader.goes_on(_heads(outlook))) is None:
        return False
    yield from reader.spaces()
    if (yield from reader.peek()) == ")":
        return True
    return (yield from _key(reader)) is not None


def read_calls(reader: Reader, outlook: Outlook) -> Script:
    """Read a list of calls, each passing on as it comes, its arguments as JSON."""
    yield from reader.spaces()
    yield from reader.goes_on(("[",))
    while True:
        yield from reader.spaces()
        head = yield from reader.goes_on(_heads(outlook))
        if head is None:
            break
        reader.begin(head[:-1])
        if not (yield from _arguments(reader)):
            return
        reader.end()
        yield from reader.spaces()
        if (yield from reader.goes_on((",",))) is None:
            break
    yield from reader.goes_on(("]",))


def _heads(outlook: Outlook) -> list[str]:
    return [f"{tool.name}(" for tool in outlook.tools]


def _arguments(reader: Reader) -> Generator[None, None, bool]:
    """Read ``key=value, ...)``, passing it on as an object. False if it isn't that, or is cut."""
    reader.arguments("{")
    keys: set[str] = set()
    yield from reader.spaces()
    while (yield from reader.goes_on((")",))) is None:
        key = yield from _key(reader)
        if key is None or key in keys:
            return False
        reader.arguments((", " if keys else "") + shown(key) + ": ")
        keys.add(key)
        yield from reader.spaces()
        if not (yield from _value(reader, reader.arguments, _MAX_DEPTH)):
            return False
        if not (yield from _goes_on_or_ends(reader, ")")):
            return False
    reader.arguments("}")
    return True


def _key(reader: Reader) -> Generator[None, None, str | None]:
    """A key and its equals sign."""
    key = (yield from reader.word("=(),[]'\"\n")).strip()
    if (yield from reader.goes_on(("=",))) is None or not _KEY.fullmatch(key):
        return None
    return key


def _goes_on_or_ends(reader: Reader, end: str) -> Generator[None, None, bool]:
    """Read a comma, or see that ``end`` follows."""
    yield from reader.spaces()
    if (yield from reader.goes_on((",",))) is None:
        return (yield from reader.peek()) == end
    yield from reader.spaces()
    return True


def _value(reader: Reader, emit: Emit, depth: int) -> Generator[None, None, bool]:
    """Read a literal, passing it on as JSON. False if it isn't one, or is cut."""
    if depth == 0:
        return False
    quote = yield from reader.goes_on(_QUOTES)
    if quote is not None:
        return (yield from _string(reader, emit, quote))
    match (yield from reader.goes_on(("[", "(", "{"))):
        case "[":
            return (yield from _items(reader, emit, "]", depth))
        case "(":
            return (yield from _items(reader, emit, ")", depth))
        case "{":
            return (yield from _members(reader, emit, depth))
    scalar = _scalar((yield from reader.word(",)]}: \t\r\n")))
    emit(scalar or "")
    return scalar is not None


def _items(reader: Reader, emit: Emit, end: str, depth: int) -> Generator[None, None, bool]:
    emit("[")
    before = ""
    yield from reader.spaces()
    while (yield from reader.goes_on((end,))) is None:
        emit(before)
        before = ", "
        if not (yield from _value(reader, emit, depth - 1)) or not (yield from _goes_on_or_ends(reader, end)):
            return False
    emit("]")
    return True


def _members(reader: Reader, emit: Emit, depth: int) -> Generator[None, None, bool]:
    emit("{")
    before = ""
    yield from reader.spaces()
    while (yield from reader.goes_on(("}",))) is None:
        key: list[str] = []
        if not (yield from _value(reader, key.append, depth - 1)):
            return False
        yield from reader.spaces()
        if (yield from reader.goes_on((":",))) is None:
            return False
        emit(f"{before}{_as_key(''.join(key))}: ")
        before = ", "
        yield from reader.spaces()
        if not (yield from _value(reader, emit, depth - 1)) or not (yield from _goes_on_or_ends(reader, "}")):
            return False
    emit("}")
    return True


def _as_key(text: str) -> str:
    return text if text.startswith('"') else shown(text)


def _string(reader: Reader, emit: Emit, quote: str) -> Generator[None, None, bool]:
    """Read on inside a string to its end."""

    def say(text: str) -> None:
        emit(shown(text)[1:-1])

    emit('"')
    while (mark := (yield from reader.until((quote, "\\"), say))) == "\\":
        letter = yield from reader.peek()
        if letter in _HEX_DIGITS:
            said = _char((yield from reader.peek(1 + _HEX_DIGITS[letter]))[1:])
            if said is None:
                return False
            reader.take(1 + _HEX_DIGITS[letter])
            emit(said)
        else:
            reader.take(1)
            say(_ESCAPES.get(letter, f"\\{letter}"))
    emit('"' if mark is not None else "")
    return mark is not None


def _char(digits: str) -> str | None:
    """The character of this number, as it stands in a JSON string: half of a surrogate pair as an escape."""
    if not re.fullmatch(r"[0-9a-fA-F]+", digits) or int(digits, 16) > 0x10FFFF:
        return None
    char = chr(int(digits, 16))
    return json.dumps(char, ensure_ascii="\ud800" <= char <= "\udfff")[1:-1]


def _scalar(word: str) -> str | None:
    """A number, truth value or None as JSON."""
    if word in _CONSTANTS:
        return _CONSTANTS[word]
    if _NUMBER.fullmatch(word):
        return word
    if len(word) > _MAX_SCALAR:
        return None
    try:
        value: object = ast.literal_eval(word)
    except (ValueError, SyntaxError):
        return None
    is_number = isinstance(value, int) or (isinstance(value, float) and math.isfinite(value))
    return json.dumps(value) if is_number else None


# how calls are bound


def calls_begin(tools: Sequence[Tool]) -> str:
    """A regular expression for what ``begins_calls`` takes for the beginning of calls, and a little more."""
    return rf"\s*\[\s*({'|'.join(re.escape(tool.name) for tool in tools)})\("


def syntax(lark: LarkWriter, tools: Sequence[Tool]) -> CallSyntax:
    """How calls of these tools are bound. Raises UnsupportedSchema for a strict tool that can't be."""
    rest = {tool.name: lark.rule(f"{_bounds(lark, tool)} {lark.literal(')')}") for tool in tools}
    return CallSyntax(
        first=lambda lark, tool: f"{lark.literal(f'[{tool.name}(')} {rest[tool.name]}",
        call=lambda lark, tool: f"{lark.literal(f'{tool.name}(')} {rest[tool.name]}",
        between=", ",
        closer="]",
    )


def _bounds(lark: LarkWriter, tool: Tool) -> str:
    if isinstance(tool.input, Lark):
        return f"{lark.literal(f'{INPUT}=')} {lark.json_text(tool.input)}"
    schema = arguments_schema(tool)
    properties = _properties(schema)
    odd = [key for key in properties if not _KEY.fullmatch(key)]
    for word in [*sorted(set(schema) - _OBJECT), *(f"properties.{key}" for key in odd)]:
        lark.leave_out(tool, word)
    return _keywords(lark, schema, {key: bounds for key, bounds in properties.items() if key not in odd})


def _properties(schema: Schema) -> dict[str, Mapping[str, object]]:
    """The arguments that may be given, with their schemas, in the schema's order."""
    declared = schema.get("properties")
    named = declared if isinstance(declared, Mapping) else {}
    given = {key: {} if value is True else value for key, value in named.items() if value is not False}
    return {**given, **{key: {} for key in _required(schema) if key not in named}}


def _required(schema: Schema) -> Iterable[str]:
    required = schema.get("required")
    return required if isinstance(required, list | tuple) else ()


def _keywords(lark: LarkWriter, schema: Schema, properties: Mapping[str, Mapping[str, object]]) -> str:
    """The arguments in the schema's order, those that aren't required where the model likes."""
    if not properties and not schema.get("properties"):
        return _any_keywords(lark, schema)
    required = set(_required(schema))
    first, rest = '""', '""'  # what follows where nothing is written yet, and where something is
    for key in reversed(tuple(properties)):
        bounds = {**properties[key], **definitions(schema)}
        written = f"{lark.literal(f'{key}=')} {literal(lark, bounds)}"
        if key in required:
            first, rest = lark.rule(f"{written} {rest}"), lark.rule(f'", " {written} {rest}')
        else:
            first, rest = lark.rule(f"{written} {rest} | {first}"), lark.rule(f'(", " {written})? {rest}')
    return first


def _any_keywords(lark: LarkWriter, schema: Schema) -> str:
    """Arguments of any names, where none are declared."""
    others = schema.get("additionalProperties", True)
    if others is False:
        return '""'
    one = lark.rule(f'/[a-zA-Z_][a-zA-Z0-9_]*/ "=" {literal(lark, others if isinstance(others, Mapping) else {})}')
    return f'({one} (", " {one})*)?'


def literal(lark: LarkWriter, schema: Schema) -> str:
    """An expression for a value: Python's own words for truth values and None, else JSON, which reads the same.

    Inside lists and objects the words are JSON's.
    """
    kind = schema.get("type")
    is_bare = set(schema) <= ANNOTATIONS | {"type", "anyOf"}
    if isinstance(kind, list | tuple) and not {"enum", "const"} & set(schema):
        return f"({alternatives([literal(lark, {**schema, 'type': one}) for one in kind])})"
    either = schema.get("anyOf")
    if (
        is_bare
        and kind is None
        and isinstance(either, list | tuple)
        and all(isinstance(one, Mapping) for one in either)
    ):
        return f"({alternatives([literal(lark, {**definitions(schema), **one}) for one in either])})"
    if is_bare and either is None and kind in ("boolean", "null"):
        return '("True" | "False")' if kind == "boolean" else '"None"'
    return lark.json(schema)
