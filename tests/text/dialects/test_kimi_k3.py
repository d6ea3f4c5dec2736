import pytest
from dialect_fixtures import fixtures, misread, read_text
from grammars import answers

from lowcloud.core.errors import Unsupported
from lowcloud.core.messages import Messages
from lowcloud.core.output import ANY_TEXT, JsonSchema
from lowcloud.core.requests import ThinkingBound
from lowcloud.core.tools import Tool, ToolPlan
from lowcloud.text.dialects.dialect import Outlook
from lowcloud.text.dialects.kimi_k3 import DIALECT
from lowcloud.text.grammar import LarkWriter, Wanted

FIXTURES = tuple(fixture for fixture in fixtures("kimi") if "x-kimi-k3" in fixture["tags"])


@pytest.mark.parametrize("fixture", FIXTURES, ids=lambda fixture: fixture["id"])
def test_an_output_reads_the_same_whole_and_in_any_chunks(fixture):
    assert misread(DIALECT, fixture) == {}


def test_it_knows_whether_the_prompt_opened_the_reasoning():
    assert DIALECT.is_thinking('<|open|>message role="assistant"<|sep|><|open|>think<|sep|>')
    assert not DIALECT.is_thinking('<|open|>message role="assistant"<|sep|><|open|>response<|sep|>')


@pytest.mark.parametrize(
    ("effort", "options", "told"),
    [
        ("none", {}, {}),
        (None, {}, {}),
        ("high", {}, {"thinking_effort": "high"}),
        ("minimal", {}, {"thinking_effort": "low"}),
        ("xhigh", {"thinking_effort": "low"}, {"thinking_effort": "low"}),
    ],
)
def test_the_effort_has_the_name_that_the_template_knows(effort, options, told):
    assert DIALECT.retold(Messages((), effort=effort, options=options)).options == told


BOTH_WAYS = pytest.mark.parametrize("controls", [(), DIALECT.marks], ids=["marks are text", "marks are tokens"])
WEATHER = Tool(
    "get_weather",
    parameters={
        "type": "object",
        "properties": {
            "city": {"type": "string"},
            "days": {"type": "integer", "minimum": 1},
            "unit": {"enum": ["c", "f", None]},
            "near": {"anyOf": [{"type": "array", "items": {"$ref": "#/$defs/place"}}, {"type": "string"}]},
        },
        "required": ["city"],
        "$defs": {"place": {"type": "object", "properties": {"x": {"type": "number"}}, "required": ["x"]}},
    },
)
CODE = Tool("find", parameters={"type": "object", "properties": {"code": {"type": "string", "pattern": "^[a-z]+$"}}})
TIME = Tool("get_time", parameters={"type": "object", "properties": {}, "additionalProperties": False})
NO_RESPONSE = "<|close|>response<|sep|>"


def wanted(mode, *tools, at_most_one=False, output=ANY_TEXT, **more):
    return Wanted(output, ToolPlan(tools, mode, at_most_one), **more)


def argument(key, kind, text):
    return f'<|open|>argument key="{key}" type="{kind}"<|sep|>{text}<|close|>argument<|sep|>'


def call(name, *arguments, index=1):
    head = f'<|open|>call tool="{name}" index="{index}"<|sep|>'
    return f"{head}{''.join(arguments)}<|close|>call<|sep|>"


def tools(*calls):
    return f"<|open|>tools<|sep|>{''.join(calls)}<|close|>tools<|sep|><|close|>message<|sep|>"


PARIS = argument("city", "string", "Paris")


@BOTH_WAYS
def test_a_forced_call_follows_an_empty_response(controls):
    forced = answers(DIALECT, wanted("required", WEATHER, TIME), controls)
    assert NO_RESPONSE + tools(call("get_weather", PARIS)) in forced
    assert NO_RESPONSE + tools(call("get_weather", PARIS), call("get_time", index=2)) in forced
    assert NO_RESPONSE + tools() not in forced
    assert NO_RESPONSE + tools(call("other")) not in forced
    assert "Hello" + NO_RESPONSE not in forced


@BOTH_WAYS
@pytest.mark.parametrize(
    ("arguments", "is_right"),
    [
        ([PARIS, argument("days", "number", "3"), argument("unit", "string", "c")], True),
        ([PARIS, argument("unit", "null", "null")], True),
        ([PARIS, argument("near", "array", '[{"x": 1.5}]')], True),
        ([PARIS, argument("near", "string", "[here] </argument>")], True),
        ([], False),
        ([argument("days", "number", "3"), PARIS], False),
        ([PARIS, argument("days", "number", "0")], False),
        ([PARIS, argument("unit", "string", "k")], False),
        ([PARIS, argument("near", "array", "[1]")], False),
        ([PARIS, argument("other", "string", "x")], False),
        ([argument("city", "number", "1")], False),
    ],
)
def test_each_argument_is_bound_by_its_schema(controls, arguments, is_right):
    forced = answers(DIALECT, wanted("required", WEATHER), controls)
    assert (NO_RESPONSE + tools(call("get_weather", *arguments)) in forced) is is_right


