"""What an answer's text must be: anything, or what a schema or a grammar allows."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeAlias

Schema: TypeAlias = Mapping[str, object]


@dataclass(frozen=True, slots=True)
class AnyText:
    """No bounds."""


@dataclass(frozen=True, slots=True)
class JsonSchema:
    """JSON that ``schema`` allows; ``{"type": "object"}`` is OpenAI's ``json_object``.

    Where ``is_strict``, a schema that can't be enforced whole is refused; else what can't be is left out, and
    ``Started.loosened`` names it. ``param`` is the path of the schema in the body, for errors.
    """

    schema: Schema
    is_strict: bool = True
    param: str = "response_format"


@dataclass(frozen=True, slots=True)
class Regex:
    """Text that the whole expression matches, in the syntax of Rust's regex crate."""

    pattern: str
    param: str = "guided_regex"


@dataclass(frozen=True, slots=True)
class Choice:
    """One of these texts."""

    options: tuple[str, ...]
    param: str = "guided_choice"


@dataclass(frozen=True, slots=True)
class Lark:
    """Text that a grammar in llguidance's dialect of Lark derives from ``start``."""

    grammar: str
    param: str = "guided_grammar"


Format: TypeAlias = AnyText | JsonSchema | Regex | Choice | Lark
ANY_TEXT = AnyText()
