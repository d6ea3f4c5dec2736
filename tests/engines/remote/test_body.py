"""A request becomes the body that OpenAI-compatible servers take, with what was asked for and nothing else."""

import base64
import json
from dataclasses import replace

import pytest
from remote_model import UPSTREAM, asked

from lowcloud.core.errors import Unsupported
from lowcloud.core.messages import Image, Message, Messages, Text, Tokens, ToolCall
from lowcloud.core.output import AnyText, Choice, JsonSchema, Lark, Regex
from lowcloud.core.requests import Sampling, ThinkingBound
from lowcloud.core.tools import Tool, ToolPlan
from lowcloud.engines.remote.body import body_of, check, path_of, rough_tokens
from lowcloud.engines.remote.words import in_words

ALWAYS = {"model": "qwen3", "stream": True, "stream_options": {"include_usage": True}}
SAID_HELLO = {"messages": [{"role": "user", "content": "Make some robot noises"}]}
SCHEMA = {"type": "object", "properties": {"a": {"type": "integer"}}}


def added(upstream=UPSTREAM, **fields) -> dict:
    """What a request's fields add to the body of one that says hello."""
    body = body_of(asked(**fields), upstream)
    assert json.loads(json.dumps(body)) == body
    return {key: value for key, value in body.items() if (ALWAYS | SAID_HELLO).get(key) != value}


def message(turn: Message) -> dict:
    return body_of(asked(prompt=Messages((turn,))), UPSTREAM)["messages"][0]


def test_what_isnt_asked_for_isnt_sent():
    assert body_of(asked(), UPSTREAM) == ALWAYS | SAID_HELLO


def test_sampling_is_sent_as_far_as_it_is_set():
    sampling = Sampling(0.0, 0.9, 40, 0.1, -7, 1.1, 0.5, -0.5, ((5, 2.0),))
    assert added(sampling=sampling) == {
        "temperature": 0.0,
        "top_p": 0.9,
        "top_k": 40,
        "min_p": 0.1,
        "seed": -7,
        "repetition_penalty": 1.1,
        "repeat_penalty": 1.1,
        "presence_penalty": 0.5,
        "frequency_penalty": -0.5,
        "logit_bias": {"5": 2.0},
    }


@pytest.mark.parametrize(
    ("fields", "sent"),
    [
        ({"choices": 3}, {"n": 3}),
        ({"stop": ("a", "b")}, {"stop": ["a", "b"]}),
        ({"top_logprobs": 0}, {"logprobs": True, "top_logprobs": 0}),
        ({"max_tokens": 9}, {"max_tokens": 9}),
        ({"ignore_eos": True}, {"ignore_eos": True}),
        ({"prediction": "x"}, {"prediction": {"type": "content", "content": "x"}}),
        ({"output": JsonSchema({"type": "object"})}, {"response_format": {"type": "json_object"}}),
        (
            {"output": JsonSchema(SCHEMA, is_strict=False)},
            {
                "response_format": {
                    "type": "json_schema",
                    "json_schema": {"name": "answer", "schema": SCHEMA, "strict": False},
                }
            },
        ),
        ({"output": Regex("a+")}, {"guided_regex": "a+", "structured_outputs": {"regex": "a+"}}),
        ({"output": Choice(("a", "b"))}, {"guided_choice": ["a", "b"], "structured_outputs": {"choice": ["a", "b"]}}),
        ({"output": Lark("start: A")}, {"guided_grammar": "start: A", "structured_outputs": {"grammar": "start: A"}}),
    ],
)
def test_a_field_has_its_name_on_the_wire(fields, sent):
    assert added(**fields) == sent


def test_the_bound_of_an_answer_has_the_upstreams_name():
    assert added(replace(UPSTREAM, length_field="max_completion_tokens"), max_tokens=9) == {"max_completion_tokens": 9}


def test_effort_and_the_templates_options_are_sent():
    prompt = Messages((Message("user", "Make some robot noises"),), effort="low", options={"enable_thinking": False})
    assert added(prompt=prompt) == {"reasoning_effort": "low", "chat_template_kwargs": {"enable_thinking": False}}


WEATHER = Tool("weather", "Tells it", SCHEMA, is_strict=True)
NOW = Tool("now")
SENT_WEATHER = {
    "type": "function",
    "function": {"name": "weather", "description": "Tells it", "parameters": SCHEMA, "strict": True},
}
SENT_NOW = {"type": "function", "function": {"name": "now", "parameters": {"type": "object", "properties": {}}}}


