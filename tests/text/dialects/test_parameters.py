import json

import pytest

from lowcloud.text.dialects.parameters import kinds_of, property_schema, value_json

POINT = {"type": "object", "properties": {"x": {"type": "number"}}}
ROOT = {
    "properties": {"p": {"$ref": "#/$defs/p"}, "loop": {"$ref": "#/$defs/loop"}},
    "additionalProperties": {"type": "integer"},
    "$defs": {
        "p": {"allOf": [{"$ref": "#/$defs/q"}]},
        "q": POINT,
        "loop": {"anyOf": [{"$ref": "#/$defs/loop"}]},
        "around": {"$ref": "#/$defs/around"},
        "wide": {"anyOf": [{"$ref": "#/$defs/wide"}] * 50 + [{"type": "null"}]},
    },
}


@pytest.mark.parametrize(
    ("text", "kinds", "value"),
    [
        ("12", ["string"], "12"),
        ("  a\n", ["string"], "  a\n"),
        ("12", ["integer"], 12),
        (" 12\n", ["integer"], 12),
        ("True", ["boolean"], True),
        ("None", ["null", "integer"], None),
        ("{'a': [1, None]}", ["object"], {"a": [1, None]}),
        ("{'a': ", ["object"], "{'a': "),
        ("NaN", ["number"], "NaN"),
        ("words", ["integer"], "words"),
        ("null", ["string", "null"], None),
        (" null", ["string", "null"], " null"),
        ("null", ["string", "integer"], "null"),
        ("1.0", ["string", "integer"], 1.0),
        ("1.5", ["string", "integer"], "1.5"),
        ("7", ["string", "number"], 7),
        ('"q"', ["string", "null"], '"q"'),
        ('{"a": 1}', [], {"a": 1}),
        ("True", [], "True"),
        ("words", [], "words"),
    ],
)
def test_a_raw_value_is_what_the_schema_lets_it_be(text, kinds, value):
    found = json.loads(value_json(text, frozenset(kinds)))
    assert found == value
    assert type(found) is type(value)


def test_a_number_stays_as_it_was_written():
    assert value_json("100000000000000000000000", frozenset(["integer"])) == "100000000000000000000000"
    assert value_json("1e400", frozenset(["number"])) == "1e400"


def test_a_value_nested_too_deep_is_a_string():
    assert json.loads(value_json("[" * 100_000, frozenset(["array"]))) == "[" * 100_000


@pytest.mark.parametrize(
    ("schema", "kinds"),
    [
        ({"type": "string"}, {"string"}),
        ({"type": ["string", "null"]}, {"string", "null"}),
        ({"anyOf": [{"type": "integer"}, {"type": "null"}]}, {"integer", "null"}),
        ({"anyOf": [{"type": "integer"}, {"oneOf": [{"const": "a"}, {"enum": [1.5, None]}]}]}, None),
        ({"enum": ["a", 1, None]}, {"string", "integer", "null"}),
        ({"type": "string", "enum": ["a", 1]}, {"string"}),
        ({"const": True}, {"boolean"}),
        ({"properties": {}}, {"object"}),
        ({"items": {}}, {"array"}),
        ({"allOf": [{"type": "string"}, {"pattern": "a"}]}, {"string"}),
        ({"anyOf": [{"type": "integer"}, {}]}, set()),
        ({}, set()),
        (True, set()),
        (None, set()),
        ({"$ref": "#/$defs/p"}, {"object"}),
        ({"$ref": "#/$defs/nowhere"}, set()),
        ({"anyOf": [{"anyOf": [{"$ref": "#/$defs/around"}]}]}, set()),
        ({"$ref": "https://example.com/x"}, set()),
        ({"$ref": "#/$defs/loop"}, set()),
        (False, set()),
        ({"$ref": "#/$defs/wide"}, {"null"}),
    ],
)
def test_a_schema_names_its_types(schema, kinds):
    if kinds is None:
        kinds = {"integer", "string", "number", "null"}
    assert kinds_of(schema, ROOT) == kinds


def test_a_schema_of_too_many_alternatives_may_be_anything():
    levels = {f"d{n}": {"anyOf": [{f"{side}{n}": 0, "$ref": f"#/$defs/d{n + 1}"} for side in "ab"]} for n in range(64)}
    assert kinds_of({"$ref": "#/$defs/d0"}, {"$defs": {**levels, "d64": {"type": "null"}}}) == set()


def test_a_property_has_its_schema_or_that_of_all_others():
    assert kinds_of(property_schema(ROOT, "p"), ROOT) == {"object"}
    assert kinds_of(property_schema(ROOT, "other"), ROOT) == {"integer"}
    assert kinds_of(property_schema({}, "other"), {}) == set()
