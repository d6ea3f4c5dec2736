"""Canonical items to a conversation of the core. Pure."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any, TypeAlias, cast

from lowcloud.core.errors import LowcloudError
from lowcloud.core.messages import Message, Role, ToolCall
from lowcloud.http.image_links import is_link, linked
from lowcloud.http.openai.chat_content import PART_SEPARATOR, Content, embedded
from lowcloud.http.responses.items import Item

Given: TypeAlias = str | Sequence[Mapping[str, str]]
NOTHING: Mapping[str, str] = {}
# What the engines call the body's fields.
_NAMES = {"messages": "input", "max_tokens": "max_output_tokens", "logprobs": "top_logprobs"}


def messages_of(
    instructions: str | None,
    items: Sequence[Item],
    opened: Mapping[str, str] = NOTHING,
    paths: Mapping[str, str] = NOTHING,
    source: str = "input",
) -> tuple[Message, ...]:
    """The conversation: instructions first, then the items; what the assistant did at one go is one message.

    ``opened`` has the texts of reasoning and compaction items that only this server can read, by the items' ids;
    ``paths`` where in the body an item came from, for errors about its images; the others come with what the body's
    ``source`` names. References are skipped.
    """
    conversation = _Conversation(opened, paths, source)
    if instructions:
        conversation.messages.append(Message("system", instructions))
    for item in items:
        conversation.add(item)
    conversation.end_turn()
    return tuple(conversation.messages)


@contextmanager
def named_as_here() -> Iterator[None]:
    """The errors of what runs inside name the fields of this format."""
    try:
        yield
    except LowcloudError as error:
        error.param = _NAMES.get(error.param or "", error.param)
        raise


@dataclass(slots=True)
class _Turn:
    """What the assistant did at one go. ``is_said``: it holds a message."""

    reasoning: list[str] = field(default_factory=list)
    said: Content = field(default_factory=Content)
    is_said: bool = False
    calls: list[ToolCall] = field(default_factory=list)

    def message(self) -> Message:
        reasoning = PART_SEPARATOR.join(self.reasoning) or None
        return Message("assistant", self.said.text, reasoning=reasoning, calls=tuple(self.calls))


@dataclass(slots=True)
class _Conversation:
    opened: Mapping[str, str]
    paths: Mapping[str, str]
    source: str
    messages: list[Message] = field(default_factory=list)
    turn: _Turn | None = None
    names: dict[str, str] = field(default_factory=dict)

    def add(self, item: Item) -> None:
        body = cast(Mapping[str, Any], item)
        match body:
            case {"type": "message", "role": "assistant"}:
                turn = self._going_on()
                turn.is_said = True
                for part in body["content"]:
                    turn.said.say(part["refusal"] if part["type"] == "refusal" else part["text"])
            case {"type": "message"}:
                self.end_turn()
                self._hear(body["role"], body["content"], self._path(body, "content"))
            case {"type": "reasoning"}:
                text = self._thought(body)
                if text:
                    self._going_on().reasoning.append(text)
            case {"type": "function_call" | "custom_tool_call"}:
                self._call(body)
            case {"type": "function_call_output" | "custom_tool_call_output"}:
                self.end_turn()
                self._hear("tool", body["output"], self._path(body, "output"), body["call_id"])
            case {"type": "compaction"} if body["id"] in self.opened:
                self.end_turn()
                self._hear("user", self.opened[body["id"]])

    def end_turn(self) -> None:
        if self.turn is not None:
            self.messages.append(self.turn.message())
            self.turn = None

    def _going_on(self) -> _Turn:
        """The turn that more text or reasoning belongs to: a message ends one, unless calls of it wait for outputs."""
        if self.turn is not None and self.turn.is_said and not self.turn.calls:
            self.end_turn()
        return self._current()

    def _current(self) -> _Turn:
        if self.turn is None:
            self.turn = _Turn()
        return self.turn

    def _call(self, body: Mapping[str, Any]) -> None:
        is_custom = body["type"] == "custom_tool_call"
        arguments = body["input"] if is_custom else body["arguments"]
        self.names[body["call_id"]] = body["name"]
        self._current().calls.append(ToolCall(body["call_id"], body["name"], arguments, is_custom))

    def _thought(self, body: Mapping[str, Any]) -> str:
        parts = body.get("content") or ()
        text = PART_SEPARATOR.join(part["text"] for part in parts) or self.opened.get(body["id"], "")
        return text or PART_SEPARATOR.join(part["text"] for part in body["summary"])

    def _hear(
        self,
        role: Role,
        given: str | Sequence[Mapping[str, str]],
        path: str | None = None,
        call_id: str | None = None,
    ) -> None:
        """A message that isn't the assistant's; ``path`` is that of what is given, where the body has it."""
        content = Content()
        for place, part in enumerate([{"type": "input_text", "text": given}] if isinstance(given, str) else given):
            if part["type"] == "input_text":
                content.say(part["text"])
            else:
                url, param = part["image_url"], f"{path}[{place}].image_url" if path else self.source
                image = linked(url, param) if is_link(url) else embedded(url, param)
                content.see(replace(image, param=param))
        name = None if call_id is None else self.names.get(call_id)
        self.messages.append(Message(role, content.text, name=name, call_id=call_id, images=tuple(content.images)))

    def _path(self, body: Mapping[str, Any], member: str) -> str | None:
        path = self.paths.get(body["id"])
        return path and f"{path}.{member}"
