"""Whatever comes in, a real server answers it by name, and what it was doing goes on as if nothing had come.

Everything bad is sent once, by ``answers``, while streams run one after the other; the tests look at what came back.
"""

import http.client
import json
import re
import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pytest
from live_server import LiveServer, running

from lowcloud.http.openai.chat_request import ChatBody
from lowcloud.http.openai.embeddings_request import EmbeddingsBody

pytestmark = pytest.mark.live

BODY_TIMEOUT_S = 3
WAIT_S = 60
PING_S = 1.5
CHAT, EMBEDDINGS, MODELS = "/v1/chat/completions", "/v1/embeddings", "/v1/models"
SMALL_CHAT, SMALL_EMBEDDER = "@local/smollm2-135m-instruct", "@local/all-minilm-l6-v2"
LLAMA, BGE = "@cf/meta/llama-3.1-8b-instruct", "@cf/baai/bge-large-en-v1.5"
HELLO = {"model": SMALL_CHAT, "messages": [{"role": "user", "content": "hello"}]}
TEXT = {"model": SMALL_EMBEDDER, "input": "I love matcha"}
STREAM = HELLO | {"stream": True, "max_tokens": 48, "ignore_eos": True, "seed": 5, "temperature": 1, "logprobs": True}
WRONG = [{"wrong": 1}]  # of no field's type
INTERNALS = re.compile(r"Traceback|File \"|\.py\b|\.gguf|site-packages|/(?:home|root|tmp|usr|var|opt)/|0x[0-9a-f]{6}")


