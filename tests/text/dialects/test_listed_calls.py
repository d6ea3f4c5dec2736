"""Granite and Phi-4 bound: calls are a list of JSON behind a mark."""

import pytest
from dialect_fixtures import read_text
from grammars import answers

from lowcloud.core.output import ANY_TEXT, JsonSchema
from lowcloud.core.tools import Tool, ToolPlan
from lowcloud.text.dialects import granite, phi4
from lowcloud.text.dialects.dialect import Outlook
from lowcloud.text.grammar import Wanted

WEATHER = Tool(
    "get_weather",
    parameters={
        "type": "object",
        "properties": {"city": {"type": "string"}},
        "required": ["city"],
        "additionalProperties": False,
    },
)
TOOLS = (WEATHER, Tool("get_time"))
ENDS = {granite.DIALECT: "", phi4.DIALECT: "<|/tool_call|>"}
DIALECTS = pytest.mark.parametrize("dialect", ENDS, ids=lambda dialect: dialect.name)
CONTROLS = pytest.mark.parametrize("are_tokens", [False, True], ids=["no tokens", "tokens"])
TOKYO = '{"name": "get_weather", "arguments": {"city": "Tokyo"}}'
WRONG = (
    '{"name": "get_weather", "arguments": {"city": 1}}',
    '{"name": "get_weather", "arguments": {}}',
    '{"name": "get_rain", "arguments": {}}',
    "",
)


def calls(dialect, *written):
    return f"<|tool_call|>[{', '.join(written)}]{ENDS[dialect]}"


def both(dialect):
    return calls(dialect, TOKYO), calls(dialect, TOKYO, '{"name": "get_time", "arguments": {}}')


def wanted(mode, *, at_most_one=False, output=ANY_TEXT):
    return Wanted(output, ToolPlan(TOOLS, mode, at_most_one))


def controls(dialect, *, are_tokens):
    return tuple(filter(None, ("<|tool_call|>", ENDS[dialect]))) if are_tokens else ()


@DIALECTS
@CONTROLS
@pytest.mark.parametrize("mode", ["required", "auto"])
def test_calls_have_arguments_of_their_schemas(dialect, are_tokens, mode):
    allowed = answers(dialect, wanted(mode), controls(dialect, are_tokens=are_tokens))
    assert all(text in allowed for text in both(dialect))
    assert not any(calls(dialect, wrong) in allowed for wrong in WRONG)
    one = answers(dialect, wanted(mode, at_most_one=True), controls(dialect, are_tokens=are_tokens))
    assert [text in one for text in both(dialect)] == [True, False]


@DIALECTS
@CONTROLS
def test_text_is_free_in_mode_auto_alone(dialect, are_tokens):
    required, auto = (
        answers(dialect, wanted(mode), controls(dialect, are_tokens=are_tokens)) for mode in ("required", "auto")
    )
    for text in (f"Hello\n{calls(dialect, TOKYO)}", "", "Hello <|tool", "[]"):
        assert text in auto
        assert text not in required


@DIALECTS
def test_with_a_format_the_answer_is_of_it_or_calls(dialect):
    output = JsonSchema({"type": "integer"})
    allowed = answers(dialect, wanted("auto", output=output), controls(dialect, are_tokens=True))
    assert all(text in allowed for text in (calls(dialect, TOKYO), "12"))
    assert "Hello" not in allowed


@DIALECTS
def test_what_the_grammar_lets_a_model_write_is_read_as_calls(dialect):
    assert [len(read_text(dialect, text, Outlook(TOOLS)).calls) for text in both(dialect)] == [1, 2]
