import pytest

from lowcloud.core.errors import BadRequest, Unsupported
from lowcloud.core.messages import Message
from lowcloud.core.requests import Sampling
from lowcloud.http.openai.chat_request import HINTS, REFUSED, ChatAsked, chat_asked

MODEL = "@local/smollm2-135m-instruct"
ASSISTANT_CALL = {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}


def asked(**fields: object) -> ChatAsked:
    body = {"model": MODEL, "messages": [{"role": "user", "content": "hi"}]} | fields
    return chat_asked(body, "chatcmpl-1")


def refusal(**fields: object) -> BadRequest:
    with pytest.raises(BadRequest) as raised:
        asked(**fields)
    return raised.value


def text(*messages: object) -> list[tuple[str, str]]:
    return [(message.role, message.text) for message in asked(messages=list(messages)).generate.prompt.messages]


def test_a_bare_request_asks_for_nothing_special():
    request = asked()
    assert (request.is_stream, request.include_usage, request.ignored) == (False, False, ())
    generate = request.generate
    assert (generate.id, generate.choices, generate.sampling, generate.stop) == ("chatcmpl-1", 1, Sampling(), ())
    assert (generate.top_logprobs, generate.max_tokens, generate.ignore_eos) == (None, None, False)


def test_every_sampling_parameter_reaches_the_engine():
    generate = asked(
        temperature=0,
        top_p=1,
        top_k=40,
        min_p=0.05,
        seed=-(2**63),
        repetition_penalty=1.1,
        presence_penalty=-2,
        frequency_penalty=2.0,
        logit_bias={"0": -100, "42": 0.5},
        n=3,
        stop=["a", "b"],
        logprobs=True,
        top_logprobs=5,
        max_tokens=9,
        ignore_eos=True,
    ).generate
    assert generate.sampling == Sampling(0, 1, 40, 0.05, -(2**63), 1.1, -2, 2.0, ((0, -100), (42, 0.5)))
    assert (generate.choices, generate.stop, generate.top_logprobs) == (3, ("a", "b"), 5)
    assert (generate.max_tokens, generate.ignore_eos) == (9, True)


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("temperature", [-0.1, 2.1, "1", True, [1]]),
        ("top_p", [0, -1, 1.01, "1"]),
        ("top_k", [-1, 1.5, "4", 2**31]),
        ("min_p", [-0.1, 1.1]),
        ("repetition_penalty", [0, -1, 101, "1"]),
        ("presence_penalty", [-2.1, 2.1, "0"]),
        ("frequency_penalty", [-2.1, 2.1, False]),
        ("seed", [2**63, -(2**63) - 1, 1.0, "1", True]),
        ("n", [0, -1, 129, "1", 1.0, True]),
        ("max_tokens", [0, -1, "5", 5.0, 2**31, True]),
        ("max_completion_tokens", [0, "5"]),
        ("logprobs", ["true", 1]),
        ("stream", ["true", 1]),
        ("ignore_eos", ["yes"]),
        ("user", [1, ["me"]]),
        ("safety_identifier", [1]),
        ("prompt_cache_key", [1]),
        ("stop", [1, {}]),
        ("service_tier", ["gold", 1]),
        ("parallel_tool_calls", ["true"]),
        ("model", [None, 1, ["x"]]),
        ("messages", [None, [], "hi", {}]),
        ("stream_options", ["x"]),
        ("metadata", ["x", {str(i): "x" for i in range(17)}]),
        ("logit_bias", ["x", [1]]),
    ],
)
def test_wrong_types_and_ranges_are_refused_by_name(name, values):
    for value in values:
        assert refusal(**{name: value}).param == name, value


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"stop": [""]}, "stop[0]"),
        ({"stop": ""}, "stop[0]"),
        ({"stop": ["a", "b", "c", "d", "e"]}, "stop"),
        ({"stop": ["a", 1]}, "stop[1]"),
        ({"logit_bias": {"foo": 0}}, "logit_bias.foo"),
        ({"logit_bias": {"-1": 0}}, "logit_bias.-1"),
        ({"logit_bias": {"3": 1, "03": 1}}, "logit_bias.03"),
        ({"logit_bias": {"3": 1, "٣": 1}}, "logit_bias.٣"),
        ({"logit_bias": {"3\n": 1}}, "logit_bias.3\n"),
        ({"logit_bias": {"00": 1}}, "logit_bias.00"),
        ({"logit_bias": {"": 1}}, "logit_bias."),
        ({"logit_bias": {"1": 101}}, "logit_bias.1"),
        ({"logit_bias": {"1": "5"}}, "logit_bias.1"),
        ({"logit_bias": {"12345678901": 0}}, "logit_bias.12345678901"),
        ({"metadata": {"a": 1}}, "metadata.a"),
        ({"metadata": {"a": "x" * 513}}, "metadata.a"),
        ({"metadata": {"k" * 65: "x"}}, "metadata." + "k" * 65),
        ({"stream": True, "stream_options": {"include_usage": "yes"}}, "stream_options.include_usage"),
        ({"logprobs": True, "top_logprobs": 21}, "top_logprobs"),
        ({"logprobs": True, "top_logprobs": -1}, "top_logprobs"),
        ({"top_logprobs": 2}, "top_logprobs"),
        ({"logprobs": False, "top_logprobs": 0}, "top_logprobs"),
        ({"stream_options": {"include_usage": True}}, "stream_options"),
        ({"max_tokens": 5, "max_completion_tokens": 6}, "max_completion_tokens"),
    ],
)
def test_what_contradicts_or_goes_too_far_is_refused_with_its_path(fields, param):
    assert refusal(**fields).param == param


