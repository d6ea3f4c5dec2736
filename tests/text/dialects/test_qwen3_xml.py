from dataclasses import replace
from pathlib import Path

import pytest
from dialect_fixtures import fixtures, misread, read_text, rendered, wanted
from grammars import answers

from lowcloud.core.errors import UnsupportedSchema
from lowcloud.core.output import ANY_TEXT, AnyText, Regex
from lowcloud.core.tools import Tool, ToolPlan
from lowcloud.text.dialects.dialect import Outlook
from lowcloud.text.dialects.qwen3_xml import CLOSE, DIALECT, OPEN
from lowcloud.text.dialects.registry import recognised
from lowcloud.text.grammar import LarkWriter, Wanted

FIXTURES = fixtures("qwen3-xml")
WEATHER = Tool(
    "get_weather",
    parameters={
        "type": "object",
        "properties": {
            "city": {"type": "string"},
            "days": {"type": "integer", "minimum": 1},
            "unit": {"enum": ["c", "f"]},
            "note": {"type": ["string", "null"]},
            "where": {"anyOf": [{"type": "string"}, {"$ref": "#/$defs/point"}]},
        },
        "required": ["city", "days"],
        "$defs": {"point": {"type": "object", "properties": {"x": {"type": "number"}}, "required": ["x"]}},
    },
)
TIME = Tool("get_time", parameters={"type": "object", "properties": {}})
BOTH_WAYS = pytest.mark.parametrize("controls", [(), (OPEN, CLOSE)], ids=["marks are text", "marks are tokens"])
TEMPLATES = Path(__file__).parents[2] / "fixtures" / "templates"
PYTHON_LITERALS = {"qwen3-xml/q35-python-literals", "qwen3-xml/coder-python-literals"}  # JSON's are what we bind to


def call(name="get_weather", **values):
    shown = "".join(f"<parameter={key}>\n{value}\n</parameter>\n" for key, value in values.items())
    return f"<tool_call>\n<function={name}>\n{shown}</function>\n</tool_call>"


def must_call(*tools, at_most_one=False):
    return Wanted(ANY_TEXT, ToolPlan(tools, "required", at_most_one))


@pytest.mark.parametrize("fixture", FIXTURES, ids=lambda fixture: fixture["id"])
def test_an_output_reads_the_same_whole_and_in_any_chunks(fixture):
    assert misread(DIALECT, fixture) == {}


@pytest.mark.parametrize("file", ["Qwen3-Coder.jinja", "Qwen3.5-4B.jinja"])
def test_its_templates_are_recognised(file):
    assert recognised((TEMPLATES / file).read_text("utf-8")) is DIALECT


@pytest.mark.parametrize("file", ["Qwen-Qwen3-0.6B.jinja", "MiniMax-M2.jinja", "ByteDance-Seed-OSS.jinja"])
def test_templates_of_other_ways_are_not(file):
    assert not DIALECT.recognises((TEMPLATES / file).read_text("utf-8"))


@pytest.mark.parametrize("fixture", rendered("qwen3-xml"), ids=lambda fixture: fixture["id"])
def test_what_the_templates_write_is_what_the_grammar_takes(fixture):
    asked = wanted(DIALECT, fixture)
    is_bound = fixture["id"] not in PYTHON_LITERALS
    assert (fixture["raw_output"] in answers(DIALECT, asked)) == is_bound
    assert (
        fixture["raw_output"] in answers(DIALECT, replace(asked, plan=replace(asked.plan, mode="auto")))
    ) == is_bound
    if "<tool_call>" not in str(fixture["expected"]) and CLOSE not in str(fixture["expected"]):
        assert (fixture["raw_output"] in answers(DIALECT, asked, DIALECT.marks)) == is_bound


@pytest.mark.parametrize(
    ("prompt", "is_thinking"),
    [("<|im_start|>assistant\n", False), ("assistant\n<think>\n", True), ("assistant\n<think>\n\n</think>\n\n", False)],
)
def test_a_prompt_that_ends_with_an_open_tag_has_opened_the_reasoning(prompt, is_thinking):
    assert DIALECT.is_thinking(prompt) is is_thinking


