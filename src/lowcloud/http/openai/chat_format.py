"""What an answer's text must be: ``response_format``, and vLLM's names for the same."""

from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, SkipValidation

from lowcloud.core.errors import BadRequest, Unsupported
from lowcloud.core.output import ANY_TEXT, Choice, Format, JsonSchema, Lark, Regex
from lowcloud.http.openai.parameters import note_unread
from lowcloud.http.strict_json import parse_object
from lowcloud.http.validation import validated

ANY_OBJECT: Mapping[str, object] = {"type": "object"}
GUIDED = ("guided_json", "guided_regex", "guided_choice", "guided_grammar")
FormatName = Annotated[str, Field(pattern=r"^[a-zA-Z0-9_-]{1,64}$")]
_WRAPPER = frozenset({"name", "schema", "strict", "description"})


class NamedSchema(BaseModel):
    """OpenAI's form. Without ``strict: false`` a schema that can't be enforced whole is refused."""

    model_config = ConfigDict(strict=True)

    name: FormatName | None = None
    description: str | None = None
    json_schema: dict[str, object] | None = Field(None, alias="schema")
    strict: bool | None = None


class ResponseFormat(BaseModel):
    """``json_schema`` is OpenAI's form or the bare schema. ``schema`` may stand beside ``json_object``."""

    model_config = ConfigDict(strict=True)

    type: Literal["text", "json_object", "json_schema"]
    json_schema: dict[str, object] | None = None
    object_schema: dict[str, object] | None = Field(None, alias="schema")


class StructuredOutputs(BaseModel):
    """vLLM's form: one of them."""

    model_config = ConfigDict(strict=True, extra="allow")

    json_: Annotated[dict[str, object] | str | None, SkipValidation] = Field(None, alias="json")
    regex: str | None = None
    choice: Annotated[list[str] | None, SkipValidation] = None
    grammar: str | None = None
    json_object: bool | None = None


class GuidedFields(BaseModel):
    """The part of a body that has vLLM's names; ``format_asked`` reads them."""

    guided_json: Annotated[dict[str, object] | str | None, SkipValidation] = None
    guided_regex: Annotated[str | None, SkipValidation] = None
    guided_choice: Annotated[list[str] | None, SkipValidation] = None
    guided_grammar: Annotated[str | None, SkipValidation] = Field(None, description="Lark")
    structured_outputs: Annotated[StructuredOutputs | None, SkipValidation] = None


def format_asked(raw: Mapping[str, object], unread: dict[str, None]) -> Format:
    """The one format that the body asks for. Raises BadRequest for two, and Unsupported for what isn't done."""
    asked: list[tuple[str, Format]] = []
    if raw.get("response_format") is not None:
        asked.append(("response_format", _response_format(raw["response_format"], unread)))
    guided = [(name, raw[name]) for name in GUIDED if raw.get(name) is not None]
    asked += [(name, _guided(name.removeprefix("guided_"), value, name)) for name, value in guided]
    if raw.get("structured_outputs") is not None:
        asked += _structured(raw["structured_outputs"])
    asked = [(name, what) for name, what in asked if what != ANY_TEXT]
    if len(asked) > 1:
        (first, _), (second, _) = asked[:2]
        raise BadRequest(f"{second}: the answer can't be of two formats; {first} asks for another.", param=second)
    return asked[0][1] if asked else ANY_TEXT


def _response_format(value: object, unread: dict[str, None]) -> Format:
    body = validated(ResponseFormat, value, "response_format")
    known = {"type", "json_schema"} if body.type == "json_schema" else {"type", "schema"}
    if isinstance(value, dict):
        unread.update({f"response_format.{name}": None for name in value if name not in known and value[name]})
    match body.type:
        case "text":
            return ANY_TEXT
        case "json_object":
            schema = body.object_schema
            return JsonSchema(ANY_OBJECT) if schema is None else JsonSchema(schema, param="response_format.schema")
        case "json_schema":
            return _json_schema(body.json_schema, unread)


def _json_schema(value: dict[str, object] | None, unread: dict[str, None]) -> JsonSchema:
    path = "response_format.json_schema"
    if value is None:
        raise BadRequest(f"Missing required parameter: {path}.", param=path)
    if "schema" not in value and not ("name" in value and value.keys() <= _WRAPPER):
        return JsonSchema(value, param=path)
    named = validated(NamedSchema, value, path)
    note_unread(value, _WRAPPER, path, unread)
    schema = ANY_OBJECT if named.json_schema is None else named.json_schema
    return JsonSchema(schema, is_strict=named.strict is not False, param=f"{path}.schema")


def _structured(value: object) -> list[tuple[str, Format]]:
    body = validated(StructuredOutputs, value, "structured_outputs")
    for name, asked in (body.model_extra or {}).items():
        if asked not in (None, False):
            path = f"structured_outputs.{name[:64]}"
            raise Unsupported(f"{path} is not supported here.", param=path)
    found: list[tuple[str, Format]] = []
    members = {"json": body.json_, "regex": body.regex, "choice": body.choice, "grammar": body.grammar}
    for name, what in members.items():
        if what is not None:
            path = f"structured_outputs.{name}"
            found.append((path, _guided(name, what, path)))
    if body.json_object:
        path = "structured_outputs.json_object"
        found.append((path, JsonSchema(ANY_OBJECT, param=path)))
    return found


def _guided(kind: str, value: object, path: str) -> Format:
    match kind, value:
        case "json", dict():
            return JsonSchema(value, param=path)
        case "json", str():
            return JsonSchema(_parsed(value, path), param=path)
        case "regex", str() if value:
            return Regex(value, path)
        case "grammar", str() if value:
            return Lark(value, path)
        case "choice", list() if value:
            return Choice(_texts(value, path), path)
    wanted = {"json": "a JSON schema, as an object or as a string", "choice": "a list of at least one string"}
    raise BadRequest(f"{path}: must be {wanted.get(kind, 'a string that is not empty')}.", param=path)


def _texts(values: list[object], path: str) -> tuple[str, ...]:
    for index, value in enumerate(values):
        if not isinstance(value, str) or not value:
            raise BadRequest(f"{path}[{index}]: must be a string that is not empty.", param=f"{path}[{index}]")
    return tuple(str(value) for value in values)


def _parsed(text: str, path: str) -> dict[str, object]:
    try:
        return parse_object(text.encode())
    except BadRequest as error:
        reason = str(error).removeprefix("The body ")
        raise BadRequest(f"{path}: the JSON in the string {reason}", param=path) from None
