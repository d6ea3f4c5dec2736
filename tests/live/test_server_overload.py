"""A real server with room for little: what is too much is told when to come back, and what waits is answered."""

import http.client
import json
from collections.abc import Callable, Iterator

import openai
import pytest
from live_server import LiveServer, running, until

pytestmark = pytest.mark.live

WAIT_S = 120
CHAT = "@local/smollm2-135m-instruct"
ROOM_FOR_LITTLE = {
    "LOWCLOUD_LOCAL__MAX_SEQS": "1",
    "LOWCLOUD_SERVING__MAX_QUEUED_REQUESTS": "2",
    "LOWCLOUD_SERVING__MAX_QUEUED_TOKENS": "300",
}
SHORT = [{"role": "user", "content": "Say hi."}]
LONG = [{"role": "user", "content": "again " * 200}]  # one of them fits the bound on tokens, two don't


@pytest.fixture(scope="module")
def server(tmp_path_factory) -> Iterator[LiveServer]:
    with running(["dev"], tmp_path_factory.mktemp("data"), ROOM_FOR_LITTLE) as server:
        yield server


@pytest.fixture
def leave(client: openai.OpenAI) -> Iterator[Callable[[], None]]:
    """The model's one place is taken by a stream that goes on until its client leaves."""
    asked = {"model": CHAT, "messages": SHORT, "max_tokens": 4000, "extra_body": {"ignore_eos": True}}
    with client.chat.completions.create(**asked, stream=True) as stream:
        next(stream)
        yield stream.close


def wait_for(server: LiveServer, messages: list[dict]) -> http.client.HTTPConnection:
    """A request that waits behind the stream: its answer is still to be read."""
    already = server.total("lowcloud_queued_tokens")
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=WAIT_S)
    body = json.dumps({"model": CHAT, "messages": messages, "max_tokens": 1})
    connection.request("POST", "/v1/chat/completions", body, {"content-type": "application/json"})
    until(lambda: server.total("lowcloud_queued_tokens") > already)
    return connection


@pytest.mark.parametrize("waiting", [[SHORT, SHORT], [LONG]], ids=["requests", "tokens"])
def test_a_full_queue_is_a_429_and_what_waits_is_answered(server, client, leave, waiting):
    connections = [wait_for(server, messages) for messages in waiting]
    with pytest.raises(openai.RateLimitError) as raised:
        client.chat.completions.create(model=CHAT, messages=LONG, max_tokens=1)
    assert int(raised.value.response.headers["retry-after"]) >= 1
    assert (raised.value.code, raised.value.type) == ("rate_limit_exceeded", "rate_limit_error")
    assert raised.value.response.json()["errors"][0]["code"] == 3040

    leave()
    for connection in connections:
        assert connection.getresponse().status == 200
        connection.close()
    assert client.chat.completions.create(model=CHAT, messages=LONG, max_tokens=1).usage.completion_tokens == 1
    assert server.total("lowcloud_queued_requests") == server.total("lowcloud_queued_tokens") == 0


def test_the_sdk_comes_back_by_itself_when_it_is_told_to(server, leave):
    connections = [wait_for(server, SHORT), wait_for(server, SHORT)]
    with openai.OpenAI(base_url=server.base, api_key="any", max_retries=0, timeout=WAIT_S) as impatient:
        with pytest.raises(openai.RateLimitError):
            impatient.chat.completions.create(model=CHAT, messages=SHORT, max_tokens=1)
        leave()
        patient = impatient.with_options(max_retries=5)
        raw = patient.chat.completions.with_raw_response.create(model=CHAT, messages=SHORT, max_tokens=1)
    assert raw.parse().usage.completion_tokens == 1
    for connection in connections:
        assert connection.getresponse().status == 200
        connection.close()


def test_a_request_larger_than_the_whole_queue_is_answered_when_no_tokens_wait(client):
    longest = [{"role": "user", "content": "again " * 400}]
    assert client.chat.completions.create(model=CHAT, messages=longest, max_tokens=1).usage.prompt_tokens > 300


def test_refusals_leave_the_embedder_alone(server, client, leave):
    connections = [wait_for(server, SHORT), wait_for(server, SHORT)]
    assert client.embeddings.create(model="@local/all-minilm-l6-v2", input="matcha").usage.prompt_tokens > 0
    leave()
    for connection in connections:
        assert connection.getresponse().status == 200
        connection.close()
