"""Between the gate of bindings and their routes: writes down what goes through, or answers from what was written."""

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TypeAlias

import anyio
import anyio.to_thread
from starlette.types import Message, Receive, Scope, Send

from lowcloud.core.errors import LowcloudError, NotFound
from lowcloud.http.binding.tape import FILE, Asked, Tape, asked_of, from_lines, recorded, to_line
from lowcloud.http.body import read_body
from lowcloud.http.call import Trace
from lowcloud.http.errors import response
from lowcloud.http.settings import HttpSettings

Inner: TypeAlias = Callable[[Trace, Scope, Receive, Send], Awaitable[None]]
OF_WRANGLER = "/client/v4/"  # what it asks before it opens a session, which is no call of env.AI


class Recorder:
    """Writes each call whose answer came to its end into ``folder``, before the client has all of it.

    A call that its client leaves is none.
    """

    def __init__(self, inner: Inner, folder: Path, settings: HttpSettings) -> None:
        self._inner = inner
        self._file = folder / FILE
        self._settings = settings
        self._one = anyio.CapacityLimiter(1)  # lines stay whole, and in order

    async def __call__(self, trace: Trace, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["path"].startswith(OF_WRANGLER):
            await self._inner(trace, scope, receive, send)
            return
        body = await read_body(scope, receive, self._settings)
        heard = _Heard(asked_of(scope, body), self._append, send)
        try:
            await self._inner(trace, scope, _again(body, receive), heard.send)
        except LowcloudError as error:
            if trace.status is not None:
                raise
            await response(error, trace.id, trace.error_shape)(scope, receive, heard.send)

    async def _append(self, line: str) -> None:
        await anyio.to_thread.run_sync(self._write, line, limiter=self._one)

    def _write(self, line: str) -> None:
        with self._file.open("a", encoding="utf-8") as file:
            file.write(line + "\n")


class Replayer:
    """Answers from a tape; only what wrangler asks goes through to ``inner``."""

    def __init__(self, inner: Inner, tape: Tape, settings: HttpSettings) -> None:
        self._inner = inner
        self._tape = tape
        self._settings = settings

    async def __call__(self, trace: Trace, scope: Scope, receive: Receive, send: Send) -> None:
        """Raises NotFound for a call that isn't on the tape."""
        if scope["path"].startswith(OF_WRANGLER):
            await self._inner(trace, scope, receive, send)
            return
        asked = asked_of(scope, await read_body(scope, receive, self._settings))
        found = self._tape.next(asked)
        if found is None:
            raise NotFound(self._tape.miss(asked))
        trace.route = "replay"
        headers = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in found.headers]
        await send({"type": "http.response.start", "status": found.status, "headers": headers})
        for piece in found.pieces:
            await send({"type": "http.response.body", "body": piece, "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})


class _Heard:
    """A ``send`` that remembers."""

    def __init__(self, asked: Asked, append: Callable[[str], Awaitable[None]], send: Send) -> None:
        self._asked = asked
        self._append = append
        self._send = send
        self._start: Message = {}
        self._pieces: list[bytes] = []

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self._start = message
        else:
            if piece := bytes(message.get("body", b"")):
                self._pieces.append(piece)
            if not message.get("more_body", False):
                line = recorded(self._asked, self._start["status"], self._start["headers"], self._pieces)
                await self._append(to_line(line))
        await self._send(message)


def empty(folder: Path) -> None:
    """A new record. Raises OSError."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / FILE).write_text("", "utf-8")


def tape(folder: Path) -> Tape:
    """What was recorded there. Raises ValueError, OSError."""
    return from_lines((folder / FILE).read_text("utf-8"))


def _again(body: bytes, receive: Receive) -> Receive:
    """A ``receive`` that gives the body once more, and then what comes."""
    first: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def receive_again() -> Message:
        return first.pop() if first else await receive()

    return receive_again
