import pytest
from dialect_fixtures import fixtures, is_right, read
from grammars import answers

from lowcloud.core.errors import Unsupported
from lowcloud.core.output import ANY_TEXT, AnyText, Regex
from lowcloud.core.tools import Tool, ToolPlan
from lowcloud.text.dialects import hermes
from lowcloud.text.dialects.qwen3_xml import CLOSE, DIALECT, OPEN
from lowcloud.text.grammar import Wanted

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
# As the template of Qwen3-Coder-30B-A3B-Instruct writes calls.
TEMPLATE = r"""{{- '\n<tool_call>\n<function=' + tool_call.name + '>\n' }}
{{- '<parameter=' + args_name + '>\n' }}{{- args_value }}{{- '\n</parameter>\n' }}{{- '</function>\n</tool_call>' }}"""


def call(name="get_weather", **values):
    shown = "".join(f"<parameter={key}>\n{value}\n</parameter>\n" for key, value in values.items())
    return f"<tool_call>\n<function={name}>\n{shown}</function>\n</tool_call>"


def must_call(*tools, at_most_one=False):
    return Wanted(ANY_TEXT, ToolPlan(tools, "required", at_most_one))


@pytest.mark.parametrize("fixture", FIXTURES, ids=lambda fixture: fixture["id"])
@pytest.mark.parametrize("size", range(9))
def test_an_output_reads_the_same_whole_and_in_any_chunks(fixture, size):
    assert is_right(fixture, read(DIALECT, fixture, size)), read(DIALECT, fixture, size)


def test_its_templates_are_recognised_and_are_not_hermes():
    assert DIALECT.recognises(TEMPLATE)
    assert not hermes.DIALECT.recognises(TEMPLATE)
    assert not DIALECT.recognises("""{{- '<tool_call>\\n{"name": "' }}{{- tool_call.name }}""")


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
        "day": {"type": "string", "format": "date"},
    }
    tool = Tool("f", parameters={"type": "object", "properties": properties}, is_strict=True)
    forced = answers(DIALECT, must_call(tool))
    for right in ({"id": "ab-12"}, {"part": "ab/cd"}, {"short": "äöü"}, {"day": "2026-11-25"}):
        assert call("f", **right) in forced
    for wrong in ({"id": "xab-123"}, {"part": "bc"}, {"short": "four"}, {"short": ""}, {"day": "today"}):
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
def test_a_strict_tool_that_such_calls_cant_keep_to_is_refused(schema, param):
    with pytest.raises(Unsupported) as refused:
        answers(DIALECT, must_call(Tool("f", parameters=schema, is_strict=True, param="tools[3]")))
    assert refused.value.param == param
    assert answers(DIALECT, must_call(Tool("f", parameters=schema)))
