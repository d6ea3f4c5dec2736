import json

import pytest
from dialect_fixtures import read_text
from grammars import answers

from lowcloud.core.messages import Image, Message, Messages, ToolCall
from lowcloud.core.output import ANY_TEXT, AnyText, JsonSchema
from lowcloud.core.tools import Tool, ToolPlan
from lowcloud.text.channels import CallArguments, CallBegin, CallEnd, Channels
from lowcloud.text.dialects import registry
from lowcloud.text.dialects.dialect import Outlook
from lowcloud.text.dialects.generic import DIALECT
from lowcloud.text.grammar import Wanted

WEATHER = Tool("get_weather", "The weather of a city", {"type": "object", "properties": {"city": {"type": "string"}}})
NOTE = Tool("note", input=AnyText())
CALL = ToolCall("call_1", "get_weather", '{"city": "Paris"}')


def read(text, size, *, tools=(WEATHER,), is_thinking=False):
    return read_text(DIALECT, text, Outlook(tools, is_thinking), size).shown()


def answer(content="", calls=(), reasoning=""):
    shown = [{"name": name, "arguments": arguments} for name, arguments in calls]
    return {"content": content, "reasoning_content": reasoning, "tool_calls": shown}


PARIS = ("get_weather", {"city": "Paris"})
WRITTEN = '<tool_call>\n{"name": "get_weather", "arguments": {"city": "Paris"}}\n</tool_call>'
OUTPUTS = {
    "text": ("Hello, world.", answer("Hello, world.")),
    "a call": (WRITTEN, answer(calls=[PARIS])),
    "a call after text": (f"Let me look.\n{WRITTEN}", answer("Let me look.", [PARIS])),
    "text after a call": (f"{WRITTEN}\nDone.", answer("Done.", [PARIS])),
    "two calls": (f"{WRITTEN}\n{WRITTEN}", answer(calls=[PARIS, PARIS])),
    "reasoning first": (f"<think>\nHm.\n</think>\n\n{WRITTEN}", answer(calls=[PARIS], reasoning="Hm.")),
    "a call inside reasoning": (f"<think>{WRITTEN}</think>No.", answer("No.", reasoning=WRITTEN)),
    "no arguments": ('<tool_call>{"name": "now"}</tool_call>', answer(calls=[("now", {})])),
    "a cut call": (WRITTEN[:60], answer()),
    "a call whose arguments are no JSON": ('<tool_call>{"name": "f", "arguments": {"a": tru}}</tool_call>', answer()),
    "arguments by both names": (
        '<tool_call>{"name": "f", "arguments": {"a": 1}, "parameters": {}}</tool_call>',
        answer(calls=[("f", {"a": 1})]),
    ),
    "an angle bracket": ("1 <tool", answer("1 <tool")),
    "think tags that a text speaks of": ("It writes <think>.", answer("It writes <think>.")),
}


@pytest.mark.parametrize(("text", "expected"), OUTPUTS.values(), ids=OUTPUTS)
@pytest.mark.parametrize("size", range(9))
def test_an_output_reads_the_same_whole_and_in_any_chunks(text, expected, size):
    assert read(text, size) == expected


def test_arguments_by_both_names_begin_one_call():
    channels = Channels(lambda reader: DIALECT.script(reader, Outlook((WEATHER,))))
    pieces = channels.feed('<tool_call>{"name": "f", "arguments": {}, "parameters": {}}</tool_call>')
    assert pieces == [CallBegin("f"), CallArguments("{}"), CallEnd()]


def test_without_tools_what_looks_like_a_call_is_text():
    assert read(WRITTEN, 0, tools=()) == answer(WRITTEN)


def test_a_prompt_that_opened_the_reasoning_begins_the_answer_in_it():
    assert DIALECT.is_thinking("<|im_start|>assistant\n<think>\n")
    assert not DIALECT.is_thinking("<|im_start|>assistant\n")
    assert read("Hm.</think>Yes.", 0, is_thinking=True) == answer("Yes.", reasoning="Hm.")


