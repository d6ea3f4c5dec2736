import pytest
from dialect_fixtures import fixtures, misread, read_text
from grammars import answers

from lowcloud.core.errors import Unsupported
from lowcloud.core.messages import Message, Messages, ToolCall
from lowcloud.core.output import ANY_TEXT
from lowcloud.core.requests import ThinkingBound
from lowcloud.core.tools import Tool, ToolPlan
from lowcloud.text.channels import CallBegin, Channels, Content
from lowcloud.text.dialects.dialect import Outlook
from lowcloud.text.dialects.kimi import DIALECT
from lowcloud.text.grammar import LarkWriter, Wanted

FIXTURES = tuple(fixture for fixture in fixtures("kimi") if "x-kimi-k3" not in fixture["tags"])


@pytest.mark.parametrize("fixture", FIXTURES, ids=lambda fixture: fixture["id"])
def test_an_output_reads_the_same_whole_and_in_any_chunks(fixture):
    assert misread(DIALECT, fixture) == {}


def test_a_calls_id_is_the_models_own():
    channels = Channels(lambda reader: DIALECT.script(reader, Outlook([Tool("now")])))
    pieces = channels.feed(
        "<|tool_calls_section_begin|><|tool_call_begin|>functions.now:3<|tool_call_argument_begin|>{}"
        "<|tool_call_end|><|tool_calls_section_end|>"
    )
    assert pieces[0] == CallBegin("now", "functions.now:3")


def test_ids_of_the_history_become_the_models_own():
    messages = (
        Message("assistant", "", calls=(ToolCall("functions.now:0", "now", "{}"), ToolCall("call_9", "then", "{}"))),
        Message("tool", "noon", call_id="functions.now:0"),
        Message("tool", "night", call_id="call_9"),
    )
    calling, first, second = DIALECT.retold(Messages(messages)).messages
    assert [call.id for call in calling.calls] == ["functions.now:0", "functions.then:1"]
    assert (first.call_id, second.call_id) == ("functions.now:0", "functions.then:1")


def test_without_tools_a_call_is_no_text_either():
    channels = Channels(lambda reader: DIALECT.script(reader, Outlook()))
    text = (
        "Hi.<|tool_calls_section_begin|><|tool_call_begin|>functions.now:0<|tool_call_end|><|tool_calls_section_end|>"
    )
    assert [*channels.feed(text), *channels.end()] == [Content("Hi.", 3)]


def test_it_knows_whether_the_prompt_opened_the_reasoning():
    assert DIALECT.is_thinking("<|im_assistant|>assistant<|im_middle|><think>")
    assert not DIALECT.is_thinking("<|im_assistant|>assistant<|im_middle|><think></think>")
    assert not DIALECT.is_thinking("<|im_assistant|>assistant<|im_middle|>")


WEATHER = Tool(
    "get_weather", parameters={"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
)
TIME = Tool("get_time", parameters={"type": "object", "properties": {}, "additionalProperties": False})
BOTH_WAYS = pytest.mark.parametrize("controls", [(), DIALECT.marks], ids=["marks are text", "marks are tokens"])


def wanted(mode, **more):
    at_most_one = more.pop("at_most_one", False)
    return Wanted(ANY_TEXT, ToolPlan((WEATHER, TIME), mode, at_most_one), **more)


def section(*calls):
    shown = [f"<|tool_call_begin|>{name}<|tool_call_argument_begin|>{text}<|tool_call_end|>" for name, text in calls]
    return f"<|tool_calls_section_begin|>{''.join(shown)}<|tool_calls_section_end|>"


PARIS = ("functions.get_weather:0", '{"city": "Paris"}')
NOW = ("functions.get_time:1", "{}")


@BOTH_WAYS
def test_a_forced_call_is_one_of_the_tools_calls_or_several(controls):
    forced = answers(DIALECT, wanted("required"), controls)
    assert section(PARIS) in forced
    assert section(PARIS, NOW) in forced
    assert section(("functions.get_weather:0", '{"city": 1}')) not in forced
    assert section(("functions.other:0", "{}")) not in forced
    assert section(("functions.get_time", "{}")) not in forced
    assert section() not in forced
    assert "Hello" not in forced


@BOTH_WAYS
def test_at_most_one_call_is_one(controls):
    forced = answers(DIALECT, wanted("required", at_most_one=True), controls)
    assert section(PARIS) in forced
    assert section(PARIS, NOW) not in forced


@BOTH_WAYS
def test_text_and_calls_are_free_to_come_and_their_arguments_are_bound(controls):
    free = answers(DIALECT, wanted("auto"), controls)
    assert "Hello" in free
    assert f"Let me look.{section(PARIS, NOW)}" in free
    assert f"Let me look.{section(('functions.get_weather:0', '{}'))}" not in free


def test_reasoning_comes_first_and_its_length_is_bound():
    forced = answers(DIALECT, wanted("required", is_thinking=True, thinking=ThinkingBound(4)), DIALECT.marks)
    assert f"Hm.</think>{section(PARIS)}" in forced
    assert f"Hm, no.</think>{section(PARIS)}" not in forced
    with pytest.raises(Unsupported):
        DIALECT.grammar(LarkWriter({}), wanted("required", is_thinking=True, thinking=ThinkingBound(4)))


@pytest.mark.parametrize(
    "text",
    [
        "<|tool_call_begin|>functions.now:0<|tool_call_end|>",
        "<|tool_call_begin|> <|tool_call_argument_begin|>{}<|tool_call_end|>",
        "<|tool_call_begin|>functions.now:0<|tool_call_argument_begin|>[]<|tool_call_end|>",
    ],
    ids=["no arguments", "no name", "arguments that are no object"],
)
def test_a_call_that_isnt_well_formed_never_ends(text):
    written = f"<|tool_calls_section_begin|>{text}<|tool_calls_section_end|>Hm."
    reading = read_text(DIALECT, written, Outlook((TIME,)))
    assert reading.calls == []
    assert reading.content == "Hm."


def test_marks_that_stand_nowhere_are_no_text():
    reading = read_text(DIALECT, "Hm.<|tool_call_end|> Yes.<|tool_calls_section_end|>", Outlook((TIME,)))
    assert (reading.content, reading.calls) == ("Hm. Yes.", [])
