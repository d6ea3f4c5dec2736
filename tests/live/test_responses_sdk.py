"""OpenAI's Python package and the Responses API on the real small model. ``compact`` is in test_responses_more.py."""

import json
from collections.abc import Iterator
from typing import Literal

import jsonschema
import openai
import pytest
from live_server import LiveServer, running
from pydantic import BaseModel, Field

pytestmark = pytest.mark.live

CHAT = "@local/smollm2-135m-instruct"
SHORT = {"model": CHAT, "temperature": 0, "max_output_tokens": 16}
ASK = {**SHORT, "input": "Say hello."}
TO_THE_END = {"stop": [".", "?"]}  # the helper knows no end but response.completed
PERSON = {"model": CHAT, "input": "Invent a person. Answer with JSON."}
PARAMETERS = {
    "type": "object",
    "properties": {"city": {"type": "string", "maxLength": 30}, "unit": {"enum": ["celsius", "fahrenheit"]}},
    "required": ["city", "unit"],
    "additionalProperties": False,
}
WEATHER = {
    "type": "function",
    "name": "get_weather",
    "description": "The weather of a city.",
    "parameters": PARAMETERS,
    "strict": True,
}


class Person(BaseModel):
    name: str = Field(max_length=20)
    age: int = Field(ge=0, le=120)
    mood: Literal["glad", "sad"]


class Place(BaseModel):
    """Where the weather is."""

    city: str = Field(max_length=20)
    unit: Literal["celsius", "fahrenheit"]


@pytest.fixture(scope="module")
def server(tmp_path_factory) -> Iterator[LiveServer]:
    with running(["dev"], tmp_path_factory.mktemp("data")) as server:
        yield server


@pytest.fixture(scope="module")
def response(server) -> openai.types.responses.Response:
    """One that is kept, and that its bound cut."""
    with openai.OpenAI(base_url=server.base, api_key="any", max_retries=0, timeout=120) as client:
        return client.responses.create(**ASK)


def test_a_response_says_what_counts_and_is_kept_as_it_was_answered(client, response):
    assert response.output_text
    assert (response.status, response.incomplete_details.reason) == ("incomplete", "max_output_tokens")
    assert (response.temperature, response.max_output_tokens, response.store) == (0, 16, True)
    assert (response.usage.input_tokens, response.usage.output_tokens) == (33, 16)
    assert client.responses.retrieve(response.id) == response


def test_the_stream_helper_tells_the_text_piece_by_piece_and_ends_with_the_whole_response(client):
    with client.responses.stream(**{**ASK, "max_output_tokens": 200}, extra_body=TO_THE_END) as stream:
        events = list(stream)
        final = stream.get_final_response()
    pieces = [event.delta for event in events if event.type == "response.output_text.delta"]
    (done,) = [event for event in events if event.type == "response.output_text.done"]
    assert len(pieces) > 3
    assert "".join(pieces) == done.text == final.output_text
    assert [event.sequence_number for event in events] == list(range(len(events)))
    assert (final.status, events[-1].type) == ("completed", "response.completed")
    assert client.responses.retrieve(final.id).output_text == final.output_text


@pytest.mark.parametrize("temperature", [0, 1])
def test_parse_gives_the_pydantic_model(client, temperature):
    parsed = client.responses.parse(**PERSON, temperature=temperature, text_format=Person)
    assert isinstance(parsed.output_parsed, Person)
    assert parsed.text.format.type == "json_schema"


def test_the_stream_helper_parses_the_text_when_it_is_done(client):
    with client.responses.stream(**PERSON, temperature=0, text_format=Person) as stream:
        (done,) = [event for event in stream if event.type == "response.output_text.done"]
        final = stream.get_final_response()
    assert isinstance(done.parsed, Person)
    assert final.output_parsed == done.parsed


def test_a_response_in_the_background_is_followed_and_its_events_come_again_from_any_number(client):
    events = list(client.responses.create(**ASK, background=True, stream=True))
    kinds = [event.type for event in events]
    assert kinds[:3] == ["response.created", "response.queued", "response.in_progress"]
    assert kinds[-1] == "response.incomplete"
    again = client.responses.retrieve(events[0].response.id, stream=True, starting_after=3)
    assert list(again) == events[4:]
    with client.responses.stream(response_id=events[0].response.id, starting_after=3) as stream:
        assert [event.type for event in stream] == kinds[4:]


def test_a_response_in_the_background_is_cancelled_once_and_for_all(client):
    endless = {**ASK, "max_output_tokens": 4000, "extra_body": {"ignore_eos": True}}
    queued = client.responses.create(**endless, background=True)
    assert queued.status == "queued"
    cancelled = client.responses.cancel(queued.id)
    assert cancelled.status == "cancelled"
    assert client.responses.cancel(queued.id) == client.responses.retrieve(queued.id) == cancelled


