"""gpt-oss: Harmony. An answer is messages on channels: analysis is reasoning, final and commentary are the text; a
message to ``functions.NAME``, on any channel, is a call.

    <|channel|>analysis<|message|>...<|end|><|start|>assistant<|channel|>commentary to=functions.f <|constrain|>json
    <|message|>{"a": 1}<|call|>

Source: OpenAI's cookbook, "OpenAI Harmony Response Format"; the chat template of openai/gpt-oss-20b.
"""

import re
from dataclasses import dataclass, replace

from lowcloud.core.messages import Message, Messages
from lowcloud.core.output import AnyText
from lowcloud.core.tools import Tool
from lowcloud.text.channels import Emit, Reader, Script
from lowcloud.text.dialects.dialect import Outlook
from lowcloud.text.dialects.generic import one_by_one
from lowcloud.text.dialects.reading import arguments_as_json, nothing, read_arguments
from lowcloud.text.grammar import LarkWriter, Wanted, alternatives, output_expression

START, CHANNEL, CONSTRAIN, MESSAGE = "<|start|>", "<|channel|>", "<|constrain|>", "<|message|>"
END, CALL, RETURN = "<|end|>", "<|call|>", "<|return|>"
ASSISTANT = f"{START}assistant"
ANALYSIS, COMMENTARY, FINAL = "analysis", "commentary", "final"
PREFIX = "functions."
EFFORTS = {"none": "low", "minimal": "low", "xhigh": "high", "max": "high"}  # the model knows low, medium and high
# What a message's text ends at. A lone <|call|> in it is text: where it is a token, generation has stopped.
_ENDS = (END, RETURN, CALL + START, ASSISTANT)


@dataclass(frozen=True, slots=True)
class Harmony:
    """The dialect."""

    name: str = "harmony"
    marks: tuple[str, ...] = (START, CHANNEL, CONSTRAIN, MESSAGE, END, CALL, RETURN)
    takes_tools: bool = True
    has_text_arguments: bool = False

    def recognises(self, template: str) -> bool:
        return CHANNEL in template and MESSAGE in template and START in template

    def retold(self, prompt: Messages) -> Messages:
        """The template takes one call a message, with reasoning or a text before it, not both."""
        effort = {} if prompt.effort is None else {"reasoning_effort": EFFORTS.get(prompt.effort, prompt.effort)}
        options = {**effort, **prompt.options}
        return replace(prompt, messages=tuple(one_by_one(map(_said_as_thought, prompt.messages))), options=options)

    def is_thinking(self, rendered: str) -> bool:
        return rendered.endswith(f"{CHANNEL}{ANALYSIS}{MESSAGE}")

    def grammar(self, lark: LarkWriter, wanted: Wanted) -> str | None:
        if not wanted.is_bounded and wanted.thinking is None:
            return None
        return lark.grammar(f"{_thought(lark, wanted)} {_answer(lark, wanted)}".strip())

    def script(self, reader: Reader, outlook: Outlook) -> Script:
        answer = _Answer(reader)
        if outlook.is_thinking:
            yield from _read_text(reader, answer.thoughts())
        elif (yield from reader.peek(1)) not in ("<", " "):
            yield from _read_text(reader, answer.words())  # no header: text, as of a model of another way
        head: list[str] = []
        while (mark := (yield from reader.until((MESSAGE, END), head.append))) is not None:
            channel, recipient = _header("".join(head))
            head.clear()
            if mark == END:
                continue  # a header without a message
            if recipient.startswith(PREFIX):
                yield from _read_call(reader, recipient.removeprefix(PREFIX), is_wanted=bool(outlook.tools))
            elif channel == ANALYSIS:
                yield from _read_text(reader, answer.thoughts())
            elif recipient:
                yield from _read_text(reader, nothing)  # to a tool of OpenAI's own, which isn't here
            else:
                yield from _read_text(reader, answer.words())


def _said_as_thought(message: Message) -> Message:
    """A message that calls, with its text as reasoning."""
    if not message.calls:
        return message
    thought = "\n\n".join(filter(None, (message.reasoning, message.text)))
    return replace(message, text="", reasoning=thought or None)


class _Answer:
    """The text and the reasoning, each of several messages; a gap stands between them."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        self._n_thoughts = self._n_words = 0

    def thoughts(self) -> Emit:
        if self._n_thoughts:
            self._reader.thought("\n\n")
        self._n_thoughts += 1
        return self._reader.thought

    def words(self) -> Emit:
        if self._n_words:
            self._reader.gap("\n\n")
        self._n_words += 1
        return self._reader.content


def _header(head: str) -> tuple[str, str]:
    """A message's channel and its recipient, which stands behind the role or the channel; empty where there is none.

    The last of several counts.
    """
    channels = re.findall(re.escape(CHANNEL) + r"\s*(\w+)", head)
    recipients = re.findall(r"\bto=([^\s<]+)", head)
    return channels[-1] if channels else "", recipients[-1] if recipients else ""


def _read_text(reader: Reader, emit: Emit) -> Script:
    """Read a message's text, and past its end to the next header."""
    yield from reader.until(_ENDS, emit)


def _read_call(reader: Reader, name: str, *, is_wanted: bool) -> Script:
    if is_wanted:
        reader.begin(name)
        yield from read_arguments(reader)
    yield from reader.until((END, CALL, RETURN, ASSISTANT), nothing)


def _thought(lark: LarkWriter, wanted: Wanted) -> str:
    """The reasoning, and the head of the message after it."""
    if not (wanted.is_thinking or wanted.may_think):
        return ""
    thought = f"{lark.thought(END, wanted.thinking)} {lark.literal(ASSISTANT)}"
    return thought if wanted.is_thinking else f"({lark.literal(CHANNEL + ANALYSIS + MESSAGE)} {thought})?"


def _answer(lark: LarkWriter, wanted: Wanted) -> str:
    """One call, or one answer; text before a call is a message of its own. A message that calls is the turn's last."""
    final = _final(lark, wanted)
    if wanted.plan.mode == "none":
        return final
    call = lark.rule(alternatives([_call(lark, tool) for tool in wanted.plan.tools]))
    if wanted.plan.mode == "required":
        return call
    if not isinstance(wanted.output, AnyText):
        return f"({final} | {call})"
    preamble = f"{lark.literal(CHANNEL + COMMENTARY + MESSAGE)} {lark.text_until(END)} {lark.literal(ASSISTANT)}"
    return f"({preamble})? ({final} | {call})"


def _final(lark: LarkWriter, wanted: Wanted) -> str:
    return f"{lark.literal(CHANNEL + FINAL + MESSAGE)} {output_expression(lark, wanted.output)}"


def _call(lark: LarkWriter, tool: Tool) -> str:
    """Its end is a stop token, so the grammar ends before it."""
    to = f" to={PREFIX}{tool.name}"
    heads = (
        f"{CHANNEL}{COMMENTARY}{to} {CONSTRAIN}json{MESSAGE}",
        f"{to}{CHANNEL}{COMMENTARY} {CONSTRAIN}json{MESSAGE}",
    )
    return f"({alternatives([lark.literal(head) for head in heads])}) {arguments_as_json(lark, tool)}"


DIALECT = Harmony()
