from dataclasses import replace

import pytest
from dialect_fixtures import fixtures, misread, read_text
from grammars import answers

from lowcloud.core.errors import UnsupportedSchema
from lowcloud.core.output import ANY_TEXT, JsonSchema, Regex
from lowcloud.core.requests import ThinkingBound
from lowcloud.core.tools import Tool, ToolPlan
from lowcloud.text.dialects.dialect import Outlook
from lowcloud.text.dialects.gemma4 import DIALECT
from lowcloud.text.grammar import LarkWriter, Wanted

FIXTURES = fixtures("gemma4")
BOTH_WAYS = pytest.mark.parametrize("controls", [(), DIALECT.marks], ids=["marks are text", "marks are tokens"])
PLACE = {"type": "object", "properties": {"inner": {"$ref": "#/$defs/place"}, "x": {"type": "number"}}}
WEATHER = Tool(
    "get_weather",
    parameters={
        "type": "object",
        "properties": {
            "city": {"type": "string"},
            "Days": {"type": "integer", "minimum": 1},
            "unit": {"enum": ["c", "f", None]},
            "near": {"type": "array", "items": {"$ref": "#/$defs/place"}, "minItems": 1, "maxItems": 2},
            "code": {"type": "string", "pattern": "^[a-z]+$"},
            "more": {"type": "object"},
            "any": {},
        },
        "required": ["city"],
        "$defs": {"place": {**PLACE, "required": ["x"]}},
    },
)
TIME = Tool("get_time", parameters={"type": "object", "properties": {}, "additionalProperties": False})
CITY = 'city:<|"|>Paris<|"|>'


def call(arguments=CITY, name="get_weather"):
    return f"<|tool_call>call:{name}{{{arguments}}}<tool_call|>"


def wanted(mode, *tools, at_most_one=False, output=ANY_TEXT, **more):
    return Wanted(output, ToolPlan(tools, mode, at_most_one), **more)


@pytest.mark.parametrize("fixture", FIXTURES, ids=lambda fixture: fixture["id"])
def test_an_output_reads_the_same_whole_and_in_any_chunks(fixture):
    assert misread(DIALECT, fixture) == {}


@pytest.mark.parametrize("size", range(9))
@pytest.mark.parametrize(
    "arguments",
    ["a:Paris", "a:NaN", "a:1 b:2", "a", "a:[1", "a:[1}", "a:{b:1]", '<|"|>a<|"|> 1', "a:" + "[" * 100 + "]" * 100],
)
def test_a_call_that_isnt_well_formed_never_ends(arguments, size):
    reading = read_text(DIALECT, f"{call(arguments)}Hm.", Outlook((WEATHER,)), size)
    assert reading.calls == []
    assert reading.content == "Hm."


def test_keys_and_strings_may_be_written_as_json_too():
    reading = read_text(DIALECT, call('<|"|>a:b<|"|>:1,"c":"d\\n",e:None,f:True,'), Outlook((WEATHER,)))
    assert reading.shown()["tool_calls"][0]["arguments"] == {"a:b": 1, "c": "d\n", "e": None, "f": True}


@pytest.mark.parametrize("stray", ["<tool_call|>", "<channel|>", '<|"|>', "<|tool_call>call:<tool_call|>"])
def test_marks_that_stand_nowhere_are_no_text(stray):
    reading = read_text(DIALECT, f"Hm.{stray} Yes.", Outlook((WEATHER,)))
    assert (reading.content, reading.calls) == ("Hm. Yes.", [])


def test_without_tools_a_call_is_no_text_either():
    assert read_text(DIALECT, f"Hm.{call()} Yes.", Outlook()).content == "Hm. Yes."


def test_it_knows_whether_the_prompt_opened_the_reasoning():
    assert DIALECT.is_thinking("<|turn>model\n<|channel>thought\n")
    assert not DIALECT.is_thinking("<|turn>model\n<|channel>thought\n<channel|>")
    reading = read_text(DIALECT, "Hm.\n<channel|>Yes.", Outlook(is_thinking=True))
    assert (reading.reasoning, reading.content) == ("Hm.", "Yes.")


@BOTH_WAYS
def test_a_forced_call_is_one_of_the_tools_calls_or_several(controls):
    forced = answers(DIALECT, wanted("required", WEATHER, TIME), controls)
    assert call() in forced
    assert call() + call("", "get_time") in forced
    assert call("", "other") not in forced
    assert "Hello" not in forced


@BOTH_WAYS
@pytest.mark.parametrize(
    ("arguments", "is_right"),
    [
        (CITY, True),
        ('city:<|"|>a "b" {c}\n\\<|"|>', True),
        (f'{CITY},code:<|"|>abc<|"|>,Days:3,unit:<|"|>c<|"|>', True),
        (f"any:[1,{{a:null}}],{CITY}", True),
        (f"{CITY},more:{{a:1,b:[true]}},unit:null", True),
        (f"{CITY},near:[{{x:1.5}},{{inner:{{inner:{{x:1}},x:1}},x:2}}]", True),
        ("", False),
        ("city:Paris", False),
        ("city:1", False),
        (f"{CITY},Days:0", False),
        (f"unit:null,{CITY}", False),
        (f'{CITY},unit:<|"|>k<|"|>', False),
        (f'{CITY},code:<|"|>ABC<|"|>', False),
        (f"{CITY},near:[]", False),
        (f"{CITY},near:[{{x:1}},{{x:1}},{{x:1}}]", False),
        (f"{CITY},near:[{{inner:{{}},x:1}}]", False),
        (f"{CITY},other:1", False),
    ],
)
def test_arguments_are_bound_by_the_schema(controls, arguments, is_right):
    assert (call(arguments) in answers(DIALECT, wanted("required", WEATHER), controls)) is is_right


