"""Phi-4-mini. Outputs with ``functools`` are from vLLM's tests/tool_parsers/test_phi4mini_tool_parser.py; those with
``<|tool_call|>`` are in the form of llama.cpp's and the model's own chat template.
"""

import pytest
from dialect_fixtures import Reading, read_text

from lowcloud.core.messages import Message, Messages, ToolCall
from lowcloud.core.tools import Tool
from lowcloud.text.dialects.dialect import Outlook
from lowcloud.text.dialects.phi4 import DIALECT

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
CALL = '<|tool_call|>[{"name": "get_weather", "arguments": {"city": "Tokyo"}}]<|/tool_call|>'
TWO_CALLS = (
    '<|tool_call|>[{"name": "get_weather", "arguments": {"city": "Tokyo"}}, '
    '{"name": "get_time", "arguments": {}}]<|/tool_call|>'
)


@pytest.mark.parametrize(
    ("text", "content", "calls"),
    [
        (CALL, "", {"get_weather": {"city": "Tokyo"}}),
        (TWO_CALLS, "", {"get_weather": {"city": "Tokyo"}, "get_time": {}}),
        ('<|tool_call|>{"name": "get_time", "arguments": {}}<|/tool_call|> Done.', "Done.", {"get_time": {}}),
        (
            "This is a regular response without any tool calls.",
            "This is a regular response without any tool calls.",
            {},
        ),
        ('functools[{"name": "get_weather", "arguments": {"city": "Tokyo"}}]', "", {"get_weather": {"city": "Tokyo"}}),
        (
            'functools[\n  {"name": "get_weather", "arguments": {"city": "Tokyo"}},\n'
            '  {"name": "get_time", "arguments": {"timezone": "Asia/Tokyo"}}\n]',
            "",
            {"get_weather": {"city": "Tokyo"}, "get_time": {"timezone": "Asia/Tokyo"}},
        ),
        (
            'Let me check the weather for you.\nfunctools[{"name": "get_weather", "arguments": {"city": "Tokyo"}}]\n'
            "Would you like to know more?",
            "Let me check the weather for you.Would you like to know more?",
            {"get_weather": {"city": "Tokyo"}},
        ),
        ('functools[{"name": "func", "arguments": {', "", {}),
        ('functools[{"name": "func", "arguments": "not a dict"}]', "", {}),
        ('functools{"name": "func"}', 'functools{"name": "func"}', {}),
        ("functools[] This is just text", "This is just text", {}),
        ("functools[ This is just text ]", "This is just text ]", {}),
        ("<|tool_call|>", "", {}),
    ],
)
@pytest.mark.parametrize("size", range(9))
def test_an_output_reads_the_same_whole_and_in_any_chunks(text, content, calls, size):
    shown = read_text(DIALECT, text, Outlook(TOOLS), size).shown()
    assert {call["name"]: call["arguments"] for call in shown["tool_calls"]} == calls
    assert shown["content"].replace("\n", "") == content


def test_reasoning_is_split_from_the_answer():
    assert read_text(DIALECT, "<think>So.</think>Yes.", Outlook(TOOLS)) == Reading("Yes.", "So.")
    assert DIALECT.is_thinking("<|assistant|><think>\n")
    assert not DIALECT.is_thinking("<|assistant|>")


def test_tools_and_calls_are_told_in_words():
    call = ToolCall("1", "get_weather", '{"city": "Tokyo"}')
    turns = (Message("user", "Rain?"), Message("assistant", "", calls=(call,)), Message("tool", "No", call_id="1"))
    told = DIALECT.retold(Messages(turns, TOOLS))
    system, user, assistant, result = told.messages
    assert told.tools == ()
    assert system.role == "system"
    assert all(text in system.text for text in ('{"name": "get_weather"', '{"name": "get_time"', "<|tool_call|>[{"))
    assert (user, assistant) == (turns[0], Message("assistant", CALL))
    assert result == Message("user", "Result of get_weather:\nNo")
