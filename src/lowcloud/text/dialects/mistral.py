"""Mistral, Ministral, Magistral and Devstral: calls follow ``[TOOL_CALLS]``, reasoning stands in ``[THINK]``.

Up to tokenizer v7 they are a list of JSON objects, later each is ``name[ARGS]{...}`` after a mark of its own, with v11
perhaps a ``[CALL_ID]``. Source: the templates of Mistral-Nemo-Instruct-2407, Mistral-Small-3.1-24B-Instruct-2503,
Mistral-Small-3.2-24B-Instruct-2506 and Magistral-Small-2509; mistral-common 1.12.
"""

import hashlib
import re
from collections.abc import Generator
from dataclasses import dataclass, replace

from lowcloud.core.messages import Message, Messages
from lowcloud.core.tools import Tool
from lowcloud.text.channels import Reader, Script
from lowcloud.text.dialects.dialect import Outlook
from lowcloud.text.dialects.reading import (
    Trimmed,
    arguments_as_json,
    call_head,
    read_arguments,
    read_body,
    read_json_calls,
    read_thinking,
)
from lowcloud.text.grammar import CallSyntax, LarkWriter, Thinking, Wanted, answer_grammar

CALLS, ID, ARGS = "[TOOL_CALLS]", "[CALL_ID]", "[ARGS]"
THINKING = Thinking("[THINK]", "[/THINK]")
THINKING_IN_WORDS = Thinking("<think>", "</think>")  # Magistral 2506, whose vocabulary has no marks for it
_ID = re.compile(r"[a-zA-Z0-9]{9}")
_ANY_ID = "/[a-zA-Z0-9]{9}/"


def _listed(lark: LarkWriter, tool: Tool) -> str:
    end = f'(", \\"id\\": \\"" {_ANY_ID} "\\"")? {lark.literal("}")}'
    return f"{lark.literal(call_head(tool))} {arguments_as_json(lark, tool)} {end}"


def _marked(lark: LarkWriter, tool: Tool) -> str:
    call_id = f"({lark.literal(ID)} {_ANY_ID})?" if ID in lark.token_ids else ""
    arguments = f"{lark.literal(ARGS)} {arguments_as_json(lark, tool)}"
    return " ".join(filter(None, (lark.literal(tool.name), call_id, arguments)))


LISTED = CallSyntax(_listed, opener=f"{CALLS} [", between=", ", closer="]")
MARKED = CallSyntax(_marked, opener=CALLS, between=CALLS)


@dataclass(frozen=True, slots=True)
class Mistral:
    """The dialect. ``has_marked_calls``: each call after a mark, with ``[ARGS]``; else all in a list."""

    name: str = "mistral"
    has_marked_calls: bool = True
    marks: tuple[str, ...] = (
        *(CALLS, ID, ARGS),
        *(THINKING.opening, THINKING.closing),
        *(THINKING_IN_WORDS.opening, THINKING_IN_WORDS.closing),
    )
    takes_tools: bool = True
    has_text_arguments: bool = False

    def recognises(self, template: str) -> bool:
        return CALLS in template and (ARGS in template) == self.has_marked_calls

    def retold(self, prompt: Messages) -> Messages:
        """The templates refuse ids of calls that aren't nine letters and digits: others become such."""
        return replace(prompt, messages=tuple(map(_with_short_ids, prompt.messages)))

    def is_thinking(self, rendered: str) -> bool:
        return rendered.rstrip().endswith((THINKING.opening, THINKING_IN_WORDS.opening))

    def grammar(self, lark: LarkWriter, wanted: Wanted) -> str | None:
        thinking = THINKING if THINKING.opening in lark.token_ids else THINKING_IN_WORDS
        return answer_grammar(lark, wanted, MARKED if self.has_marked_calls else LISTED, thinking)

    def script(self, reader: Reader, outlook: Outlook) -> Script:
        yield from _read_reasoning(reader, is_open=outlook.is_thinking)
        yield from read_body(reader, outlook, THINKING, (CALLS,), lambda _: _read_calls(reader))


def _read_reasoning(reader: Reader, *, is_open: bool) -> Script:
    """The reasoning that an answer begins with, in either kind of marks."""
    if is_open:
        yield from reader.spaces()
        yield from reader.until((THINKING.closing, THINKING_IN_WORDS.closing), Trimmed(reader.thought))
        yield from reader.spaces()
    else:
        yield from read_thinking(reader, THINKING, is_open=False)
        yield from read_thinking(reader, THINKING_IN_WORDS, is_open=False)


def _read_calls(reader: Reader) -> Script:
    """Read on behind the mark: a list, or one call in the form with marks."""
    yield from reader.spaces()
    if (yield from reader.peek()) in ("[", "{") and not (yield from _goes_on_with_mark(reader)):
        yield from read_json_calls(reader)
        return
    name = yield from reader.word("[{ \t\r\n")
    call_id = None
    if (yield from reader.goes_on((ID,))) is not None:
        call_id = yield from reader.word("[{ \t\r\n")
    has_arguments = (yield from reader.goes_on((ARGS,))) is not None or (yield from reader.peek()) == "{"
    if name and has_arguments:
        reader.begin(name, call_id)
        yield from read_arguments(reader)
    elif call_id is None and (yield from reader.peek()):  # text; at the output's end it is a call that was cut
        reader.content(name)


def _goes_on_with_mark(reader: Reader) -> Generator[None, None, bool]:
    return (yield from reader.peek(len(CALLS))) == CALLS


def _with_short_ids(message: Message) -> Message:
    calls = tuple(replace(call, id=_short(call.id)) for call in message.calls)
    return replace(message, calls=calls, call_id=None if message.call_id is None else _short(message.call_id))


def _short(call_id: str) -> str:
    return call_id if _ID.fullmatch(call_id) else hashlib.sha256(call_id.encode()).hexdigest()[:9]


MARKED_CALLS = Mistral()
LISTED_CALLS = Mistral(name="mistral-v3", has_marked_calls=False)
