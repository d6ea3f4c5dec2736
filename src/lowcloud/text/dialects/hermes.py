"""Hermes and Qwen 2.5, 3: ``<tool_call>`` around JSON of a name and arguments, ``<think>`` around the reasoning.

Source: the chat templates of NousResearch/Hermes-3-Llama-3.1-8B and Qwen/Qwen3-0.6B.
"""

from dataclasses import dataclass

from lowcloud.core.messages import Messages
from lowcloud.core.tools import Tool
from lowcloud.text.channels import Reader, Script
from lowcloud.text.dialects.dialect import Outlook
from lowcloud.text.dialects.reading import arguments_as_json, call_head, read_body, read_json_call, read_thinking
from lowcloud.text.grammar import CallSyntax, LarkWriter, Thinking, Wanted, answer_grammar

OPEN, CLOSE = "<tool_call>", "</tool_call>"
END = "}\n" + CLOSE
THINKING = Thinking("<think>", "</think>")


def _call(lark: LarkWriter, tool: Tool) -> str:
    begin = lark.literal("\n" + call_head(tool))
    return f"{begin} {arguments_as_json(lark, tool)} {lark.literal(END)}"


SYNTAX = CallSyntax(_call, opener=OPEN, between=f"\n{OPEN}")


@dataclass(frozen=True, slots=True)
class Hermes:
    """The dialect."""

    name: str = "hermes"
    marks: tuple[str, ...] = (OPEN, CLOSE, THINKING.opening, THINKING.closing)
    takes_tools: bool = True
    has_text_arguments: bool = False

    def recognises(self, template: str) -> bool:
        return OPEN in template and '{"name"' in template.replace('\\"', '"') and "<function=" not in template

    def retold(self, prompt: Messages) -> Messages:
        return prompt

    def is_thinking(self, rendered: str) -> bool:
        return rendered.rstrip().endswith(THINKING.opening)

    def grammar(self, lark: LarkWriter, wanted: Wanted) -> str | None:
        return answer_grammar(lark, wanted, SYNTAX, THINKING)

    def script(self, reader: Reader, outlook: Outlook) -> Script:
        yield from read_thinking(reader, THINKING, is_open=outlook.is_thinking)
        yield from read_body(reader, outlook, THINKING, (OPEN,), lambda _: read_call(reader))


def read_call(reader: Reader) -> Script:
    """Read on behind the opening tag."""
    yield from read_json_call(reader)
    yield from reader.spaces()
    yield from reader.goes_on((CLOSE,))


DIALECT = Hermes()
