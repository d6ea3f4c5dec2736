"""Kimi K2: a section of calls, each with an id that holds the tool's name, ``functions.get_weather:0``.

Source: the chat templates of moonshotai/Kimi-K2-Instruct, Kimi-K2-Thinking and Kimi-K2.6, and the first one's
docs/tool_call_guidance.md.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

from lowcloud.core.messages import Message, Messages
from lowcloud.core.tools import Tool
from lowcloud.text.channels import Reader, Script
from lowcloud.text.dialects.dialect import Outlook
from lowcloud.text.dialects.reading import answer_emit, arguments_as_json, nothing, read_arguments, read_thinking
from lowcloud.text.grammar import CallSyntax, LarkWriter, Thinking, Wanted, answer_grammar

SECTION, SECTION_END = "<|tool_calls_section_begin|>", "<|tool_calls_section_end|>"
CALL, CALL_END = "<|tool_call_begin|>", "<|tool_call_end|>"
ARGUMENTS = "<|tool_call_argument_begin|>"
PREFIX = "functions."
THINKING = Thinking("<think>", "</think>")
_STRAY = (CALL, CALL_END, ARGUMENTS, SECTION_END)


def _call(lark: LarkWriter, tool: Tool) -> str:
    begin = f"{lark.literal(f'{CALL}{PREFIX}{tool.name}:')} {lark.rule('/[0-9]{1,4}/')} {lark.literal(ARGUMENTS)}"
    return f"{begin} {arguments_as_json(lark, tool)} {lark.literal(CALL_END)}"


SYNTAX = CallSyntax(_call, opener=SECTION, closer=SECTION_END)


@dataclass(frozen=True, slots=True)
class Kimi:
    """The dialect."""

    name: str = "kimi"
    marks: tuple[str, ...] = (SECTION, *_STRAY, THINKING.opening, THINKING.closing)
    takes_tools: bool = True
    has_text_arguments: bool = True

    def recognises(self, template: str) -> bool:
        return "<|im_middle|>" in template and "tool_declare" in template

    def retold(self, prompt: Messages) -> Messages:
        return replace(prompt, messages=tuple(_with_own_ids(prompt.messages)))

    def is_thinking(self, rendered: str) -> bool:
        return rendered.rstrip().endswith(THINKING.opening)

    def grammar(self, lark: LarkWriter, wanted: Wanted) -> str | None:
        return answer_grammar(lark, wanted, SYNTAX, THINKING)

    def script(self, reader: Reader, outlook: Outlook) -> Script:
        yield from read_thinking(reader, THINKING, is_open=outlook.is_thinking)
        has_calls = False
        while (mark := (yield from reader.until((SECTION, *_STRAY), answer_emit(reader, outlook)))) is not None:
            if mark == SECTION:
                has_calls = bool(outlook.tools)
                yield from _read_section(reader, is_wanted=has_calls)
        if has_calls:
            reader.drop_space()


def _with_own_ids(messages: Iterable[Message]) -> Iterator[Message]:
    """The conversation with ids as the model writes them, counted from its first call: its templates show no names."""
    own: dict[str | None, str] = {}
    n_calls = 0
    for message in messages:
        calls = []
        for call in message.calls:
            is_own = re.fullmatch(rf"{re.escape(PREFIX + call.name)}:\d+", call.id)
            own[call.id] = call.id if is_own else f"{PREFIX}{call.name}:{n_calls}"
            calls.append(replace(call, id=own[call.id]))
            n_calls += 1
        yield replace(message, calls=tuple(calls), call_id=own.get(message.call_id, message.call_id))


def _read_section(reader: Reader, *, is_wanted: bool) -> Script:
    while (yield from reader.until((CALL, SECTION_END), nothing)) == CALL:
        if is_wanted:
            yield from _read_call(reader)


def _read_call(reader: Reader) -> Script:
    head: list[str] = []
    if (yield from reader.until((ARGUMENTS, CALL_END), head.append)) != ARGUMENTS:
        return
    call_id = "".join(head).strip()
    name = re.sub(r":\d+$", "", call_id.removeprefix(PREFIX))
    if name:
        reader.begin(name, call_id)
        yield from read_arguments(reader)


DIALECT = Kimi()