@BOTH_WAYS
def test_what_elements_cant_keep_to_is_one_element_of_json(controls):
    forced = answers(DIALECT, wanted("required", CODE), controls)

    def written(text):
        return call("find", f'<|open|>json type="object"<|sep|>{text}<|close|>json<|sep|>')

    assert NO_RESPONSE + tools(written('{"code": "abc"}')) in forced
    assert NO_RESPONSE + tools(written('{"code": "ABC"}')) not in forced
    reading = read_text(DIALECT, NO_RESPONSE + tools(written('{"code": "abc"}')), Outlook((CODE,)))
    assert reading.shown()["tool_calls"] == [{"name": "find", "arguments": {"code": "abc"}}]


@BOTH_WAYS
def test_at_most_one_call_is_one(controls):
    forced = answers(DIALECT, wanted("required", TIME, at_most_one=True), controls)
    assert NO_RESPONSE + tools(call("get_time")) in forced
    assert NO_RESPONSE + tools(call("get_time"), call("get_time", index=2)) not in forced


@BOTH_WAYS
def test_a_response_and_calls_are_free_to_come(controls):
    free = answers(DIALECT, wanted("auto", WEATHER), controls)
    assert f"Hello{NO_RESPONSE}<|close|>message<|sep|>" in free
    assert f"Hello{NO_RESPONSE}{tools(call('get_weather', PARIS))}" in free
    assert f"Hello{NO_RESPONSE}{tools(call('get_weather'))}" not in free


@BOTH_WAYS
def test_a_format_binds_the_response(controls):
    either = answers(DIALECT, wanted("auto", TIME, output=JsonSchema({"type": "integer"})), controls)
    assert f"12{NO_RESPONSE}<|close|>message<|sep|>" in either
    assert NO_RESPONSE + tools(call("get_time")) in either
    assert f"Hello{NO_RESPONSE}<|close|>message<|sep|>" not in either


def test_reasoning_comes_first_and_its_length_is_bound():
    rest = f"<|close|>think<|sep|><|open|>response<|sep|>{NO_RESPONSE}{tools(call('get_time'))}"
    forced = answers(DIALECT, wanted("required", TIME, is_thinking=True, thinking=ThinkingBound(4)), DIALECT.marks)
    assert f"Hm.{rest}" in forced
    assert f"Hm, no.{rest}" not in forced
    assert f"Hm, no.{rest}" in answers(DIALECT, wanted("required", TIME, is_thinking=True))
    with pytest.raises(Unsupported):
        DIALECT.grammar(LarkWriter({}), wanted("required", TIME, is_thinking=True, thinking=ThinkingBound(4)))


def test_a_call_with_a_value_that_is_no_json_never_ends():
    text = NO_RESPONSE + tools(call("get_time", argument("at", "number", "1, 2")))
    assert read_text(DIALECT, text, Outlook((TIME,))).calls == []


def test_a_call_without_a_name_is_none_and_one_without_an_object_never_ends():
    text = '<|open|>json type="object"<|sep|>[]<|close|>json<|sep|>'
    written = tools("<|open|>call <|sep|><|close|>call<|sep|>", call("get_time", text), call("get_time", PARIS, text))
    assert read_text(DIALECT, NO_RESPONSE + written, Outlook((TIME,))).calls == []


def test_a_model_that_reopens_its_reasoning_is_read_so():
    reading = read_text(DIALECT, "<|open|>think<|sep|>Hm.<|close|>think<|sep|><|open|>response<|sep|>Yes.", Outlook())
    assert (reading.reasoning, reading.content) == ("Hm.", "Yes.")


@BOTH_WAYS
def test_without_tools_a_format_binds_the_response(controls):
    bound = answers(DIALECT, wanted("none", output=JsonSchema({"type": "integer"})), controls)
    assert f"12{NO_RESPONSE}<|close|>message<|sep|>" in bound
    assert f"12{NO_RESPONSE}" in bound
    assert f"Hello{NO_RESPONSE}" not in bound


def test_any_object_is_one_element_of_json():
    forced = answers(DIALECT, wanted("required", Tool("f")))
    assert NO_RESPONSE + tools(call("f", '<|open|>json type="object"<|sep|>{"a": 1}<|close|>json<|sep|>')) in forced
