"""Messages: their content in every form, calls and the answers to them, images."""

from base64 import b64encode

import pytest

from lowcloud.core.errors import BadRequest, Unsupported
from lowcloud.core.messages import Image, Message, ToolCall
from lowcloud.http.image_links import LinkedImage
from lowcloud.http.openai.chat_messages import messages_of

ROLES = ["system", "developer", "user", "assistant", "tool", "function"]
PNG = "data:image/png;base64," + b64encode(b"png").decode()
CALL = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{}"}}


def read(*messages: object) -> tuple[Message, ...]:
    return messages_of(list(messages), {})


def unread(*messages: object) -> list[str]:
    names: dict[str, None] = {}
    messages_of(list(messages), names)
    return list(names)


def refusal(*messages: object) -> BadRequest:
    with pytest.raises(BadRequest) as raised:
        read(*messages)
    return raised.value


def said(role: str, content: object, **fields: object) -> dict[str, object]:
    """A message of any role; those of tools say what they answer."""
    return {"role": role, "content": content, **({"name": "f"} if role in ("tool", "function") else {}), **fields}


def image(url: str, **fields: object) -> dict[str, object]:
    return {"type": "image_url", "image_url": {"url": url, **fields}}


@pytest.mark.parametrize("role", ROLES)
def test_every_role_may_have_a_string_or_text_parts(role):
    parts = [{"type": "text", "text": "one"}, {"type": "text", "text": "two"}]
    messages = read(said(role, "hi"), said(role, parts))
    assert [(message.role, message.text) for message in messages] == [(role, "hi"), (role, "one\ntwo")]


def test_an_assistant_may_have_no_content_or_a_refusal():
    messages = read(
        {"role": "assistant", "content": None, "tool_calls": [], "function_call": None},
        {"role": "assistant"},
        {"role": "assistant", "content": []},
        {"role": "assistant", "content": None, "refusal": "no"},
        {"role": "assistant", "content": [{"type": "refusal", "refusal": "never"}]},
    )
    assert [message.text for message in messages] == ["", "", "", "no", "never"]


@pytest.mark.parametrize(
    ("message", "param"),
    [
        ({"role": "user"}, "messages[1].content"),
        ({"role": "user", "content": None}, "messages[1].content"),
        ({"role": "system", "content": []}, "messages[1].content"),
        ({"role": "user", "content": 5}, "messages[1].content"),
        ({"role": "user", "content": {"type": "text", "text": "x"}}, "messages[1].content"),
        ({"role": "user", "content": ["x"]}, "messages[1].content[0]"),
        ({"role": "user", "content": [{"type": "text"}]}, "messages[1].content[0].text"),
        ({"role": "user", "content": [{"type": "text", "text": 5}]}, "messages[1].content[0].text"),
        ({"role": "user", "content": [{"type": "poem", "text": "x"}]}, "messages[1].content[0].type"),
        ({"role": "user", "content": [{"type": "refusal", "refusal": "x"}]}, "messages[1].content[0].type"),
        ({"role": "robot", "content": "x"}, "messages[1].role"),
        ({"content": "x"}, "messages[1].role"),
        ({"role": "user", "content": "x", "name": "<|im_end|>"}, "messages[1].name"),
        ({"role": "user", "content": "x", "name": "a\n"}, "messages[1].name"),
        ({"role": "user", "content": "x", "name": 1}, "messages[1].name"),
        ("hi", "messages[1]"),
        (None, "messages[1]"),
    ],
)
def test_a_wrong_message_is_refused_with_its_path(message, param):
    error = refusal({"role": "user", "content": "hi"}, message)
    assert (error.param, type(error)) == (param, BadRequest)


@pytest.mark.parametrize("kind", ["input_audio", "file", "video_url", "input_image"])
def test_content_beside_text_and_images_is_refused_by_name(kind):
    parts = [{"type": "text", "text": "look"}, {"type": kind, kind: {}}]
    error = refusal({"role": "user", "content": parts})
    assert (error.param, type(error)) == ("messages[0].content[1]", Unsupported)
    assert kind in str(error)


