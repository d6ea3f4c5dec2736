"""The grammar of an answer of Kimi K3: reasoning, a response, calls, each an element."""

import json
from collections.abc import Mapping, Sequence

from lowcloud.core.output import AnyText, Lark, Schema
from lowcloud.core.tools import Tool
from lowcloud.text.dialects.parameters import ANNOTATIONS, branches, definitions, kind_of, resolved
from lowcloud.text.dialects.reading import arguments_as_json, arguments_schema
from lowcloud.text.grammar import LarkWriter, Wanted, alternatives, output_expression

OPEN, CLOSE, SEP = "<|open|>", "<|close|>", "<|sep|>"
THINK, RESPONSE, TOOLS = "think", "response", "tools"
_OBJECT = ANNOTATIONS | {"type", "properties", "required", "additionalProperties"}
_STRING = ANNOTATIONS | {"type", "enum"}
_KINDS = {"integer": "number"}


def opened(tag: str, **attributes: str) -> str:
    """The beginning of an element."""
    shown = [f' {key}="{value.replace("&", "&amp;").replace(chr(34), "&quot;")}"' for key, value in attributes.items()]
    return f"{OPEN}{tag}{''.join(shown)}{SEP}"


def closed(tag: str) -> str:
    """The end of an element."""
    return f"{CLOSE}{tag}{SEP}"


def whole_grammar(lark: LarkWriter, wanted: Wanted) -> str | None:
    """As ``Dialect.grammar``. A prompt that hasn't opened the reasoning has opened the response."""
    if not wanted.is_bounded and (wanted.thinking is None or not wanted.is_thinking):
        return None
    begin = ""
    if wanted.is_thinking:
        begin = f"{lark.thought(closed(THINK), wanted.thinking)} {lark.literal(opened(RESPONSE))}"
    end = f"({lark.literal(closed('message'))})?"
    return lark.grammar(f"{begin} {_answer(lark, wanted)} {end}".strip())


def _answer(lark: LarkWriter, wanted: Wanted) -> str:
    end = lark.literal(closed(RESPONSE))
    free = lark.text_until(closed(RESPONSE))
    said = free if isinstance(wanted.output, AnyText) else f"{output_expression(lark, wanted.output)} {end}"
    if wanted.plan.mode == "none":
        return said
    calls = _calls(lark, wanted)
    if wanted.plan.mode == "required":
        return f"{end} {calls}"
    if isinstance(wanted.output, AnyText):
        return f"{said} ({calls})?"
    return f"({said} | {end} {calls})"


def _calls(lark: LarkWriter, wanted: Wanted) -> str:
    one = lark.rule(alternatives([_call(lark, tool) for tool in wanted.plan.tools]))
    more = "" if wanted.plan.at_most_one else f"{one}*"
    return " ".join(filter(None, (lark.literal(opened(TOOLS)), one, more, lark.literal(closed(TOOLS)))))


def _call(lark: LarkWriter, tool: Tool) -> str:
    before, after = opened("call", tool=tool.name, index="\0").split("\0")
    index = lark.rule("/[1-9][0-9]{0,3}/")
    schema = arguments_schema(tool)
    elements = None if isinstance(tool.input, Lark) else _elements(lark, schema)
    arguments = _json(arguments_as_json(lark, tool), lark) if elements is None else elements
    head = f"{lark.literal(before)} {index} {lark.literal(after)}"
    return f"{head} {arguments} {lark.literal(closed('call'))}"


def _json(arguments: str, lark: LarkWriter) -> str:
    """All arguments in one element, where the schema says what elements can't keep to."""
    return f"{lark.literal(opened('json', type='object'))} {arguments} {lark.literal(closed('json'))}"


def _elements(lark: LarkWriter, root: Schema) -> str | None:
    """An element for each argument. None where they can't keep to the schema: its properties aren't known, or strings
    among them are neither free nor listed.
    """
    whole = resolved(root, root)
    properties, required = whole.get("properties"), whole.get("required", ())
    if set(whole) - _OBJECT or not isinstance(properties, Mapping) or not isinstance(required, Sequence):
        return None
    found = {key: branches(schema, root) for key, schema in properties.items()}
    if not set(required) <= set(found) or not all(_is_plain(branch) for each in found.values() for branch in each):
        return None
    shown: list[str] = []
    for key, options in found.items():
        one = lark.rule(alternatives([_element(lark, key, branch, definitions(root)) for branch in options]))
        shown.append(one if key in required else f"{one}?")
    return " ".join(shown)


def _is_plain(branch: Schema) -> bool:
    kind = kind_of(branch)
    return kind is not None and (kind != "string" or set(branch) <= _STRING)


def _element(lark: LarkWriter, key: str, branch: Schema, shared: Schema) -> str:
    kind = str(kind_of(branch))
    begin, end = lark.literal(opened("argument", key=key, type=_KINDS.get(kind, kind))), closed("argument")
    if kind != "string":
        return f"{begin} {lark.json({**branch, **shared})} {lark.literal(end)}"
    values = branch.get("enum")
    if isinstance(values, Sequence):
        return f"{begin} ({' | '.join(json.dumps(str(value)) for value in values)}) {lark.literal(end)}"
    return f"{begin} {lark.text_until(end)}"