@BOTH_WAYS
def test_what_the_grammar_takes_is_read_as_well_formed(controls):
    arguments = f"any:[1,{{a:null}}],{CITY},near:[{{x:1.5}}]"
    assert call(arguments) in answers(DIALECT, wanted("required", WEATHER), controls)
    shown = read_text(DIALECT, call(arguments), Outlook((WEATHER,))).shown()["tool_calls"]
    assert shown[0]["arguments"] == {"any": [1, {"a": None}], "city": "Paris", "near": [{"x": 1.5}]}


@BOTH_WAYS
def test_at_most_one_call_is_one(controls):
    forced = answers(DIALECT, wanted("required", TIME, at_most_one=True), controls)
    assert call("", "get_time") in forced
    assert call("", "get_time") * 2 not in forced


@BOTH_WAYS
def test_text_and_calls_are_free_to_come_and_their_arguments_are_bound(controls):
    free = answers(DIALECT, wanted("auto", WEATHER), controls)
    assert "Hello" in free
    assert f"Let me look.{call()}{call()}And now?" in free
    assert f"Let me look.{call('city:1')}" not in free


@BOTH_WAYS
def test_a_format_or_a_call_may_come(controls):
    either = answers(DIALECT, wanted("auto", TIME, output=JsonSchema({"type": "integer"})), controls)
    assert "12" in either
    assert call("", "get_time") in either
    assert "Hello" not in either


def test_the_length_of_the_reasoning_is_bound():
    bound = answers(DIALECT, wanted("required", TIME, may_think=True, thinking=ThinkingBound(4)), DIALECT.marks)
    assert f"<|channel>thought\nHm.<channel|>{call('', 'get_time')}" in bound
    assert f"<|channel>thought\nHm, no.<channel|>{call('', 'get_time')}" not in bound
    assert call("", "get_time") in bound


@BOTH_WAYS
def test_a_custom_tools_input_is_bound(controls):
    forced = answers(DIALECT, wanted("required", Tool("grep", input=Regex("[a-z]+"))), controls)
    assert call('input:<|"|>abc<|"|>', "grep") in forced
    assert call('input:<|"|>ABC<|"|>', "grep") not in forced


@pytest.mark.parametrize(
    ("more", "path"),
    [
        ({"minProperties": 1}, "minProperties"),
        ({"properties": {"a": {"type": "array", "uniqueItems": True}}}, "properties.a.uniqueItems"),
        (
            {"additionalProperties": {"type": "array", "items": {"type": "string", "format": "iri"}}},
            "additionalProperties.items.format",
        ),
    ],
)
def test_a_strict_schema_that_calls_cant_keep_to_is_refused_and_another_is_said_to_be_loosened(more, path):
    tool = Tool("f", parameters={"type": "object", **more}, is_strict=True, param="tools[0].parameters")
    with pytest.raises(UnsupportedSchema) as refused:
        DIALECT.grammar(LarkWriter({}), wanted("required", tool))
    assert refused.value.param == f"tools[0].parameters.{path}"
    lark = LarkWriter({})
    assert DIALECT.grammar(lark, wanted("required", replace(tool, is_strict=False)))
    assert lark.loosened == [f"tools[0].parameters.{path}"]


@BOTH_WAYS
def test_a_listed_value_is_written_as_the_model_writes_it(controls):
    listed = [{"b": "x", "A:": [1, None]}, []]
    tool = Tool("f", parameters={"type": "object", "properties": {"a": {"enum": listed}}, "required": ["a"]})
    forced = answers(DIALECT, wanted("required", tool), controls)
    written = call('a:{<|"|>A:<|"|>:[1,null],b:<|"|>x<|"|>}', "f")
    assert written in forced
    assert call("a:[]", "f") in forced
    assert call("a:{}", "f") not in forced
    assert read_text(DIALECT, written, Outlook((tool,))).shown()["tool_calls"][0]["arguments"] == {"a": listed[0]}


@BOTH_WAYS
def test_of_a_schema_that_isnt_strict_what_cant_be_kept_to_is_left_out(controls):
    properties = {"a": {"type": "string", "format": "hostname"}, "b": {"type": "array", "maxItems": 0}}
    tool = Tool("f", parameters={"type": "object", "properties": properties, "minProperties": 1})
    forced = answers(DIALECT, wanted("required", tool), controls)
    assert call('a:<|"|>no host<|"|>,b:[]', "f") in forced
    assert call("b:[1]", "f") not in forced


def test_a_call_without_a_name_is_none():
    reading = read_text(DIALECT, "<|tool_call>call:{}<tool_call|>Hm.", Outlook((WEATHER,)))
    assert (reading.content, reading.calls) == ("Hm.", [])