@dataclass(frozen=True)
class Reply:
    """An answer as a client reads it."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> dict:
        return json.loads(self.body)

    @property
    def error(self) -> dict:
        return self.json["error"]


@dataclass(frozen=True)
class Bad:
    """A request that must be refused, and how. ``raw`` is sent as it stands; else ``body`` in a well-formed request."""

    status: int
    code: str
    param: str | None = None
    says: str = ""
    method: str = "POST"
    path: str = CHAT
    body: object = b""
    headers: tuple[tuple[str, str], ...] = (("content-type", "application/json"),)
    raw: Callable[[socket.socket], None] | None = None


def chat(code: str, param: str | None, says: str = "", **changes: object) -> Bad:
    """A chat completion with ``changes`` that is a 400."""
    return Bad(400, code, param, says, body=HELLO | changes)


def embeddings(param: str, says: str, code: str = "invalid_request", status: int = 400, **changes: object) -> Bad:
    return Bad(status, code, param, says, path=EMBEDDINGS, body=TEXT | changes)


def literal(text: str) -> bytes:
    """HELLO with one more member, written as it stands."""
    return json.dumps(HELLO).encode()[:-1] + b", " + text.encode("utf-8", "surrogateescape") + b"}"


def head(*fields: str) -> bytes:
    lines = [f"POST {CHAT} HTTP/1.1", "Host: 127.0.0.1", "Content-Type: application/json", *fields]
    return "\r\n".join([*lines, "", ""]).encode()


def chunked_50_megabytes(connection: socket.socket) -> None:
    connection.sendall(head("Transfer-Encoding: chunked"))
    piece = b"100000\r\n" + b" " * 2**20 + b"\r\n"
    for _ in range(50):
        connection.sendall(piece)
    connection.sendall(b"0\r\n\r\n")


def asks_before_it_sends(connection: socket.socket) -> None:
    connection.sendall(head(f"Content-Length: {50 * 2**20}", "Expect: 100-continue"))


def half_a_body(connection: socket.socket) -> None:
    connection.sendall(head("Content-Length: 100") + b'{"model":')


TOO_DEEP = b'{"messages": ' + b"[" * 10_000 + b"]" * 10_000 + b"}"
LONG = "hello there " * 6_000
SCHEMA = {"type": "json_schema", "json_schema": "x"}
CHOICE = {"type": "function", "function": {"name": "g"}}
TOOL = {"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": {}}}}
PLAIN = (("content-type", "text/plain"),)
BAD = {
    "an empty body": Bad(400, "invalid_request", says="headers or body: body"),
    "no JSON": Bad(400, "invalid_request", says="line 1 column 2", body=b"{nope"),
    "no object": Bad(400, "invalid_request", says="must be a JSON object", body=b"[]"),
    "a NaN": Bad(400, "invalid_request", says="NaN is not a number", body=literal('"temperature": NaN')),
    "an Infinity": Bad(400, "invalid_request", says="-Infinity is not", body=literal('"top_p": -Infinity')),
    "a number beyond floats": Bad(400, "invalid_request", says="1e999", body=literal('"temperature": 1e999')),
    "half a character": Bad(400, "invalid_request", "stop", "lone surrogate", body=literal('"stop": "\\ud800"')),
    "bytes that are no text": Bad(400, "invalid_request", says="UTF-8 at byte", body=literal('"stop": "\udcff"')),
    "10,000 levels": Bad(400, "invalid_request", says="nested too deeply", body=TOO_DEEP),
    "a key twice, the last one wrong": Bad(
        400, "invalid_request", "temperature", body=literal('"temperature": 0, "temperature": "hot"')
    ),
    "50 MB": Bad(413, "request_too_large", says="server.max_body_bytes", body=b" " * 50 * 2**20),
    "50 MB in chunks": Bad(413, "request_too_large", raw=chunked_50_megabytes),
    "50 MB, asked before": Bad(413, "request_too_large", raw=asks_before_it_sends),
    "a body that never comes": Bad(408, "request_timeout", says="within 3 s", raw=half_a_body),
    "plain text": Bad(415, "unsupported_media_type", says="not text/plain", headers=PLAIN, body=b"hello"),
    "a method that is not there": Bad(405, "method_not_allowed", says="use POST", method="GET", path="/v1/embeddings"),
    "no such route": Bad(404, "not_found", says="/v1/completion", path="/v1/completion", body=HELLO),
    "no such model": Bad(
        404, "model_not_found", "model", LLAMA, body=HELLO | {"model": "@cf/meta/llama-3.1-8b-instuct"}
    ),
    "no such embedder": embeddings("model", BGE, "model_not_found", 404, model="@cf/baai/bge-large-en-v1"),
    "a guard model": Bad(404, "model_not_found", "model", body=HELLO | {"model": "@cf/meta/llama-guard-3-8b"}),
    "a reranker": embeddings("model", "", "model_not_found", 404, model="@cf/baai/bge-reranker-base"),
    "an embedder that is to chat": chat("invalid_request", "model", "Text Embeddings", model=SMALL_EMBEDDER),
    "129 choices": chat("invalid_request", "n", "128", n=129),
    "a million choices": chat("invalid_request", "n", "128", n=10**6),
    "21 alternatives": chat("invalid_request", "top_logprobs", "20", logprobs=True, top_logprobs=21),
    "5 stop strings": chat("invalid_request", "stop", "4", stop=list("abcde")),
    "a biased id that is no token's": chat("invalid_request", "logit_bias", "49151", logit_bias={"49152": 1}),
    "a biased word": chat("invalid_request", "logit_bias.hello", logit_bias={"hello": 1}),
    "a tool that isn't there": chat("invalid_request", "tool_choice", "no function", tools=[TOOL], tool_choice=CHOICE),
    "a schema that is none": chat("invalid_request", "response_format.json_schema", response_format=SCHEMA),
    "no tokens to come": chat("invalid_request", "max_tokens", max_tokens=0),
    "a long prompt": chat(
        "context_length_exceeded",
        "messages",
        r"8192 tokens.* 12\d\d\d tokens",
        messages=[{"role": "user", "content": LONG}],
    ),
    "a long prompt to a stand-in": chat(
        "context_length_exceeded",
        "messages",
        rf"8192 tokens.* 12\d\d\d tokens.*{LLAMA} is answered here by the stand-in {SMALL_CHAT}",
        model=LLAMA,
        messages=[{"role": "user", "content": LONG}],
    ),
    "more tokens than the context leaves": chat(
        "context_length_exceeded", "max_tokens", r"8192 tokens.* 8192 are asked for", max_tokens=8192
    ),
    "100,000 messages": chat(
        "context_length_exceeded",
        "messages",
        r"8192 tokens.* at least 4\d{4} tokens",
        messages=HELLO["messages"] * 100_000,
    ),
    "token ids": embeddings("input", "check_embedding_ctx_length=False", input=[15339, 1917]),
    "lists of token ids": embeddings("input[0]", "check_embedding_ctx_length=False", input=[[15339], [1917]]),
    "2,049 inputs": embeddings("input", "2049", input=["a"] * 2049),
    "no input": embeddings("input", "empty", input=[]),
    "an empty input": embeddings("input[1]", "empty", input=["a", ""]),
    "dimensions that are not there": embeddings("dimensions", "384", dimensions=128),
    "dimensions that a stand-in lacks": embeddings("dimensions", "1024", model=BGE, dimensions=512),
    "a long input": embeddings("input[1]", r"302 tokens.* 256", "context_length_exceeded", input=["a", "a " * 300]),
    "a long input to a stand-in": embeddings(
        "input[0]", rf"302 tokens.* 256.*{SMALL_EMBEDDER}", "context_length_exceeded", model=BGE, input="a " * 300
    ),
}


def ask(server: LiveServer, bad: Bad) -> Reply:
    """Send it on a connection of its own, and read the answer to its end."""
    body = bad.body if isinstance(bad.body, bytes) else json.dumps(bad.body).encode()
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=WAIT_S)
    try:
        connection.request(bad.method, bad.path, body, dict(bad.headers))
        answer = connection.getresponse()
        return Reply(answer.status, dict(answer.getheaders()), answer.read())
    finally:
        connection.close()


def ask_raw(server: LiveServer, send: Callable[[socket.socket], None]) -> Reply:
    with socket.create_connection(("127.0.0.1", server.port), WAIT_S) as connection:
        send(connection)
        answer = http.client.HTTPResponse(connection)
        answer.begin()
        return Reply(answer.status, dict(answer.getheaders()), answer.read())


def streamed(server: LiveServer) -> list[str]:
    """STREAM's events, without what differs in each reply: its id and time."""
    reply = ask(server, Bad(200, "", body=STREAM))
    assert reply.status == 200, reply.body
    return [re.sub(r'"(id|created)":("[^"]*"|\d+),', "", line) for line in reply.body.decode().splitlines() if line]