def test_a_missing_model_or_missing_messages_are_named():
    for body, name in (({"messages": [{"role": "user", "content": "x"}]}, "model"), ({"model": MODEL}, "messages")):
        with pytest.raises(BadRequest, match=f"Missing required parameter: {name}"):
            chat_asked(body, "x")


def test_both_names_of_the_bound_may_agree():
    assert asked(max_tokens=5, max_completion_tokens=5).generate.max_tokens == 5
    assert asked(max_completion_tokens=7).generate.max_tokens == 7


def test_one_stop_string_is_a_list_of_one_and_an_empty_list_asks_for_nothing():
    assert asked(stop="END").generate.stop == ("END",)
    assert asked(stop=[]).generate.stop == asked(stop=None).generate.stop == ()


def test_log_probabilities_without_alternatives():
    assert asked(logprobs=True).generate.top_logprobs == 0
    assert asked(logprobs=False).generate.top_logprobs is None


@pytest.mark.parametrize("name", REFUSED)
def test_a_parameter_that_is_not_done_is_refused_by_name_but_for_values_that_ask_for_nothing(name):
    for value in (None, *REFUSED[name]):
        assert asked(**{name: value}).ignored == ()
    for value in ({"type": "something"}, "something", [{}], 0.5):
        error = refusal(**{name: value})
        assert (error.param, type(error)) == (name, Unsupported)


def test_false_and_zero_are_different_values():
    assert refusal(store=0).param == "store"
    assert refusal(min_tokens=False).param == "min_tokens"


VALUES = {"metadata": {"a": "b"}, "service_tier": "flex", "prompt_cache_options": {"mode": "explicit"}}


@pytest.mark.parametrize("name", [name for name in HINTS if name != "parallel_tool_calls"])
def test_a_hint_is_accepted_and_named(name):
    assert asked(**{name: VALUES.get(name, "x")}).ignored == (name,)
    assert asked(**{name: None}).ignored == ()


@pytest.mark.parametrize("fields", [{"service_tier": "auto"}, {"parallel_tool_calls": True}, {"metadata": {}}])
def test_hints_that_ask_for_nothing_are_not_named(fields):
    assert asked(**fields).ignored == ()


def test_unknown_names_are_accepted_and_named_in_their_order():
    body = {"zeta": 1, "alpha": {"b": []}, "nothing": None, "user": "me"}
    assert asked(**body).ignored == ("zeta", "alpha", "user")