def test_only_a_response_in_the_background_can_be_cancelled(client, response):
    with pytest.raises(openai.BadRequestError):
        client.responses.cancel(response.id)


def test_a_deleted_response_is_gone(client):
    made = client.responses.create(**{**ASK, "max_output_tokens": 2})
    assert client.responses.delete(made.id) is None
    with pytest.raises(openai.NotFoundError):
        client.responses.retrieve(made.id)


def test_the_input_items_are_all_that_a_response_saw_page_by_page(client, response):
    second = client.responses.create(**{**ASK, "input": "Again."}, previous_response_id=response.id)
    items = list(client.responses.input_items.list(second.id, order="asc", limit=1))
    assert [item.role for item in items] == ["user", "assistant", "user"]
    assert [item.content[0].text for item in items] == ["Say hello.", response.output_text, "Again."]


def test_the_tokens_are_those_that_the_response_sees(client, response):
    asked = {"model": CHAT, "input": "Again.", "tools": [WEATHER], "previous_response_id": response.id}
    counted = client.responses.input_tokens.count(**asked)
    made = client.responses.create(**asked, max_output_tokens=1)
    assert counted.input_tokens == made.usage.input_tokens > response.usage.total_tokens


def test_a_forced_tool_loop_goes_on_by_the_id_of_the_response_before(client):
    asked = {**SHORT, "max_output_tokens": 60, "tools": [WEATHER]}
    first = client.responses.create(**asked, input="What is the weather in Oslo?", tool_choice="required")
    (call,) = first.output
    assert (call.type, call.name, first.status) == ("function_call", "get_weather", "completed")
    jsonschema.validate(json.loads(call.arguments), PARAMETERS)
    result = {"type": "function_call_output", "call_id": call.call_id, "output": "4 degrees, rain"}
    second = client.responses.create(**asked, input=[result], tool_choice="none", previous_response_id=first.id)
    assert second.output_text
    seen = client.responses.input_items.list(second.id, order="asc").data
    assert [item.type for item in seen] == ["message", "function_call", "function_call_output"]


def test_the_stream_helper_parses_the_arguments_of_a_call(client):
    tool = openai.pydantic_function_tool(Place, name="get_weather")["function"] | {"type": "function"}
    asked = {**SHORT, "max_output_tokens": 60, "input": "What is the weather in Oslo?", "tool_choice": "required"}
    with client.responses.stream(**asked, tools=[tool]) as stream:
        pieces = [event.delta for event in stream if event.type == "response.function_call_arguments.delta"]
        (call,) = stream.get_final_response().output
    assert "".join(pieces) == call.arguments
    assert Place.model_validate(call.parsed_arguments).unit in ("celsius", "fahrenheit")


def test_a_conversation_gains_what_is_asked_and_answered(client):
    conversation = client.conversations.create(items=[{"role": "user", "content": "I am Ada."}], metadata={"a": "b"})
    made = client.responses.create(**ASK, conversation=conversation.id)
    assert made.conversation.id == conversation.id
    items = list(client.conversations.items.list(conversation.id, order="asc", limit=2))
    assert [item.role for item in items] == ["user", "user", "assistant"]
    assert items[-1].content[0].text == made.output_text
    assert client.conversations.retrieve(conversation.id).metadata == {"a": "b"}
    assert client.conversations.delete(conversation.id).deleted is True
    with pytest.raises(openai.NotFoundError):
        client.responses.create(**ASK, conversation=conversation.id)


# The SDK's own way of using websockets.
@pytest.mark.filterwarnings(r"ignore:connect\(\) must be used as a context manager:DeprecationWarning")
def test_a_websocket_answers_one_after_another_and_keeps_the_last_without_storing_it(client, response):
    with client.responses.connect() as connection:
        connection.response.create(**ASK, store=False)
        first = over(connection)
        connection.response.create(**{**ASK, "input": "Again."}, store=False, previous_response_id=first.id)
        second = over(connection)
        connection.response.create(**ASK, previous_response_id="resp_unknown")
        error = connection.recv()
    assert first.output_text == response.output_text
    assert second.usage.input_tokens > first.usage.total_tokens
    assert (error.type, error.status, error.error.code) == ("error", 400, "previous_response_not_found")
    with pytest.raises(openai.NotFoundError):
        client.responses.retrieve(second.id)


def over(connection) -> openai.types.responses.Response:
    """The response that a connection's next last event has."""
    for event in connection:
        if event.type in ("response.completed", "response.incomplete"):
            return event.response
    raise EOFError("the connection was closed")