@dataclass(frozen=True)
class Seen:
    """What came of it all. ``pings`` are the seconds that /healthz took meanwhile."""

    alone: list[str]
    beside: list[list[str]]
    replies: dict[str, Reply]
    pings: list[float]


class Alongside:
    """A thread that calls ``work`` again and again, at least once, until its block ends."""

    def __init__(self, work: Callable[[], None]) -> None:
        self._work = work
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def _run(self) -> None:
        self._work()
        while not self._ended.is_set():
            self._work()

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()


@pytest.fixture(scope="module")
def server(tmp_path_factory) -> Iterator[LiveServer]:
    environment = {"LOWCLOUD_SERVER__BODY_TIMEOUT_S": str(BODY_TIMEOUT_S)}
    with running(["dev"], tmp_path_factory.mktemp("data"), environment) as server:
        yield server


@pytest.fixture(scope="module")
def seen(server: LiveServer) -> Seen:
    """Everything of BAD, one after the other, beside streams and pings."""
    embedded = ask(server, Bad(200, "", path=EMBEDDINGS, body=TEXT))
    assert embedded.status == 200, "both models run before the first bad request"
    seen = Seen(streamed(server), [], {}, [])

    def ping() -> None:
        start = time.monotonic()
        assert ask(server, Bad(200, "", method="GET", path="/healthz")).status == 200
        seen.pings.append(time.monotonic() - start)

    with Alongside(lambda: seen.beside.append(streamed(server))), Alongside(ping):
        for name, bad in BAD.items():
            seen.replies[name] = ask_raw(server, bad.raw) if bad.raw else ask(server, bad)
    return seen


