"""The client of a WebSocket, without a network."""

import json
from collections import deque
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from typing import Any, Generic, TypeVar

import anyio
from starlette.types import ASGIApp, Message

T = TypeVar("T")
ENDS = ("response.completed", "response.incomplete", "response.failed", "error")


class Line(Generic[T]):
    """First in, first out."""

    def __init__(self) -> None:
        self._waiting: deque[T] = deque()
        self._changed = anyio.Event()

    def put(self, item: T) -> None:
        self._waiting.append(item)
        changed, self._changed = self._changed, anyio.Event()
        changed.set()

    async def get(self) -> T:
        while not self._waiting:
            await self._changed.wait()
        return self._waiting.popleft()


class Socket:
    """One connection to ``app``. ``stalled``: the client takes nothing; ``is_over`` once the app has returned."""

    def __init__(self, app: ASGIApp, path: str, headers: Mapping[str, str]) -> None:
        raw = [(name.encode(), value.encode()) for name, value in {"host": "127.0.0.1:8780", **headers}.items()]
        self._app = app
        self._scope = {
            "type": "websocket",
            "path": path,
            "raw_path": path.encode(),
            "query_string": b"",
            "headers": raw,
            "extensions": {"websocket.http.response": {}},
        }
        self._to_app: Line[Message] = Line()
        self._from_app: Line[Message] = Line()
        self.stalled = False
        self.is_broken = False
        self.is_over = anyio.Event()

    async def run(self) -> None:
        self.put({"type": "websocket.connect"})
        try:
            await self._app(self._scope, self._to_app.get, self._send)
        finally:
            self.is_over.set()

    def put(self, message: Message) -> None:
        """What the server passes on to the app."""
        self._to_app.put(message)

    def say(self, text: str) -> None:
        """Send a text."""
        self.put({"type": "websocket.receive", "text": text})

    def ask(self, **fields: object) -> None:
        """Send an event: a ``response.create`` unless it says something else."""
        self.say(json.dumps({"type": "response.create"} | fields))

    def leave(self) -> None:
        """Close the connection."""
        self.put({"type": "websocket.disconnect", "code": 1000})

    async def message(self) -> Message:
        """The next that the app sends."""
        with anyio.fail_after(30):
            return await self._from_app.get()

    async def event(self) -> dict[str, Any]:
        """The next event."""
        message = await self.message()
        assert message["type"] == "websocket.send", message
        return json.loads(message["text"])

    async def turn(self) -> list[dict[str, Any]]:
        """The events up to the one that ends a response."""
        events = [await self.event()]
        while events[-1]["type"] not in ENDS:
            events.append(await self.event())
        return events

    async def refusal(self) -> tuple[int, dict[str, Any]]:
        """The status and the body of an answer that accepts no connection."""
        start, body = await self.message(), await self.message()
        assert start["type"] == "websocket.http.response.start", start
        return start["status"], json.loads(body["body"])

    async def _send(self, message: Message) -> None:
        if self.stalled:
            await anyio.sleep_forever()
        if self.is_broken:
            raise OSError("the connection broke")
        self._from_app.put(message)


@asynccontextmanager
async def opened(app: ASGIApp, path: str, headers: Mapping[str, str] | None = None) -> AsyncGenerator[Socket, None]:
    """A connection that is accepted; it is left at the end, unless it is over then."""
    async with knocking(app, path, headers) as socket:
        assert (await socket.message())["type"] == "websocket.accept"
        yield socket


@asynccontextmanager
async def knocking(app: ASGIApp, path: str, headers: Mapping[str, str] | None = None) -> AsyncGenerator[Socket, None]:
    """One that may not be."""
    socket = Socket(app, path, headers or {})
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(socket.run)
        yield socket
        socket.leave()
        with anyio.fail_after(30):
            await socket.is_over.wait()
