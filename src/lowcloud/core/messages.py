"""The prompt of a generation: a conversation, a text, or token ids.

What a wire format accepts as content (strings, parts, null) ends in ``http/``; here content is text, with images at
places in it.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from lowcloud.core.tools import Tool

Role: TypeAlias = Literal["system", "developer", "user", "assistant", "tool", "function"]
# What Hugging Face's apply_chat_template takes, and the server itself gives.
RESERVED_OPTIONS = frozenset(
    {"messages", "tools", "chat_template", "add_generation_prompt", "tokenize", "bos_token", "eos_token"}
)
Effort: TypeAlias = Literal["none", "minimal", "low", "medium", "high", "xhigh", "max"]


@dataclass(frozen=True, slots=True)
class ToolCall:
    """A call that the assistant made. ``arguments``: JSON text of a function's, the input itself of a custom tool's."""

    id: str
    name: str
    arguments: str
    is_custom: bool = False


@dataclass(frozen=True, slots=True)
class Image:
    """``data`` is the image file's bytes; ``at`` is its place in the message's text, in characters.

    ``param`` is its path in the body, for errors, where that isn't one of ``messages``.
    """

    data: bytes
    media_type: str
    at: int = 0
    param: str = field(default="", kw_only=True)


@dataclass(frozen=True, slots=True)
class Message:
    """One turn of a conversation.

    ``calls`` and ``reasoning`` are an assistant's; ``call_id`` is the call that a tool's message answers.
    """

    role: Role
    text: str
    name: str | None = None
    reasoning: str | None = None
    calls: tuple[ToolCall, ...] = ()
    call_id: str | None = None
    images: tuple[Image, ...] = ()


@dataclass(frozen=True, slots=True)
class Messages:
    """A conversation, to be rendered by the model's own chat template, with the tools that it tells the model of.

    ``effort`` None: the model's own way of thinking; ``effort_param`` is the path of the field that set it, empty where
    nobody did. ``options`` are variables for the template, as the caller named them (``chat_template_kwargs``), none of
    ``RESERVED_OPTIONS``; JSON values.
    """

    messages: tuple[Message, ...]
    tools: tuple[Tool, ...] = ()
    effort: Effort | None = None
    effort_param: str = field(default="", kw_only=True)
    options: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Text:
    """A text that no template touches, to be gone on with; or to be filled in before ``suffix``."""

    text: str
    suffix: str | None = None


@dataclass(frozen=True, slots=True)
class Tokens:
    """Token ids of the model's own vocabulary."""

    ids: tuple[int, ...]


Prompt: TypeAlias = Messages | Text | Tokens
