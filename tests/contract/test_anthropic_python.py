"""The official anthropic package for Python as a client, over a real loopback server."""

import base64

import anthropic
import pytest
from scripted_server import HELLO, LLAMA, Served

from lowcloud.core.errors import EngineFailed, Overloaded
from lowcloud.core.messages import Image, Message, ToolCall
from lowcloud.core.output import JsonSchema
from lowcloud.core.requests import ThinkingBound
from lowcloud.engines.scripted_reply import Said, SaidCall
from lowcloud.http.anthropic.content import conversation

WEATHER = {
    "name": "get_weather",
    "description": "The weather in a place.",
    "input_schema": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
}
CALLING = Said("Let me look.", reasoning="They want weather.", calls=(SaidCall("get_weather", '{"city": "Oslo"}'),))
ASKED = {"model": LLAMA, "max_tokens": 50, "messages": HELLO}
with_tokens = pytest.mark.parametrize("served", [False], indirect=True, ids=["serve"])


def client_of(served: Served, api_key: str = "anything", base: str | None = None) -> anthropic.Anthropic:
    return served.owned(anthropic.Anthropic(base_url=base or served.base, api_key=api_key, max_retries=0, timeout=20))


def asked(served: Served):
    return served.chat.requests[-1]


def test_a_message_has_blocks_a_stop_reason_and_usage(served):
    message = client_of(served).messages.create(**ASKED, system="Be brief.")
    assert [block.text for block in message.content] == ["beep boop whirr"]
    assert (message.role, message.model, message.stop_reason, message.stop_sequence) == (
        "assistant",
        LLAMA,
        "end_turn",
        None,
    )
    assert message.usage.output_tokens == 3
    assert message.usage.input_tokens > 0
    assert asked(served).prompt.messages[0] == Message("system", "Be brief.")
    assert asked(served).max_tokens == 50


def test_the_sdk_works_with_the_account_and_with_the_short_base(served):
    for base in (served.base, f"{served.url}/client/v4/accounts/{'0' * 32}/ai", f"{served.url}/v1", served.url):
        assert client_of(served, base=base).messages.create(**ASKED).content[0].text == "beep boop whirr"


def test_a_stream_has_anthropics_events_in_order(served):
    with client_of(served).messages.stream(**ASKED) as stream:
        kinds = [event.type for event in stream if event.type not in ("text",)]
        message = stream.get_final_message()
    assert kinds == [
        "message_start",
        "content_block_start",
        *["content_block_delta"] * 3,
        "content_block_stop",
        "message_delta",
        "message_stop",
    ]
    assert (message.content[0].text, message.stop_reason, message.usage.output_tokens) == (
        "beep boop whirr",
        "end_turn",
        3,
    )


@pytest.mark.parametrize("is_stream", [False, True], ids=["whole", "stream"])
def test_thinking_text_and_a_call_are_blocks_of_their_own(served, is_stream):
    served.reply = CALLING
    parameters = {**ASKED, "tools": [WEATHER], "thinking": {"type": "enabled", "budget_tokens": 20}}
    if is_stream:
        with client_of(served).messages.stream(**parameters) as stream:
            message = stream.get_final_message()
    else:
        message = client_of(served).messages.create(**parameters)
    thinking, text, call = message.content
    assert (thinking.thinking, text.text) == ("They want weather.", "Let me look.")
    assert (call.name, call.input, message.stop_reason) == ("get_weather", {"city": "Oslo"}, "tool_use")
    assert call.id
    bound = ThinkingBound(20, "thinking.budget_tokens")
    assert (asked(served).thinking, asked(served).prompt.effort) == (bound, "medium")


