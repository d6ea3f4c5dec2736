import pytest
from dialect_fixtures import fixtures, is_right, read

from lowcloud.core.messages import Message, Messages, ToolCall
from lowcloud.core.tools import Tool
from lowcloud.text.channels import CallBegin, Channels, Content
from lowcloud.text.dialects.dialect import Outlook
from lowcloud.text.dialects.kimi import DIALECT

FIXTURES = tuple(fixture for fixture in fixtures("kimi") if "x-kimi-k3" not in fixture["tags"])


@pytest.mark.parametrize("fixture", FIXTURES, ids=lambda fixture: fixture["id"])
@pytest.mark.parametrize("size", range(9))
def test_an_output_reads_the_same_whole_and_in_any_chunks(fixture, size):
    assert is_right(fixture, read(DIALECT, fixture, size)), read(DIALECT, fixture, size)


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
