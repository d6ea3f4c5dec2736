"""Tools, schemas and reasoning through the official openai package for Python: whole, streamed, and by its helpers."""

from collections.abc import Iterator

import openai
import pytest
from openai.lib.streaming.chat import ChatCompletionStreamEvent
from pydantic import BaseModel
from scripted_server import HELLO, LLAMA, Served

from lowcloud.core.output import JsonSchema
from lowcloud.engines.scripted import Said, SaidCall

WEATHER = {
    "type": "function",
    "function": {
        "name": "weather",
        "strict": True,
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string"}},
            "required": ["city"],
            "additionalProperties": False,
        },
    },
}
SHELL = {"type": "custom", "custom": {"name": "shell"}}
TWO_CALLS = Said(
    "Let me look.",
    reasoning="They ask for the weather.",
    calls=(SaidCall("weather", '{"city": "São Paulo"}'), SaidCall("weather", '{"city": "Rome"}')),
)


class City(BaseModel):
    """What is asked for."""

    name: str
    people: int


class Weather(BaseModel):
    """Tells the weather of a city."""

    city: str


@pytest.fixture
def client(served: Served) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=served.base, api_key="x", max_retries=0, timeout=20) as made:
        yield made


def test_calls_have_ids_names_and_arguments(served, client):
    served.reply = TWO_CALLS
    completion = client.chat.completions.create(model=LLAMA, messages=HELLO, tools=[WEATHER])
    (choice,) = completion.choices
    assert [call.function.arguments for call in choice.message.tool_calls] == [
        '{"city": "São Paulo"}',
        '{"city": "Rome"}',
    ]
    assert len({call.id for call in choice.message.tool_calls}) == 2
    assert (choice.finish_reason, choice.message.reasoning_content) == ("tool_calls", TWO_CALLS.reasoning)
    assert completion.usage.completion_tokens_details.reasoning_tokens == 5


def test_a_custom_call_has_its_input(served, client):
    served.reply = Said(calls=(SaidCall("shell", "ls -l\n"),))
    (choice,) = client.chat.completions.create(model=LLAMA, messages=HELLO, tools=[SHELL]).choices
    (call,) = choice.message.tool_calls
    assert (call.type, call.custom.name, call.custom.input) == ("custom", "shell", "ls -l\n")
    assert choice.message.content is None


def test_a_stream_of_calls_concatenates_to_the_same(served, client):
    served.reply = TWO_CALLS
    names: dict[int, list[str]] = {}
    arguments = {0: "", 1: ""}
    reasoning = ""
    for chunk in client.chat.completions.create(model=LLAMA, messages=HELLO, tools=[WEATHER], stream=True):
        delta = chunk.choices[0].delta
        reasoning += getattr(delta, "reasoning_content", "")
        for call in delta.tool_calls or []:
            names.setdefault(call.index, []).extend([call.function.name] if call.function.name else [])
            arguments[call.index] += call.function.arguments
    assert names == {0: ["weather"], 1: ["weather"]}
    assert arguments == {0: '{"city": "São Paulo"}', 1: '{"city": "Rome"}'}
    assert (reasoning, chunk.choices[0].finish_reason) == (TWO_CALLS.reasoning, "tool_calls")


def test_the_stream_helper_gives_events_of_calls_and_their_parsed_arguments(served, client):
    served.reply = TWO_CALLS
    tool = openai.pydantic_function_tool(Weather, name="weather")
    with client.chat.completions.stream(model=LLAMA, messages=HELLO, tools=[tool]) as stream:
        events: list[ChatCompletionStreamEvent] = list(stream)
        completion = stream.get_final_completion()
    done = [event for event in events if event.type == "tool_calls.function.arguments.done"]
    assert [event.parsed_arguments for event in done] == [Weather(city="São Paulo"), Weather(city="Rome")]
    assert any(event.type == "tool_calls.function.arguments.delta" for event in events)
    calls = completion.choices[0].message.tool_calls
    assert [call.function.parsed_arguments for call in calls] == [Weather(city="São Paulo"), Weather(city="Rome")]