def test_the_model_s_own_blocks_come_back_without_anything_ignored(served):
    served.reply = CALLING
    thinking = {"type": "enabled", "budget_tokens": 20}
    message = client_of(served).messages.create(**ASKED, tools=[WEATHER], thinking=thinking)
    call = message.content[-1]
    answer = {"role": "user", "content": [{"type": "tool_result", "tool_use_id": call.id, "content": "rain"}]}
    said = {"role": "assistant", "content": [block.model_dump() for block in message.content]}
    raw = client_of(served).messages.with_raw_response.create(**{**ASKED, "messages": [*HELLO, said, answer]})
    assert "lowcloud-ignored" not in raw.headers
    assert call.caller.type == "direct"
    assert message.usage.output_tokens_details.thinking_tokens == 3


def test_calls_results_images_and_thinking_of_the_history_reach_the_model(served):
    history = [
        {"role": "user", "content": "Weather?"},
        {
            "role": "assistant",
            "content": [
                {"type": "thinking", "thinking": "Hm.", "signature": "x"},
                {"type": "text", "text": "Looking."},
                {"type": "tool_use", "id": "t1", "name": "get_weather", "input": {"city": "Oslo"}},
            ],
        },
        {
            "role": "user",
            "content": [
                {"type": "tool_result", "tool_use_id": "t1", "content": [{"type": "text", "text": "rain"}]},
                {"type": "text", "text": "And this?"},
            ],
        },
    ]
    client_of(served).messages.create(**{**ASKED, "messages": history}, tools=[WEATHER])
    assert asked(served).prompt.messages[1:] == (
        Message("assistant", "Looking.", reasoning="Hm.", calls=(ToolCall("t1", "get_weather", '{"city":"Oslo"}'),)),
        Message("tool", "rain", call_id="t1"),
        Message("user", "And this?"),
    )


def test_an_image_has_its_place_in_the_text_and_a_model_that_cant_see_refuses_it(served):
    source = {"type": "base64", "media_type": "image/png", "data": base64.b64encode(b"png").decode()}
    turn = {"role": "user", "content": [{"type": "text", "text": "See:"}, {"type": "image", "source": source}]}
    image = Image(b"png", "image/png", at=4, param="messages[0].content[1]")
    assert conversation([turn], None, {}) == (Message("user", "See:", images=(image,)),)
    with pytest.raises(anthropic.BadRequestError, match="images"):
        client_of(served).messages.create(**{**ASKED, "messages": [turn]})


@pytest.mark.parametrize(
    ("choice", "mode", "at_most_one"),
    [
        ({"type": "auto"}, "auto", False),
        ({"type": "any"}, "required", False),
        ({"type": "tool", "name": "get_weather"}, "required", False),
        ({"type": "any", "disable_parallel_tool_use": True}, "required", True),
        ({"type": "none"}, "none", False),
    ],
)
def test_tool_choice_says_whether_a_call_must_come(served, choice, mode, at_most_one):
    client_of(served).messages.create(**ASKED, tools=[WEATHER], tool_choice=choice)
    assert (asked(served).tools.mode, asked(served).tools.at_most_one) == (mode, at_most_one)
    assert len(asked(served).prompt.tools) == (mode != "none")


def test_an_output_format_bounds_the_text(served):
    schema = {"type": "object", "properties": {"n": {"type": "integer"}}}
    config = {"format": {"type": "json_schema", "schema": schema}}
    client_of(served).messages.create(**ASKED, output_config=config)
    assert asked(served).output == JsonSchema(schema, param="output_config.format.schema")


def test_a_stop_sequence_ends_the_message_and_is_named(served):
    message = client_of(served).messages.create(**ASKED, stop_sequences=[" whirr"])
    assert (message.content[0].text, message.stop_reason, message.stop_sequence) == (
        "beep boop",
        "stop_sequence",
        " whirr",
    )


