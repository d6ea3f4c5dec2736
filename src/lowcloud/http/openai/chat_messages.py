"""Messages of the chat format to messages of the core: content as a string, as parts, as null."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, SkipValidation

from lowcloud.core.errors import BadRequest, Unsupported
from lowcloud.core.messages import Message
from lowcloud.http.validation import validated

# Source: OpenAI's specification. It keeps control strings out, which templates put into the prompt with the name.
NAME = r"^[^\s<|\\/>]{1,64}$"
MEDIA = (
    "image_url",
    "input_image",
    "image",
    "input_audio",
    "audio",
    "audio_url",
    "file",
    "input_file",
    "video_url",
    "video",
)
PART_SEPARATOR = "\n"
_CALLS = ("tool_calls", "function_call", "audio")
# A name goes to the model's chat template, and few of those read it: so it is no promise, and is named like a hint.
_READ = frozenset({"role", "content", *_CALLS})


class TextPart(BaseModel):
    """A piece of a message; pieces are joined with a newline."""

    model_config = ConfigDict(strict=True)

    type: Literal["text"]
    text: str


class RefusalPart(BaseModel):
    """What an assistant said instead of an answer; read as text."""

    model_config = ConfigDict(strict=True)

    type: Literal["refusal"]
    refusal: str


class ChatMessage(BaseModel):
    """One turn. Content may be null or absent for an assistant only."""

    model_config = ConfigDict(strict=True)

    role: Literal["system", "developer", "user", "assistant", "tool", "function"]
    content: Annotated[str | list[TextPart | RefusalPart] | None, SkipValidation] = None
    name: str | None = Field(None, pattern=NAME)
    refusal: str | None = None


def messages_of(value: object) -> tuple[tuple[Message, ...], list[str]]:
    """The messages, and the names of the fields in them that nothing reads. Raises BadRequest, Unsupported."""
    if not isinstance(value, list) or not value:
        raise BadRequest("messages: must be a list of at least one message.", param="messages")
    unread: dict[str, None] = {}
    messages = tuple(_message(item, f"messages[{index}]", unread) for index, item in enumerate(value))
    return messages, list(unread)


def _message(value: Any, path: str, unread: dict[str, None]) -> Message:
    message = validated(ChatMessage, value, path)
    read = _READ | {"refusal"} if message.role == "assistant" and message.content is None else _READ
    _note_unread(value, read, "messages[]", unread)
    for name in _CALLS:
        if value.get(name) not in (None, []):
            raise Unsupported(f"{path}.{name} is not supported here.", param=f"{path}.{name}")
    return Message(message.role, _text(message, path, unread), message.name)


def _note_unread(value: Mapping[str, object], read: frozenset[str], path: str, unread: dict[str, None]) -> None:
    unread.update({f"{path}.{name}": None for name in value if name not in read and value[name] is not None})


def _text(message: ChatMessage, path: str, unread: dict[str, None]) -> str:
    content: object = message.content
    match content:
        case str():
            return content
        case list():
            parts = [_part(part, f"{path}.content[{index}]", message.role) for index, part in enumerate(content)]
            for part in content:
                _note_unread(part, frozenset({"type", part["type"]}), "messages[].content[]", unread)
            if not parts and message.role != "assistant":
                raise BadRequest(f"{path}.content: must have at least one part.", param=f"{path}.content")
            return PART_SEPARATOR.join(parts)
        case None if message.role == "assistant":
            return message.refusal or ""
        case None:
            raise BadRequest(f"{path}.content: is required for the role {message.role}.", param=f"{path}.content")
        case _:
            raise BadRequest(f"{path}.content: must be a string, a list of parts or null.", param=f"{path}.content")


def _part(part: object, path: str, role: str) -> str:
    kind = part.get("type") if isinstance(part, dict) else None
    if kind == "refusal" and role == "assistant":
        return validated(RefusalPart, part, path).refusal
    if isinstance(kind, str) and kind in MEDIA:
        raise Unsupported(f"{path}: content of type {kind} is not supported here; only text is.", param=path)
    return validated(TextPart, part, path).text
