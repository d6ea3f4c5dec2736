"""OpenAI's Python SDK over the WebSocket of responses, against a listening server with a scripted model."""

from collections.abc import Iterator

import pytest
from openai import AsyncOpenAI, OpenAI
from scripted_server import LLAMA, Served, scripted_server

# the SDK connects in a way that the library has a newer one for
pytestmark = pytest.mark.filterwarnings("ignore:connect.. must be used as a context manager:DeprecationWarning")
ENDS = ("response.completed", "response.incomplete", "response.failed", "error")


@pytest.fixture
def served() -> Iterator[Served]:
    with scripted_server(is_open=False, responses=True) as running:
        running.reply = lambda turn: turn.prompt
        yield running


def text_of(event) -> str:
    return event.response.output_text


def test_several_responses_go_on_from_each_other_on_one_connection(served):
    client = served.owned(OpenAI(api_key="sk-good", base_url=served.base))
    with client.responses.connect() as connection:
        previous = None
        for said in ("first", "second", "third"):
            more = {"previous_response_id": previous} if previous else {}
            connection.response.create(model=LLAMA, input=said, store=False, **more)
            events = []
            for event in connection:
                events.append(event)
                if event.type in ENDS:
                    break
            previous = events[-1].response.id
        assert events[0].type == "response.created"
        assert "".join(event.delta for event in events if event.type == "response.output_text.delta") == text_of(
            events[-1]
        )
        assert text_of(events[-1]).index("first") < text_of(events[-1]).index("third")


def test_an_error_is_the_sdks_error_event_and_the_connection_goes_on(served):
    client = served.owned(OpenAI(api_key="sk-good", base_url=served.base))
    with client.responses.connect() as connection:
        connection.response.create(model=LLAMA, input="hello", previous_response_id="resp_never")
        event = connection.recv()
        assert (event.type, event.status, event.error.code) == ("error", 400, "previous_response_not_found")
        connection.response.steer(input="hello", previous_response_id="resp_never")
        assert "response.steer" in connection.recv().error.message
        connection.response.create(model=LLAMA, input="hello", stream_id="lane", generate=False)
        events = [connection.recv() for _ in range(3)]
        assert [event.stream_id for event in events] == ["lane"] * 3
        assert events[-1].response.output == []


@pytest.mark.anyio
async def test_the_asynchronous_client_streams_as_well(served):
    async with AsyncOpenAI(api_key="sk-good", base_url=f"{served.url}/v1") as client:
        async with client.responses.connect() as connection:
            await connection.response.create(model=LLAMA, input="hello")
            async for event in connection:
                if event.type in ENDS:
                    break
        assert (await client.responses.retrieve(event.response.id)).output_text == text_of(event)


def test_a_token_that_is_unknown_gets_no_connection(served):
    client = served.owned(OpenAI(api_key="sk-bad", base_url=served.base))
    with pytest.raises(Exception, match="401"), client.responses.connect():
        pass
