"""The prompt of a generation: a conversation, a text, or token ids.

What a wire format accepts as content (strings, parts, null) ends in ``http/``; here content is text.
"""

from dataclasses import dataclass
from typing import Literal, TypeAlias

Role: TypeAlias = Literal["system", "developer", "user", "assistant", "tool", "function"]


@dataclass(frozen=True, slots=True)
class Message:
    """One turn of a conversation."""

    role: Role
    text: str
    name: str | None = None


@dataclass(frozen=True, slots=True)
class Messages:
    """A conversation, to be rendered by the model's own chat template."""

    messages: tuple[Message, ...]


@dataclass(frozen=True, slots=True)
class Text:
    """A text that no template touches."""

    text: str


@dataclass(frozen=True, slots=True)
class Tokens:
    """Token ids of the model's own vocabulary."""

    ids: tuple[int, ...]


Prompt: TypeAlias = Messages | Text | Tokens
