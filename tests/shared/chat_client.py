"""A client on a socket of its own: it asks for a chat completion, reads what it likes, and leaves as it likes."""

import json
import socket
import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from http.client import HTTPResponse
from typing import Any

from live_server import ACCOUNT, LiveServer

MODEL = "@local/smollm2-135m-instruct"
BOUND_S = 120
PATH = f"/client/v4/accounts/{ACCOUNT}/ai/v1/chat/completions"
RESET = struct.pack("ii", 1, 0)  # SO_LINGER: closing drops what is unsent and sends RST


def asking(prompt: str, **options: object) -> dict[str, Any]:
    """A body. Greedy, and as long as asked for, unless ``options`` say otherwise."""
    messages = [{"role": "user", "content": prompt}]
    return {"model": MODEL, "messages": messages, "temperature": 0, "ignore_eos": True, "max_tokens": 16, **options}


class Caller:
    """One request, sent. ``receive_bytes`` makes the socket's own buffer small.

    Who doesn't read the answer to its end leaves.
    """

    def __init__(self, server: LiveServer, body: dict[str, Any], *, receive_bytes: int = 0) -> None:
        self._socket = socket.socket()
        self._socket.settimeout(BOUND_S)
        if receive_bytes:
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_bytes)
        raw = json.dumps(body).encode()
        head = f"POST {PATH} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
        try:
            self._socket.connect(("127.0.0.1", server.port))
            self._socket.sendall(f"{head}Content-Length: {len(raw)}\r\n\r\n".encode() + raw)
        except OSError:
            self._socket.close()
            raise
        self._answer = HTTPResponse(self._socket, method="POST")
        self._is_begun = False

    def answer(self) -> HTTPResponse:
        """Status and headers; waits for them."""
        if not self._is_begun:
            self._answer.begin()
            self._is_begun = True
        return self._answer

    def chunks(self) -> Iterator[dict[str, Any]]:
        """What a stream says, up to its end. One that stops in its midst raises IncompleteRead."""
        answer = self.answer()
        while line := answer.readline():
            if line.startswith(b"data: ") and line != b"data: [DONE]\n":
                yield json.loads(line.removeprefix(b"data: "))
        self.leave()

    def whole(self) -> dict[str, Any]:
        """An answer that is no stream."""
        raw = self.answer().read()
        self.leave()
        return json.loads(raw)

    def leave(self, *, reset: bool = False) -> None:
        """Close the connection; with ``reset`` not even a FIN is sent."""
        if reset:
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        self._answer.close()
        self._socket.close()


@dataclass
class Said:
    """What one choice says. ``logprobs`` as they are on the wire."""

    text: str = ""
    logprobs: list[dict[str, Any]] = field(default_factory=list)
    finish: str | None = None


@dataclass
class Reply:
    """What an answer says in the end, however it was cut into chunks."""

    choices: dict[int, Said] = field(default_factory=dict)
    usage: dict[str, Any] | None = None
    error: dict[str, Any] | None = None
    fingerprint: str = ""

    @property
    def is_complete(self) -> bool:
        return self.error is None and all(said.finish for said in self.choices.values()) and bool(self.choices)

    def add(self, chunk: dict[str, Any]) -> None:
        """One chunk, or a whole answer."""
        self.error = chunk.get("error") or self.error
        self.usage = chunk.get("usage") or self.usage
        self.fingerprint = chunk.get("system_fingerprint", self.fingerprint)
        for choice in chunk.get("choices", []):
            said = self.choices.setdefault(choice["index"], Said())
            said.text += (choice.get("delta") or choice.get("message") or {}).get("content") or ""
            said.logprobs += (choice["logprobs"] or {}).get("content", [])
            said.finish = choice["finish_reason"] or said.finish


def folded(chunks: Iterable[dict[str, Any]]) -> Reply:
    """The reply of all chunks."""
    reply = Reply()
    for chunk in chunks:
        reply.add(chunk)
    return reply


def ask(server: LiveServer, body: dict[str, Any]) -> Reply:
    """The whole reply, streamed or not."""
    caller = Caller(server, body)
    if caller.answer().status != 200:
        raise RuntimeError(f"{caller.answer().status}: {caller.whole()}")
    return folded(caller.chunks() if body.get("stream") else [caller.whole()])