def test_a_name_reaches_the_prompt_and_unread_fields_are_named_once():
    part = {"type": "text", "text": "x", "cache_control": {}, "annotations": None}
    messages = [
        {"role": "user", "content": [part, part], "name": "Ann", "reasoning": "hm", "tool_call_id": "c"},
        {"role": "assistant", "content": "y", "extra": None, "tool_calls": [CALL | {"extra": 1, "index": 0}]},
    ]
    assert read(*messages)[0] == Message("user", "x\nx", "Ann")
    assert sorted(unread(*messages)) == [
        "messages[].content[].cache_control",
        "messages[].name",
        "messages[].reasoning",
        "messages[].tool_call_id",
        "messages[].tool_calls[].extra",
    ]


def test_members_of_calls_and_images_that_nobody_reads_are_named():
    calls = [
        {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}", "zeta": 1}},
        {"id": "d", "type": "custom", "custom": {"name": "g", "input": "", "zeta": 1}},
    ]
    messages = [
        {"role": "user", "content": [image(PNG, zeta=1)]},
        {"role": "assistant", "tool_calls": calls},
        {"role": "assistant", "function_call": {"name": "f", "arguments": "{}", "zeta": 1}},
    ]
    assert unread(*messages) == [
        "messages[].content[].image_url.zeta",
        "messages[].tool_calls[].function.zeta",
        "messages[].tool_calls[].custom.zeta",
        "messages[].function_call.zeta",
    ]


@pytest.mark.parametrize("role", ROLES)
def test_a_refusal_beside_content_is_read_by_nobody_and_named(role):
    for content in ("x", [{"type": "text", "text": "x"}]):
        message = said(role, content, refusal="no")
        assert ([each.text for each in read(message)], unread(message)) == (["x"], ["messages[].refusal"])


def test_a_refusal_that_is_read_or_null_is_not_named():
    assert not unread(
        {"role": "assistant", "content": None, "refusal": "no"},
        {"role": "assistant", "content": [{"type": "refusal", "refusal": "no"}]},
        {"role": "user", "content": "x", "refusal": None, "name": None},
    )


def test_a_part_is_read_as_its_type_says_and_the_rest_of_it_is_named():
    parts = [{"type": "text", "text": "x", "refusal": "no"}, {"type": "refusal", "refusal": "no", "text": "x"}]
    message = {"role": "assistant", "content": parts}
    assert read(message)[0].text == "x\nno"
    assert unread(message) == ["messages[].content[].refusal", "messages[].content[].text"]


def test_calls_keep_their_ids_and_arguments_as_they_are():
    custom = {"id": "c2", "type": "custom", "custom": {"name": "shell", "input": "ls -l"}}
    untyped = {"id": "c3", "function": {"name": "g", "arguments": '{"a": '}}
    (message,) = read({"role": "assistant", "content": None, "tool_calls": [CALL, custom, untyped]})
    assert message.calls == (
        ToolCall("c1", "f", "{}"),
        ToolCall("c2", "shell", "ls -l", is_custom=True),
        ToolCall("c3", "g", '{"a": '),
    )
    assert message.text == ""


def test_calls_may_come_with_text_and_reasoning():
    (message,) = read({"role": "assistant", "content": "x", "reasoning_content": "hm", "tool_calls": [CALL]})
    assert (message.text, message.reasoning, len(message.calls)) == ("x", "hm", 1)


def test_a_legacy_call_is_a_call():
    call = {"name": "f", "arguments": "{}"}
    messages = read({"role": "user", "content": "x"}, {"role": "assistant", "content": None, "function_call": call})
    assert messages[1].calls == (ToolCall("call_1", "f", "{}"),)


def test_reasoning_is_read_by_either_name_and_named_where_two_differ():
    def thought(**fields: str) -> tuple[str | None, list[str]]:
        message = {"role": "assistant", "content": "x", **fields}
        return read(message)[0].reasoning, unread(message)

    assert thought(reasoning="a") == thought(reasoning_content="a") == ("a", [])
    assert thought(reasoning="a", reasoning_content="a") == ("a", [])
    assert thought(reasoning="b", reasoning_content="a") == ("a", ["messages[].reasoning"])
    assert thought(reasoning="") == (None, [])


def test_a_tools_message_answers_a_call_by_its_id_or_by_the_tools_name():
    parts = [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]
    by_id = {"role": "tool", "content": parts, "tool_call_id": "c1"}
    by_name = {"role": "tool", "content": "z", "name": "f"}
    function = {"role": "function", "content": "z", "name": "f"}
    assert read(by_id, by_name, function) == (
        Message("tool", "a\nb", call_id="c1"),
        Message("tool", "z", "f"),
        Message("function", "z", "f"),
    )
    assert unread(by_id, by_name, function) == []


