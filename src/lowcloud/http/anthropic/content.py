"""Anthropic's content blocks to messages of the core: text, images, calls, results, thinking."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from lowcloud.core.errors import BadRequest, Unsupported
from lowcloud.core.messages import Image, Message, ToolCall
from lowcloud.http.encode import to_json
from lowcloud.http.image_links import is_link, linked
from lowcloud.http.openai.chat_content import PART_SEPARATOR, Content, TextPart, image_bytes
from lowcloud.http.openai.parameters import note_unread
from lowcloud.http.validation import validated

_DIRECT = {"type": "direct"}  # the caller of each of our calls: the model itself


class _Block(BaseModel):
    model_config = ConfigDict(strict=True)


class Turn(_Block):
    """One turn."""

    role: Literal["user", "assistant", "system"]
    content: str | list[Any]


class ImageSource(_Block):
    """Base64 of an image file."""

    type: Literal["base64"]
    media_type: Literal["image/jpeg", "image/png", "image/gif", "image/webp"]
    data: str


class UrlSource(_Block):
    """An image on another server; taken where ``server.image_urls`` is set."""

    type: Literal["url"]
    url: str


class ImageBlock(_Block):
    """A picture."""

    type: Literal["image"]
    source: dict[str, Any]


class ToolUseBlock(_Block):
    """A call that the assistant made."""

    type: Literal["tool_use"]
    id: str
    name: str
    input: dict[str, Any]


class ToolResultBlock(_Block):
    """What a call gave."""

    type: Literal["tool_result"]
    tool_use_id: str
    content: str | list[Any] | None = None
    is_error: bool | None = None


class ThinkingBlock(_Block):
    """What the assistant thought."""

    type: Literal["thinking"]
    thinking: str
    signature: str | None = None


_READ = {
    "text": {"type", "text"},
    "image": {"type", "source"},
    "tool_use": {"type", "id", "name", "input"},
    "tool_result": {"type", "tool_use_id", "content", "is_error"},
    "thinking": {"type", "thinking", "signature"},
}


def conversation(turns: object, system: object, unread: dict[str, None]) -> tuple[Message, ...]:
    """The messages; ``unread`` gets the names of the members that nothing reads. Raises BadRequest, Unsupported."""
    messages: list[Message] = []
    if system not in (None, "", []):
        builder = _Builder("system", unread)
        builder.add_all(system, "system")
        messages += builder.messages()
    if not isinstance(turns, list) or not turns:
        raise BadRequest("messages: must be a list of at least one message.", param="messages")
    for index, raw in enumerate(turns):
        path = f"messages[{index}]"
        turn = validated(Turn, raw, path)
        note_unread(raw, Turn.model_fields, path, unread)
        builder = _Builder(turn.role, unread)
        builder.add_all(turn.content, f"{path}.content")
        messages += builder.messages()
    return tuple(messages)


@dataclass
class _Builder:
    """One turn's messages: a tool's result is a message of its own, before what the user says beside it."""

    role: Literal["user", "assistant", "system"]
    unread: dict[str, None]
    said: Content = field(default_factory=Content)
    reasoning: list[str] = field(default_factory=list)
    calls: list[ToolCall] = field(default_factory=list)
    results: list[Message] = field(default_factory=list)

    def messages(self) -> list[Message]:
        text, images = self.said.text, tuple(self.said.images)
        if self.results and not (text or images):
            return self.results
        reasoning = PART_SEPARATOR.join(self.reasoning) or None
        own = Message(self.role, text, reasoning=reasoning, calls=tuple(self.calls), images=images)
        return [*self.results, own]

    def add_all(self, content: object, path: str) -> None:
        if isinstance(content, str):
            self.said.say(content)
            return
        if not isinstance(content, list):
            raise BadRequest(f"{path}: must be a string or a list of blocks.", param=path)
        for index, block in enumerate(content):
            self._add(block, f"{path}[{index}]")

    def _add(self, block: Any, path: str) -> None:
        kind = block.get("type") if isinstance(block, dict) else None
        if isinstance(kind, str) and kind in _READ:
            self._note_unread(block, _READ[kind], path)
        allowed = {"system": ("text",), "user": ("text", "image", "tool_result")}.get(self.role)
        if kind == "redacted_thinking" and self.role == "assistant":
            note_unread({kind: block}, (), path, self.unread)
        elif kind == "image" and self.role == "user":
            image = self._image(validated(ImageBlock, block, path).source, f"{path}.source")
            self.said.see(replace(image, param=path))
        elif kind == "tool_result" and self.role == "user":
            self._result(validated(ToolResultBlock, block, path), path)
        elif kind == "tool_use" and self.role == "assistant":
            use = validated(ToolUseBlock, block, path)
            self.calls.append(ToolCall(use.id, use.name, to_json(use.input).decode()))
        elif kind == "thinking" and self.role == "assistant":
            self.reasoning.append(validated(ThinkingBlock, block, path).thinking)
        elif kind == "text" or kind is None:
            self.said.say(validated(TextPart, block, path).text)
        else:
            where = f"in a message of the role {self.role}" if allowed or kind in _READ else "here"
            raise Unsupported(f"{path}: a block of type {str(kind)[:100]} is not supported {where}.", param=path)

    def _image(self, source: Mapping[str, Any], path: str) -> Image:
        match source.get("type"):
            case "base64":
                image = validated(ImageSource, source, path)
                note_unread(source, ImageSource.model_fields, path, self.unread)
                return Image(image_bytes(image.data, f"{path}.data"), image.media_type)
            case "url":
                url = validated(UrlSource, source, path).url
                note_unread(source, UrlSource.model_fields, path, self.unread)
                if not is_link(url):
                    raise BadRequest(f"{path}.url: must be an http or https URL.", param=f"{path}.url")
                return linked(url, f"{path}.url")
            case "file":
                raise Unsupported(f"{path}: images are taken in base64 and by URL here, not as files.", param=path)
        raise BadRequest(f"{path}.type: must be base64 or url.", param=f"{path}.type")

    def _result(self, block: ToolResultBlock, path: str) -> None:
        inside = _Builder("user", self.unread)
        if block.content is not None:
            inside.add_all(block.content, f"{path}.content")
        if inside.results:
            raise BadRequest(f"{path}.content: a result can't hold results.", param=f"{path}.content")
        prefix = "Error: " if block.is_error else ""
        images = tuple(replace(image, at=image.at + len(prefix)) for image in inside.said.images)
        self.results.append(Message("tool", prefix + inside.said.text, call_id=block.tool_use_id, images=images))

    def _note_unread(self, block: Mapping[str, object], read: set[str], path: str) -> None:
        ours = {"caller"} if block.get("caller") == _DIRECT else set()
        note_unread(block, read | ours, path, self.unread)
