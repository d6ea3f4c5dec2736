"""``text``: what the answer's text must be."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, SkipValidation

from lowcloud.core.output import ANY_TEXT, Format, JsonSchema
from lowcloud.http.openai.chat_format import ANY_OBJECT, FormatName
from lowcloud.http.openai.parameters import note_unread
from lowcloud.http.validation import validated

Verbosity = Literal["low", "medium", "high"]
_PATH = "text.format"


class _Part(BaseModel):
    model_config = ConfigDict(strict=True)


class PlainFormat(_Part):
    """Any text, or a JSON object of any kind."""

    type: Literal["text", "json_object"]


class SchemaFormat(_Part):
    """Without ``strict: false`` a schema that can't be enforced whole is refused."""

    type: Literal["json_schema"]
    name: FormatName
    json_schema: dict[str, object] = Field(alias="schema")
    description: str | None = None
    strict: bool | None = None


class TextFields(_Part):
    format: Annotated[PlainFormat | SchemaFormat | None, SkipValidation] = None
    verbosity: Verbosity | None = None


def text_asked(text: Mapping[str, Any] | None, unread: dict[str, None]) -> tuple[Format, dict[str, object]]:
    """The format that the body's ``text`` asks for, and ``text`` as the response shows it. Raises BadRequest."""
    if text is None:
        return ANY_TEXT, {"format": {"type": "text"}}
    body = validated(TextFields, text, "text")
    note_unread(text, TextFields.model_fields, "text", unread)
    output, shown = _format(text.get("format"), unread)
    if body.verbosity is None:
        return output, {"format": shown}
    if body.verbosity != "medium":
        unread["text.verbosity"] = None
    return output, {"format": shown, "verbosity": body.verbosity}


def _format(value: Any, unread: dict[str, None]) -> tuple[Format, dict[str, object]]:
    if value is None:
        return ANY_TEXT, {"type": "text"}
    if not isinstance(value, dict) or value.get("type") != "json_schema":
        kind = validated(PlainFormat, value, _PATH).type
        note_unread(value, PlainFormat.model_fields, _PATH, unread)
        return (ANY_TEXT if kind == "text" else JsonSchema(ANY_OBJECT, param=_PATH)), {"type": kind}
    named = validated(SchemaFormat, value, _PATH)
    note_unread(value, {"type", "name", "schema", "description", "strict"}, _PATH, unread)
    is_strict = named.strict is not False
    shown: dict[str, object] = {
        "type": "json_schema",
        "name": named.name,
        "description": named.description,
        "schema": named.json_schema,
        "strict": is_strict,
    }
    return JsonSchema(named.json_schema, is_strict=is_strict, param=f"{_PATH}.schema"), shown