def test_it_is_the_dialect_of_templates_that_none_recognises():
    assert registry.fallback() is DIALECT is registry.named("generic")
    assert registry.recognised("{% for message in messages %}{{ message.content }}{% endfor %}") is None


def test_tools_are_told_at_the_end_of_the_system_message():
    messages = Messages((Message("system", "Be brief."), Message("user", "Weather?")), tools=(WEATHER, NOTE))
    retold = DIALECT.retold(messages)
    assert not retold.tools
    system, user = retold.messages
    assert user == Message("user", "Weather?")
    assert system.role == "system"
    assert system.text.startswith("Be brief.\n\n")
    shown = [json.loads(line) for line in system.text.splitlines() if line.startswith('{"name": "get_w')]
    assert shown == [{"name": "get_weather", "description": WEATHER.description, "parameters": WEATHER.parameters}]
    assert '{"name": "note", "parameters": {"type": "object", "properties": {"input"' in system.text


def test_a_conversation_without_a_system_message_gets_one():
    retold = DIALECT.retold(Messages((Message("user", "Weather?"),), tools=(WEATHER,)))
    assert [message.role for message in retold.messages] == ["system", "user"]
    assert "get_weather" in retold.messages[0].text


def test_a_call_of_the_history_is_what_the_model_would_write():
    retold = DIALECT.retold(Messages((Message("assistant", "", calls=(CALL,)),)))
    assert retold.messages == (Message("assistant", WRITTEN),)
    custom = ToolCall("call_2", "note", 'say "hi"', is_custom=True)
    retold = DIALECT.retold(Messages((Message("assistant", "Noting.", calls=(CALL, custom)),)))
    written = '<tool_call>\n{"name": "note", "arguments": {"input": "say \\"hi\\""}}\n</tool_call>'
    assert retold.messages == (Message("assistant", f"Noting.\n{WRITTEN}\n{written}"),)


def test_results_are_the_users_words_in_one_turn():
    messages = (
        Message("user", "Weather?"),
        Message("assistant", "", calls=(CALL,)),
        Message("tool", "Sunny", call_id="call_1", images=(Image(b"1", "image/png", at=5),)),
        Message("function", "Noon", name="clock"),
        Message("user", "And?"),
    )
    *_, last = DIALECT.retold(Messages(messages)).messages
    text = "Result of get_weather:\nSunny\n\nResult of clock:\nNoon\n\nAnd?"
    assert last == Message("user", text, images=(Image(b"1", "image/png", at=text.index("\n\nResult of c")),))


def test_a_conversation_without_tools_stays_as_it_is():
    prompt = Messages((Message("user", "One."), Message("user", "Two."), Message("assistant", "Three.")))
    assert DIALECT.retold(prompt) == prompt
    assert DIALECT.retold(Messages(())) == Messages(())


def test_a_forced_call_is_one_of_the_tools_calls():
    forced = answers(DIALECT, Wanted(ANY_TEXT, ToolPlan((WEATHER, NOTE), "required")))
    assert WRITTEN in forced
    assert '<tool_call>\n{"name": "note", "arguments": {"input": "hi"}}\n</tool_call>' in forced
    assert WRITTEN.replace('"Paris"', "1") not in forced
    assert WRITTEN.replace("get_weather", "other") not in forced
    assert f"{WRITTEN}\n{WRITTEN}" not in forced
    assert "Hello" not in forced


@pytest.mark.parametrize("at_most_one", [True, False])
def test_text_or_a_call_may_come_and_its_arguments_are_bound(at_most_one):
    free = answers(DIALECT, Wanted(ANY_TEXT, ToolPlan((WEATHER,), "auto", at_most_one)))
    assert "Hello <tool" in free
    assert f"Let me look.\n{WRITTEN}" in free
    assert f"Let me look.\n{WRITTEN}".replace('"Paris"', "1") not in free


def test_a_format_or_a_call_may_come():
    either = answers(DIALECT, Wanted(JsonSchema({"type": "integer"}), ToolPlan((WEATHER,), "auto")))
    assert "12" in either
    assert WRITTEN in either
    assert "Hello" not in either