def test_parse_gives_an_object_of_the_class_and_sends_its_schema(served, client):
    served.reply = '{"name": "Rome", "people": 2800000}'
    completion = client.chat.completions.parse(model=LLAMA, messages=HELLO, response_format=City)
    assert completion.choices[0].message.parsed == City(name="Rome", people=2_800_000)
    output = served.chat.requests[-1].output
    assert isinstance(output, JsonSchema)
    assert (output.is_strict, output.schema["required"]) == (True, ["name", "people"])


def test_parse_of_tools_gives_their_arguments(served, client):
    served.reply = Said(calls=(SaidCall("Weather", '{"city": "Rome"}'),))
    tools = [openai.pydantic_function_tool(Weather)]
    completion = client.chat.completions.parse(model=LLAMA, messages=HELLO, tools=tools)
    (call,) = completion.choices[0].message.tool_calls
    assert call.function.parsed_arguments == Weather(city="Rome")
    assert served.chat.requests[-1].tools.tools[0].is_strict


def test_the_stream_helper_parses_content_as_it_comes(served, client):
    served.reply = '{"name": "Rome", "people": 2800000}'
    with client.chat.completions.stream(model=LLAMA, messages=HELLO, response_format=City) as stream:
        done = [event for event in stream if event.type == "content.done"]
    assert [event.parsed for event in done] == [City(name="Rome", people=2_800_000)]


def test_an_answer_that_the_length_cut_is_the_sdks_error(served, client):
    served.reply = '{"name": "Rome", "people": 2800000}'
    with pytest.raises(openai.LengthFinishReasonError):
        client.chat.completions.parse(model=LLAMA, messages=HELLO, response_format=City, max_tokens=2)


def test_a_tool_loop_goes_on_with_the_message_as_it_came(served, client):
    served.reply = TWO_CALLS
    messages = list(HELLO)
    message = client.chat.completions.create(model=LLAMA, messages=messages, tools=[WEATHER]).choices[0].message
    messages.append(message)
    messages += [{"role": "tool", "tool_call_id": call.id, "content": "sunny"} for call in message.tool_calls]
    served.reply = "Sunny in both."
    raw = client.chat.completions.with_raw_response.create(model=LLAMA, messages=messages, tools=[WEATHER])
    assert raw.parse().choices[0].message.content == "Sunny in both."
    assert "lowcloud-ignored" not in raw.headers
    _, asked, first, second = served.chat.requests[-1].prompt.messages
    assert [call.id for call in asked.calls] == [first.call_id, second.call_id]
    assert asked.reasoning == TWO_CALLS.reasoning


@pytest.mark.parametrize(
    ("choice", "reason"),
    [("required", "tool_calls"), ({"type": "function", "function": {"name": "weather"}}, "stop")],
)
def test_a_forced_call_ends_as_openais_does(served, client, choice, reason):
    served.reply = Said(calls=(SaidCall("weather", '{"city": "Rome"}'),))
    completion = client.chat.completions.create(model=LLAMA, messages=HELLO, tools=[WEATHER], tool_choice=choice)
    assert (completion.choices[0].finish_reason, completion.choices[0].message.content) == (reason, None)


def test_the_older_functions_get_a_function_call(served, client):
    served.reply = Said(calls=(SaidCall("weather", '{"city": "Rome"}'),))
    functions = [WEATHER["function"] | {"strict": None}]
    (choice,) = client.chat.completions.create(model=LLAMA, messages=HELLO, functions=functions).choices
    assert (choice.message.function_call.name, choice.finish_reason) == ("weather", "function_call")
    with client.chat.completions.stream(model=LLAMA, messages=HELLO, functions=functions) as stream:
        streamed = stream.get_final_completion().choices[0].message.function_call
    assert streamed == choice.message.function_call
