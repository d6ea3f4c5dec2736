"""Canonical items as a conversation of the core."""

from base64 import b64encode

import pytest

from lowcloud.core.errors import PromptTooLong
from lowcloud.core.messages import Image, Message, ToolCall
from lowcloud.http.image_links import LinkedImage
from lowcloud.http.responses.items import canonical
from lowcloud.http.responses.prompt import messages_of, named_as_here

PNG = "data:image/png;base64," + b64encode(b"png").decode()
LINK = "https://example.com/a.png"


def items(*given: object) -> list[dict[str, object]]:
    return [canonical(item, f"input[{n}]", lambda prefix, n=n: f"{prefix}_{n}", {}) for n, item in enumerate(given)]


def read(*given: object, **more: object) -> tuple[Message, ...]:
    return messages_of(None, items(*given), **more)


def said(text: str) -> dict[str, object]:
    return {"role": "assistant", "content": text}


def thought(text: str) -> dict[str, object]:
    return {"type": "reasoning", "summary": [], "content": [{"type": "reasoning_text", "text": text}]}


def call(call_id: str) -> dict[str, object]:
    return {"type": "function_call", "call_id": call_id, "name": "f", "arguments": "{}"}


def output(call_id: str, given: object = "4") -> dict[str, object]:
    return {"type": "function_call_output", "call_id": call_id, "output": given}


def test_instructions_are_the_systems_first_message():
    given = items({"role": "developer", "content": "short"}, {"role": "user", "content": "hi"})
    assert messages_of("be nice", given) == (
        Message("system", "be nice"),
        Message("developer", "short"),
        Message("user", "hi"),
    )
    assert messages_of("", given) == messages_of(None, given)


def test_reasoning_text_and_calls_that_follow_each_other_are_one_message():
    assert read(thought("hm"), said("let me see"), call("a"), call("b"), output("a"), output("b"), said("done")) == (
        Message("assistant", "let me see", reasoning="hm", calls=(ToolCall("a", "f", "{}"), ToolCall("b", "f", "{}"))),
        Message("tool", "4", name="f", call_id="a"),
        Message("tool", "4", name="f", call_id="b"),
        Message("assistant", "done"),
    )


def test_two_messages_of_an_assistant_stay_two():
    assert read(said("one"), said("two"), thought("hm"), said("three")) == (
        Message("assistant", "one"),
        Message("assistant", "two"),
        Message("assistant", "three", reasoning="hm"),
    )


def test_what_an_assistant_says_before_its_calls_are_answered_is_of_the_same_message():
    assert read(said("one"), call("a"), thought("hm"), said("two"), call("b"), output("b")) == (
        Message("assistant", "one\ntwo", reasoning="hm", calls=(ToolCall("a", "f", "{}"), ToolCall("b", "f", "{}"))),
        Message("tool", "4", name="f", call_id="b"),
    )


def test_custom_calls_and_refusals_are_read():
    custom = {"type": "custom_tool_call", "call_id": "c", "name": "sh", "input": "ls"}
    answer = {"type": "custom_tool_call_output", "call_id": "c", "output": [{"type": "input_text", "text": "a.txt"}]}
    no = {"role": "assistant", "content": [{"type": "refusal", "refusal": "no"}]}
    assert read(custom, answer, no) == (
        Message("assistant", "", calls=(ToolCall("c", "sh", "ls", is_custom=True),)),
        Message("tool", "a.txt", name="sh", call_id="c"),
        Message("assistant", "no"),
    )
    assert read(output("unknown")) == (Message("tool", "4", call_id="unknown"),)


def test_images_keep_their_places_and_links_the_paths_in_the_body():
    parts = [{"type": "input_text", "text": "what?"}, {"type": "input_image", "image_url": PNG}]
    shot = [{"type": "input_image", "image_url": LINK}]
    user, tool = read(
        {"role": "user", "content": parts}, output("c", shot), paths={"fco_1": "input[1]"}, source="conversation"
    )
    assert user == Message("user", "what?", images=(Image(b"png", "image/png", at=5, param="conversation"),))
    path = "input[1].output[0].image_url"
    assert tool.images == (LinkedImage(b"", "", param=path, url=LINK, path=path),)


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [
        ("messages", "input"),
        ("max_tokens", "max_output_tokens"),
        ("logprobs", "top_logprobs"),
        ("x", "x"),
        (None, None),
    ],
)
def test_errors_name_the_fields_of_this_format(theirs, ours):
    with pytest.raises(PromptTooLong) as raised, named_as_here():
        raise PromptTooLong("too long", param=theirs)
    assert raised.value.param == ours


def test_what_only_this_server_can_read_is_read_from_what_was_opened():
    sealed = {"type": "reasoning", "summary": [], "encrypted_content": "x"}
    compaction = {"type": "compaction", "encrypted_content": "y"}
    opened = {"cmp_0": "they met", "rs_1": "hm"}
    assert read(compaction, sealed, said("hi"), opened=opened) == (
        Message("user", "they met"),
        Message("assistant", "hi", reasoning="hm"),
    )
    assert read(compaction, sealed, said("hi")) == (Message("assistant", "hi"),)


def test_a_summary_is_the_reasoning_where_there_is_no_other():
    summary = {"type": "reasoning", "summary": [{"type": "summary_text", "text": text} for text in ("a", "b")]}
    assert read(summary, call("c")) == (Message("assistant", "", reasoning="a\nb", calls=(ToolCall("c", "f", "{}"),)),)


def test_a_reference_that_nobody_resolved_is_skipped():
    assert read({"type": "item_reference", "id": "msg_9"}, said("hi")) == (Message("assistant", "hi"),)
