"""Kimi K3: elements of control tokens (XTML); a call's arguments are elements too, the strings among them raw.

    <|open|>response<|sep|>...<|close|>response<|sep|><|open|>tools<|sep|><|open|>call tool="f" index="1"<|sep|>
    <|open|>argument key="a" type="number"<|sep|>1<|close|>argument<|sep|><|close|>call<|sep|><|close|>tools<|sep|>

Source: the chat template of moonshotai/Kimi-K3.
"""

import re
from collections.abc import Generator
from dataclasses import dataclass, replace

from lowcloud.core.messages import Messages
from lowcloud.text.channels import Emit, Reader, Script
from lowcloud.text.dialects.dialect import Outlook
from lowcloud.text.dialects.kimi_k3_grammar import (
    CLOSE,
    OPEN,
    RESPONSE,
    SEP,
    THINK,
    TOOLS,
    closed,
    opened,
    whole_grammar,
)
from lowcloud.text.dialects.reading import Trimmed, answer_emit, is_json, is_object, nothing, shown
from lowcloud.text.grammar import LarkWriter, Wanted

CALL, ARGUMENT, JSON = f"{OPEN}call ", f"{OPEN}argument ", f"{OPEN}json"
EFFORTS = {"minimal": "low", "xhigh": "max"}  # the model knows low, medium, high and max
PARTS = tuple(mark for tag in (THINK, RESPONSE, TOOLS, "message") for mark in (opened(tag), closed(tag)))


@dataclass(frozen=True, slots=True)
class KimiK3:
    """The dialect."""

    name: str = "kimi-k3"
    marks: tuple[str, ...] = (OPEN, CLOSE, SEP)
    takes_tools: bool = True
    has_text_arguments: bool = False

    def recognises(self, template: str) -> bool:
        return OPEN in template and CLOSE in template and SEP in template

    def retold(self, prompt: Messages) -> Messages:
        """The template has a name of its own for the effort."""
        if prompt.effort is None or prompt.effort == "none":
            return prompt
        effort = EFFORTS.get(prompt.effort, prompt.effort)
        return replace(prompt, options={"thinking_effort": effort, **prompt.options})

    def is_thinking(self, rendered: str) -> bool:
        return rendered.endswith(opened(THINK))

    def grammar(self, lark: LarkWriter, wanted: Wanted) -> str | None:
        return whole_grammar(lark, wanted)

    def script(self, reader: Reader, outlook: Outlook) -> Script:
        emit: Emit = Trimmed(reader.thought) if outlook.is_thinking else answer_emit(reader, outlook)
        has_calls = False
        while (mark := (yield from reader.until(PARTS, emit))) is not None:
            emit = nothing
            if mark == opened(THINK):
                emit = Trimmed(reader.thought)
            elif mark == opened(RESPONSE):
                emit = answer_emit(reader, outlook)
            elif mark == opened(TOOLS) and outlook.tools:
                has_calls = True
                yield from _read_calls(reader)
        if has_calls:
            reader.drop_space()


def _read_calls(reader: Reader) -> Script:
    while (yield from reader.until((CALL, closed(TOOLS)), nothing)) == CALL:
        name = (yield from _attributes(reader)).get("tool")
        if name:
            reader.begin(name)
            yield from _read_arguments(reader)


def _attributes(reader: Reader) -> Generator[None, None, dict[str, str]]:
    """The attributes of the element that has begun, and its head's end; none where the output ends inside."""
    head: list[str] = []
    if (yield from reader.until((SEP,), head.append)) is None:
        return {}
    found = re.findall(r'(\w+)="([^"]*)"', "".join(head))
    return {key: value.replace("&quot;", '"').replace("&amp;", "&") for key, value in found}


def _read_arguments(reader: Reader) -> Script:
    """Read the present call's elements, and end it if it is whole and each value is what it says."""
    is_good, n_read = True, 0
    mark = yield from reader.until((ARGUMENT, JSON, closed("call")), nothing)
    while mark == ARGUMENT:
        attributes = yield from _attributes(reader)
        reader.arguments(f"{', ' if n_read else '{'}{shown(attributes.get('key', ''))}: ")
        value = _Value(reader, is_text=attributes.get("type", "string") == "string")
        mark = yield from _read_value(reader, "argument", (ARGUMENT, closed("call")), value)
        is_good = value.end() and "key" in attributes and is_good
        n_read += 1
    if mark == JSON:
        yield from _read_json(reader)
    elif mark is not None:
        reader.arguments("}" if n_read else "{}")
        if is_good:
            reader.end()


def _read_json(reader: Reader) -> Script:
    """Read a call's arguments in one element of JSON."""
    yield from _attributes(reader)
    value = _Value(reader, is_text=False)
    mark = yield from _read_value(reader, "json", (closed("call"),), value)
    if mark is not None and is_object(value.text):
        reader.end()


def _read_value(
    reader: Reader, tag: str, following: tuple[str, ...], value: "_Value"
) -> Generator[None, None, str | None]:
    """Read an element's text, its end and what follows; an end that none of ``following`` follows is text."""
    while (yield from reader.until((closed(tag),), value.add)) is not None:
        mark = yield from reader.goes_on(following)
        if mark is not None:
            return mark
        value.add(closed(tag))
    return None


class _Value:
    """Passes one argument on as JSON."""

    def __init__(self, reader: Reader, *, is_text: bool) -> None:
        self._reader, self._is_text = reader, is_text
        self._parts: list[str] = []
        if is_text:
            reader.arguments('"')

    @property
    def text(self) -> str:
        return "".join(self._parts)

    def add(self, text: str) -> None:
        self._parts.append(text)
        self._reader.arguments(shown(text)[1:-1] if self._is_text else text)

    def end(self) -> bool:
        """The value is complete; whether it is JSON."""
        if self._is_text:
            self._reader.arguments('"')
            return True
        return is_json(self.text)


DIALECT = KimiK3()
