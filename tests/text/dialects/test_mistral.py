import pytest
from dialect_fixtures import Reading, fixtures, misread, read_text
from grammars import answers

from lowcloud.core.messages import Message, Messages, ToolCall
from lowcloud.core.output import ANY_TEXT, JsonSchema
from lowcloud.core.tools import Tool, ToolPlan
from lowcloud.text.channels import CallBegin, Channels
from lowcloud.text.dialects.dialect import Outlook
from lowcloud.text.dialects.mistral import LISTED_CALLS, MARKED_CALLS
from lowcloud.text.grammar import Wanted

FIXTURES = fixtures("mistral")
DIALECTS = pytest.mark.parametrize("dialect", [LISTED_CALLS, MARKED_CALLS], ids=lambda dialect: dialect.name)
ADD = Tool(
    "add",
    parameters={
        "type": "object",
        "properties": {"a": {"type": "number"}, "b": {"type": "number"}},
        "required": ["a", "b"],
        "additionalProperties": False,
    },
)
ANY = Tool("get-time")
TOOLS = (ADD, ANY)
TOKENS = ("[TOOL_CALLS]", "[ARGS]", "[CALL_ID]", "[THINK]", "[/THINK]")
CONTROLS = pytest.mark.parametrize("controls", [(), TOKENS[:1], TOKENS], ids=["no tokens", "v3", "v13"])
CALLS = {
    LISTED_CALLS: (
        '[TOOL_CALLS] [{"name": "add", "arguments": {"a": 1, "b": 2.5}}]',
        '[TOOL_CALLS] [{"name": "add", "arguments": {"a": 1, "b": 2}, "id": "a1B2c3D4e"}]',
        '[TOOL_CALLS] [{"name": "get-time", "arguments": {}}]',
    ),
    MARKED_CALLS: (
        '[TOOL_CALLS]add[ARGS]{"a": 1, "b": 2.5}',
        "[TOOL_CALLS]get-time[ARGS]{}",
    ),
}
TWO_CALLS = {
    LISTED_CALLS: '[TOOL_CALLS] [{"name": "get-time", "arguments": {}}, {"name": "get-time", "arguments": {}}]',
    MARKED_CALLS: "[TOOL_CALLS]get-time[ARGS]{}[TOOL_CALLS]get-time[ARGS]{}",
}
WRONG = {
    LISTED_CALLS: (
        '[TOOL_CALLS] [{"name": "add", "arguments": {"a": "1", "b": 2}}]',
        '[TOOL_CALLS] [{"name": "sub", "arguments": {}}]',
        '[TOOL_CALLS] [{"name": "get-time", "arguments": {}, "id": "short"}]',
        "[TOOL_CALLS] []",
    ),
    MARKED_CALLS: (
        '[TOOL_CALLS]add[ARGS]{"a": "1", "b": 2}',
        '[TOOL_CALLS]add[ARGS]{"a": 1}',
        "[TOOL_CALLS]sub[ARGS]{}",
        "[TOOL_CALLS]get-time[CALL_ID]short[ARGS]{}",
    ),
}


def wanted(mode, *, at_most_one=False, **others):
    return Wanted(**{"output": ANY_TEXT, **others}, plan=ToolPlan(TOOLS, mode, at_most_one))


@pytest.mark.parametrize("fixture", FIXTURES, ids=lambda fixture: fixture["id"])
@DIALECTS
def test_an_output_reads_the_same_whole_and_in_any_chunks(fixture, dialect):
    """Either dialect reads both forms of calls; they differ in what they let a model write."""
    assert misread(dialect, fixture) == {}


@pytest.mark.parametrize(
    ("text", "content", "calls"),
    [
        # vLLM, tests/tool_parsers/test_mistral_tool_parser.py: arguments right after the name
        ('[TOOL_CALLS]add_this_and_that{"a": 3.5, "b": 4}', "", ["add_this_and_that"]),
        ('[TOOL_CALLS]{"name": "add", "arguments": {}}', "", ["add"]),
        ("[TOOL_CALLS][TOOL_CALLS]add[ARGS]{}", "", ["add"]),
        ("[TOOL_CALLS]add[ARGS] \n{} Done.", "Done.", ["add"]),
        ("[TOOL_CALLS]add[ARGS]{} \n[TOOL_CALLS]add[ARGS]{}", "", ["add", "add"]),
        ("[TOOL_CALLS]add[ARGS]none", "none", []),
        ("[TOOL_CALLS]add is a tool", "add is a tool", []),
        ("[TOOL_CALLS]add[CALL_ID]123456789", "", []),
        ("[TOOL_CALLS]ad", "", []),
        ('[TOOL_CALLS][{"name": "add"', "", []),
    ],
)
@pytest.mark.parametrize("size", [0, 1, 3])
def test_only_a_name_with_arguments_is_a_call(text, content, calls, size):
    reading = read_text(MARKED_CALLS, text, Outlook(TOOLS), size)
    assert (reading.content.strip(), [call.name for call in reading.calls]) == (content, calls)


