"""Which part of a JSON schema is enforced, and what is refused."""

import json
from collections.abc import Callable

import pytest
import schema_walk
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lowcloud.core.errors import BadRequest, UnsupportedSchema
from lowcloud.text.schema import Enforced, enforced


def closed(schema: object) -> dict[str, object]:
    """What a closed schema becomes."""
    return dict(enforced(schema, param="f", is_strict=True).schema)


def opened(schema: object) -> Enforced:
    """What a schema that isn't closed becomes."""
    return enforced(schema, param="f", is_strict=False)


def allows(schema: object, *texts: str) -> list[str]:
    """Those of the texts that a closed schema's grammar allows; each of them validates."""
    found = [text for text in texts if schema_walk.accepts(closed(schema), text)]
    assert [text for text in found if schema_walk.objections(schema, text)] == []
    return found


def refusal(schema: object) -> str | None:
    """The path that a closed schema is refused for."""
    with pytest.raises(BadRequest) as caught:
        enforced(schema, param="f", is_strict=True)
    assert caught.value.param is not None
    assert caught.value.param in str(caught.value)
    return caught.value.param


OBJECT = {"type": "object", "additionalProperties": False}

REFUSED = {
    "f.not": {"not": {"const": 1}},
    "f.properties.when.format": {"type": "object", "properties": {"when": {"type": "string", "format": "week"}}},
    "f.items.uniqueItems": {"items": {"uniqueItems": True}},
    "f.contains": {"type": "array", "contains": {"type": "string"}},
    "f.if": {"if": {"required": ["a"]}, "then": {"required": ["b"]}},
    "f.oneOf": {"oneOf": [{"type": "integer"}, {"type": "number", "minimum": 2}]},
    "f.allOf[1].multipleOf": {"allOf": [{"type": "number"}, {"multipleOf": 0.01}]},
    "f.pattern": {"pattern": "^(?!a)b"},
    "f.anyOf[0].pattern": {"anyOf": [{"pattern": r"\bword\b"}]},
    "f.$defs.a.$ref": {"$ref": "#/$defs/a", "$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"$ref": "#/$defs/a"}}},
    "f.$ref": {"$ref": "#"},
    "f.items.$ref": {"items": {"$ref": "https://example.com/schema.json"}},
    "f.$schema": {"$schema": "http://json-schema.org/draft-03/schema#"},
    "f.$dynamicRef": {"$dynamicRef": "#node"},
    "f.minProperties": {"type": "object", "minProperties": 2},
    "f.maxProperties": {"type": "object", "properties": {"a": {}, "b": {}}, "maxProperties": 1},
    "f.patternProperties": {"patternProperties": {"a": {"type": "integer"}, "b": {"type": "string"}}},
    "f.propertyNames": {"propertyNames": {"maxLength": 3}},
    "f.unevaluatedProperties": {"allOf": [{"properties": {"a": {}}}], "unevaluatedProperties": False},
    "f.const": {"const": 2**53 + 1},
    "f.enum": {"enum": ["a\x00b"]},
    "f.minimum": {"minimum": 1e300},
    "f.prefixItems": {"$schema": "http://json-schema.org/draft-07/schema#", "prefixItems": [{}], "items": {}},
}
MALFORMED = {
    "f.properties": {"type": "object", "properties": []},
    "f.properties.a": {"properties": {"a": 5}},
    "f.type": {"type": "text"},
    "f.required": {"type": "object", "required": True},
    "f.minLength": {"minLength": -1},
    "f.maximum": {"maximum": "5"},
    "f.exclusiveMinimum": {"minimum": 1, "exclusiveMinimum": True},
    "f.exclusiveMaximum": {"$schema": "http://json-schema.org/draft-04/schema#", "maximum": 1, "exclusiveMaximum": 1},
    "f.anyOf": {"anyOf": []},
    "f.enum": {"enum": "a"},
    "f.multipleOf": {"multipleOf": 0},
    "f.format": {"format": 1},
    "f.pattern": {"pattern": None},
    "f.items[0]": {"$schema": "http://json-schema.org/draft-07/schema#", "items": ["a"]},
    "f.$ref": {"$ref": "#/$defs/missing"},
    "f.anyOf[0].$ref": {"anyOf": [{"$ref": 1}]},
    "f.items.$ref": {"items": {"$ref": f"#/anyOf/{'9' * 5000}"}, "anyOf": [{}]},
}


@pytest.mark.parametrize("path", REFUSED)
def test_what_cannot_be_enforced_is_refused_with_the_path_of_its_keyword(path):
    with pytest.raises(UnsupportedSchema) as caught:
        enforced(REFUSED[path], param="f", is_strict=True)
    assert caught.value.param == path
    assert str(caught.value).startswith(f"{path} can't be enforced: ")


@pytest.mark.parametrize("path", MALFORMED)
def test_what_is_not_well_formed_is_refused_with_its_path(path):
    assert refusal(MALFORMED[path]) == path


@pytest.mark.parametrize("path", [*REFUSED, *MALFORMED])
def test_a_schema_that_is_not_closed_leaves_it_out_and_names_its_path(path):
    schemas = [group[path] for group in (REFUSED, MALFORMED) if path in group]
    for schema in schemas:
        found = opened(schema)
        assert found.loosened == (path,)
        assert schema_walk.compile_error(found.schema) == ""


@pytest.mark.parametrize("is_strict", [True, False])
@pytest.mark.parametrize("schema", [None, True, [], "object", 1])
def test_what_is_no_object_is_no_schema(schema, is_strict):
    with pytest.raises(BadRequest, match="must be an object"):
        enforced(schema, param="tools[0].function.parameters", is_strict=is_strict)


def test_of_the_texts_of_an_enum_those_stand_that_all_else_allows():
    schema = closed({"enum": ["ab", "b", "abc"], "allOf": [{"pattern": "^a"}, {"maxLength": 2}]})
    assert [text for text in ("ab", "b", "abc") if schema_walk.accepts(schema, json.dumps(text))] == ["ab"]


def test_an_open_schema_keeps_all_else():
    schema = {
        "properties": {"a": {"type": "string", "format": "week", "maxLength": 3}, "b": {"not": {}, "type": "null"}}
    }
    found = opened({**schema, "type": "object", "required": ["a"], "additionalProperties": False})
    assert found.loosened == ("f.properties.a.format",)
    assert schema_walk.accepts(found.schema, '{"a": "abc"}')
    assert not schema_walk.accepts(found.schema, '{"a": "abcd"}')


def test_properties_that_cannot_be_read_do_not_close_an_open_object():
    found = opened({"type": "object", "patternProperties": {"(?=a)": {}}, "additionalProperties": False})
    assert schema_walk.accepts(found.schema, '{"a": 1}')


def test_one_of_is_any_of_where_the_schema_is_not_closed():
    found = opened({"oneOf": [{"type": "integer"}, {"enum": [1, "a"]}]})
    assert found.loosened == ("f.oneOf",)
    assert [text for text in ("1", '"a"', '"b"') if schema_walk.accepts(found.schema, text)] == ["1", '"a"']


def test_one_of_is_enforced_where_a_constant_tells_the_schemas_apart():
    cat, dog = (
        {"type": "object", "properties": {"kind": {"const": kind}}, "required": ["kind"]} for kind in ("c", "d")
    )
    schema = {"oneOf": [{"$ref": "#/$defs/cat"}, {"$ref": "#/$defs/dog"}], "$defs": {"cat": cat, "dog": dog}}
    assert allows(schema, '{"kind": "c"}', '{"kind": "d"}', '{"kind": "e"}', "{}") == ['{"kind": "c"}', '{"kind": "d"}']


def test_one_of_may_take_from_its_neighbours_that_a_property_is_required():
    options = [{"properties": {"kind": {"const": kind}}} for kind in ("c", "d")]
    assert allows({"type": "object", "required": ["kind"], "oneOf": options}, '{"kind": "d"}', "{}") == [
        '{"kind": "d"}'
    ]


def test_trees_of_schemas_that_refer_to_themselves_are_enforced():
    tree = {**OBJECT, "properties": {"of": {"anyOf": [{"$ref": "#"}, {"type": "null"}]}}, "required": ["of"]}
    assert allows(tree, '{"of": {"of": null}}', '{"of": {}}', "{}") == ['{"of": {"of": null}}']


def test_a_schema_that_nothing_finite_fits_is_refused():
    assert refusal({**OBJECT, "properties": {"of": {"$ref": "#"}}, "required": ["of"]}) == "f"
    assert refusal({"allOf": [{"type": "string"}, {"type": "null"}]}) == "f"


def test_a_free_name_is_never_a_second_spelling_of_a_named_one():
    schema = {"properties": {"a": {"type": "integer"}}, "additionalProperties": {"type": "string"}, "type": "object"}
    assert allows(schema, '{"a": 1, "b": "x"}', '{"a": 1, "\\u0061": "x"}', '{"a": 1, "a": "x"}') == [
        '{"a": 1, "b": "x"}'
    ]


def test_a_property_of_all_of_is_additional_to_its_neighbours():
    schema = {
        "allOf": [{"properties": {"a": {"type": "integer"}}}],
        "properties": {"b": {}},
        "additionalProperties": False,
    }
    assert allows({"type": "object", **schema}, '{"b": 1}', '{"a": 1}', "{}") == ['{"b": 1}', "{}"]


def test_properties_come_in_the_order_of_the_schema():
    schema = {**OBJECT, "properties": {"b": {}, "a": {}}, "required": ["a", "b"]}
    assert allows(schema, '{"b": 1, "a": 2}', '{"a": 2, "b": 1}') == ['{"b": 1, "a": 2}']
    base = {"allOf": [{"properties": {"c": {"type": "null"}}, "required": ["c"]}]}
    assert list(closed({"type": "object", **base, "properties": {"a": {}}})["properties"]) == ["c", "a"]


def test_a_pattern_is_searched_for_in_the_sense_that_is_common_to_all_dialects():
    assert allows({"type": "string", "pattern": r"^\d+$"}, '"12"', '"٣"', '"a"', '""') == ['"12"']
    assert allows({"type": "string", "pattern": r"^\W$"}, '"-"', '"é"', '"a"') == ['"-"']
    assert allows({"type": "string", "pattern": "b|^c"}, '"abc"', '"ca"', '"ac"') == ['"abc"', '"ca"']


def test_bounds_of_a_text_join_with_a_pattern_of_one_class():
    schema = {"type": "string", "pattern": "^[a-z]*$", "minLength": 2, "maxLength": 3}
    assert allows(schema, '"a"', '"ab"', '"abc"', '"abcd"') == ['"ab"', '"abc"']
    assert opened(schema).loosened == ()


def test_a_pattern_beside_other_bounds_is_enforced_whole_only_where_the_schema_is_closed():
    schema = {"type": "string", "pattern": "^(ab|c)+$", "maxLength": 3}
    assert allows(schema, '"abc"', '"abab"') == ['"abc"']
    assert opened(schema).loosened == ("f.pattern",)


def test_several_patterns_hold_together_where_the_schema_is_closed():
    schema = {"type": "string", "pattern": "^a", "allOf": [{"pattern": "b$"}]}
    assert allows(schema, '"ab"', '"a"', '"b"', '"aab"') == ['"ab"', '"aab"']
    assert opened(schema).loosened == ("f.allOf",)


def test_the_opposites_of_types_and_of_required_properties_are_enforced():
    assert allows({"not": {"type": ["string", "null"]}}, '"a"', "null", "1", "{}") == ["1", "{}"]
    assert refusal({"not": {"type": "integer"}}) == "f.not"
    texts = ("{}", '{"a": 1}', '{"b": 1}', '{"a": 1, "b": 1}', "1")
    assert allows({"type": "object", "not": {"required": ["a", "b"]}}, *texts) == ["{}", '{"a": 1}', '{"b": 1}']
    assert allows({"not": {"type": "object", "required": ["a"]}}, *texts) == ["{}", '{"b": 1}', "1"]
    assert allows({"not": {"required": ["a"]}}, *texts) == ["{}", '{"b": 1}']


def test_bounds_hold_after_a_checker_has_rounded():
    schema = {"type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 1}
    assert allows(schema, "0.5", "0", "1", "0.99999999999999999999", f"0.{'0' * 400}1") == ["0.5"]
    assert allows({"type": "integer", "exclusiveMinimum": 0, "maximum": 2.5}, "0", "1", "2", "3") == ["1", "2"]


def test_large_bounds_are_drawn_in_to_what_can_be_counted():
    assert allows({"type": "integer", "minimum": -(2**63), "maximum": 2**63 - 1}, "5", f"{10**18}") == ["5"]


def test_draft_4_knows_exclusive_bounds_as_true_and_ids_as_id():
    draft = {"$schema": "http://json-schema.org/draft-04/schema#", "type": "integer"}
    assert allows({**draft, "minimum": 3, "exclusiveMinimum": True}, "3", "4") == ["4"]
    assert refusal({**draft, "const": 3}) == "f.const"


def test_before_2019_nothing_beside_a_reference_counts():
    schema = {"$ref": "#/definitions/a", "maxLength": 1, "definitions": {"a": {"type": "string"}}}
    assert allows({**schema, "$schema": "http://json-schema.org/draft-07/schema"}, '"ab"') == ['"ab"']
    assert allows(schema, '"a"', '"ab"') == ['"a"']


def test_items_may_be_a_list_where_no_draft_is_named():
    schema = {"type": "array", "items": [{"type": "integer"}], "additionalItems": False}
    found = [text for text in ("[]", "[1]", "[1, 2]", '["a"]') if schema_walk.accepts(closed(schema), text)]
    assert found == ["[]", "[1]"]


@pytest.mark.parametrize("draft", ["draft/2019-09", "draft/2020-12"])
def test_unevaluated_items_are_the_items_that_no_other_keyword_is_for(draft):
    schema = {"$schema": f"https://json-schema.org/{draft}/schema", "type": "array", "unevaluatedItems": False}
    first = {("items" if "2019" in draft else "prefixItems"): [{"type": "integer"}]}
    assert allows({**schema, **first}, "[]", "[1]", "[1, 2]", '["a"]') == ["[]", "[1]"]
    assert allows({**schema, "items": {"type": "null"}}, "[null]", "[1]") == ["[null]"]
    assert allows(schema, "[]", "[1]") == ["[]"]
    assert refusal({**schema, "anyOf": [first]}) == "f.unevaluatedItems"


@pytest.mark.parametrize(
    ("draft", "reference"),
    [("draft/2019-09", "$recursiveRef"), ("draft/2020-12", "$dynamicRef"), ("draft/2020-12", "$ref")],
)
def test_what_a_reference_evaluates_is_not_forbidden_where_it_is_left_out(draft, reference):
    """``a`` comes by the reference, whether that can be enforced or not."""
    closed = {"type": "object", reference: "#", "properties": {"b": {"type": "null"}}, "unevaluatedProperties": False}
    schema = {
        "$schema": f"https://json-schema.org/{draft}/schema",
        "type": "object",
        "properties": {"a": {"type": "integer"}, "inner": closed},
    }
    found = enforced(schema, param="f", is_strict=False)
    assert "f.properties.inner.unevaluatedProperties" in found.loosened
    assert "additionalProperties" not in found.schema["properties"]["inner"]
    assert refusal(schema).startswith("f.properties.inner.")


def test_what_a_property_depends_on_is_enforced():
    schema = {**OBJECT, "properties": {"a": {}, "b": {}}, "dependentRequired": {"a": ["b"]}}
    assert allows(schema, '{"a": 1}', '{"b": 1}', '{"a": 1, "b": 2}', "{}") == ['{"b": 1}', '{"a": 1, "b": 2}', "{}"]


def test_names_may_be_of_a_list_or_a_pattern():
    schema = {"type": "object", "propertyNames": {"enum": ["a", "b"]}, "additionalProperties": {"type": "null"}}
    assert allows(schema, '{"a": null}', '{"c": null}', '{"b": 1}') == ['{"a": null}']
    schema = {"type": "object", "propertyNames": {"pattern": "^x-"}, "minProperties": 1}
    assert allows(schema, '{"x-a": 1}', '{"a": 1}', "{}") == ['{"x-a": 1}']


def test_a_caller_s_own_options_for_the_grammar_are_dropped():
    assert closed({"type": "null", "x-guidance": {"lenient": True}, "description": "none"}) == {"type": "null"}


def test_any_object_is_the_schema_of_json_object():
    assert closed({"type": "object"}) == {"type": "object"}


def test_arguments_are_an_object_whatever_their_schema_says():
    assert enforced({}, param="f", is_strict=False, is_object=True).schema == {"type": "object"}
    assert enforced({"type": "string"}, param="f", is_strict=False, is_object=True) == Enforced(
        {"type": "object"}, ("f",)
    )
    with pytest.raises(UnsupportedSchema):
        enforced({"type": "string"}, param="f", is_strict=True, is_object=True)


def test_references_by_anchor_and_by_the_schema_s_own_id_are_followed():
    schema = {
        "$id": "https://example.com/s",
        "$defs": {"a/b": {"$anchor": "x", "type": "null"}},
        "items": {"$ref": "#x"},
    }
    assert allows({"type": "array", **schema}, "[null]", "[1]") == ["[null]"]
    schema["items"] = {"$ref": "https://example.com/s#/$defs/a~1b"}
    assert allows({"type": "array", **schema}, "[null]", "[1]") == ["[null]"]


def nested(levels: int) -> dict[str, object]:
    schema: dict[str, object] = {"type": "string"}
    for _ in range(levels):
        schema = {"type": "object", "properties": {"a": schema}, "required": ["a"]}
    return schema


def linked(size: int, make: Callable[[dict[str, object]], object]) -> dict[str, object]:
    """Definitions, each of which refers to the next."""
    links = {str(n): make({"$ref": f"#/$defs/{n + 1}"}) for n in range(size)}
    return {"$ref": "#/$defs/0", "$defs": {**links, str(size): {"type": "string"}}}


def stacked(levels: int, options: list[object]) -> object:
    for _ in range(levels):
        options = [{"allOf": options}]
    return options[0]


HOSTILE = {
    "deep": nested(200),
    "wide": {"enum": list(range(6000))},
    "long": {"const": "x" * 600_000},
    "many": {"anyOf": [{"enum": list(range(2000))}] * 40},
    "pattern": {"pattern": "(" * 40 + ")" * 40},
    "copies": {"pattern": "^((a{1,1000}){1,1000}){1,1000}$"},
    "product": {"allOf": [{"anyOf": [{"minLength": n + m} for n in range(80)]} for m in range(4)]},
    "optional": {"type": "object", "properties": {f"p{n}": {} for n in range(500)}},
    "alternatives": {
        "anyOf": [{"type": "object", "properties": {f"p{n}_{m}": {} for n in range(20)}} for m in range(30)],
    },
    "automata": {"type": "object", "properties": {f"p{n}": {"type": "integer", "multipleOf": 997} for n in range(99)}},
    "pairs": {"enum": [f"a{n}" for n in range(2000)], "allOf": [{"enum": [f"b{n}" for n in range(2000)]}]},
    "names": {
        "properties": {f"p{n}": {} for n in range(1500)},
        "patternProperties": {f"^x{n:04}": {"type": "null"} for n in range(1500)},
    },
    "text": {"const": "a" * 400_000, "pattern": "a{1000}"},
    "links": linked(4000, lambda link: link),
    "stacks": linked(28, lambda link: stacked(40, [link, {"type": "string"}])),
    "chain": {"$ref": "#/$defs/0"}
    | {
        "$defs": {str(n): {"allOf": [{"$ref": f"#/$defs/{n + 1}"}, {"minLength": 1}]} for n in range(400)} | {"400": {}}
    },
}


LARGE = ("pairs", "names", "text", "links")  # traced, each would take five times as long
SMALL = [name for name in HOSTILE if name not in LARGE]


@pytest.mark.parametrize("name", [*SMALL, *(pytest.param(name, marks=pytest.mark.no_cover) for name in LARGE)])
def test_a_hostile_schema_is_refused_and_never_harms_where_it_is_open(name):
    assert refusal(HOSTILE[name])
    found = opened(HOSTILE[name])
    assert found.loosened
    assert schema_walk.compile_error(found.schema) == ""


WITHIN = {
    "deep": nested(45),
    "optional": {"type": "object", "properties": {f"p{n}": {"type": "integer"} for n in range(390)}},
    "alternatives": {
        "anyOf": [{"type": "object", "properties": {f"p{n}_{m}": {} for n in range(10)}} for m in range(30)],
    },
    "required": {
        **OBJECT,
        "properties": {f"p{n}": {} for n in range(2000)},
        "required": [f"p{n}" for n in range(2000)],
    },
    "values": {"enum": [f"value {n}" for n in range(5000)]},
    "tuple": {"type": "array", "prefixItems": [{"type": "integer"}] * 300},
    "linked": linked(400, lambda link: {"type": "object", "properties": {"a": link}, "required": ["a"]}),
}


@pytest.mark.parametrize("name", WITHIN)
def test_what_is_within_the_bounds_goes_on_to_its_end(name):
    walked = [schema_walk.walk(closed(WITHIN[name]), seed) for seed in range(2)]
    assert [walk.error for walk in walked] == ["", ""]


names = st.sampled_from(["a", "b", "c", "x-1"])
scalars = (
    st.none()
    | st.booleans()
    | st.integers(-5, 5)
    | st.sampled_from([0.5, 1e-3, -2.25, 7.0])
    | st.text("ab\n é", max_size=3)
)
values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=2) | st.dictionaries(names, inner, max_size=2), max_leaves=4
)
bounds = st.integers(-4, 12) | st.sampled_from([0.5, -0.25, 1e-7, 2.5, 1e17, 0.1])
sizes = st.integers(0, 4)
patterns = st.sampled_from(
    ["^a", "b$", "^[a-c]{1,3}$", r"^\w+$", r"\d", "^(ab|c)*$", r"^\S$", ".", "^x-", "^y", "(?=a)", "^[^a]$"]
)
keywords = {
    "type": st.sampled_from(["null", "boolean", "integer", "number", "string", "array", "object"])
    | st.lists(st.sampled_from(["null", "integer", "string", "array", "object"]), min_size=1, max_size=3, unique=True),
    "const": values,
    "enum": st.lists(values, min_size=1, max_size=4),
    "minimum": bounds,
    "maximum": bounds,
    "exclusiveMinimum": bounds,
    "exclusiveMaximum": bounds,
    "multipleOf": st.sampled_from([1, 2, 3, 0.5, 0.25, 2.0, 0.1, 7]),
    "minLength": sizes,
    "maxLength": sizes,
    "pattern": patterns,
    "format": st.sampled_from(
        ["date", "time", "date-time", "email", "ipv4", "ipv6", "uuid", "uri", "hostname", "duration", "week"]
    ),
    "minItems": sizes,
    "maxItems": sizes,
    "uniqueItems": st.booleans(),
    "minProperties": sizes,
    "maxProperties": sizes,
    "required": st.lists(names, max_size=3, unique=True),
    "dependentRequired": st.dictionaries(names, st.lists(names, max_size=2), max_size=1),
    "$ref": st.sampled_from(["#", "#/$defs/a", "#/$defs/b", "#/$defs/missing"]),
}


