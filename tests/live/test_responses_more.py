"""Responses on the real small model: grammars of custom tools, compacting, truncation, native runs with ``input``."""

import re
from collections.abc import Iterator

import openai
import pytest
from live_server import LiveServer, running

pytestmark = pytest.mark.live

CHAT = "@local/smollm2-135m-instruct"
GREEDY = {"model": CHAT, "temperature": 0}
ASK = "Which robots are there? Note three."


@pytest.fixture(scope="module")
def server(tmp_path_factory) -> Iterator[LiveServer]:
    with running(["dev"], tmp_path_factory.mktemp("data")) as server:
        yield server


def note(syntax: str, definition: str) -> dict[str, object]:
    grammar = {"type": "grammar", "syntax": syntax, "definition": definition}
    return {"type": "custom", "name": "note", "description": "Takes a note.", "format": grammar}


@pytest.mark.parametrize(
    ("syntax", "definition", "meant"),
    [
        ("regex", "[a-z]{3,9} [0-9]{1,3}", "[a-z]{3,9} [0-9]{1,3}"),
        ("lark", 'start: line{1,3}\nline: "+" /[a-z "]{1,9}/ LF\n%import common.LF\n', r"(\+[a-z \"]{1,9}\n){1,3}"),
    ],
)
def test_a_custom_tool_gets_text_that_its_grammar_allows(client, syntax, definition, meant):
    choice = {"type": "custom", "name": "note"}
    response = client.responses.create(**GREEDY, input=ASK, tools=[note(syntax, definition)], tool_choice=choice)
    (call,) = response.output
    assert (call.type, call.name) == ("custom_tool_call", "note")
    assert re.fullmatch(meant, call.input)


@pytest.mark.parametrize(
    ("syntax", "definition"), [("regex", "("), ("regex", "a{2,1}"), ("lark", "start: b"), ("lark", "start: /(/")]
)
def test_a_grammar_that_cant_be_is_named_by_its_path(client, syntax, definition):
    with pytest.raises(openai.BadRequestError) as raised:
        client.responses.create(**GREEDY, input=ASK, tools=[note(syntax, definition)], tool_choice="required")
    assert raised.value.param == "tools[0].format.definition"


def test_a_conversation_is_compacted_and_goes_on(client):
    first = client.responses.create(**GREEDY, input="My name is Ada. Say hello.", max_output_tokens=20)
    made = client.responses.compact(model=CHAT, previous_response_id=first.id)
    assert (made.object, [item.type for item in made.output]) == ("response.compaction", ["message", "compaction"])
    items = [item.to_dict(warnings=False) for item in made.output]  # the SDK knows no user's message there
    question = {"role": "user", "content": "Who am I?"}
    second = client.responses.create(**GREEDY, input=[*items, question], max_output_tokens=20)
    assert second.status in ("completed", "incomplete")


def test_what_is_over_the_context_is_refused_with_the_counts_or_cut(client):
    story = " ".join(f"Robot {number} is called Bip{number}." for number in range(750))
    with pytest.raises(openai.BadRequestError, match=r"8,?192") as raised:
        client.responses.create(**GREEDY, input=story)
    assert (raised.value.param, raised.value.code) == ("input", "context_length_exceeded")
    items = [{"role": "user", "content": story}, {"role": "user", "content": "Say hello."}]
    cut = client.responses.create(**GREEDY, input=items, truncation="auto", max_output_tokens=8)
    assert cut.usage.input_tokens < 100


def test_a_native_run_takes_the_input_of_a_response(client, server):
    path = server.base.removesuffix("/v1") + "/run/@cf/openai/gpt-oss-20b"
    inputs = {"input": "Say hello.", "max_output_tokens": 8, "temperature": 0}
    whole = client._client.post(path, json=inputs).json()
    streamed = client._client.post(path, json={**inputs, "stream": True}).text
    assert whole["result"]["object"] == "response"
    assert streamed.startswith("event: response.created\n")
    assert whole["result"]["output"][0]["content"][0]["text"] in streamed.replace('\\"', '"')
