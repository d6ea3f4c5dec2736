"""The layer behind the real server, on raw sockets: what an ASGI client can't show."""

import asyncio
import json
import socket
from contextlib import asynccontextmanager

import anyio
import pytest
import uvicorn

from lowcloud.http.clock import SystemClock
from lowcloud.http.connection import Connection
from lowcloud.http.server import listen
from lowcloud.http.settings import HttpSettings

pytestmark = pytest.mark.anyio
SMALL_BYTES = 8_192
CHAT = {"model": "@local/smollm2-135m-instruct", "messages": [{"role": "user", "content": "hello"}]}


@asynccontextmanager
async def serving(app):
    """A listening server; yields its port."""
    listener = listen("127.0.0.1", 0)
    listener.socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SMALL_BYTES)
    config = uvicorn.Config(app, lifespan="off", log_config=None, access_log=False, http=Connection, ws="none")
    server = uvicorn.Server(config)
    async with anyio.create_task_group() as group:
        group.start_soon(server.serve, [listener.socket])
        try:
            yield listener.socket.getsockname()[1]
        finally:
            server.should_exit = True


def request(method: str, path: str, body: bytes = b"", **headers: str) -> bytes:
    fields = {"Host": "127.0.0.1", "Content-Length": str(len(body))} | {
        name.replace("_", "-"): value for name, value in headers.items()
    }
    head = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
    return f"{method} {path} HTTP/1.1\r\n{head}\r\n".encode() + body


async def answer(reader: asyncio.StreamReader) -> tuple[int, dict[str, str], bytes]:
    """One answer that has a length."""
    head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
    headers = dict(line.lower().split(": ", 1) for line in head[1:] if line)
    return int(head[0].split()[1]), headers, await reader.readexactly(int(headers["content-length"]))


async def test_a_body_of_50_megabytes_gets_its_413_and_the_connection_ends(world):
    async with serving(world.app) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(request("POST", "/v1/chat/completions", b"x" * 50_000_000))
        status, headers, body = await answer(reader)
        assert (status, headers["connection"], json.loads(body)["success"]) == (413, "close", False)
        assert await reader.read() == b""
        writer.close()


async def test_a_client_that_asks_before_it_sends_too_much_is_told_at_once(world):
    async with serving(world.app) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        headers = {"Content_Length": "50000000", "Expect": "100-continue"}
        writer.write(request("POST", "/v1/chat/completions", **headers))
        assert (await answer(reader))[0] == 413
        writer.close()


async def test_one_connection_takes_many_requests_after_errors_too(world):
    async with serving(world.app) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        expected = [
            (request("POST", "/v1/chat/completions", b"{"), 400),
            (request("GET", "/v1/models/@cf%2Fmeta%2Fllama-3.1-8b-instruct?x=%2F"), 200),
            (request("POST", "/v1/chat/completions", json.dumps(CHAT).encode()), 200),
            (request("GET", "/v1/nope"), 404),
            (request("GET", "/healthz", Host="evil.example"), 403),
        ]
        for sent, status in expected:
            writer.write(sent)
            assert (await answer(reader))[0] == status
        writer.close()


async def test_a_client_that_vanishes_in_a_stream_is_cancelled(world):
    async with serving(world.app) as port:
        world.chat.stage.hold("token:1")
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(request("POST", "/v1/chat/completions", json.dumps(CHAT | {"stream": True}).encode()))
        await reader.readuntil(b'"one"')
        writer.transport.abort()
        await world.metrics.recorded()
    assert (len(world.chat.cancelled), world.chat.running) == (1, [])
    assert world.logs.calls[-1].kwargs["outcome"] == "client_left"


async def read_nothing(world, port: int, sent: bytes) -> None:
    """Ask, and take nothing until the request is over."""
    narrow = socket.socket()
    narrow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, SMALL_BYTES)
    narrow.connect(("127.0.0.1", port))
    _, writer = await asyncio.open_connection(sock=narrow, limit=1)
    writer.write(sent)
    await world.metrics.recorded()
    writer.transport.abort()


async def test_a_client_that_reads_nothing_is_given_up(make_world):
    """By the real clock: only the sockets on the way know when they are full."""
    endless = CHAT | {"stream": True, "ignore_eos": True, "n": 1, "max_tokens": 4000}
    settings = HttpSettings(any_account=True, write_timeout_s=0.2)
    async with make_world(settings=settings, clock=SystemClock()) as world, serving(world.app) as port:
        await read_nothing(world, port, request("POST", "/v1/chat/completions", json.dumps(endless).encode()))
    assert (len(world.chat.cancelled), world.chat.running) == (1, [])
    assert world.logs.calls[-1].kwargs["outcome"] == "write_timeout"


async def test_so_is_one_that_reads_nothing_of_a_whole_answer(make_world):
    large = {"model": "@local/all-minilm-l6-v2", "input": ["tea"] * 256}
    settings = HttpSettings(any_account=True, write_timeout_s=0.2)
    async with make_world(settings=settings) as world, serving(world.app) as port:
        await read_nothing(world, port, request("POST", "/v1/embeddings", json.dumps(large).encode()))
    assert world.logs.calls[-1].kwargs["outcome"] == "write_timeout"


@pytest.mark.parametrize("before", [b"", request("GET", "/healthz")])
async def test_a_body_that_stops_on_its_way_is_a_408_also_behind_a_request_that_came_whole(make_world, before):
    settings = HttpSettings(any_account=True, body_timeout_s=0.2)
    async with make_world(settings=settings) as world, serving(world.app) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(before + request("POST", "/v1/chat/completions", json.dumps(CHAT).encode())[:-1])
        with anyio.fail_after(20):
            if before:
                assert (await answer(reader))[0] == 200
            assert (await answer(reader))[0] == 408
        writer.close()
