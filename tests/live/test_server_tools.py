"""Tools and formats on the real small model: forced calls, bound texts, the official SDKs' own helpers."""

import json
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Literal

import anthropic
import jsonschema
import older_clients
import openai
import pytest
from live_server import LiveServer, running
from pydantic import BaseModel, Field

pytestmark = pytest.mark.live

CHAT = "@local/smollm2-135m-instruct"
ASK = [{"role": "user", "content": "What is the weather in Oslo, in celsius?"}]
PARAMETERS = {
    "type": "object",
    "properties": {"city": {"type": "string", "maxLength": 30}, "unit": {"enum": ["celsius", "fahrenheit"]}},
    "required": ["city", "unit"],
    "additionalProperties": False,
}
WEATHER = {
    "type": "function",
    "function": {"name": "get_weather", "description": "The weather of a city.", "parameters": PARAMETERS},
}
TIME = {"type": "function", "function": {"name": "get_time", "parameters": {"type": "object", "properties": {}}}}
GREEDY = {"model": CHAT, "temperature": 0, "messages": ASK}


@pytest.fixture(scope="module")
def server(tmp_path_factory) -> Iterator[LiveServer]:
    with running(["dev"], tmp_path_factory.mktemp("data")) as server:
        yield server


class Person(BaseModel):
    name: str = Field(max_length=20)
    age: int = Field(ge=0, le=120)
    mood: Literal["glad", "sad"]


def test_required_forces_a_call_whose_arguments_keep_the_schema(client):
    choice = client.chat.completions.create(**GREEDY, tools=[WEATHER, TIME], tool_choice="required").choices[0]
    (call,) = choice.message.tool_calls
    assert choice.finish_reason == "tool_calls"
    assert choice.message.content is None
    schema = PARAMETERS if call.function.name == "get_weather" else {"type": "object"}
    jsonschema.validate(json.loads(call.function.arguments), schema)


def test_a_named_choice_calls_that_tool_and_ends_with_stop(client):
    named = {"type": "function", "function": {"name": "get_time"}}
    choice = client.chat.completions.create(**GREEDY, tools=[WEATHER, TIME], tool_choice=named).choices[0]
    assert [call.function.name for call in choice.message.tool_calls] == ["get_time"]
    assert choice.finish_reason == "stop"


def test_the_pieces_of_a_streamed_call_are_the_whole_calls(client):
    whole = client.chat.completions.create(**GREEDY, tools=[WEATHER], tool_choice="required").choices[0].message
    stream = client.chat.completions.create(**GREEDY, tools=[WEATHER], tool_choice="required", stream=True)
    pieces = [piece for chunk in stream for piece in chunk.choices[0].delta.tool_calls or ()]
    assert [piece.function.name for piece in pieces if piece.function.name] == ["get_weather"]
    assert len([piece for piece in pieces if piece.id]) == 1
    assert {piece.index for piece in pieces} == {0}
    assert "".join(piece.function.arguments for piece in pieces) == whole.tool_calls[0].function.arguments


def test_a_tool_choice_of_none_gives_text(client):
    choice = client.chat.completions.create(**GREEDY, tools=[WEATHER], tool_choice="none", max_tokens=20).choices[0]
    assert choice.message.tool_calls is None
    assert choice.message.content


def test_a_custom_tool_gets_text_that_its_regular_expression_allows(client):
    grammar = {"type": "grammar", "grammar": {"syntax": "regex", "definition": "[a-z]{3,8} [0-9]{2}"}}
    tool = {"type": "custom", "custom": {"name": "note", "description": "Takes a note.", "format": grammar}}
    choice = client.chat.completions.create(**GREEDY, tools=[tool], tool_choice="required").choices[0]
    (call,) = choice.message.tool_calls
    word, number = call.custom.input.split(" ")
    assert word.isalpha()
    assert number.isdigit()


LINES = """start: line{1,3}
line: "+" /[a-z "]{1,9}/ LF
%import common.LF
"""


def custom(definition):
    grammar = {"type": "grammar", "grammar": {"syntax": "lark", "definition": definition}}
    return {"type": "custom", "custom": {"name": "note", "description": "Takes a note.", "format": grammar}}


@pytest.mark.parametrize(
    "choice", ["required", {"type": "custom", "custom": {"name": "note"}}], ids=["required", "named"]
)
def test_a_custom_tool_gets_text_that_its_lark_grammar_allows(client, choice):
    reply = client.chat.completions.create(**GREEDY, tools=[custom(LINES)], tool_choice=choice).choices[0]
    (call,) = reply.message.tool_calls
    assert re.fullmatch(r"(\+[a-z \"]{1,9}\n){1,3}", call.custom.input)