@BOTH_WAYS
def test_a_forced_call_is_one_of_the_tools_calls_or_several(controls):
    forced = answers(DIALECT, must_call(WEATHER, TIME), controls)
    assert call(city="Paris", days=3) in forced
    assert call("get_time") in forced
    assert f"{call('get_time')}\n{call(city='x', days=1)}" in forced
    assert "Hello" not in forced
    assert call("other") not in forced


@BOTH_WAYS
def test_a_named_tool_is_called_once(controls):
    forced = answers(DIALECT, must_call(TIME, at_most_one=True), controls)
    assert call("get_time") in forced
    assert f"{call('get_time')}\n{call('get_time')}" not in forced


@BOTH_WAYS
def test_text_and_calls_are_free_to_come_and_their_arguments_are_bound(controls):
    free = answers(DIALECT, Wanted(ANY_TEXT, ToolPlan((WEATHER,), "auto")), controls)
    assert "if a < b: no call" in free
    assert f"Let me look.\n\n{call(city='Paris', days=3)}" in free
    assert f"Let me look.\n\n{call(city='Paris', days='three')}" not in free


@BOTH_WAYS
@pytest.mark.parametrize(
    "values",
    [
        {"city": "a </parameter> and </function> b\n  <parameter=city>", "days": 1},
        {"city": "", "days": 1, "unit": "c"},
        {"city": "x", "days": 1, "note": "null"},
        {"city": "x", "days": 1, "note": "some words", "where": '{"x": 1.5}'},
        {"city": "x", "days": 1, "where": "here"},
    ],
)
def test_arguments_that_the_schema_allows_may_be_written(controls, values):
    assert call(**values) in answers(DIALECT, must_call(WEATHER), controls)


@BOTH_WAYS
@pytest.mark.parametrize(
    "values",
    [
        {"city": "x"},  # one is missing
        {"days": 1, "city": "x"},  # another order
        {"city": "x", "days": 0},
        {"city": "x", "days": 1.5},
        {"city": "x", "days": 1, "unit": "k"},
        {"city": "x", "days": 1, "where": '{"y": 1}'},
        {"city": "x", "days": 1, "other": "y"},
        {"city": "x\n</parameter>\n<parameter=unit>\nk", "days": 1},
    ],
)
def test_arguments_that_the_schema_forbids_may_not(controls, values):
    assert call(**values) not in answers(DIALECT, must_call(WEATHER), controls)


def test_strings_keep_to_patterns_lengths_and_formats():
    properties = {
        "id": {"type": "string", "pattern": "^[a-z]+-[0-9]{2}$"},
        "part": {"type": "string", "pattern": "b/c"},
        "short": {"type": "string", "minLength": 1, "maxLength": 3},
        "both": {"allOf": [{"type": "string", "pattern": "a"}, {"type": "string", "pattern": "^(?:[$b]{2}a?)$"}]},
    }
    tool = Tool("f", parameters={"type": "object", "properties": properties}, is_strict=True)
    forced = answers(DIALECT, must_call(tool))
    for right in ({"id": "ab-12"}, {"part": "ab/cd"}, {"short": "äöü"}, {"both": "$ba"}):
        assert call("f", **right) in forced
    for wrong in ({"id": "xab-123"}, {"part": "bc"}, {"short": "four"}, {"short": ""}, {"both": "$b"}, {"both": "a"}):
        assert call("f", **wrong) not in forced


def test_a_tool_without_properties_takes_any():
    forced = answers(DIALECT, must_call(Tool("f")))
    assert call("f", a="1", b_2="x\ny") in forced
    numbers = Tool("f", parameters={"type": "object", "additionalProperties": {"type": "integer"}})
    assert call("f", a="1") in answers(DIALECT, must_call(numbers))
    assert call("f", a="x") not in answers(DIALECT, must_call(numbers))


def test_a_custom_tools_input_is_of_its_format():
    assert call("f", input="any\ntext") in answers(DIALECT, must_call(Tool("f", input=AnyText())))
    number = answers(DIALECT, must_call(Tool("f", input=Regex("[0-9]+"))))
    assert call("f", input="12") in number
    assert call("f", input="twelve") not in number


