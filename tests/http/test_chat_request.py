import pytest
from hypothesis import given
from hypothesis import strategies as st

from lowcloud.core.errors import BadRequest, Unsupported
from lowcloud.core.output import ANY_TEXT
from lowcloud.core.requests import Sampling, ThinkingBound
from lowcloud.core.tools import NO_TOOLS
from lowcloud.http.openai.chat_answer import Shape
from lowcloud.http.openai.chat_request import HINTS, REFUSED, ChatAsked, ChatBody, ToStore, chat_asked

MODEL = "@local/smollm2-135m-instruct"


def asked(**fields: object) -> ChatAsked:
    body = {"model": MODEL, "messages": [{"role": "user", "content": "hi"}]} | fields
    return chat_asked(body, "chatcmpl-1")


def refusal(**fields: object) -> BadRequest:
    with pytest.raises(BadRequest) as raised:
        asked(**fields)
    return raised.value


def test_a_bare_request_asks_for_nothing_special():
    request = asked()
    assert (request.is_stream, request.shape, request.ignored) == (False, Shape(), ())
    generate = request.generate
    assert (generate.id, generate.choices, generate.sampling, generate.stop) == ("chatcmpl-1", 1, Sampling(), ())
    assert (generate.top_logprobs, generate.max_tokens, generate.ignore_eos) == (None, None, False)
    assert (generate.output, generate.tools, generate.thinking) == (ANY_TEXT, NO_TOOLS, None)
    assert (generate.prediction, generate.prompt.effort, generate.prompt.options) == (None, None, {})


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
        ("verbosity", ["loud", 1]),
        ("store", ["true", 0]),
        ("reasoning_effort", ["huge", 1, True]),
        ("thinking_token_budget", [-1, "5", 1.5, True]),
        ("chat_template_kwargs", ["x", [1]]),
        ("tools", ["x", {}, 1]),
        ("functions", ["x", {"a": 1}]),
        ("tool_choice", ["any", 1, {}, {"type": "x"}, "required"]),
        ("function_call", ["required", {"name": "f"}]),
        ("guided_regex", [1, "", []]),
        ("guided_grammar", [1, ""]),
        ("guided_choice", ["x", [], {}]),
        ("guided_json", [1, [], "x", "[]", '{"a": NaN}', '{"a": "\\ud800"}', "{" * 10_000]),
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
        ({"reasoning_effort": "low", "reasoning": {"effort": "high"}}, "reasoning.effort"),
        ({"reasoning": {"effort": "huge"}}, "reasoning.effort"),
        ({"reasoning": {"max_tokens": 5}}, "reasoning.max_tokens"),
        ({"chat_template_kwargs": {"messages": []}}, "chat_template_kwargs.messages"),
        ({"chat_template_kwargs": {"eos_token": ""}}, "chat_template_kwargs.eos_token"),
        ({"prediction": {"type": "content"}}, "prediction.content"),
        ({"prediction": {"type": "x", "content": "a"}}, "prediction.type"),
        ({"prediction": {"type": "content", "content": 5}}, "prediction.content"),
        ({"prediction": {"type": "content", "content": [{"type": "text"}]}}, "prediction.content[0].text"),
        ({"stream": True, "stream_options": {"include_obfuscation": 1}}, "stream_options.include_obfuscation"),
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
        assert (error.param, isinstance(error, Unsupported)) == (name, True)


def test_false_and_zero_are_different_values():
    assert refusal(echo=0).param == "echo"
    assert refusal(min_tokens=False).param == "min_tokens"


VALUES = {
    "service_tier": "flex",
    "verbosity": "low",
    "prompt_cache_options": {"mode": "explicit"},
}


@pytest.mark.parametrize("name", HINTS)
def test_a_hint_is_accepted_and_named(name):
    assert asked(**{name: VALUES.get(name, "x")}).ignored == (name,)
    assert asked(**{name: None}).ignored == ()


@pytest.mark.parametrize("fields", [{"service_tier": "auto"}, {"verbosity": "medium"}])
def test_hints_that_ask_for_nothing_are_not_named(fields):
    assert asked(**fields).ignored == ()


@pytest.mark.parametrize(
    "fields",
    [
        {"tools": []},
        {"tools": [], "tool_choice": "auto"},
        {"tool_choice": "none"},
        {"parallel_tool_calls": False},
        {"functions": [], "function_call": "none"},
        {"response_format": {"type": "text"}},
        {"chat_template_kwargs": {}},
        {"structured_outputs": {}},
        {"reasoning": {}},
        {"stream_options": None},
    ],
)
def test_some_values_ask_for_nothing(fields):
    request = asked(**fields)
    assert (request.ignored, request.generate) == ((), asked().generate)


@pytest.mark.parametrize("effort", ["none", "minimal", "low", "medium", "high", "xhigh", "max"])
def test_the_effort_reaches_the_prompt_by_either_name(effort):
    for fields in ({"reasoning_effort": effort}, {"reasoning": {"effort": effort}}):
        assert asked(**fields).generate.prompt.effort == effort
    assert asked(reasoning_effort=effort, reasoning={"effort": effort}).generate.prompt.effort == effort