@pytest.mark.parametrize("name", BAD)
def test_what_is_bad_is_refused_by_name(name, seen):
    bad, reply = BAD[name], seen.replies[name]
    assert (reply.status, reply.error["code"], reply.error["param"]) == (bad.status, bad.code, bad.param)
    assert re.search(bad.says, reply.error["message"].replace("\n", " ")), reply.error["message"]


@pytest.mark.parametrize("name", BAD)
def test_a_refusal_is_of_both_sdks_shape_and_says_nothing_of_the_inside(name, seen):
    reply = seen.replies[name]
    error = reply.error
    assert set(error) == {"message", "type", "param", "code"}
    assert reply.json == {
        "error": error,
        "success": False,
        "errors": [{"code": reply.json["errors"][0]["code"], "message": error["message"]}],
        "messages": [],
        "result": None,
    }
    assert isinstance(reply.json["errors"][0]["code"], int)
    assert reply.headers["content-type"] == "application/json"
    assert reply.headers["x-request-id"]
    assert not INTERNALS.search(reply.body.decode())


def test_streams_beside_it_all_are_bit_for_bit_what_they_are_alone(seen):
    assert seen.alone[-1] == "data: [DONE]"
    assert len(seen.beside) > 1
    for beside in seen.beside:
        assert beside == seen.alone


def test_the_server_stays_awake_meanwhile(seen, record_property):
    record_property("worst_ping_s", max(seen.pings))
    assert max(seen.pings) < PING_S


def test_what_the_path_takes_is_allowed(seen):
    assert seen.replies["a method that is not there"].headers["allow"] == "POST, OPTIONS"


@pytest.mark.parametrize("name", ["50 MB", "50 MB in chunks", "50 MB, asked before", "a body that never comes"])
def test_a_connection_whose_body_was_not_read_is_closed(name, seen):
    assert seen.replies[name].headers["connection"] == "close"


@pytest.mark.parametrize("field", sorted(ChatBody.model_fields))
def test_a_wrong_type_in_a_chat_completion_is_a_400_that_names_its_field(field, server):
    reply = ask(server, chat("", None, **{field: WRONG}))
    assert (reply.status, reply.error["param"].startswith(field)) == (400, True), reply.body


@pytest.mark.parametrize("field", sorted(EmbeddingsBody.model_fields))
def test_a_wrong_type_in_an_embeddings_request_is_a_400_that_names_its_field(field, server):
    reply = ask(server, embeddings("", "", **{field: WRONG}))
    assert (reply.status, reply.error["param"].startswith(field)) == (400, True), reply.body


def test_a_head_that_goes_on_and_on_is_cut_off_and_keeps_nobody_from_being_answered(server):
    with socket.create_connection(("127.0.0.1", server.port), WAIT_S) as connection:
        connection.sendall(head()[:-2] + b"X: ")
        for _ in range(16):
            connection.sendall(b"a" * 2**20)
        assert ask(server, Bad(200, "", method="GET", path="/healthz")).status == 200
        answer = http.client.HTTPResponse(connection)
        answer.begin()
        assert (answer.status, json.loads(answer.read())["error"]["code"]) == (431, "request_head_too_large")


def test_clients_that_never_end_their_head_keep_nobody_from_being_answered(server):
    slow = [socket.create_connection(("127.0.0.1", server.port), WAIT_S) for _ in range(50)]
    try:
        for connection in slow:
            connection.sendall(head()[:-20])
        assert ask(server, Bad(200, "", body=HELLO | {"max_tokens": 1})).status == 200
    finally:
        for connection in slow:
            connection.close()


def test_nothing_of_it_was_a_bug_in_the_servers_eyes(seen, server):
    assert "Traceback" not in server.log.read_text()
    assert [name for name in server.metrics() if 'status="5' in name or 'status="422"' in name] == []
