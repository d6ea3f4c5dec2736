"""Models whose template knows no tools: the system prompt tells of them; calls are JSON in ``<tool_call>``.

The words are few and plain, so that a model of 135M parameters can follow them.
"""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import TypeAlias

from lowcloud.core.messages import Message, Messages, ToolCall
from lowcloud.core.tools import Tool
from lowcloud.text.channels import Reader, Script
from lowcloud.text.dialects.dialect import Outlook
from lowcloud.text.dialects.hermes import CLOSE, OPEN, SYNTAX, THINKING, read_call
from lowcloud.text.dialects.reading import answer_emit, arguments_schema, as_object, read_thinking
from lowcloud.text.grammar import LarkWriter, Wanted, answer_grammar

Written: TypeAlias = Callable[[tuple[ToolCall, ...]], str]
_RESULTS = ("tool", "function")
PERSONA = "You are a helpful assistant."
TELL = """You can use these tools:
{tools}

To use a tool, write only its name and arguments as JSON, like this:
<tool_call>
{{"name": "tool name", "arguments": {{"argument name": "value"}}}}
</tool_call>
The user then gives you the tool's result. When you have it, or need no tool, answer in plain text."""


@dataclass(frozen=True, slots=True)
class Generic:
    """The dialect. No template is recognised as its own: it is for those that no other dialect recognises."""

    name: str = "generic"
    marks: tuple[str, ...] = (OPEN, CLOSE, THINKING.opening, THINKING.closing)
    takes_tools: bool = False
    has_text_arguments: bool = False

    def recognises(self, template: str) -> bool:  # noqa: ARG002 - as the protocol has it
        return False

    def retold(self, prompt: Messages) -> Messages:
        return in_words(prompt, TELL, _all_written)

    def is_thinking(self, rendered: str) -> bool:
        return rendered.rstrip().endswith(THINKING.opening)

    def grammar(self, lark: LarkWriter, wanted: Wanted) -> str | None:
        """One call a turn: a model that wasn't trained on tools doesn't know when it has called enough of them."""
        one = replace(wanted, plan=replace(wanted.plan, at_most_one=True))
        return answer_grammar(lark, one, SYNTAX, THINKING)

    def script(self, reader: Reader, outlook: Outlook) -> Script:
        yield from read_thinking(reader, THINKING, is_open=outlook.is_thinking)
        marks = (OPEN,) if outlook.tools else ()
        while (yield from reader.until(marks, answer_emit(reader, outlook))) is not None:
            reader.drop_space()
            yield from read_call(reader)


def in_words(prompt: Messages, tell: str, written: Written) -> Messages:
    """The conversation for a template that knows no tools.

    ``tell`` says how to use ``{tools}``; ``written`` gives an assistant's calls as its model writes them.
    """
    return tools_in_words(replace(prompt, messages=tuple(_history(prompt.messages, written))), tell)


def calls_in_words(prompt: Messages) -> Messages:
    """The conversation for a template that renders tools, and neither calls nor results."""
    return replace(prompt, messages=tuple(_history(prompt.messages, _all_written)))


def tools_in_words(prompt: Messages, tell: str) -> Messages:
    """The conversation for a template that renders calls and results, and no tools."""
    if not prompt.tools:
        return prompt
    messages = _told(prompt.messages, tell.format(tools="\n".join(map(_described, prompt.tools))))
    return replace(prompt, messages=messages, tools=())


def one_by_one(messages: Iterable[Message]) -> Iterator[Message]:
    """The conversation for a template that takes one call a message: each in its own, its results behind it.

    The text and the reasoning stay with the first.
    """
    left = list(messages)
    while left:
        message = left.pop(0)
        if len(message.calls) < 2:
            yield message
            continue
        n_results = next((n for n, other in enumerate(left) if other.role not in _RESULTS), len(left))
        results, left = left[:n_results], left[n_results:]
        for n, call in enumerate(message.calls):
            yield (
                replace(message, calls=(call,)) if n == 0 else replace(message, text="", reasoning=None, calls=(call,))
            )
            yield from (result for result in results if result.call_id == call.id)
        ids = {call.id for call in message.calls}
        yield from (result for result in results if result.call_id not in ids)


def _described(tool: Tool) -> str:
    described = {"name": tool.name, "description": tool.description, "parameters": arguments_schema(tool)}
    return json.dumps({key: value for key, value in described.items() if value is not None}, ensure_ascii=False)


def _told(messages: tuple[Message, ...], tell: str) -> tuple[Message, ...]:
    """The conversation whose first message, the system's, ends with these words."""
    if messages and messages[0].role in ("system", "developer"):
        return (replace(messages[0], text=f"{messages[0].text}\n\n{tell}".lstrip()), *messages[1:])
    return (Message("system", f"{PERSONA}\n\n{tell}"), *messages)


def _history(messages: Iterable[Message], written: Written) -> Iterator[Message]:
    """Calls as the model writes them, results as the user's words; one message of those and what the user says next to
    them, since many templates take turns strictly.
    """
    names: dict[str, str] = {}
    last: Message | None = None
    is_result = False
    for message in messages:
        was_result, is_result = is_result, message.role in _RESULTS
        names.update((call.id, call.name) for call in message.calls)
        turn = _retold(message, names, written)
        if last is not None and last.role == turn.role == "user" and (is_result or was_result):
            last = _joined(last, turn)
            continue
        if last is not None:
            yield last
        last = turn
    if last is not None:
        yield last


def _retold(message: Message, names: Mapping[str, str], written: Written) -> Message:
    if message.role in _RESULTS:
        name = message.name or names.get(message.call_id or "", "the tool")
        return _headed(f"Result of {name}:\n", Message("user", message.text, images=message.images))
    if not message.calls:
        return message
    text = "\n".join(filter(None, (message.text, written(message.calls))))
    return replace(message, text=text, calls=())


def _all_written(calls: tuple[ToolCall, ...]) -> str:
    return "\n".join(map(_written, calls))


def _written(call: ToolCall) -> str:
    return f"{OPEN}\n{as_object(call)}\n{CLOSE}"


def _joined(first: Message, second: Message) -> Message:
    second = _headed(f"{first.text}\n\n", second)
    return replace(first, text=second.text, images=first.images + second.images)


def _headed(head: str, message: Message) -> Message:
    """The message with words before its own."""
    images = tuple(replace(image, at=image.at + len(head)) for image in message.images)
    return replace(message, text=head + message.text, images=images)


DIALECT = Generic()
