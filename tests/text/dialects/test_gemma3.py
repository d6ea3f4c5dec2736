import pytest
from dialect_fixtures import read_text
from grammars import answers

from lowcloud.core.messages import Message, Messages, ToolCall
from lowcloud.core.output import ANY_TEXT, JsonSchema
from lowcloud.core.tools import Tool, ToolPlan
from lowcloud.text.dialects.dialect import Outlook
from lowcloud.text.dialects.gemma3 import DIALECT
from lowcloud.text.grammar import Wanted

WEATHER = Tool(
    "get_weather",
    "The weather",
    {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"], "additionalProperties": False},
)
TIME = Tool("get_time", parameters={"type": "object", "properties": {}, "additionalProperties": False})
BARE = '{"name": "get_weather", "parameters": {"city": "Paris"}}'
FENCED = f"```json\n{BARE}\n```"
PARIS = {"name": "get_weather", "arguments": {"city": "Paris"}}
OUTPUTS = {
    "text": ("Hello.", "Hello.", []),
    "a bare call": (BARE, "", [PARIS]),
    "a call in a fence": (FENCED, "", [PARIS]),
    "a call in a fence for tools": (f"```tool_code\n{BARE}\n```\n", "", [PARIS]),
    "two calls": (f"{BARE}\n{BARE}", "", [PARIS, PARIS]),
    "text after a call": (f"{FENCED}\nDone.", "Done.", [PARIS]),
    "an object that names no tool": ('{"name": "Ada"}', '{"name": "Ada"}', []),
    "a fence of another kind": ("```python\nprint()\n```", "```python\nprint()\n```", []),
    "a call that the length cut": (FENCED[:45], "", []),
    "a call inside a text": (f"Write {BARE}", f"Write {BARE}", []),
}


@pytest.mark.parametrize(("text", "content", "calls"), OUTPUTS.values(), ids=OUTPUTS)
@pytest.mark.parametrize("size", range(9))
def test_an_output_reads_the_same_whole_and_in_any_chunks(text, content, calls, size):
    reading = read_text(DIALECT, text, Outlook((WEATHER, TIME)), size)
    assert reading.shown() == {"content": content, "reasoning_content": "", "tool_calls": calls}


def test_without_tools_an_object_is_text():
    assert read_text(DIALECT, BARE, Outlook()).content == BARE


def wanted(mode, output=ANY_TEXT):
    return Wanted(output, ToolPlan((WEATHER, TIME), mode))


def test_a_forced_call_is_one_of_the_tools_calls_bare_or_in_a_fence():
    forced = answers(DIALECT, wanted("required"))
    assert BARE in forced
    assert FENCED in forced
    assert '{"name": "get_time", "parameters": {}}' in forced
    assert "Hello" not in forced
    assert BARE + BARE not in forced
    assert BARE.replace('"Paris"', "1") not in forced
    assert BARE.replace("get_weather", "other") not in forced


def test_a_text_or_a_call_may_come_and_its_arguments_are_bound():
    free = answers(DIALECT, wanted("auto"))
    assert "Hello" in free
    assert "```python\nprint()\n```" in free
    assert '{"name": "Ada"}' in free
    assert BARE in free
    assert FENCED in free
    assert BARE.replace('"Paris"', "1") not in free
    assert FENCED.replace('"Paris"', "1") not in free


def test_a_format_or_a_call_may_come():
    ada = {"type": "object", "properties": {"name": {"type": "string"}}, "required": ["name"]}
    either = answers(DIALECT, wanted("auto", JsonSchema({**ada, "additionalProperties": False})))
    assert '{"name": "Ada"}' in either
    assert '{"name": "get_weather"}' in either
    assert FENCED in either
    assert BARE in either
    assert "Hello" not in either


def test_its_templates_are_recognised():
    assert DIALECT.recognises("{{ '<start_of_turn>' + role + '\n' }}")
    assert not DIALECT.recognises("{{ '<start_of_turn>' }}{{ '<start_function_call>' }}")
    assert not DIALECT.recognises("{{ '<|turn>' }}")
    assert not DIALECT.is_thinking("<start_of_turn>model\n")


def test_tools_and_calls_are_told_in_words():
    messages = (
        Message("user", "Weather?"),
        Message("assistant", "", calls=(ToolCall("call_1", "get_weather", '{"city": "Paris"}'),)),
        Message("tool", "Sunny", call_id="call_1"),
    )
    system, user, calling, result = DIALECT.retold(Messages(messages, (WEATHER,))).messages
    assert system.role == "system"
    assert '{"name": "get_weather", "description": "The weather", "parameters": {' in system.text
    assert user == messages[0]
    assert calling == Message("assistant", BARE)
    assert result == Message("user", "Result of get_weather:\nSunny")
