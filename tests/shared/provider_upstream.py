"""OpenAI and Anthropic on a loopback port, in the forms that their APIs really have; and a server that misbehaves."""

import json
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

USAGE = {"prompt_tokens": 9, "completion_tokens": 3, "total_tokens": 12}
WORDS = ("beep", " boop", " whirr")
CHAT = {
    "id": "chatcmpl-B9MBs8CjcvOU2jLn4n570S5qMJKcT",
    "object": "chat.completion",
    "created": 1_741_569_952,
    "model": "gpt-4o-2024-08-06",
    "choices": [
        {
            "index": 0,
            "message": {"role": "assistant", "content": "".join(WORDS), "refusal": None, "annotations": []},
            "logprobs": None,
            "finish_reason": "stop",
        }
    ],
    "usage": USAGE | {"prompt_tokens_details": {"cached_tokens": 0}},
    "service_tier": "default",
    "system_fingerprint": "fp_44709d6fcb",
}
EMBEDDING = {
    "object": "list",
    "data": [{"object": "embedding", "index": 0, "embedding": [0.0023064255, -0.009327292]}],
    "model": "text-embedding-3-small",
    "usage": {"prompt_tokens": 8, "total_tokens": 8},
}
MESSAGE = {
    "id": "msg_013Zva2CMHLNnjNjJJKqJ2EF",
    "type": "message",
    "role": "assistant",
    "model": "claude-sonnet-4-5-20250929",
    "content": [{"type": "text", "text": "".join(WORDS)}],
    "stop_reason": "end_turn",
    "stop_sequence": None,
    "usage": {"input_tokens": 9, "output_tokens": 3},
}


def chat_events() -> Iterator[bytes]:
    """A chat completion as OpenAI streams it."""
    head = {key: CHAT[key] for key in ("id", "created", "model", "service_tier", "system_fingerprint")}
    head["object"] = "chat.completion.chunk"
    deltas = [{"role": "assistant", "content": "", "refusal": None}, *({"content": word} for word in WORDS)]
    for delta, reason in [*((delta, None) for delta in deltas), ({}, "stop")]:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": reason}
        yield b"data: " + json.dumps({**head, "choices": [choice], "usage": None}).encode() + b"\n\n"
    yield b"data: " + json.dumps({**head, "choices": [], "usage": USAGE}).encode() + b"\n\n"
    yield b"data: [DONE]\n\n"


def message_events() -> Iterator[bytes]:
    """A message as Anthropic streams it."""
    begun = MESSAGE | {"content": [], "stop_reason": None, "usage": {"input_tokens": 9, "output_tokens": 1}}
    yield _named("message_start", message=begun)
    yield _named("content_block_start", index=0, content_block={"type": "text", "text": ""})
    yield _named("ping")
    for word in WORDS:
        yield _named("content_block_delta", index=0, delta={"type": "text_delta", "text": word})
    yield _named("content_block_stop", index=0)
    yield _named("message_delta", delta={"stop_reason": "end_turn", "stop_sequence": None}, usage={"output_tokens": 3})
    yield _named("message_stop")


def _named(name: str, **fields: object) -> bytes:
    return f"event: {name}\ndata: ".encode() + json.dumps({"type": name, **fields}).encode() + b"\n\n"


class Exchange(BaseHTTPRequestHandler):
    """One connection; ``upstream`` says what is answered."""

    protocol_version = "HTTP/1.1"
    upstream: "ProviderUpstream"

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"] or 0))
        self.asked = json.loads(body) if body else None
        with self.upstream.lock:
            headers = {name.lower(): value for name, value in self.headers.items()}
            self.upstream.asked.append((self.path, headers, self.asked))
        self.upstream.answer(self)

    do_GET = do_HEAD = do_DELETE = do_POST  # noqa: N815 - http.server's names

    def log_message(self, *_: object) -> None:
        """Nothing is written."""

    def whole(self, body: object, status: int = 200, headers: Mapping[str, str] | None = None) -> None:
        """One JSON body."""
        data = json.dumps(body).encode()
        self.head(status, {"content-type": "application/json", "content-length": str(len(data)), **(headers or {})})
        self.wfile.write(data)

    def stream(self, events: Iterator[bytes]) -> None:
        """Events, each when the one before has left."""
        self.head(200, {"content-type": "text/event-stream; charset=utf-8", "transfer-encoding": "chunked"})
        for event in events:
            self.chunk(event)
        self.chunk(b"")

    def head(self, status: int, headers: Mapping[str, str]) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()

    def chunk(self, data: bytes) -> None:
        self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))
        self.wfile.flush()


def well_behaved(exchange: Exchange) -> None:
    """Chats, embeddings and messages, whole or as a stream."""
    asked: Any = exchange.asked
    match exchange.path.rpartition("/v1/")[2], bool(asked.get("stream")):
        case "chat/completions", True:
            exchange.stream(chat_events())
        case "chat/completions", False:
            exchange.whole(CHAT, headers={"x-request-id": "req_openai", "openai-organization": "org"})
        case "embeddings", _:
            exchange.whole(EMBEDDING)
        case "messages", True:
            exchange.stream(message_events())
        case "messages", False:
            exchange.whole(MESSAGE, headers={"request-id": "req_anthropic"})
        case path, _:
            error = {"message": f"Unknown request URL: {path}", "type": "invalid_request_error"}
            exchange.whole({"error": error}, 404)


@dataclass
class ProviderUpstream:
    """``answer`` answers each call; ``asked`` has the path, the headers by
    lower-case names, and the body of each."""

    url: str = ""
    answer: Callable[[Exchange], None] = well_behaved
    asked: list[tuple[str, Mapping[str, str], Any]] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 256

    def handle_error(self, *_: object) -> None:
        """A client that left is no error."""


@contextmanager
def provider_upstream(answer: Callable[[Exchange], None] = well_behaved) -> Iterator[ProviderUpstream]:
    """It listens until the end."""
    upstream = ProviderUpstream(answer=answer)
    server = _Server(("127.0.0.1", 0), type("Bound", (Exchange,), {"upstream": upstream}))
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    upstream.url = f"http://127.0.0.1:{server.server_address[1]}"
    try:
        yield upstream
    finally:
        server.shutdown()
        server.server_close()
        thread.join(10)
