import pytest
from dialect_fixtures import fixtures, misread, read_text
from grammars import answers

from lowcloud.core.errors import Unsupported
from lowcloud.core.messages import Message, Messages, ToolCall
from lowcloud.core.output import ANY_TEXT, JsonSchema
from lowcloud.core.requests import ThinkingBound
from lowcloud.core.tools import Tool, ToolPlan
from lowcloud.text.dialects.dialect import Outlook
from lowcloud.text.dialects.harmony import DIALECT
from lowcloud.text.grammar import LarkWriter, Wanted

FIXTURES = fixtures("gpt-oss")
BOTH_WAYS = pytest.mark.parametrize("controls", [(), DIALECT.marks], ids=["marks are text", "marks are tokens"])
WEATHER = Tool(
    "get_weather", parameters={"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
)
TIME = Tool("get_time", parameters={"type": "object", "properties": {}, "additionalProperties": False})
PARIS, NO_PARIS = '{"city": "Paris"}', '{"city": 1}'
HM = "<|channel|>analysis<|message|>Hm.<|end|><|start|>assistant"
FINAL = "<|channel|>final<|message|>"
PREAMBLE = "<|channel|>commentary<|message|>Let me look.<|end|><|start|>assistant"


def call(arguments=PARIS, name="get_weather"):
    return f"<|channel|>commentary to=functions.{name} <|constrain|>json<|message|>{arguments}"


def call_in_role(arguments=PARIS, name="get_weather"):
    return f" to=functions.{name}<|channel|>commentary <|constrain|>json<|message|>{arguments}"


def wanted(mode="none", *, at_most_one=False, output=ANY_TEXT, **more):
    return Wanted(output, ToolPlan((WEATHER, TIME) if mode != "none" else (), mode, at_most_one), **more)


@pytest.mark.parametrize("fixture", FIXTURES, ids=lambda fixture: fixture["id"])
def test_an_output_reads_the_same_whole_and_in_any_chunks(fixture):
    assert misread(DIALECT, fixture) == {}


@pytest.mark.parametrize("size", range(9))
@pytest.mark.parametrize(
    ("text", "content", "reasoning"),
    [
        (f"{PREAMBLE}{FINAL}Done.<|return|>", "Let me look.\n\nDone.", ""),
        (f"{HM}{HM}{FINAL}Yes.", "Yes.", "Hm.\n\nHm."),
        ("A text without a header.", "A text without a header.", ""),
        (f"{HM}{call(name='browser').replace('functions.', '')}", "", "Hm."),
    ],
    ids=["a preamble and an answer", "reasoning twice", "no header", "a call of a tool that isn't ours"],
)
def test_messages_are_text_or_reasoning_by_their_channel(text, content, reasoning, size):
    shown = read_text(DIALECT, text, Outlook((WEATHER,)), size).shown()
    assert shown == {"content": content, "reasoning_content": reasoning, "tool_calls": []}


def test_without_tools_a_call_is_no_text_either():
    assert read_text(DIALECT, HM + call(), Outlook()).shown()["content"] == ""


def test_a_prompt_that_opened_the_analysis_begins_the_answer_in_it():
    assert DIALECT.is_thinking("<|start|>assistant<|channel|>analysis<|message|>")
    assert not DIALECT.is_thinking("<|start|>assistant")
    reading = read_text(DIALECT, f"Hm.<|end|><|start|>assistant{FINAL}Yes.", Outlook(is_thinking=True))
    assert (reading.reasoning, reading.content) == ("Hm.", "Yes.")


def test_calls_of_one_message_are_told_one_by_one_each_with_its_result():
    first, second = ToolCall("call_1", "get_weather", PARIS), ToolCall("call_2", "get_time", "{}")
    messages = (
        Message("user", "Weather?"),
        Message("assistant", "Let me look.", reasoning="Hm.", calls=(first, second)),
        Message("tool", "noon", call_id="call_2"),
        Message("tool", "sunny", call_id="call_1"),
        Message("user", "And?"),
    )
    assert DIALECT.retold(Messages(messages)).messages == (
        messages[0],
        Message("assistant", "", reasoning="Hm.\n\nLet me look.", calls=(first,)),
        messages[3],
        Message("assistant", "", calls=(second,)),
        messages[2],
        messages[4],
    )


@pytest.mark.parametrize(
    ("effort", "options", "told"),
    [
        ("none", {}, {"reasoning_effort": "low"}),
        ("medium", {}, {"reasoning_effort": "medium"}),
        ("max", {}, {"reasoning_effort": "high"}),
        ("max", {"reasoning_effort": "x"}, {"reasoning_effort": "x"}),
        (None, {}, {}),
    ],
)
def test_the_effort_is_one_that_the_model_knows_unless_the_caller_says_otherwise(effort, options, told):
    assert DIALECT.retold(Messages((), effort=effort, options=options)).options == told


@BOTH_WAYS
@pytest.mark.parametrize("written", [call, call_in_role])
def test_a_forced_call_is_one_of_the_tools_calls(controls, written):
    forced = answers(DIALECT, wanted("required", may_think=True), controls)
    assert written() in forced
    assert HM + written() in forced
    assert written("{}", "get_time") in forced
    assert written(NO_PARIS) not in forced
    assert written("{}", "other") not in forced
    assert f"{FINAL}Hello" not in forced


@BOTH_WAYS
@pytest.mark.parametrize("at_most_one", [True, False])
def test_a_message_that_calls_is_the_turns_last(controls, at_most_one):
    forced = answers(DIALECT, wanted("required", at_most_one=at_most_one), controls)
    assert call() in forced
    assert f"{call()}<|call|><|start|>assistant{call()}" not in forced


@BOTH_WAYS
def test_an_answer_or_a_call_may_come_and_its_arguments_are_bound(controls):
    free = answers(DIALECT, wanted("auto", may_think=True), controls)
    assert f"{HM}{FINAL}Hello" in free
    assert f"{FINAL}Hello" in free
    assert f"{HM}{PREAMBLE}{call()}" in free
    assert f"{PREAMBLE}{FINAL}Hello" in free
    assert call_in_role() in free
    assert f"{HM}{PREAMBLE}{call(NO_PARIS)}" not in free


@BOTH_WAYS
def test_a_format_binds_the_final_message(controls):
    number = JsonSchema({"type": "integer"})
    bound = answers(DIALECT, wanted(output=number, may_think=True), controls)
    assert f"{HM}{FINAL}12" in bound
    assert f"{HM}{FINAL}twelve" not in bound
    assert f"{HM}{call()}" not in bound
    either = answers(DIALECT, wanted("auto", output=number, may_think=True), controls)
    assert f"{HM}{FINAL}12" in either
    assert HM + call() in either


def test_the_length_of_the_reasoning_is_bound():
    bound = answers(DIALECT, wanted(may_think=True, thinking=ThinkingBound(4)), DIALECT.marks)
    assert f"{HM}{FINAL}Hello" in bound
    assert f"{HM.replace('Hm.', 'Hm, no.')}{FINAL}Hello" not in bound
    inside = answers(DIALECT, wanted(is_thinking=True, thinking=ThinkingBound(4)), DIALECT.marks)
    assert f"Hm.<|end|><|start|>assistant{FINAL}Hello" in inside
    with pytest.raises(Unsupported):
        DIALECT.grammar(LarkWriter({}), wanted(may_think=True, thinking=ThinkingBound(4)))