@pytest.mark.parametrize(
    ("definition", "why"),
    [("start: a", "nothing defines a"), ("start: " + f"/{'[^a]' * 400}/ " * 12, "more than 262144")],
    ids=["undefined", "too large"],
)
def test_a_lark_grammar_that_cant_be_is_named_by_its_path(client, definition, why):
    with pytest.raises(openai.BadRequestError, match=why) as raised:
        client.chat.completions.create(**GREEDY, tools=[custom(definition)])
    assert raised.value.param == "tools[0].custom.format.grammar.definition"


@older_clients.needed
def test_instructor_asks_again_until_the_call_is_to_its_liking(server):
    told = older_clients.told("instructor_loop.py", server.base, CHAT)
    assert told["turns"] == [["user"], ["user", "assistant", "tool"]]
    assert told["choices"] == [{"type": "function", "function": {"name": "Person"}}] * 2
    assert told["person"].keys() == {"name", "age"}
    assert 0 <= told["person"]["age"] <= 120


@pytest.mark.parametrize("temperature", [0, 1])
def test_parse_gives_the_pydantic_model(client, temperature):
    messages = [{"role": "user", "content": "Invent a person. Answer with JSON."}]
    parsed = client.chat.completions.parse(
        model=CHAT, messages=messages, response_format=Person, temperature=temperature, seed=3
    )
    person = parsed.choices[0].message.parsed
    assert isinstance(person, Person)
    assert person.age <= 120


def test_the_stream_helper_ends_with_the_parsed_model(client):
    messages = [{"role": "user", "content": "Invent a person. Answer with JSON."}]
    with client.chat.completions.stream(model=CHAT, messages=messages, response_format=Person) as stream:
        kinds = {event.type for event in stream}
        final = stream.get_final_completion()
    assert {"content.delta", "content.done", "chunk"} <= kinds
    assert isinstance(final.choices[0].message.parsed, Person)


