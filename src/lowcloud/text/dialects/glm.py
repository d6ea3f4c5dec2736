"""GLM 4.5 and later: ``<tool_call>NAME``, then ``<arg_key>`` and ``<arg_value>`` around each key and raw value.

4.5 and 4.6 put lines between them, 4.7 and 5 nothing.
Source: the chat templates of zai-org/GLM-4.6 and zai-org/GLM-4.7.
"""

from collections.abc import Generator
from dataclasses import dataclass

from lowcloud.core.messages import Messages
from lowcloud.core.tools import Tool
from lowcloud.text.channels import Reader, Script
from lowcloud.text.dialects.dialect import Outlook
from lowcloud.text.dialects.parameter_grammar import ParameterSyntax, arguments_expression
from lowcloud.text.dialects.parameters import Arguments
from lowcloud.text.dialects.reading import read_body, read_thinking
from lowcloud.text.grammar import CallSyntax, LarkWriter, Thinking, Wanted, answer_grammar

OPEN, CLOSE = "<tool_call>", "</tool_call>"
KEY, KEY_END = "<arg_key>", "</arg_key>"
VALUE, VALUE_END = "<arg_value>", "</arg_value>"
THINKING = Thinking("<think>", "</think>")
NEVER = (r"<\/arg_value>", r"<\/tool_call>\s*<tool_call>")


@dataclass(frozen=True, slots=True)
class Glm:
    """The dialect; ``gap`` stands between a call's parts."""

    name: str
    gap: str
    marks: tuple[str, ...] = (OPEN, CLOSE, KEY, KEY_END, VALUE, VALUE_END, THINKING.opening, THINKING.closing)
    takes_tools: bool = True
    has_text_arguments: bool = False

    def recognises(self, template: str) -> bool:
        is_tight = f"{KEY_END}{VALUE}" in template
        return OPEN in template and KEY in template and is_tight == (not self.gap)

    def retold(self, prompt: Messages) -> Messages:
        return prompt

    def is_thinking(self, rendered: str) -> bool:
        return rendered.rstrip().endswith(THINKING.opening)

    def grammar(self, lark: LarkWriter, wanted: Wanted) -> str | None:
        syntax = CallSyntax(self._call, opener=OPEN, between=f"{self.gap}{OPEN}", lead=self.gap)
        return answer_grammar(lark, wanted, syntax, THINKING)

    def script(self, reader: Reader, outlook: Outlook) -> Script:
        yield from reader.spaces()
        yield from read_thinking(reader, THINKING, is_open=outlook.is_thinking)
        yield from read_body(reader, outlook, THINKING, (OPEN,), lambda _: _read_call(reader, outlook))

    def _call(self, lark: LarkWriter, tool: Tool) -> str:
        parameters = ParameterSyntax(
            lambda key, _: f"{KEY}{key}{KEY_END}{self.gap}{VALUE}", f"{VALUE_END}{self.gap}", NEVER
        )
        arguments = arguments_expression(lark, tool, parameters)
        return f"{lark.literal(tool.name + self.gap)} {arguments} {lark.literal(CLOSE)}"


def _read_call(reader: Reader, outlook: Outlook) -> Script:
    yield from reader.spaces()
    name = (yield from reader.word("\n<")).strip()
    yield from reader.spaces()
    mark = yield from reader.goes_on((KEY, CLOSE))
    if not name or mark is None:
        return
    arguments = Arguments(reader, name, outlook.tool(name))
    while mark == KEY:
        key: list[str] = []
        yield from reader.until((KEY_END,), key.append)
        yield from reader.spaces()
        if (yield from reader.goes_on((VALUE,))) is None:
            return
        value, mark = yield from _value(reader)
        if mark is None:
            return
        arguments.add("".join(key).strip(), value)
        if mark == VALUE_END:
            yield from reader.spaces()
            mark = yield from reader.goes_on((KEY, CLOSE))
    if mark == CLOSE:
        arguments.end()


def _value(reader: Reader) -> Generator[None, None, tuple[str, str | None]]:
    """Read a value, and what ends it: its own closing tag, or, where a model forgets that, the call's, if another call
    or nothing follows. None at the output's end.
    """
    known: list[str] = []
    while (mark := (yield from reader.until((VALUE_END, CLOSE), known.append))) is not None:
        if mark == VALUE_END:
            return "".join(known), mark
        if (yield from reader.ahead(_call_or_nothing(reader))):
            return "".join(known), mark
        known.append(mark)
    return "", None


def _call_or_nothing(reader: Reader) -> Generator[None, None, bool]:
    yield from reader.spaces()
    ahead = yield from reader.peek(len(OPEN))
    return ahead in ("", OPEN)


GLM_45 = Glm("glm-4.5", "\n")
GLM_47 = Glm("glm-4.7", "")