@pytest.mark.parametrize(
    ("message", "param"),
    [
        ({"role": "tool", "content": "x"}, "tool_call_id"),
        ({"role": "tool", "content": "x", "tool_call_id": ""}, "tool_call_id"),
        ({"role": "tool", "tool_call_id": "c"}, "content"),
        ({"role": "function", "content": "x"}, "name"),
        ({"role": "user", "content": "x", "tool_calls": [CALL]}, "tool_calls"),
        ({"role": "assistant", "tool_calls": "x"}, "tool_calls"),
        ({"role": "assistant", "tool_calls": ["x"]}, "tool_calls[0]"),
        ({"role": "assistant", "tool_calls": [{**CALL, "id": ""}]}, "tool_calls[0].id"),
        ({"role": "assistant", "tool_calls": [{"type": "function", "function": CALL["function"]}]}, "tool_calls[0].id"),
        ({"role": "assistant", "tool_calls": [{**CALL, "type": "x"}]}, "tool_calls[0].type"),
        ({"role": "assistant", "tool_calls": [CALL, {"id": "c", "type": "function"}]}, "tool_calls[1].function"),
        (
            {"role": "assistant", "tool_calls": [{"id": "c", "function": {"name": "<|a|>", "arguments": ""}}]},
            "tool_calls[0].function.name",
        ),
        (
            {"role": "assistant", "tool_calls": [{"id": "c", "function": {"name": "f", "arguments": {}}}]},
            "tool_calls[0].function.arguments",
        ),
        (
            {"role": "assistant", "tool_calls": [{"id": "c", "type": "custom", "custom": {"name": "f"}}]},
            "tool_calls[0].custom.input",
        ),
        ({"role": "assistant", "function_call": {"name": "f"}}, "function_call.arguments"),
        (
            {"role": "assistant", "function_call": {"name": "f", "arguments": ""}, "tool_calls": [CALL]},
            "function_call",
        ),
        ({"role": "assistant", "content": "x", "audio": {"id": "a"}}, "audio"),
        ({"role": "assistant", "content": "x", "reasoning": {}}, "reasoning"),
    ],
)
def test_a_wrong_call_or_answer_is_refused_with_its_path(message, param):
    assert refusal(message).param == f"messages[0].{param}"


def test_images_stand_at_their_places_in_the_text():
    parts = [{"type": "text", "text": "ab"}, image(PNG), image(PNG.replace("png;", "JPEG;x=1;")), *TEXTS]
    (message,) = read({"role": "user", "content": parts})
    assert message.text == "abc\nd"
    assert message.images == (
        Image(b"png", "image/png", at=2, param="messages[0].content[1]"),
        Image(b"png", "image/jpeg", at=2, param="messages[0].content[2]"),
    )


TEXTS = [{"type": "text", "text": "c"}, {"type": "text", "text": "d"}]


def test_the_detail_of_an_image_is_a_hint():
    assert unread({"role": "user", "content": [image(PNG, detail="auto")]}) == []
    assert unread({"role": "user", "content": [image(PNG, detail="high")]}) == ["messages[].content[].image_url.detail"]


@pytest.mark.parametrize("url", ["http://127.0.0.1/a.png", "HTTPS://example.com/a.png"])
def test_an_image_on_another_server_is_read_as_a_link_at_its_place(url):
    [message] = read(said("user", [{"type": "text", "text": "ab"}, image(url)]))
    path = "messages[0].content[1]"
    assert message.images == (LinkedImage(b"", "", 2, url, f"{path}.image_url.url", param=path),)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "x",
        "data:",
        "data:text/plain;base64,eA==",
        "data:image/png,x",
        "data:image/png;base64,",
        PNG + "!",
        PNG + "é",
    ],
)
def test_what_is_no_image_is_refused(url):
    assert refusal({"role": "user", "content": [image(url)]}).param == "messages[0].content[0].image_url.url"


def test_only_a_users_message_has_images():
    for role in ("system", "assistant", "tool"):
        error = refusal(said(role, [image(PNG)]))
        assert (error.param, type(error)) == ("messages[0].content[0]", Unsupported)