def test_the_prompt_is_counted(served):
    counted = client_of(served).messages.count_tokens(model=LLAMA, messages=HELLO)
    assert counted.input_tokens == client_of(served).messages.create(**ASKED).usage.input_tokens


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"max_tokens": 0}, "max_tokens"),
        ({"extra_body": {"temperature": 1.5}}, "temperature"),
        ({"messages": [{"role": "user", "content": [{"type": "document"}]}]}, "messages[0].content[0]"),
        ({"messages": [{"role": "robot", "content": "x"}]}, "messages[0].role"),
        ({"tools": [{"type": "web_search_20250305", "name": "web_search"}]}, "tools[0].type"),
        ({"tools": [WEATHER, WEATHER]}, "tools[1].name"),
        ({"tools": [WEATHER], "tool_choice": {"type": "tool", "name": "nix"}}, "tool_choice.name"),
        ({"tool_choice": {"type": "any"}}, "tool_choice"),
        ({"thinking": {"type": "enabled", "budget_tokens": 50}}, "thinking.budget_tokens"),
        ({"extra_body": {"mcp_servers": [{}]}}, "mcp_servers"),
    ],
)
def test_a_bad_request_is_anthropics_error_and_names_the_field(served, change, named):
    with pytest.raises(anthropic.BadRequestError) as raised:
        client_of(served).messages.create(**{**ASKED, **change})
    assert raised.value.body["type"] == "error"
    assert raised.value.body["error"]["type"] == "invalid_request_error"
    assert named in raised.value.body["error"]["message"]


def test_what_a_count_doesnt_read_is_named_and_so_is_the_model_that_counts(served):
    create = client_of(served).messages.with_raw_response.count_tokens
    raw = create(model=LLAMA, messages=HELLO, extra_body={"max_tokens": 5, "metadata": {}, "zeta": 1})
    assert raw.headers["lowcloud-ignored"] == "max_tokens, zeta"
    assert raw.headers["lowcloud-stand-in"] == served.chat.card.id


@pytest.mark.parametrize("is_stream", [False, True], ids=["whole", "stream"])
def test_thinking_that_is_to_be_omitted_is_an_empty_block(served, is_stream):
    served.reply = CALLING
    thinking = {"type": "adaptive", "display": "omitted"}
    if is_stream:
        with client_of(served).messages.stream(**ASKED, thinking=thinking) as stream:
            message = stream.get_final_message()
    else:
        message = client_of(served).messages.create(**ASKED, thinking=thinking)
    assert [block.type for block in message.content] == ["thinking", "text", "tool_use"]
    assert message.content[0].thinking == ""
    assert message.usage.output_tokens_details.thinking_tokens == 3


def test_hints_are_named_as_ignored(served):
    raw = client_of(served).messages.with_raw_response.create(**ASKED, metadata={"user_id": "u"}, service_tier="auto")
    assert raw.headers["lowcloud-ignored"] == "metadata"


def test_an_unknown_model_is_anthropics_404(served):
    with pytest.raises(anthropic.NotFoundError) as raised:
        client_of(served).messages.create(**{**ASKED, "model": "nix"})
    assert raised.value.body["error"]["type"] == "not_found_error"


def test_a_method_that_is_not_there_is_anthropics_405(served):
    with pytest.raises(anthropic.APIStatusError) as raised:
        client_of(served).get("/v1/messages", cast_to=dict)
    assert raised.value.status_code == 405
    assert raised.value.body["error"]["type"] == "invalid_request_error"


def test_a_full_queue_is_a_429_to_be_tried_again(served):
    served.chat.stage.fail("start", Overloaded("full", retry_after_s=3))
    with pytest.raises(anthropic.RateLimitError) as raised:
        client_of(served).messages.create(**ASKED)
    assert raised.value.response.headers["retry-after"] == "3"


def test_a_stream_that_fails_ends_with_anthropics_error_event(served):
    served.chat.stage.fail("token:1", EngineFailed("gone"))
    with pytest.raises(anthropic.APIStatusError, match="gone"), client_of(served).messages.stream(**ASKED) as stream:
        stream.until_done()


@with_tokens
def test_the_sdks_own_header_carries_the_token(served):
    assert client_of(served, "sk-good").messages.create(**ASKED).content
    with pytest.raises(anthropic.AuthenticationError) as raised:
        client_of(served, "sk-bad").messages.create(**ASKED)
    assert raised.value.body["error"]["type"] == "authentication_error"
