"""An OpenAI-compatible upstream on a loopback port that says what a test tells it to, and keeps what it was asked."""

import asyncio
import json
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
BASE = "/v1"
STREAM = {"Content-Type": "text/event-stream"}


@dataclass
class FakeUpstream:
    """``answer`` decides what comes; ``bodies`` and ``headers`` are those of the requests, ``connections`` what they
    came over. ``left`` is set when a client closed its connection within an answer."""

    url: str = ""
    answer: Handler | None = None
    bodies: list[Any] = field(default_factory=list)
    headers: list[Mapping[str, str]] = field(default_factory=list)
    paths: list[str] = field(default_factory=list)
    connections: set[object] = field(default_factory=set)
    left: asyncio.Event = field(default_factory=asyncio.Event)
    running: int = 0

    async def handle(self, request: web.Request) -> web.StreamResponse:
        self.paths.append(request.path)
        self.headers.append(request.headers)
        self.connections.add(request.transport)
        self.bodies.append(await request.json() if request.can_read_body else None)
        assert self.answer is not None, "the test says nothing"
        self.running += 1
        try:
            return await self.answer(request)
        except (asyncio.CancelledError, ConnectionError):
            self.left.set()
            raise
        finally:
            self.running -= 1


def streamed(*pieces: bytes, broken: bool = False, held: asyncio.Event | None = None) -> Handler:
    """A stream of these pieces; ``held``: after the first it waits for that; ``broken``: it ends within its answer."""

    async def answer(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers=STREAM)
        await response.prepare(request)
        for number, piece in enumerate(pieces):
            if number == 1 and held is not None:
                await held.wait()
            await response.write(piece)
        if broken:
            assert request.transport is not None
            request.transport.abort()
        return response

    return answer


def said(body: object, status: int = 200, headers: Mapping[str, str] | None = None) -> Handler:
    """One body: bytes, or what becomes JSON."""

    async def answer(request: web.Request) -> web.StreamResponse:
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        return web.Response(body=data, status=status, content_type="application/json", headers=headers)

    return answer


def events(*chunks: object, done: bool = True) -> bytes:
    """Chunks as a stream's bytes."""
    return b"".join(b"data: " + json.dumps(chunk).encode() + b"\n\n" for chunk in chunks) + done * b"data: [DONE]\n\n"


def chunk(delta: Mapping[str, object], finish: str | None = None, index: int = 0) -> dict[str, object]:
    """A chunk of one choice."""
    return {"choices": [{"index": index, "delta": delta, "finish_reason": finish}]}


def spoken(words: Sequence[str], **usage: object) -> bytes:
    """A whole stream that says these words, as it should be."""
    last = [{"choices": [], "usage": usage}] if usage else []
    return events(*(chunk({"content": word}) for word in words), chunk({}, "stop"), *last)


@asynccontextmanager
async def fake_upstream(answer: Handler | None = None) -> AsyncGenerator[FakeUpstream, None]:
    """Runs until the end; ``url`` is the base that a setting would have."""
    upstream = FakeUpstream(answer=answer)
    app = web.Application(client_max_size=2**28)
    app.router.add_route("*", "/{path:.*}", upstream.handle)
    runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=1.0)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        upstream.url = f"http://127.0.0.1:{runner.addresses[0][1]}{BASE}"
        yield upstream
    finally:
        await runner.cleanup()
