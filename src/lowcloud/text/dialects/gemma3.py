"""Gemma 3, whose templates know no tools: the prompt tells of them in Google's words. An answer that is an object of a
tool's name and its parameters, bare or in a code fence, is a call.

Source: Google AI for Developers, "Function calling with Gemma", JSON format; google/gemma-3-4b-it's chat template.
"""

import json
import re
from collections.abc import Generator, Sequence
from dataclasses import dataclass, replace

from lowcloud.core.messages import Messages, ToolCall
from lowcloud.core.output import AnyText
from lowcloud.core.tools import Tool
from lowcloud.text.channels import Reader, Script
from lowcloud.text.dialects.dialect import Outlook
from lowcloud.text.dialects.generic import in_words
from lowcloud.text.dialects.reading import (
    answer_emit,
    arguments_as_json,
    as_object,
    call_head,
    call_head_in_words,
    read_json_call,
    read_key,
    read_value,
)
from lowcloud.text.grammar import CallSyntax, LarkWriter, Wanted, answer_grammar

FENCE = "```"
FENCES = tuple(f"{FENCE}{language}" for language in ("json", "tool_code", "tool_call", ""))
TELL = """You have access to functions. If you decide to invoke any of the function(s),
you MUST put it in the format of
{{"name": function name, "parameters": dictionary of argument name and its value}}

You SHOULD NOT include any other text in the response if you call a function
{tools}"""


@dataclass(frozen=True, slots=True)
class Gemma3:
    """The dialect."""

    name: str = "gemma3"
    marks: tuple[str, ...] = ()
    takes_tools: bool = False
    has_text_arguments: bool = False

    def recognises(self, template: str) -> bool:
        return "<start_of_turn>" in template and "<start_function_call>" not in template

    def retold(self, prompt: Messages) -> Messages:
        return in_words(prompt, TELL, lambda calls: "\n".join(map(_written, calls)))

    def is_thinking(self, rendered: str) -> bool:  # noqa: ARG002 - as the protocol has it
        return False

    def grammar(self, lark: LarkWriter, wanted: Wanted) -> str | None:
        """One call an answer, as the prompt asks for."""
        one = replace(wanted, plan=replace(wanted.plan, at_most_one=True))
        call = _call if isinstance(wanted.output, AnyText) else _call_beside_json
        return answer_grammar(lark, one, CallSyntax(call, beginning=_calls_begin(wanted.plan.tools)))

    def script(self, reader: Reader, outlook: Outlook) -> Script:
        if outlook.tools:
            while (yield from reader.ahead(_begins_call(reader, outlook))):
                yield from reader.spaces()
                fence = yield from reader.goes_on(FENCES)
                yield from read_json_call(reader)
                yield from reader.spaces()
                if fence is not None:
                    yield from reader.goes_on((FENCE,))
        yield from reader.until((), answer_emit(reader, outlook))


def _begins_call(reader: Reader, outlook: Outlook) -> Generator[None, None, bool]:
    """Whether an object follows that names a tool that may be called."""
    yield from reader.spaces()
    yield from reader.goes_on(FENCES)
    yield from reader.spaces()
    if (yield from reader.goes_on(("{",))) is None or (yield from read_key(reader)) != "name":
        return False
    name = yield from read_value(reader)
    return isinstance(name, str) and outlook.tool(name) is not None


def _calls_begin(tools: Sequence[Tool]) -> str:
    """A regular expression for how what ``_begins_call`` finds begins."""
    names = "|".join(re.escape(json.dumps(tool.name)) for tool in tools)
    fences = "|".join(FENCES[:-1])
    return rf'\s*({fences}|{FENCE})?\s*\{{\s*"name"\s*:\s*({names})'


def _call(lark: LarkWriter, tool: Tool) -> str:
    return _either(lark, tool, lark.literal(_head(tool)))


def _call_beside_json(lark: LarkWriter, tool: Tool) -> str:
    return _either(lark, tool, call_head_in_words(lark, tool, arguments="parameters"))


def _either(lark: LarkWriter, tool: Tool, head: str) -> str:
    arguments = arguments_as_json(lark, tool)
    fence, end = lark.literal(f"{FENCES[0]}\n{_head(tool)}"), lark.literal(f"}}\n{FENCE}")
    return f"{head} {arguments} {lark.literal('}')} | {fence} {arguments} {end}"


def _head(tool: Tool) -> str:
    return call_head(tool, arguments="parameters")


def _written(call: ToolCall) -> str:
    return as_object(call, arguments="parameters")


DIALECT = Gemma3()