def objects_of(inner: st.SearchStrategy[object]) -> st.SearchStrategy[object]:
    several = st.lists(inner, min_size=1, max_size=3)
    holding = {
        "properties": st.dictionaries(names, inner, max_size=3),
        "patternProperties": st.dictionaries(patterns, inner, max_size=2),
        "additionalProperties": inner,
        "propertyNames": inner,
        "unevaluatedProperties": inner,
        "items": inner,
        "prefixItems": several,
        "contains": inner,
        "anyOf": several,
        "oneOf": several,
        "allOf": several,
        "not": inner,
        "if": inner,
        "then": inner,
        "dependentSchemas": st.dictionaries(names, inner, max_size=1),
    }
    every = {**keywords, **holding}
    chosen = st.lists(st.sampled_from(sorted(every)), max_size=5, unique=True)
    return st.booleans() | chosen.flatmap(lambda picked: st.fixed_dictionaries({name: every[name] for name in picked}))


schemas = st.recursive(st.booleans(), objects_of, max_leaves=8)
documents = st.builds(
    lambda schema, defs: {**schema, "$defs": defs},
    schemas.filter(lambda schema: isinstance(schema, dict)),
    st.fixed_dictionaries({"a": schemas, "b": schemas}),
)


@settings(max_examples=250, deadline=None, suppress_health_check=[*HealthCheck])
@given(documents, st.integers(0, 3))
def test_no_schema_fails_open(schema, seed):
    try:
        found = enforced(schema, param="f", is_strict=True)
    except BadRequest:
        return
    assert found.loosened == ()
    walked = schema_walk.walk(found.schema, seed)
    assert walked.error == "" or "compile" in walked.error
    assert not walked.is_whole or schema_walk.objections(schema, walked.text) == []


@settings(max_examples=250, deadline=None, suppress_health_check=[*HealthCheck])
@given(documents)
def test_every_schema_that_is_not_closed_compiles(schema):
    found = opened(schema)
    assert schema_walk.compile_error(found.schema) == ""
    assert schema_walk.walk(found.schema, 0).error == ""
    json.dumps(found.schema)