@pytest.mark.parametrize(
    ("format_", "is_right"),
    [
        ({"guided_choice": ["yes", "no"]}, lambda text: text in ("yes", "no")),
        ({"guided_regex": "[0-9]{3}-[a-z]{2}"}, lambda text: text[:3].isdigit() and text[3] == "-" and len(text) == 6),
        ({"guided_grammar": 'start: "<" WORD ">"\nWORD: /[a-z]{1,5}/'}, lambda text: text[0] + text[-1] == "<>"),
        ({"guided_json": PARAMETERS}, lambda text: jsonschema.validate(json.loads(text), PARAMETERS) is None),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_the_extras_bind_the_text(client, format_, is_right):
    reply = client.chat.completions.create(**GREEDY, extra_body=format_)
    assert is_right(reply.choices[0].message.content)
    assert reply.choices[0].finish_reason == "stop"


def test_an_answer_that_the_length_cuts_says_so(client):
    schema = {"type": "json_schema", "json_schema": {"name": "w", "strict": True, "schema": PARAMETERS}}
    choice = client.chat.completions.create(**GREEDY, response_format=schema, max_tokens=4).choices[0]
    assert choice.finish_reason == "length"
    cut = client.chat.completions.create(**GREEDY, tools=[WEATHER], tool_choice="required", max_tokens=12).choices[0]
    assert (cut.finish_reason, cut.message.tool_calls) == ("length", None)


@pytest.mark.parametrize(
    ("change", "param"),
    [
        ({"extra_body": {"guided_regex": "(a"}}, "guided_regex"),
        ({"extra_body": {"guided_grammar": "start: nothing"}}, "guided_grammar"),
        (
            {
                "response_format": {
                    "type": "json_schema",
                    "json_schema": {"name": "x", "strict": True, "schema": {"$ref": "#"}},
                }
            },
            "response_format.json_schema.schema",
        ),
    ],
)
def test_what_cant_be_enforced_is_refused_and_named_before_anything_runs(client, change, param):
    with pytest.raises(openai.BadRequestError) as raised:
        client.chat.completions.create(**GREEDY, **change)
    assert raised.value.param.startswith(param)
    assert "TEXT" not in raised.value.message  # nothing of our own grammar


def test_a_tool_that_isnt_strict_is_never_refused_and_what_is_left_out_is_named(client):
    loose = {"type": "object", "properties": {"x": {"$ref": "https://example.com/schema"}}}
    tool = {"type": "function", "function": {"name": "f", "parameters": loose}}
    raw = client.chat.completions.with_raw_response.create(**GREEDY, tools=[tool], max_tokens=5)
    assert "tools[0].function.parameters.properties.x" in raw.headers["lowcloud-loosened"]
    strict = {"type": "function", "function": {"name": "f", "parameters": loose, "strict": True}}
    with pytest.raises(openai.BadRequestError) as raised:
        client.chat.completions.create(**GREEDY, tools=[strict], max_tokens=5)
    assert raised.value.param.startswith("tools[0].function.parameters.properties.x")


def test_a_whole_tool_loop_ends_with_text(client):
    first = client.chat.completions.create(**GREEDY, tools=[WEATHER], tool_choice="required").choices[0].message
    history = [
        *ASK,
        first.model_dump(exclude_none=True),
        {"role": "tool", "tool_call_id": first.tool_calls[0].id, "content": "4 degrees, rain"},
    ]
    second = client.chat.completions.create(
        **{**GREEDY, "messages": history}, tools=[WEATHER], tool_choice="none", max_tokens=40
    ).choices[0]
    assert second.message.content


def test_bound_answers_dont_depend_on_their_company(client):
    schema = {"type": "json_schema", "json_schema": {"name": "w", "strict": True, "schema": PARAMETERS}}

    def one(seed: int):
        reply = client.chat.completions.create(
            **{**GREEDY, "temperature": 1}, response_format=schema, seed=seed, logprobs=True, top_logprobs=3
        )
        choice = reply.choices[0]
        return choice.message.content, [(token.token, token.logprob) for token in choice.logprobs.content]

    alone = [one(seed) for seed in range(6)]
    with ThreadPoolExecutor(6) as pool:
        together = list(pool.map(one, range(6)))
    assert together == alone
    for text, _ in alone:
        jsonschema.validate(json.loads(text), PARAMETERS)


def test_anthropics_sdk_gets_a_forced_call(server):
    tool = {"name": "get_weather", "description": "The weather of a city.", "input_schema": PARAMETERS}
    asked = {"model": CHAT, "messages": ASK, "tools": [tool], "tool_choice": {"type": "any"}}
    with anthropic.Anthropic(base_url=server.base, api_key="any", max_retries=0, timeout=120) as client:
        message = client.messages.create(**asked, max_tokens=100)
        counted = client.messages.count_tokens(**asked)
    (call,) = message.content
    assert message.stop_reason == "tool_use"
    jsonschema.validate(call.input, PARAMETERS)
    assert counted.input_tokens == message.usage.input_tokens + message.usage.cache_read_input_tokens


def test_a_text_is_gone_on_with_and_echoed(client):
    completion = client.completions.create(model=CHAT, prompt=["The capital of France is", "1, 2, 3,"], max_tokens=4)
    assert all(choice.text for choice in completion.choices)
    echoed = client.completions.create(model=CHAT, prompt="1, 2, 3,", max_tokens=4, echo=True, temperature=0)
    assert echoed.choices[0].text.startswith("1, 2, 3,")


def test_a_conversations_tokens_are_those_of_its_completion(client):
    counted = client.post("/tokenize", body={"model": CHAT, "messages": ASK, "tools": [WEATHER]}, cast_to=dict)
    reply = client.chat.completions.create(**GREEDY, tools=[WEATHER], max_tokens=1)
    assert counted["count"] == len(counted["tokens"]) == reply.usage.prompt_tokens
    text = client.post("/detokenize", body={"model": CHAT, "tokens": counted["tokens"]}, cast_to=dict)
    shown = client.post("/apply-template", body={"model": CHAT, "messages": ASK, "tools": [WEATHER]}, cast_to=dict)
    assert text["prompt"] == shown["prompt"]
    assert "get_weather" in shown["prompt"]


def test_a_texts_tokens_are_its_text_again(client):
    body = {"model": CHAT, "prompt": "Grüße 🤖 <|im_end|>", "return_token_strs": True}
    tokens = client.post("/tokenize", body=body, cast_to=dict)
    assert len(tokens["token_strs"]) == tokens["count"] > 8  # the control string is text
    text = client.post("/detokenize", body={"model": CHAT, "tokens": tokens["tokens"]}, cast_to=dict)
    assert text["content"] == body["prompt"]


@pytest.mark.parametrize(
    ("path", "body", "param"),
    [
        ("/tokenize", {}, "prompt"),
        ("/tokenize", {"prompt": "a", "messages": ASK}, "prompt"),
        ("/detokenize", {"tokens": [99_999_999]}, "tokens"),
        ("/apply-template", {"messages": []}, "messages"),
    ],
)
def test_what_has_no_tokens_is_refused_and_named(client, path, body, param):
    with pytest.raises(openai.BadRequestError) as raised:
        client.post(path, body={"model": CHAT, **body}, cast_to=dict)
    assert raised.value.param == param
