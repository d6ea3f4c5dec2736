"""A request's head is bounded in bytes and in time, and what is no HTTP is answered in the shape of all errors."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import ClassVar

import anyio
import pytest
import uvicorn

from lowcloud.http.connection import Connection
from lowcloud.http.server import listen

pytestmark = pytest.mark.anyio
BOUND_S = 20
GET = b"GET /now HTTP/1.1\r\nHost: x\r\n\r\n"
POST = b"POST /now HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n"
ANSWER = b"HTTP/1.1 200 OK\r\n"


class Quick(Connection):
    head_s = 0.2


class Patient(Connection):
    head_s = 600.0


class App:
    """Reads the body and answers; /held when ``go`` is set, /late with the head before that."""

    def __init__(self) -> None:
        self.go = anyio.Event()
        self.arrived = anyio.Event()

    async def __call__(self, scope, receive, send) -> None:
        while (await receive()).get("more_body"):
            pass
        self.arrived.set()
        if scope["path"] == "/held":
            await self.go.wait()
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
        if scope["path"] == "/late":
            await self.go.wait()
        await send({"type": "http.response.body", "body": b"ok"})


@asynccontextmanager
async def connected(kind: type[Connection]) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter, App]]:
    """A connection to a server whose connections are of that kind."""
    app, listener = App(), listen("127.0.0.1", 0)
    config = uvicorn.Config(app, lifespan="off", log_config=None, access_log=False, http=kind, ws="none")
    server = uvicorn.Server(config)
    with anyio.fail_after(BOUND_S):
        async with anyio.create_task_group() as group:
            group.start_soon(server.serve, [listener.socket])
            reader, writer = await asyncio.open_connection("127.0.0.1", listener.socket.getsockname()[1])
            try:
                yield reader, writer, app
            finally:
                writer.close()
                server.should_exit = True


async def refusal(reader: asyncio.StreamReader) -> tuple[int, str]:
    """Status and code of an answer after which the connection ends."""
    head, _, body = (await reader.read()).partition(b"\r\n\r\n")
    answer = json.loads(body)
    assert b"connection: close" in head
    assert (answer["success"], answer["errors"][0]["message"]) == (False, answer["error"]["message"])
    return int(head.split()[1]), answer["error"]["code"]


async def answered(reader: asyncio.StreamReader) -> bool:
    return (await reader.readuntil(b"\r\n\r\nok")).startswith(ANSWER)


async def test_a_connection_that_asks_nothing_is_closed_without_a_word():
    async with connected(Quick) as (reader, _, _):
        assert await reader.read() == b""


async def test_between_requests_a_connection_may_rest():
    async with connected(Quick) as (reader, writer, _):
        for _ in range(2):
            writer.write(POST % 4 + b"body")
            assert await answered(reader)
            with anyio.move_on_after(3 * Quick.head_s):
                await reader.read(1)
                pytest.fail("the connection was closed, or something came")


@pytest.mark.parametrize("begun", [b"G", b"GET /now HTTP/1.1\r\nHost: x\r\nX-Slow: "])
async def test_a_head_that_never_ends_is_a_408(begun):
    async with connected(Quick) as (reader, writer, _):
        writer.write(begun)
        assert await refusal(reader) == (408, "request_timeout")


async def test_so_is_one_that_begins_after_an_answer():
    async with connected(Quick) as (reader, writer, _):
        writer.write(GET)
        assert await answered(reader)
        writer.write(GET[:-2])
        assert await refusal(reader) == (408, "request_timeout")


async def test_a_head_begun_during_an_answer_does_not_cut_it():
    async with connected(Quick) as (reader, writer, app):
        writer.write(GET.replace(b"now", b"held") + GET[:-2])
        await app.arrived.wait()
        with anyio.move_on_after(3 * Quick.head_s):
            await reader.readexactly(1)
            pytest.fail("something was answered before the app said anything")
        app.go.set()
        assert await answered(reader)
        assert await refusal(reader) == (408, "request_timeout")


@pytest.mark.parametrize("pieces", [1, 100])
async def test_a_head_that_is_too_large_is_a_431(pieces):
    async with connected(Patient) as (reader, writer, _):
        writer.write(b"GET /now HTTP/1.1\r\nX: ")
        for _ in range(pieces):
            writer.write(b"a" * (2**20 // pieces))
        assert await refusal(reader) == (431, "request_head_too_large")


async def test_a_body_is_not_counted_as_head_wherever_it_is_cut():
    body = b"x" * 300_000
    async with connected(Patient) as (reader, writer, _):
        writer.write((POST % len(body) + body) * 2 + GET[:-2])
        assert await answered(reader)
        assert await answered(reader)
        writer.write(GET[-2:])
        assert await answered(reader)


async def test_many_heads_on_one_connection_are_counted_one_by_one():
    large = GET[:-2] + b"X: " + b"a" * 30_000 + b"\r\n\r\n"
    async with connected(Patient) as (reader, writer, _):
        for _ in range(5):
            writer.write(large[:20_000])
            await writer.drain()
            writer.write(large[20_000:])
            assert await answered(reader)


async def test_what_is_no_http_is_a_400():
    async with connected(Patient) as (reader, writer, _):
        writer.write(b"\x16\x03\x01\x02\x00 this would be TLS\r\n\r\n")
        assert await refusal(reader) == (400, "invalid_request")


class Wire:
    """A transport that keeps what is written to it."""

    written: ClassVar[list[bytes]] = []

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport

    def __getattr__(self, name: str) -> object:
        return getattr(self._transport, name)

    def write(self, data: bytes) -> None:
        self.written.append(data)
        self._transport.write(data)


class Watched(Patient):
    def connection_made(self, transport: asyncio.Transport) -> None:
        super().connection_made(Wire(transport))


async def test_an_answers_head_and_body_are_written_at_once():
    Wire.written.clear()
    async with connected(Watched) as (reader, writer, _):
        for _ in range(2):
            writer.write(GET)
            assert await answered(reader)
    answers = [data for data in Wire.written if data]
    assert len(answers) == 2
    assert all(each.startswith(ANSWER) and each.endswith(b"\r\n\r\nok") for each in answers)


async def test_a_head_is_not_kept_back_until_there_is_a_body():
    async with connected(Patient) as (reader, writer, app):
        writer.write(GET.replace(b"now", b"late"))
        assert (await reader.readuntil(b"\r\n\r\n")).startswith(ANSWER)
        app.go.set()
        assert await reader.readexactly(2) == b"ok"