def test_a_summary_of_reasoning_is_not_given_and_named():
    request = asked(reasoning={"effort": "low", "summary": "auto", "max_tokens": None})
    assert request.ignored == ("reasoning.summary",)


def test_the_budget_of_thinking_and_the_templates_variables_reach_the_engine():
    request = asked(thinking_token_budget=0, chat_template_kwargs={"enable_thinking": False})
    assert request.generate.thinking == ThinkingBound(0)
    assert request.generate.prompt.options == {"enable_thinking": False}
    assert request.ignored == ()


@pytest.mark.parametrize("content", ["ab", [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]])
def test_a_prediction_reaches_the_engine_as_a_text(content):
    assert asked(prediction={"type": "content", "content": content}).generate.prediction == "ab"


def test_members_of_a_prediction_that_nobody_reads_are_named():
    part = {"type": "text", "text": "a", "zeta": 1}
    assert asked(prediction={"type": "content", "content": [part, part], "zeta": 1}).ignored == (
        "prediction.zeta",
        "prediction.content[].zeta",
    )


def test_metadata_are_kept_with_what_is_stored_and_else_named():
    labels = {"a": "b"}
    assert asked(metadata=labels).ignored == asked(metadata=labels, store=False).ignored == ("metadata",)
    assert asked(metadata={}).ignored == asked(store=True, metadata=labels).ignored == ()
    assert asked(store=True, metadata=labels).to_store == ToStore([{"role": "user", "content": "hi"}], labels)
    assert asked(store=False).to_store is None


def test_a_service_tier_is_answered_by_the_default_one():
    assert asked(service_tier="flex").service_tier == asked(service_tier="auto").service_tier == "default"
    assert asked(service_tier=None).service_tier is None


def test_the_shape_of_the_answer_is_what_the_request_asks_for():
    options = {"include_usage": True, "include_obfuscation": True}
    request = asked(n=2, logprobs=True, stream=True, stream_options=options)
    assert request.shape == Shape(2, has_logprobs=True, include_usage=True, pads=True)
    assert request.ignored == ()


def test_unknown_names_are_accepted_and_named_in_their_order():
    body = {"zeta": 1, "alpha": {"b": []}, "nothing": None, "user": "me"}
    assert asked(**body).ignored == ("zeta", "alpha", "user")


def test_unknown_stream_options_are_named():
    options = {"include_usage": True, "include_obfuscation": False, "continuous_usage_stats": True}
    request = asked(stream=True, stream_options=options)
    assert (request.shape.include_usage, request.ignored) == (True, ("stream_options.continuous_usage_stats",))


NAMES = st.sampled_from(
    [
        "type",
        "function",
        "custom",
        "name",
        "parameters",
        "format",
        "grammar",
        "json_schema",
        "schema",
        "effort",
        "tools",
    ]
)
KNOWN = st.builds(
    lambda kind, inner: {"type": kind, kind: inner},
    st.sampled_from(["function", "custom", "allowed_tools", "json_schema", "json_object", "content", "text"]),
    st.dictionaries(NAMES, st.none() | st.booleans() | st.text(max_size=3) | st.just({}), max_size=3),
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES | st.text(max_size=5), inner, max_size=4),
    max_leaves=12,
)

MEMBERS = dict.fromkeys(
    [
        "content",
        "name",
        "refusal",
        "reasoning",
        "reasoning_content",
        "tool_calls",
        "function_call",
        "tool_call_id",
        "audio",
    ],
    JSON | st.lists(KNOWN | JSON, max_size=2),
)


@given(st.sampled_from(sorted(ChatBody.model_fields)), JSON | KNOWN)
def test_whatever_a_parameter_is_the_body_is_read_or_refused_by_name(name, value):
    body = {"model": MODEL, "messages": [{"role": "user", "content": "hi"}], name: value}
    try:
        chat_asked(body, "id")
    except BadRequest as error:
        assert (error.param or "").startswith(name), str(error)


@given(st.lists(st.fixed_dictionaries({"role": st.sampled_from(["user", "assistant", "tool"])}, optional=MEMBERS)))
def test_whatever_a_message_holds_it_is_read_or_refused_with_its_path(messages):
    try:
        asked(messages=messages)
    except BadRequest as error:
        assert (error.param or "").startswith("messages")


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"reasoning_effort": "low"}, "reasoning_effort"),
        ({"reasoning": {"effort": "low"}}, "reasoning.effort"),
        ({"reasoning_effort": "low", "reasoning": {"effort": "low"}}, "reasoning_effort"),
    ],
)
def test_an_effort_has_the_name_of_the_field_that_it_came_in(fields, param):
    prompt = asked(**fields).generate.prompt
    assert (prompt.effort, prompt.effort_param) == ("low", param)
