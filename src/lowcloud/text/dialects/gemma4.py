"""Gemma 4: ``<|tool_call>call:NAME{key:<|"|>text<|"|>,n:1}<tool_call|>``, and reasoning in a channel "thought".

Source: the chat template of google/gemma-4-31B-it.
"""

from dataclasses import dataclass

from lowcloud.core.messages import Messages
from lowcloud.text.channels import Reader, Script
from lowcloud.text.dialects.dialect import Outlook
from lowcloud.text.dialects.gemma4_arguments import QUOTE, read_object
from lowcloud.text.dialects.gemma4_grammar import CLOSE, HEAD, OPEN, SYNTAX
from lowcloud.text.dialects.reading import Trimmed, answer_emit, nothing
from lowcloud.text.grammar import LarkWriter, Thinking, Wanted, answer_grammar

CHANNEL, CHANNEL_END, THOUGHT = "<|channel>", "<channel|>", "thought"
THINKING = Thinking(f"{CHANNEL}{THOUGHT}\n", CHANNEL_END)


@dataclass(frozen=True, slots=True)
class Gemma4:
    """The dialect."""

    name: str = "gemma4"
    marks: tuple[str, ...] = (OPEN, CLOSE, QUOTE, CHANNEL, CHANNEL_END)
    takes_tools: bool = True
    has_text_arguments: bool = False

    def recognises(self, template: str) -> bool:
        return OPEN in template and CLOSE in template

    def retold(self, prompt: Messages) -> Messages:
        return prompt

    def is_thinking(self, rendered: str) -> bool:
        return rendered.rstrip().endswith(CHANNEL + THOUGHT)

    def grammar(self, lark: LarkWriter, wanted: Wanted) -> str | None:
        return answer_grammar(lark, wanted, SYNTAX, THINKING)

    def script(self, reader: Reader, outlook: Outlook) -> Script:
        if outlook.is_thinking:
            yield from _read_thought(reader)
        has_calls = False
        marks = (OPEN, CHANNEL, CLOSE, QUOTE, CHANNEL_END)  # those that stand nowhere are no text either
        while (mark := (yield from reader.until(marks, answer_emit(reader, outlook)))) is not None:
            if mark == CHANNEL:
                yield from _read_thought(reader)
            elif mark == OPEN and outlook.tools:
                has_calls = True
                yield from _read_call(reader)
            elif mark == OPEN:
                yield from reader.until((CLOSE,), nothing)
        if has_calls:
            reader.drop_space()


def _read_thought(reader: Reader) -> Script:
    yield from reader.goes_on((THOUGHT,))
    yield from reader.spaces()
    yield from reader.until((CHANNEL_END,), Trimmed(reader.thought))
    yield from reader.spaces()


def _read_call(reader: Reader) -> Script:
    head: list[str] = []
    yield from reader.spaces()
    if (yield from reader.until(("{", CLOSE), head.append)) != "{":
        return
    name = "".join(head).strip().removeprefix(HEAD).strip()
    if name:
        reader.begin(name)
        if (yield from read_object(reader)):
            reader.end()
    yield from reader.until((CLOSE,), nothing)


DIALECT = Gemma4()