@pytest.mark.parametrize(
    ("schema", "param"),
    [
        ({"minProperties": 1}, "tools[3].parameters.minProperties"),
        ({"properties": {"a": {"type": "string", "format": "iri"}}}, "tools[3].parameters.properties.a.format"),
        ({"properties": {"a": {"type": "string", "pattern": "a\\b"}}}, "tools[3].parameters.properties.a.pattern"),
    ],
)
def test_a_strict_tool_that_such_calls_cant_keep_to_is_refused_and_another_is_said_to_be_loosened(schema, param):
    with pytest.raises(UnsupportedSchema) as refused:
        answers(DIALECT, must_call(Tool("f", parameters=schema, is_strict=True, param="tools[3].parameters")))
    assert refused.value.param == param
    lark = LarkWriter({})
    assert DIALECT.grammar(lark, must_call(Tool("f", parameters=schema, param="tools[3].parameters")))
    assert lark.loosened == [param]


THINKING = Outlook((TIME,), is_thinking=True)
SIZES = pytest.mark.parametrize("size", range(9))


@SIZES
def test_a_call_inside_the_reasoning_is_no_call(size):
    reading = read_text(DIALECT, f"I could {call('get_time')}, but no.\n</think>\n\nHello", THINKING, size)
    assert reading.shown() == {
        "content": "Hello",
        "reasoning_content": f"I could {call('get_time')}, but no.",
        "tool_calls": [],
    }


@SIZES
def test_a_call_that_ends_an_unclosed_reasoning_is_a_call(size):
    reading = read_text(DIALECT, f"I need the time.\n{call('get_time')}\n{call('get_time')}\n", THINKING, size)
    assert reading.reasoning == "I need the time."
    assert [one.name for one in reading.calls] == ["get_time", "get_time"]


@SIZES
@pytest.mark.parametrize("rest", [f"{call('get_time')} or not", f"{call('get_time')[:-25]}"])
def test_what_is_more_or_less_than_calls_stays_reasoning(rest, size):
    reading = read_text(DIALECT, f"Maybe {rest}", THINKING, size)
    assert reading.shown() == {"content": "", "reasoning_content": f"Maybe {rest}".strip(), "tool_calls": []}


@SIZES
@pytest.mark.parametrize("cut", [1, 12, 13, 20, 24, 30])
def test_a_call_that_is_cut_never_ends(cut, size):
    whole = call(city="Paris", days=3).removesuffix(f"\n{CLOSE}")
    assert read_text(DIALECT, whole[:-cut], Outlook((WEATHER,)), size).calls == []
    assert len(read_text(DIALECT, whole, Outlook((WEATHER,)), size).calls) == 1


@SIZES
@pytest.mark.parametrize("odd", ["<tool_call>\nget_time", "<tool_call>\n<function=get_time\n>", "<function=unknown>\n"])
def test_what_is_no_call_begins_none(odd, size):
    reading = read_text(DIALECT, f"Look: {odd}", Outlook((TIME,)), size)
    assert reading.calls == []
    assert reading.open is None
    assert reading.content.startswith("Look:")


@SIZES
def test_words_before_the_parameters_leave_the_call_open(size):
    odd = call(city="Paris", days=3).replace("<parameter=city>", "and <parameter=city>")
    assert read_text(DIALECT, odd, Outlook((WEATHER,)), size).calls == []


def test_without_tools_calls_are_text():
    assert read_text(DIALECT, call("get_time"), Outlook()).content == call("get_time")


@SIZES
def test_a_name_that_is_not_closed_begins_no_call(size):
    reading = read_text(DIALECT, "<tool_call>\n<function=get_time\n</function>", Outlook((TIME,)), size)
    assert (reading.calls, reading.open) == ([], None)
    assert read_text(DIALECT, call(a=1).replace("a>", "a"), Outlook((TIME,)), size).calls == []


@SIZES
def test_a_call_whose_function_is_not_closed_ends_with_its_own_tag(size):
    unclosed = call(city="Paris", days=3).replace("</function>\n", "")
    assert [one.name for one in read_text(DIALECT, unclosed, Outlook((WEATHER,)), size).calls] == ["get_weather"]
