"""Lowcloud as installed, in front of another server that speaks the same formats: the official SDK sees one server."""

import json
import threading
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import openai
import pytest
from live_server import running, until
from scripted_server import HELLO, RERANKER, scripted_server

from lowcloud.models.catalogue import CHAT_STAND_IN, EMBEDDING_STAND_IN

TRANSCRIPTS = Path(__file__).with_name("transcripts")
REPLAY = "@remote/replay"
WEATHER = {"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}}
CITIES = ['{"city":"Rome"}', '{"city":"Oslo"}']
CHAT, EMBED, RANK, LOCKED, LOST, NOWHERE = (
    "@remote/chat",
    "@remote/embed",
    "@remote/rank",
    "@remote/locked",
    "@remote/lost",
    "@remote/nowhere",
)


@pytest.fixture(scope="module")
def upstream():
    with scripted_server(is_open=False, reranks=True) as served:
        yield served


class Replay(BaseHTTPRequestHandler):
    """Answers with the transcript that the request names as its model."""

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.end_headers()
        self.wfile.write((TRANSCRIPTS / f"{body['model']}.sse").read_bytes())

    def log_message(self, *_arguments: object) -> None:
        """Says nothing."""


@pytest.fixture(scope="module")
def replayed():
    server = ThreadingHTTPServer(("127.0.0.1", 0), Replay)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/v1"
    server.shutdown()
    thread.join(10)
    server.server_close()


@pytest.fixture(scope="module")
def server(upstream, replayed, tmp_path_factory):
    """Its configuration names the upstream with a good token and with a bad one, for a model that it lacks, and one
    upstream that isn't there."""
    folder = tmp_path_factory.mktemp("front")
    base, config = upstream.base, folder / "lowcloud.toml"
    config.write_text(f"""
[models."{CHAT}"]
upstream = "{base}"
upstream_model = "{CHAT_STAND_IN}"
upstream_token_env = "UP_TOKEN"
[models."{EMBED}"]
upstream = "{base}"
upstream_model = "{EMBEDDING_STAND_IN}"
upstream_token_env = "UP_TOKEN"
kind = "embedding"
dimensions = 384
[models."{RANK}"]
upstream = "{base}"
upstream_model = "{RERANKER}"
upstream_token_env = "UP_TOKEN"
kind = "rerank"
[models."{LOCKED}"]
upstream = "{base}"
upstream_model = "{CHAT_STAND_IN}"
upstream_token = "sk-unknown"
[models."{LOST}"]
upstream = "{base}"
upstream_model = "@cf/no/such-model"
upstream_token_env = "UP_TOKEN"
[models."{NOWHERE}"]
upstream = "http://127.0.0.1:9/v1"
[models."{REPLAY}"]
upstream = "{replayed}"
upstream_model = "ollama"
[map]
"gpt-4o" = "{CHAT}"
""")
    environment = {"UP_TOKEN": "sk-good", "LOWCLOUD_SERVING__STAND_INS": "never"}
    with running(["dev", "--config", str(config)], folder, environment) as ours:
        yield ours


@pytest.fixture
def client(server):
    with openai.OpenAI(base_url=server.base, api_key="any", max_retries=0, timeout=30) as made:
        yield made


@pytest.mark.parametrize("model", [CHAT, "gpt-4o"])
def test_a_whole_answer_is_the_upstreams(client, model):
    answer = client.chat.completions.create(model=model, messages=HELLO)
    assert (answer.choices[0].message.content, answer.choices[0].finish_reason) == ("beep boop whirr", "stop")
    assert answer.model == model
    assert answer.system_fingerprint == f"fp_remote_{CHAT_STAND_IN}"
    assert answer.usage.completion_tokens == 3


def test_a_stream_is_the_upstreams_with_log_probabilities_and_usage(client):
    chunks = list(
        client.chat.completions.create(
            model=CHAT,
            messages=HELLO,
            stream=True,
            n=2,
            logprobs=True,
            top_logprobs=2,
            stream_options={"include_usage": True},
        )
    )
    for index in (0, 1):
        parts = [choice for chunk in chunks for choice in chunk.choices if choice.index == index]
        assert "".join(part.delta.content or "" for part in parts) == "beep boop whirr"
        assert [len(token.top_logprobs) for part in parts if part.logprobs for token in part.logprobs.content] == [
            2
        ] * 3
    assert chunks[-1].usage.completion_tokens == 6


def test_calls_and_reasoning_of_an_upstream_are_ours_whole_and_streamed(client):
    asked = {"model": REPLAY, "messages": HELLO, "tools": [WEATHER]}
    choice = client.chat.completions.create(**asked).choices[0]
    assert choice.finish_reason == "tool_calls"
    assert choice.message.reasoning_content == "Two cities."
    calls = [(call.id, call.function.name, call.function.arguments) for call in choice.message.tool_calls]
    assert calls == [("call_a", "weather", CITIES[0]), ("call_b", "weather", CITIES[1])]
    with client.chat.completions.stream(**asked) as stream:
        streamed = stream.get_final_completion().choices[0]
    assert [call.function.arguments for call in streamed.message.tool_calls] == CITIES
    assert streamed.finish_reason == "tool_calls"


def test_vectors_are_the_upstreams(client, upstream):
    with openai.OpenAI(base_url=upstream.base, api_key="sk-good", max_retries=0) as there:
        theirs = there.embeddings.create(model=EMBEDDING_STAND_IN, input=["a", "b"])
    ours = client.embeddings.create(model=EMBED, input=["a", "b"])
    assert [item.embedding for item in ours.data] == [item.embedding for item in theirs.data]
    assert ours.usage.prompt_tokens == theirs.usage.prompt_tokens


def test_scores_are_the_upstreams(client):
    asked = {"model": RANK, "query": "green tea", "documents": ["coal", "green tea", "tea"]}
    answer = client.post("/rerank", body=asked, cast_to=object)
    assert [(result["index"], result["relevance_score"]) for result in answer["results"]] == [(1, 1), (2, 0.5), (0, 0)]
    assert (answer["system_fingerprint"], answer["usage"]["total_tokens"]) == (f"fp_remote_{RERANKER}", 10)


def test_a_request_that_the_upstream_refuses_is_the_callers_fault(client):
    with pytest.raises(openai.BadRequestError) as caught:
        client.chat.completions.create(model=CHAT, messages=HELLO, max_tokens=10**6)
    assert caught.value.param == "max_tokens"
    assert caught.value.code == "context_length_exceeded"


@pytest.mark.parametrize(
    ("model", "code", "complaint"),
    [
        (LOCKED, "model_unusable", f'models."{LOCKED}".upstream_token_env'),
        (LOST, "model_unusable", f'models."{LOST}".upstream_model'),
        (NOWHERE, "unavailable", "can't be reached"),
    ],
)
def test_an_upstream_that_cant_be_used_is_a_503_that_says_what_to_look_at(client, model, code, complaint):
    with pytest.raises(openai.InternalServerError) as caught:
        client.chat.completions.create(model=model, messages=HELLO)
    assert (caught.value.status_code, caught.value.code) == (503, code)
    assert complaint in caught.value.message
    assert "sk-" not in caught.value.message
    assert int(caught.value.response.headers["retry-after"]) >= 1


def test_a_client_that_leaves_ends_the_generation_of_the_upstream(client, upstream):
    upstream.chat.stage.hold("token:1")
    try:
        with client.chat.completions.create(model=CHAT, messages=HELLO, stream=True) as stream:
            assert next(part for chunk in stream for choice in chunk.choices if (part := choice.delta.content))
            (running_there,) = upstream.chat.running
        until(lambda: running_there in upstream.chat.cancelled, 10)
    finally:
        upstream.chat.stage.open("token:1")


def test_remote_models_are_listed_and_are_ready_once_asked(client, server):
    client.chat.completions.create(model=CHAT, messages=HELLO)
    assert {CHAT, EMBED, "gpt-4o"} <= {model.id for model in client.models.list()}
    with urllib.request.urlopen(f"{server.url}/readyz", timeout=10) as answer:  # noqa: S310 - loopback
        states = {model["id"]: model["state"] for model in json.load(answer)["models"]}
    assert states[CHAT] == "ready"


def test_no_token_stands_in_the_log(client, server):
    with pytest.raises(openai.InternalServerError):
        client.chat.completions.create(model=LOCKED, messages=HELLO)
    log = until(lambda: text if "upstream failed" in (text := server.log.read_text()) else "", 10)
    assert "sk-unknown" not in log
    assert "sk-good" not in log