def test_a_call_has_the_id_that_the_model_wrote():
    channels = Channels(lambda reader: MARKED_CALLS.script(reader, Outlook(TOOLS)))
    assert channels.feed("[TOOL_CALLS]add[CALL_ID]123456789[ARGS]{}")[0] == CallBegin("add", "123456789")


@pytest.mark.parametrize("closing", ["[/THINK]", "</think>"])
def test_reasoning_that_the_prompt_opened_ends_with_its_closing(closing):
    reading = read_text(MARKED_CALLS, f"\nSo.\n{closing}\nYes.", Outlook(TOOLS, is_thinking=True))
    assert reading == Reading(content="Yes.", reasoning="So.")


@pytest.mark.parametrize(
    ("rendered", "is_thinking"), [("[/INST]", False), ("[INST]Hi[/INST][THINK]", True), ("[/INST]<think>\n", True)]
)
def test_a_prompt_that_ends_with_an_opening_leaves_the_answer_in_the_reasoning(rendered, is_thinking):
    assert MARKED_CALLS.is_thinking(rendered) == is_thinking


def test_without_tools_calls_are_text():
    text = "[TOOL_CALLS]add[ARGS]{}"
    assert read_text(MARKED_CALLS, text, Outlook()) == Reading(content=text)


@DIALECTS
@CONTROLS
def test_a_required_call_is_one_with_arguments_of_its_schema(dialect, controls):
    allowed = answers(dialect, wanted("required"), controls)
    assert all(text in allowed for text in (*CALLS[dialect], TWO_CALLS[dialect]))
    assert not any(text in allowed for text in (*WRONG[dialect], "", "Hello", f"Hello{CALLS[dialect][0]}"))
    assert TWO_CALLS[dialect] not in answers(dialect, wanted("required", at_most_one=True), controls)


@DIALECTS
@CONTROLS
def test_in_mode_auto_text_and_bound_calls_are_the_answer(dialect, controls):
    allowed = answers(dialect, wanted("auto"), controls)
    assert all(text in allowed for text in (*CALLS[dialect], TWO_CALLS[dialect], "", "Hello [TOOL", "[ARGS"))
    assert f"Hello{CALLS[dialect][0]}" in allowed
    assert not any(text in allowed for text in WRONG[dialect])
    one = answers(dialect, wanted("auto", at_most_one=True), controls)
    assert CALLS[dialect][0] in one
    if controls or dialect is LISTED_CALLS:  # a mark that is no token is text, so the second may be one
        assert TWO_CALLS[dialect] not in one


@DIALECTS
def test_with_a_format_the_answer_is_of_it_or_calls(dialect):
    allowed = answers(dialect, wanted("auto", output=JsonSchema({"type": "integer"})), TOKENS)
    assert CALLS[dialect][0] in allowed
    assert "12" in allowed
    assert "Hello" not in allowed


def test_an_id_may_stand_before_the_arguments_where_the_vocabulary_has_its_mark():
    text = "[TOOL_CALLS]get-time[CALL_ID]a1B2c3D4e[ARGS]{}"
    assert text in answers(MARKED_CALLS, wanted("required"), TOKENS)
    assert text not in answers(MARKED_CALLS, wanted("required"), TOKENS[:2])


@pytest.mark.parametrize(
    ("controls", "thought"), [(TOKENS, "[THINK]So.[/THINK]"), ((), "<think>So.</think>\n")], ids=["marks", "words"]
)
def test_reasoning_may_stand_before_a_required_call(controls, thought):
    text = CALLS[MARKED_CALLS][0]
    allowed = answers(MARKED_CALLS, wanted("required", may_think=True), controls)
    assert thought + text in allowed
    assert text in allowed
    assert thought not in allowed


@DIALECTS
def test_what_the_grammar_lets_a_model_write_is_read_as_calls(dialect):
    for text in CALLS[dialect]:
        assert len(read_text(dialect, text, Outlook(TOOLS)).calls) == 1
    assert len(read_text(dialect, TWO_CALLS[dialect], Outlook(TOOLS)).calls) == 2


def test_ids_of_calls_are_told_in_nine_letters_and_digits():
    call, kept = ToolCall("call_0123456789abcdef", "add", "{}"), ToolCall("a1B2c3D4e", "add", "{}")
    turns = (
        Message("assistant", "", calls=(call, kept)),
        Message("tool", "1", call_id=call.id),
        Message("tool", "2", call_id=kept.id),
    )
    told = MARKED_CALLS.retold(Messages(turns)).messages
    ids = [other.id for other in told[0].calls]
    assert [message.call_id for message in told[1:]] == ids
    assert ids[1] == kept.id
    assert len(ids[0]) == 9
    assert ids[0].isalnum()