def test_unknown_stream_options_are_named():
    options = {"include_usage": True, "include_obfuscation": False, "continuous_usage_stats": True}
    request = asked(stream=True, stream_options=options)
    assert (request.include_usage, request.ignored) == (True, ("stream_options.continuous_usage_stats",))


@pytest.mark.parametrize("role", ["system", "developer", "user", "assistant", "tool", "function"])
def test_every_role_may_have_a_string_or_text_parts(role):
    parts = [{"type": "text", "text": "one"}, {"type": "text", "text": "two"}]
    assert text({"role": role, "content": "hi"}, {"role": role, "content": parts}) == [(role, "hi"), (role, "one\ntwo")]


def test_an_assistant_may_have_no_content_or_a_refusal():
    said = text(
        {"role": "assistant", "content": None, "tool_calls": [], "function_call": None},
        {"role": "assistant"},
        {"role": "assistant", "content": []},
        {"role": "assistant", "content": None, "refusal": "no"},
        {"role": "assistant", "content": [{"type": "refusal", "refusal": "never"}]},
    )
    assert [content for _, content in said] == ["", "", "", "no", "never"]


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
    error = refusal(messages=[{"role": "user", "content": "hi"}, message])
    assert (error.param, type(error)) == (param, BadRequest)


@pytest.mark.parametrize("kind", ["image_url", "input_audio", "file", "video_url"])
def test_other_content_than_text_is_refused_by_name(kind):
    parts = [{"type": "text", "text": "look"}, {"type": kind, kind: {}}]
    error = refusal(messages=[{"role": "user", "content": parts}])
    assert (error.param, type(error)) == ("messages[0].content[1]", Unsupported)
    assert kind in str(error)


@pytest.mark.parametrize(
    "fields", [{"tool_calls": [ASSISTANT_CALL]}, {"function_call": {"name": "f"}}, {"audio": {"id": "a"}}]
)
def test_what_belongs_to_tools_is_refused_by_name(fields):
    error = refusal(messages=[{"role": "assistant", "content": None, **fields}])
    assert (error.param, type(error)) == (f"messages[0].{next(iter(fields))}", Unsupported)


def test_a_name_reaches_the_prompt_and_unread_fields_are_named_once():
    part = {"type": "text", "text": "x", "cache_control": {}, "annotations": None}
    request = asked(
        messages=[
            {"role": "user", "content": [part, part], "name": "Ann"},
            {"role": "assistant", "content": "y", "reasoning_content": "hm", "extra": None},
            {"role": "tool", "content": "z", "tool_call_id": "c1"},
        ]
    )
    assert request.generate.prompt.messages[0] == Message("user", "x\nx", "Ann")
    assert sorted(request.ignored) == [
        "messages[].content[].cache_control",
        "messages[].name",
        "messages[].reasoning_content",
        "messages[].tool_call_id",
    ]


@pytest.mark.parametrize("role", ["system", "developer", "user", "assistant", "tool", "function"])
def test_a_refusal_beside_content_is_read_by_nobody_and_named(role):
    for content in ("x", [{"type": "text", "text": "x"}]):
        request = asked(messages=[{"role": role, "content": content, "refusal": "no"}])
        assert [message.text for message in request.generate.prompt.messages] == ["x"]
        assert request.ignored == ("messages[].refusal",)


def test_a_refusal_that_is_read_or_null_is_not_named():
    request = asked(
        messages=[
            {"role": "assistant", "content": None, "refusal": "no"},
            {"role": "assistant", "content": [{"type": "refusal", "refusal": "no"}]},
            {"role": "user", "content": "x", "refusal": None, "name": None},
        ]
    )
    assert request.ignored == ()


def test_a_part_is_read_as_its_type_says_and_the_rest_of_it_is_named():
    parts = [{"type": "text", "text": "x", "refusal": "no"}, {"type": "refusal", "refusal": "no", "text": "x"}]
    request = asked(messages=[{"role": "assistant", "content": parts}])
    assert request.generate.prompt.messages[0].text == "x\nno"
    assert request.ignored == ("messages[].content[].refusal", "messages[].content[].text")
