"""What the text must be: response_format and vLLM's names for the same."""

import json

import pytest

from lowcloud.core.errors import BadRequest, Unsupported
from lowcloud.core.output import ANY_TEXT, Choice, Format, JsonSchema, Lark, Regex
from lowcloud.http.openai.chat_request import ChatAsked, chat_asked

SCHEMA = {"type": "object", "properties": {"a": {"type": "string"}}}
ANY_OBJECT = {"type": "object"}
NESTED = "response_format.json_schema.schema"


def asked(**fields: object) -> ChatAsked:
    return chat_asked({"model": "m", "messages": [{"role": "user", "content": "hi"}]} | fields, "id")


def output(**fields: object) -> Format:
    request = asked(**fields)
    assert request.ignored == ()
    return request.generate.output


def of_schema(value: object) -> Format:
    return output(response_format={"type": "json_schema", "json_schema": value})


def refusal(**fields: object) -> BadRequest:
    with pytest.raises(BadRequest) as raised:
        asked(**fields)
    return raised.value


def test_text_is_any_text():
    assert output(response_format={"type": "text"}) == output(response_format=None) == ANY_TEXT


def test_a_json_object_is_one_of_any_kind_or_of_a_schema():
    assert output(response_format={"type": "json_object"}) == JsonSchema(ANY_OBJECT)
    given = output(response_format={"type": "json_object", "schema": SCHEMA})
    assert given == JsonSchema(SCHEMA, param="response_format.schema")


@pytest.mark.parametrize(("strict", "is_strict"), [(True, True), (None, True), (False, False)])
def test_a_named_schema_is_loose_only_where_it_says_so(strict, is_strict):
    named = {"name": "a", "description": "d", "schema": SCHEMA, "strict": strict}
    assert of_schema(named) == JsonSchema(SCHEMA, is_strict, NESTED)


def test_a_schema_needs_no_name_and_a_name_needs_no_schema():
    assert of_schema({"schema": SCHEMA}) == JsonSchema(SCHEMA, param=NESTED)
    assert of_schema({"name": "a"}) == JsonSchema(ANY_OBJECT, param=NESTED)


@pytest.mark.parametrize("bare", [SCHEMA, {}, {"description": "any"}, {"name": "a", "type": "object"}])
def test_a_bare_schema_is_taken_as_it_is(bare):
    assert of_schema(bare) == JsonSchema(bare, param="response_format.json_schema")


def test_the_guided_names_are_vllms():
    assert (
        output(guided_json=SCHEMA) == output(guided_json=json.dumps(SCHEMA)) == JsonSchema(SCHEMA, param="guided_json")
    )
    assert output(guided_json={}) == JsonSchema({}, param="guided_json")
    assert output(guided_regex="a+") == Regex("a+")
    assert output(guided_choice=["a", "b"]) == Choice(("a", "b"))
    assert output(guided_grammar="start: /a/") == Lark("start: /a/")


@pytest.mark.parametrize(
    ("asked_for", "what"),
    [
        ({"json": SCHEMA}, JsonSchema(SCHEMA, param="structured_outputs.json")),
        ({"json": json.dumps(SCHEMA), "regex": None}, JsonSchema(SCHEMA, param="structured_outputs.json")),
        ({"regex": "a+", "disable_fallback": False}, Regex("a+", "structured_outputs.regex")),
        ({"choice": ["a"]}, Choice(("a",), "structured_outputs.choice")),
        ({"grammar": "start: /a/"}, Lark("start: /a/", "structured_outputs.grammar")),
        ({"json_object": True}, JsonSchema(ANY_OBJECT, param="structured_outputs.json_object")),
        ({"json_object": False}, ANY_TEXT),
    ],
)
def test_structured_outputs_have_the_same_in_one_object(asked_for, what):
    assert output(structured_outputs=asked_for) == what


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"response_format": {"type": "json_object"}, "guided_regex": "a"}, "guided_regex"),
        ({"guided_json": {}, "guided_choice": ["a"]}, "guided_choice"),
        ({"structured_outputs": {"regex": "a", "grammar": "b"}}, "structured_outputs.grammar"),
        ({"guided_regex": "a", "structured_outputs": {"choice": ["a"]}}, "structured_outputs.choice"),
    ],
)
def test_two_formats_contradict_each_other(fields, param):
    assert refusal(**fields).param == param


def test_a_format_may_stand_beside_one_that_asks_for_nothing():
    assert output(response_format={"type": "text"}, guided_regex="a") == Regex("a")


@pytest.mark.parametrize(
    ("value", "param"),
    [
        ("json", ""),
        ({}, ".type"),
        ({"type": "sound"}, ".type"),
        ({"type": "json_schema"}, ".json_schema"),
        ({"type": "json_schema", "json_schema": "x"}, ".json_schema"),
        ({"type": "json_schema", "json_schema": {"schema": 5}}, ".json_schema.schema"),
        ({"type": "json_schema", "json_schema": {"name": "a b", "schema": {}}}, ".json_schema.name"),
        ({"type": "json_schema", "json_schema": {"schema": {}, "strict": "yes"}}, ".json_schema.strict"),
        ({"type": "json_object", "schema": 123}, ".schema"),
    ],
)
def test_a_wrong_response_format_is_refused_with_its_path(value, param):
    assert refusal(response_format=value).param == f"response_format{param}"


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"guided_choice": ["a", ""]}, "guided_choice[1]"),
        ({"guided_choice": ["a", 1]}, "guided_choice[1]"),
        ({"structured_outputs": "x"}, "structured_outputs"),
        ({"structured_outputs": {"regex": ""}}, "structured_outputs.regex"),
        ({"structured_outputs": {"json": 5}}, "structured_outputs.json"),
        ({"structured_outputs": {"choice": "a"}}, "structured_outputs.choice"),
        ({"structured_outputs": {"json_object": 1}}, "structured_outputs.json_object"),
    ],
)
def test_a_wrong_guided_format_is_refused_with_its_path(fields, param):
    assert refusal(**fields).param == param


def test_what_else_vllm_has_is_refused_by_name():
    error = refusal(structured_outputs={"json": {}, "whitespace_pattern": " "})
    assert (error.param, type(error)) == ("structured_outputs.whitespace_pattern", Unsupported)


def test_members_that_nobody_reads_are_named():
    request = asked(response_format={"type": "json_object", "json_schema": {"a": 1}, "extra": 1})
    assert request.ignored == ("response_format.json_schema", "response_format.extra")
    named = {"name": "n", "schema": {"type": "object"}, "extra": 1}
    request = asked(response_format={"type": "json_schema", "json_schema": named})
    assert request.ignored == ("response_format.json_schema.extra",)
