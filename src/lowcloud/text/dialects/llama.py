"""Llama 3.1, 3.2 and 3.3: a call is ``{"name": ..., "parameters": ...}`` at the answer's beginning or after a mark.

JSON that names no tool of the request is text. Source: the chat template of meta-llama/Llama-3.3-70B-Instruct; Meta's
prompt formats for Llama 3.1 and 4.
"""

import json
import re
from collections.abc import Generator, Sequence
from dataclasses import dataclass, replace

from lowcloud.core.messages import Messages
from lowcloud.core.output import AnyText
from lowcloud.core.tools import Tool
from lowcloud.text.channels import Reader, Script
from lowcloud.text.dialects import pythonic
from lowcloud.text.dialects.dialect import Outlook
from lowcloud.text.dialects.generic import one_by_one
from lowcloud.text.dialects.reading import (
    ARGUMENTS,
    answer_emit,
    arguments_as_json,
    call_head,
    call_head_in_words,
    read_json_call,
    read_key,
    read_value,
)
from lowcloud.text.grammar import CallSyntax, LarkWriter, Wanted, answer_grammar

MARKS = ("<|python_tag|>", "<|python_start|>", "<|python_end|>")
TOLD = '"parameters": dictionary of argument name and its value'  # how the templates tell of the format


@dataclass(frozen=True, slots=True)
class Llama:
    """The dialect."""

    name: str = "llama"
    marks: tuple[str, ...] = MARKS
    takes_tools: bool = True
    has_text_arguments: bool = False

    def recognises(self, template: str) -> bool:
        return TOLD in template.replace('\\"', '"') and (
            "<|start_header_id|>" in template or "<|header_start|>" in template
        )

    def retold(self, prompt: Messages) -> Messages:
        """The templates take one call a message: several follow each other, each with its result."""
        return replace(prompt, messages=tuple(one_by_one(prompt.messages)))

    def is_thinking(self, rendered: str) -> bool:  # noqa: ARG002 - as the protocol has it
        return False

    def grammar(self, lark: LarkWriter, wanted: Wanted) -> str | None:
        call = _call if isinstance(wanted.output, AnyText) else _call_beside_json
        syntax = CallSyntax(call, beginning=calls_begin(wanted.plan.tools))
        one = replace(wanted, plan=replace(wanted.plan, at_most_one=True))  # as the templates have it
        return answer_grammar(lark, one, syntax)

    def script(self, reader: Reader, outlook: Outlook) -> Script:
        yield from read_answer(reader, outlook)


def read_answer(reader: Reader, outlook: Outlook) -> Script:
    """Read an answer whose calls are JSON or Python: the prompt asks for one, models at times write the other."""
    emit = answer_emit(reader, outlook)
    if outlook.tools:
        yield from _read_calls(reader, outlook)
    while (yield from reader.until(MARKS if outlook.tools else (), emit)) is not None:
        yield from _read_calls(reader, outlook)


def calls_begin(tools: Sequence[Tool]) -> str:
    """A regular expression for how the calls that ``read_answer`` finds at the beginning begin."""
    names = "|".join(re.escape(json.dumps(tool.name)) for tool in tools)
    kind = r'"type"\s*:\s*"function"\s*,\s*'
    as_json = rf'\s*(;\s*)?\{{\s*({kind})?"name"\s*:\s*({names})'
    return f"{as_json}|{pythonic.calls_begin(tools)}"


def _read_calls(reader: Reader, outlook: Outlook) -> Script:
    while True:
        if (yield from reader.ahead(_begins_json_call(reader, outlook))):
            reader.drop_space()
            yield from reader.spaces()
            yield from reader.goes_on((";",))
            yield from read_json_call(reader)
        elif (yield from reader.ahead(pythonic.begins_calls(reader, outlook))):
            reader.drop_space()
            yield from pythonic.read_calls(reader, outlook)
        else:
            return


def _begins_json_call(reader: Reader, outlook: Outlook) -> Generator[None, None, bool]:
    """Whether an object follows that names a tool that may be called, and goes on with arguments."""
    yield from reader.spaces()
    if (yield from reader.goes_on((";",))) is not None:
        yield from reader.spaces()
    if (yield from reader.goes_on(("{",))) is None:
        return False
    key = yield from read_key(reader)
    if key == "type":
        if (yield from read_value(reader)) != "function" or not (yield from _comma(reader)):
            return False
        key = yield from read_key(reader)
    if key != "name":
        return False
    name = yield from read_value(reader)
    if not isinstance(name, str) or outlook.tool(name) is None or not (yield from _comma(reader)):
        return False
    return (yield from read_key(reader)) in ARGUMENTS


def _comma(reader: Reader) -> Generator[None, None, bool]:
    yield from reader.spaces()
    return (yield from reader.goes_on((",",))) is not None


def _call(lark: LarkWriter, tool: Tool) -> str:
    head = lark.literal(call_head(tool, arguments="parameters"))
    return f"{head} {arguments_as_json(lark, tool)} {lark.literal('}')}"


def _call_beside_json(lark: LarkWriter, tool: Tool) -> str:
    head = call_head_in_words(lark, tool, arguments="parameters")
    return f"{head} {arguments_as_json(lark, tool)} {lark.literal('}')}"


DIALECT = Llama()
