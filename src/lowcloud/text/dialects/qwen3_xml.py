"""Qwen3-Coder, Qwen 3.5 and later: ``<tool_call>``, ``<function=NAME>``, and ``<parameter=NAME>`` for each raw value.

Source: the chat templates of Qwen/Qwen3-Coder-30B-A3B-Instruct and Qwen/Qwen3.5-9B.
"""

from collections.abc import Generator
from dataclasses import dataclass

from lowcloud.core.messages import Messages
from lowcloud.core.tools import Tool
from lowcloud.text.channels import CallBegin, CallEnd, Content, Reader, Script, Thought
from lowcloud.text.dialects.dialect import Outlook
from lowcloud.text.dialects.parameter_grammar import ParameterSyntax, arguments_expression
from lowcloud.text.dialects.parameters import Arguments
from lowcloud.text.dialects.reading import Trimmed, read_body, read_thinking
from lowcloud.text.grammar import CallSyntax, LarkWriter, Thinking, Wanted, answer_grammar

OPEN, CLOSE = "<tool_call>", "</tool_call>"
FUNCTION, FUNCTION_END = "<function=", "</function>"
PARAMETER, PARAMETER_END = "<parameter=", "</parameter>"
THINKING = Thinking("<think>", "</think>")
# A value is on lines of its own, so tags inside a line are text.
NEVER = (r"\n<\/parameter>", r"<\/parameter>\n", r"\n<parameter=", r"\n<\/function>")
PARAMETERS = ParameterSyntax(lambda key, _: f"{PARAMETER}{key}>\n", f"\n{PARAMETER_END}\n", NEVER)


def _call(lark: LarkWriter, tool: Tool) -> str:
    begin, end = lark.literal(f"\n{FUNCTION}{tool.name}>\n"), lark.literal(f"{FUNCTION_END}\n{CLOSE}")
    return f"{begin} {arguments_expression(lark, tool, PARAMETERS)} {end}"


SYNTAX = CallSyntax(_call, opener=OPEN, between=f"\n{OPEN}")


@dataclass(frozen=True, slots=True)
class Qwen3Xml:
    """The dialect."""

    name: str = "qwen3-xml"
    marks: tuple[str, ...] = (OPEN, CLOSE, THINKING.opening, THINKING.closing)
    takes_tools: bool = True
    has_text_arguments: bool = False

    def recognises(self, template: str) -> bool:
        return all(mark in template for mark in (OPEN, FUNCTION, PARAMETER))

    def retold(self, prompt: Messages) -> Messages:
        return prompt

    def is_thinking(self, rendered: str) -> bool:
        return rendered.rstrip().endswith(THINKING.opening)

    def grammar(self, lark: LarkWriter, wanted: Wanted) -> str | None:
        return answer_grammar(lark, wanted, SYNTAX, THINKING)

    def script(self, reader: Reader, outlook: Outlook) -> Script:
        yield from _read_thinking(reader, outlook)
        yield from _read_answer(reader, outlook)


def _read_thinking(reader: Reader, outlook: Outlook) -> Script:
    """Read the reasoning. Models forget to close it before a call: calls that the output ends with, and no closing tag
    after them, are no part of it.
    """
    if not (outlook.is_thinking and outlook.tools):
        yield from read_thinking(reader, THINKING, is_open=outlook.is_thinking)
        return
    yield from reader.goes_on((THINKING.opening,))
    yield from reader.spaces()
    emit = Trimmed(reader.thought)
    if (yield from reader.until((THINKING.closing, OPEN), emit)) == OPEN:
        held = [OPEN]
        is_closed = (yield from reader.until((THINKING.closing,), held.append)) is not None
        if not is_closed and _took_calls(reader, outlook, "".join(held)):
            return
        emit("".join(held))
    yield from reader.spaces()


def _took_calls(reader: Reader, outlook: Outlook, text: str) -> bool:
    """Emit the calls of the output's last text, if it is nothing but calls."""
    inner = Reader()
    inner.feed(text)
    inner.close(is_cut=False)
    list(_read_answer(inner, outlook))  # to its end: nothing is waited for
    n_open = sum(isinstance(piece, CallBegin) - isinstance(piece, CallEnd) for piece in inner.pieces)
    if n_open or any(isinstance(piece, (Content, Thought)) for piece in inner.pieces) or not inner.pieces:
        return False
    reader.pieces.extend(inner.pieces)
    return True


def _read_answer(reader: Reader, outlook: Outlook) -> Script:
    bare = [f"{FUNCTION}{tool.name}>" for tool in outlook.tools]  # some models leave <tool_call> out
    yield from read_body(reader, outlook, THINKING, (OPEN, *bare), lambda mark: _read_call(reader, outlook, mark))


def _read_call(reader: Reader, outlook: Outlook, mark: str) -> Script:
    if mark != OPEN:
        yield from _read_parameters(reader, outlook, mark[len(FUNCTION) : -1])
        return
    yield from reader.spaces()
    if (yield from reader.goes_on((FUNCTION,))) is None:
        return
    name: list[str] = []
    if (yield from reader.until((">", "\n"), name.append)) == ">":
        yield from _read_parameters(reader, outlook, "".join(name).strip())


def _read_parameters(reader: Reader, outlook: Outlook, name: str) -> Script:
    """Read on after the name, to the call's end; what isn't well formed leaves the call open."""
    arguments = Arguments(reader, name, outlook.tool(name))
    tags = (PARAMETER, FUNCTION_END, CLOSE)
    yield from reader.spaces()
    mark = yield from reader.goes_on(tags)
    while mark == PARAMETER:
        key: list[str] = []
        if (yield from reader.until((">", "\n"), key.append)) != ">":
            return
        value, mark = yield from _value(reader)
        if mark is None:
            return
        arguments.add("".join(key).strip(), value)
        if mark == PARAMETER_END:
            mark = yield from reader.goes_on(tags)
    if mark is None:
        return
    arguments.end()
    if mark == FUNCTION_END:
        yield from reader.spaces()
        yield from reader.goes_on((CLOSE,))


def _value(reader: Reader) -> Generator[None, None, tuple[str, str | None]]:
    """Read a value, and what ends it: its own closing tag, or, where a model forgets that, the next tag of the call.
    None at the output's end.
    """
    is_on_lines = (yield from reader.goes_on(("\n", "\r\n"))) is not None
    before = "\n" if is_on_lines else ""
    ends = (PARAMETER_END, f"{before}{PARAMETER}", f"{before}{FUNCTION_END}")
    known: list[str] = []
    while (found := (yield from reader.until(ends, known.append))) is not None:
        text, mark = "".join(known), found.lstrip("\n")
        if mark == PARAMETER:
            return text, mark
        space = yield from reader.spaces()
        follows = (PARAMETER, FUNCTION_END, CLOSE) if mark == PARAMETER_END else (CLOSE,)
        ahead = yield from reader.peek(max(map(len, follows)))
        is_on_its_line = not is_on_lines or not text or text.endswith("\n") or found != mark or "\n" in space
        if is_on_its_line and ahead.startswith(follows):
            return text.removesuffix("\n") if is_on_lines and mark == PARAMETER_END else text, mark
        known += [found, space]
    return "", None


DIALECT = Qwen3Xml()
