"""Phi-4-mini: ``<|tool_call|>`` and a list of JSON calls; where a template asks for it, ``functools`` and the list.

Its own template takes tools only as text inside the system's message, so they are told in words. Source:
llama.cpp's pull request 12288 and its template for microsoft/Phi-4-mini-instruct; vLLM's template and tests.
"""

from dataclasses import dataclass

from lowcloud.core.messages import Messages, ToolCall
from lowcloud.text.channels import Reader, Script
from lowcloud.text.dialects.dialect import Outlook
from lowcloud.text.dialects.generic import in_words
from lowcloud.text.dialects.reading import answer_emit, as_object, json_call, read_json_calls, read_thinking
from lowcloud.text.grammar import CallSyntax, LarkWriter, Thinking, Wanted, answer_grammar

CALLS, END, FUNCTOOLS = "<|tool_call|>", "<|/tool_call|>", "functools"
THINKING = Thinking("<think>", "</think>")
TELL = """You are a helpful assistant with some tools.
<|tool|>[{tools}]<|/tool|>
To use tools, write only a list of calls, like this:
<|tool_call|>[{{"name": "tool name", "arguments": {{"argument name": "value"}}}}]<|/tool_call|>
The user then gives you the results. When you have them, or need no tool, answer in plain text."""


SYNTAX = CallSyntax(json_call, opener=f"{CALLS}[", between=", ", closer=f"]{END}")


@dataclass(frozen=True, slots=True)
class Phi4:
    """The dialect."""

    name: str = "phi-4"
    marks: tuple[str, ...] = (CALLS, END, THINKING.opening, THINKING.closing)
    takes_tools: bool = False
    has_text_arguments: bool = False

    def recognises(self, template: str) -> bool:
        return "<|end|>" in template and ("<|tool|>" in template or f"{FUNCTOOLS}[" in template)

    def retold(self, prompt: Messages) -> Messages:
        return in_words(prompt, TELL, _written)

    def is_thinking(self, rendered: str) -> bool:
        return rendered.rstrip().endswith(THINKING.opening)

    def grammar(self, lark: LarkWriter, wanted: Wanted) -> str | None:
        return answer_grammar(lark, wanted, SYNTAX, THINKING)

    def script(self, reader: Reader, outlook: Outlook) -> Script:
        yield from read_thinking(reader, THINKING, is_open=outlook.is_thinking)
        marks = (CALLS, f"{FUNCTOOLS}[") if outlook.tools else ()
        while (mark := (yield from reader.until(marks, answer_emit(reader, outlook)))) is not None:
            reader.drop_space()
            yield from read_json_calls(reader, is_list=mark != CALLS)
            yield from reader.spaces()
            yield from reader.goes_on((END,))


def _written(calls: tuple[ToolCall, ...]) -> str:
    return f"{CALLS}[{', '.join(map(as_object, calls))}]{END}"


DIALECT = Phi4()
