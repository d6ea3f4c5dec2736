"""Granite 3.x: ``<|tool_call|>`` and a list of JSON calls; reasoning in ``<think>`` (3.3) or behind words (3.2).

Granite 4 writes as Hermes does. Source: the chat template of ibm-granite/granite-3.3-2b-instruct; vLLM's tests of its
parsers granite (tool calls and reasoning).
"""

from collections.abc import Generator
from dataclasses import dataclass, replace

from lowcloud.core.messages import Message, Messages
from lowcloud.text.channels import Reader, Script
from lowcloud.text.dialects.dialect import Outlook
from lowcloud.text.dialects.reading import Trimmed, answer_emit, as_object, json_call, read_json_calls
from lowcloud.text.grammar import CallSyntax, LarkWriter, Thinking, Wanted, answer_grammar

CALLS, CALLS_AS_TEXT, CALLS_END = "<|tool_call|>", "<tool_call>", "</tool_call>"
THINKING = Thinking("<think>", "</think>")
RESPONSE = ("<response>", "</response>")
# What each beginning of the reasoning ends with.
CLOSINGS = {
    THINKING.opening: (THINKING.closing,),
    "Here is my thought process:": ("Here is my response:", "Here's my response:"),
    "Here's my thought process:": ("Here is my response:", "Here's my response:"),
}


SYNTAX = CallSyntax(json_call, opener=f"{CALLS}[", between=", ", closer="]")


@dataclass(frozen=True, slots=True)
class Granite:
    """The dialect."""

    name: str = "granite"
    marks: tuple[str, ...] = (CALLS, CALLS_AS_TEXT, CALLS_END, THINKING.opening, THINKING.closing)
    takes_tools: bool = True
    has_text_arguments: bool = False

    def recognises(self, template: str) -> bool:
        return "<|start_of_role|>" in template and CALLS in template

    def retold(self, prompt: Messages) -> Messages:
        """The templates leave calls out, so they become words of their messages."""
        return replace(prompt, messages=tuple(map(_with_calls_as_text, prompt.messages)))

    def is_thinking(self, rendered: str) -> bool:
        return rendered.rstrip().endswith(THINKING.opening)

    def grammar(self, lark: LarkWriter, wanted: Wanted) -> str | None:
        return answer_grammar(lark, wanted, SYNTAX, THINKING)

    def script(self, reader: Reader, outlook: Outlook) -> Script:
        has_thought = yield from _read_reasoning(reader, is_open=outlook.is_thinking)
        marks = (*((CALLS, CALLS_AS_TEXT) if outlook.tools else ()), *(RESPONSE if has_thought else ()))
        while (mark := (yield from reader.until(marks, answer_emit(reader, outlook)))) is not None:
            if mark not in RESPONSE:
                reader.drop_space()
                yield from read_json_calls(reader)
                yield from reader.spaces()
                yield from reader.goes_on((CALLS_END,))


def _read_reasoning(reader: Reader, *, is_open: bool) -> Generator[None, None, bool]:
    """Read the reasoning that an answer begins with. False if it doesn't."""
    opening = THINKING.opening if is_open else (yield from reader.goes_on(CLOSINGS))
    if opening is None:
        return False
    yield from reader.spaces()
    yield from reader.until(CLOSINGS[opening], Trimmed(reader.thought))
    yield from reader.spaces()
    return True


def _with_calls_as_text(message: Message) -> Message:
    if not message.calls:
        return message
    calls = f"{CALLS}[{', '.join(map(as_object, message.calls))}]"
    return replace(message, text=message.text + calls, calls=())


DIALECT = Granite()
