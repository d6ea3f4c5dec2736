"""Granite 3, and Granite 4, which writes as Hermes does.

Outputs are from vLLM's tests: tests/tool_parsers/test_granite_tool_parser.py, test_granite4_tool_parser.py and
tests/reasoning/test_granite_reasoning_parser.py; ``<response>`` is from the template of granite-3.3-2b-instruct.
"""

import pytest
from dialect_fixtures import Reading, read_text

from lowcloud.core.messages import Message, Messages, ToolCall
from lowcloud.core.tools import Tool
from lowcloud.text.dialects import hermes
from lowcloud.text.dialects.dialect import Outlook
from lowcloud.text.dialects.granite import DIALECT

WEATHER = Tool(
    "get_weather",
    parameters={
        "type": "object",
        "properties": {"city": {"type": "string"}},
        "required": ["city"],
        "additionalProperties": False,
    },
)
ANY = Tool("test_function")
TOOLS = (WEATHER, ANY)
SIZES = pytest.mark.parametrize("size", range(9))
TYPES = """<tool_call> [{
  "name": "test_function",
  "arguments": {
    "string_field": "hello",
    "int_field": 42,
    "bool_field": true,
    "null_field": null,
    "object_field": {"nested": "value"},
    "empty_array": []
  }
}]"""
CALL = '<|tool_call|>[{"name": "get_weather", "arguments": {"city": "Tokyo"}}]'


@pytest.mark.parametrize(
    ("text", "content", "calls"),
    [
        (
            "This is a regular response without any tool calls.",
            "This is a regular response without any tool calls.",
            {},
        ),
        (
            '<|tool_call|> [{"name": "get_weather", "arguments": {"city": "Tokyo"}}]',
            "",
            {"get_weather": {"city": "Tokyo"}},
        ),
        (
            '<|tool_call|> [\n  {"name": "get_weather", "arguments": {"city": "Tokyo"}},\n'
            '  {"name": "get_time", "arguments": {"timezone": "Asia/Tokyo"}}\n]',
            "",
            {"get_weather": {"city": "Tokyo"}, "get_time": {"timezone": "Asia/Tokyo"}},
        ),
        (
            TYPES,
            "",
            {
                "test_function": {
                    "string_field": "hello",
                    "int_field": 42,
                    "bool_field": True,
                    "null_field": None,
                    "object_field": {"nested": "value"},
                    "empty_array": [],
                }
            },
        ),
        ('<|tool_call|> [{"name": "refresh", "arguments": {}}]', "", {"refresh": {}}),
        (
            "Let me check the weather for you.\n"
            '<|tool_call|> [{"name": "get_weather", "arguments": {"city": "Tokyo"}}]\n'
            "I'll get that information.",
            "Let me check the weather for you.I'll get that information.",
            {"get_weather": {"city": "Tokyo"}},
        ),
        (
            '<tool_call> [{"name": "test_function", "arguments": {"quoted": "He said \\"hello\\"", "unicode": "🎉"}}]',
            "",
            {"test_function": {"quoted": 'He said "hello"', "unicode": "🎉"}},
        ),
        (
            '<|tool_call|> [{"arguments": {"city": "Tokyo"}, "name": "get_weather"}, '
            '{"arguments": {"timezone": "Asia/Tokyo"}, "name": "get_time"}]',
            "",
            {"get_weather": {"city": "Tokyo"}, "get_time": {"timezone": "Asia/Tokyo"}},
        ),
        ('<|tool_call|> {"name": "func", "arguments": {}}', "", {"func": {}}),
        ('<|tool_call|> [{"name": "func", "arguments": {', "", {}),
        ('[{"name": "func", "arguments": "not a dict"}]', '[{"name": "func", "arguments": "not a dict"}]', {}),
        ('Some text [{"name": "func"}]', 'Some text [{"name": "func"}]', {}),
    ],
)
@SIZES
def test_an_output_reads_the_same_whole_and_in_any_chunks(text, content, calls, size):
    shown = read_text(DIALECT, text, Outlook(TOOLS), size).shown()
    assert {call["name"]: call["arguments"] for call in shown["tool_calls"]} == calls
    assert shown["content"].replace("\n", "") == content


@pytest.mark.parametrize(
    ("text", "reasoning", "content"),
    [
        (
            "Here is my thought process:This is a reasoning section\nHere is my response:This is the rest",
            "This is a reasoning section",
            "This is the rest",
        ),
        ("Here's my thought process: This\nThat Here's my response: The rest\nThat", "This\nThat", "The rest\nThat"),
        ("This is content", "", "This is content"),
        ("Here is my thought failure", "", "Here is my thought failure"),
        ("Here is my thought process: foo Here is Here", "foo Here is Here", ""),
        ("<think>So.</think>\n<response>Yes.</response>", "So.", "Yes."),
        ("<think>So.</think>Yes.", "So.", "Yes."),
        ("What <response> is", "", "What <response> is"),
    ],
)
@SIZES
def test_reasoning_is_split_from_the_answer(text, reasoning, content, size):
    reading = read_text(DIALECT, text, Outlook(TOOLS), size)
    assert (reading.reasoning.strip(), reading.content.strip()) == (reasoning, content)


def test_a_call_may_follow_reasoning():
    reading = read_text(DIALECT, f"<think>Ask.</think>\n{CALL}", Outlook(TOOLS))
    assert (reading.reasoning, reading.content, len(reading.calls)) == ("Ask.", "", 1)


@pytest.mark.parametrize(("rendered", "is_thinking"), [("<|end_of_role|>", False), ("<|end_of_role|><think>\n", True)])
def test_a_prompt_that_ends_with_an_opening_leaves_the_answer_in_the_reasoning(rendered, is_thinking):
    assert DIALECT.is_thinking(rendered) == is_thinking
    assert read_text(DIALECT, "So.</think>Yes.", Outlook(is_thinking=True)) == Reading(content="Yes.", reasoning="So.")


@SIZES
def test_granite_4_writes_as_hermes_does(size):
    coordinates = '{\\"coordinates\\": [[23.54, 43.1], [4, 5]], \\"coordinate_type\\": \\"latlong\\"}'
    text = (
        f'Here goes the bbox call: \n<tool_call> {{"name": "find_bbox", "arguments": "{coordinates}"}} </tool_call>'
        " Now the stock price call: \n "
        '<tool_call> {"name": "get_stock_price", "arguments": {"symbol": "AAPL"}} </tool_call>'
        " See? I'm a helpful assistant."
    )
    shown = read_text(hermes.DIALECT, text, Outlook(TOOLS), size).shown()
    assert shown["tool_calls"] == [
        {"name": "find_bbox", "arguments": {"coordinates": [[23.54, 43.1], [4, 5]], "coordinate_type": "latlong"}},
        {"name": "get_stock_price", "arguments": {"symbol": "AAPL"}},
    ]
    assert shown["content"].startswith("Here goes the bbox call:")
    assert shown["content"].endswith("See? I'm a helpful assistant.")


def test_calls_of_the_conversation_become_words_since_the_templates_leave_them_out():
    user = Message("user", "Rain?")
    asked = Message("assistant", "", calls=(ToolCall("1", "get_weather", '{"city": "Tokyo"}'),))
    assert DIALECT.retold(Messages((user, asked))).messages == (user, Message("assistant", CALL))