@pytest.mark.parametrize(
    ("plan", "sent"),
    [
        (ToolPlan((WEATHER, NOW), "auto"), {"tools": [SENT_WEATHER, SENT_NOW], "tool_choice": "auto"}),
        (ToolPlan((WEATHER, NOW), "required"), {"tools": [SENT_WEATHER, SENT_NOW], "tool_choice": "required"}),
        (ToolPlan((WEATHER, NOW), "none"), {}),
        (
            ToolPlan((NOW,), "required", at_most_one=True),
            {"tools": [SENT_NOW], "tool_choice": "required", "parallel_tool_calls": False},
        ),
    ],
)
def test_the_tools_that_may_be_called_are_sent_and_no_others(plan, sent):
    prompt = Messages((Message("user", "Make some robot noises"),), tools=(WEATHER, NOW))
    assert added(prompt=prompt, tools=plan) == sent


@pytest.mark.parametrize(
    ("form", "sent"),
    [
        (AnyText(), {"type": "text"}),
        (Regex("a"), {"type": "grammar", "grammar": {"syntax": "regex", "definition": "a"}}),
        (Lark("start: A"), {"type": "grammar", "grammar": {"syntax": "lark", "definition": "start: A"}}),
    ],
)
def test_a_custom_tool_has_its_format(form, sent):
    (tool,) = added(tools=ToolPlan((Tool("sh", input=form),), "auto"))["tools"]
    assert tool == {"type": "custom", "custom": {"name": "sh", "format": sent}}


def test_calls_their_results_and_reasoning_are_sent_back():
    calls = (ToolCall("c1", "weather", '{"a":1}'), ToolCall("c2", "sh", "ls", is_custom=True))
    assert message(Message("assistant", "", reasoning="Hm", calls=calls)) == {
        "role": "assistant",
        "content": "",
        "reasoning_content": "Hm",
        "reasoning": "Hm",
        "tool_calls": [
            {"id": "c1", "type": "function", "function": {"name": "weather", "arguments": '{"a":1}'}},
            {"id": "c2", "type": "custom", "custom": {"name": "sh", "input": "ls"}},
        ],
    }
    result = message(Message("tool", "sunny", call_id="c1", name="weather"))
    assert result == {"role": "tool", "content": "sunny", "tool_call_id": "c1", "name": "weather"}


def test_images_are_data_urls_at_their_places_in_the_text():
    images = (Image(b"\x89", "image/png", 3), Image(b"\xff", "image/jpeg", 0))

    def url(kind, data):
        return {"type": "image_url", "image_url": {"url": f"data:{kind};base64,{base64.b64encode(data).decode()}"}}

    assert message(Message("user", "See this", images=images))["content"] == [
        url("image/jpeg", b"\xff"),
        {"type": "text", "text": "See"},
        url("image/png", b"\x89"),
        {"type": "text", "text": " this"},
    ]


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"thinking": ThinkingBound(5, "thinking.budget_tokens")}, "thinking.budget_tokens"),
        ({"ignore_eos": True}, "ignore_eos"),
        ({"output": Regex("a")}, "guided_regex"),
        ({"output": Choice(("a",))}, "guided_choice"),
        ({"output": Lark("start: A")}, "guided_grammar"),
    ],
)
def test_what_cant_be_sent_is_refused_by_name(fields, param):
    with pytest.raises(Unsupported) as caught:
        check(asked(**fields), UPSTREAM)
    assert caught.value.param == param


def test_a_suffix_is_sent_with_its_text():
    body = body_of(asked(prompt=Text("Once", " the end.")), UPSTREAM)
    assert (body["prompt"], body["suffix"]) == ("Once", " the end.")
    assert rough_tokens(Text("x" * 400, "y" * 40)) == 110


@pytest.mark.parametrize(("prompt", "sent"), [(Text("Once"), "Once"), (Tokens((1, 2)), [1, 2])])
def test_a_text_or_token_ids_are_completed_as_they_are(prompt, sent):
    request = asked(prompt=prompt, max_tokens=5, top_logprobs=2, choices=2)
    upstream = replace(UPSTREAM, length_field="max_completion_tokens")
    assert path_of(prompt) == "/completions"
    assert body_of(request, upstream) == ALWAYS | {"prompt": sent, "max_tokens": 5, "logprobs": 2, "n": 2}
    assert in_words(request) == request


def test_guided_outputs_are_sent_to_an_upstream_that_is_said_to_honour_them():
    guided = replace(UPSTREAM, is_guided=True)
    for fields in ({"output": Regex("a")}, {"output": Choice(("a",))}, {"output": Lark("x")}, {"ignore_eos": True}):
        check(asked(**fields), guided)


def test_a_prompts_tokens_are_a_quarter_of_its_characters():
    assert rough_tokens(Messages((Message("user", "x" * 400),))) == 104
    assert rough_tokens(Text("x" * 400)) == 100
    assert rough_tokens(Tokens((1, 2, 3))) == 3
    told = Messages((Message("user", ""),), tools=(NOW,))
    assert rough_tokens(told) == 4 + -(-len(json.dumps(SENT_NOW)) // 4)
