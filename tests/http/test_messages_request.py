"""What a body of Anthropic's Messages asks for."""

from base64 import b64encode

import pytest

from lowcloud.core.errors import BadRequest
from lowcloud.core.messages import Image, Message
from lowcloud.http.anthropic.messages_request import count_asked, message_asked
from lowcloud.http.generation import Asked

HELLO = [{"role": "user", "content": "hello"}]
PNG = b64encode(b"png").decode()


def asked(**fields: object) -> Asked:
    return message_asked({"model": "m", "max_tokens": 50, "messages": HELLO} | fields, "id")[0]


def read(*blocks: object) -> tuple[Message, ...]:
    return asked(messages=[{"role": "user", "content": list(blocks)}]).generate.prompt.messages


def refusal(**fields: object) -> BadRequest:
    with pytest.raises(BadRequest) as raised:
        asked(**fields)
    return raised.value


def text(said: str) -> dict[str, object]:
    return {"type": "text", "text": said}


def image(data: str = PNG) -> dict[str, object]:
    return {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": data}}


@pytest.mark.parametrize("messages", [None, 5, {}, []])
def test_messages_are_a_list_of_at_least_one(messages):
    assert refusal(messages=messages).param == "messages"


@pytest.mark.parametrize("tools", [5, {}, "abc", [{}] * 129])
def test_tools_are_a_list_of_bounded_length(tools):
    assert refusal(tools=tools).param == "tools"


@pytest.mark.parametrize("data", ["", "!", "é", PNG + "é"])
def test_what_is_no_image_is_refused(data):
    messages = [{"role": "user", "content": [image(data)]}]
    assert refusal(messages=messages).param == "messages[0].content[0].source.data"


def test_images_stand_at_their_places_and_neighbouring_texts_get_a_newline():
    assert read(text("ab"), image(), text("c"), text("d")) == (
        Message("user", "abc\nd", images=(Image(b"png", "image/png", at=2, param="messages[0].content[1]"),)),
    )


def test_an_answer_that_the_caller_has_begun_is_refused_and_counted():
    messages = [*HELLO, {"role": "assistant", "content": "Well,"}]
    refused = refusal(messages=messages)
    assert (refused.param, refused.code) == ("messages[1]", "unsupported_parameter")
    assert "can't be continued here" in str(refused)
    assert len(count_asked({"model": "m", "messages": messages})[1].messages) == 2


@pytest.mark.parametrize("budget", [{}, {"budget_tokens": None}])
def test_thinking_that_is_enabled_needs_its_budget(budget):
    thinking = {"type": "enabled", **budget}
    refused = refusal(thinking=thinking)
    assert (str(refused), refused.param) == (
        "Missing required parameter: thinking.budget_tokens.",
        "thinking.budget_tokens",
    )
    with pytest.raises(BadRequest):
        count_asked({"model": "m", "messages": HELLO, "thinking": thinking})


def test_an_effort_comes_from_the_callers_thinking_or_from_nobody():
    thinking = {"type": "enabled", "budget_tokens": 5}
    prompts = [asked(**fields).generate.prompt for fields in ({"thinking": thinking}, {})]
    assert [(prompt.effort, prompt.effort_param) for prompt in prompts] == [("medium", "thinking"), ("none", "")]


def test_a_failed_results_image_stands_behind_the_word_that_it_failed():
    result = {"type": "tool_result", "tool_use_id": "t", "is_error": True, "content": [text("ab"), image()]}
    assert read(result) == (
        Message(
            "tool",
            "Error: ab",
            call_id="t",
            images=(Image(b"png", "image/png", at=len("Error: ab"), param="messages[0].content[0].content[1]"),),
        ),
    )


TOOL = {"name": "f", "input_schema": {"type": "object"}}
CACHED = {"cache_control": {"type": "ephemeral"}}


@pytest.mark.parametrize(
    ("fields", "names"),
    [
        ({"system": [text("x") | CACHED]}, ["system[].cache_control"]),
        ({"messages": [{"role": "user", "content": "x", "name": "Ann"}]}, ["messages[].name"]),
        ({"messages": [{"role": "user", "content": [text("x") | CACHED] * 2}]}, ["messages[].content[].cache_control"]),
        (
            {"messages": [{"role": "assistant", "content": [{"type": "redacted_thinking", "data": "x"}]}, *HELLO]},
            ["messages[].content[].redacted_thinking"],
        ),
        ({"tools": [TOOL | CACHED, TOOL | {"name": "g", "type": "custom"}]}, ["tools[].cache_control"]),
        ({"tools": [TOOL], "tool_choice": {"type": "auto", "zeta": 1}}, ["tool_choice.zeta"]),
        ({"thinking": {"type": "adaptive", "budget_tokens": 5}}, ["thinking.budget_tokens"]),
        ({"thinking": {"type": "enabled", "budget_tokens": 5, "display": "summarized"}}, []),
        ({"output_config": {"effort": "high"}}, ["output_config.effort"]),
        ({"output_config": {"effort": "high", "zeta": 1}, "thinking": {"type": "adaptive"}}, ["output_config.zeta"]),
        (
            {"output_config": {"format": {"type": "json_schema", "schema": {}, "name": "x"}}},
            ["output_config.format.name"],
        ),
    ],
)
def test_members_that_nobody_reads_are_named_once(fields, names):
    assert list(asked(**fields).ignored) == names


def test_members_of_an_images_source_and_of_a_result_are_named():
    source = image()["source"] | {"zeta": 1}
    result = {"type": "tool_result", "tool_use_id": "t", "content": [text("x") | CACHED]}
    content = [{"type": "image", "source": source}, result]
    assert asked(messages=[{"role": "user", "content": content}]).ignored == (
        "messages[].content[].source.zeta",
        "messages[].content[].content[].cache_control",
    )
