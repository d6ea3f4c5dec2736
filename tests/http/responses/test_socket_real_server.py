"""The WebSocket of responses behind the real server: handshakes, frames, pings, and clients that misbehave."""

import asyncio
import json
import os
import signal
import socket
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import anyio
import pytest
import uvicorn
from uvicorn.server import ServerState
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.frames import Frame, Opcode

from lowcloud.http.auth import TokenAuth
from lowcloud.http.responses.socket import IDLE_S
from lowcloud.http.server import Stop, listen, serve
from lowcloud.http.settings import HttpSettings
from lowcloud.http.socket_connection import CLOSE_S, FRAGMENTS, SocketConnection
from lowcloud.models.catalogue import CHAT_STAND_IN

pytestmark = pytest.mark.anyio
BOUND_S = 30
MESSAGE_BYTES = 20_000
SMALL_BYTES = 8_192
PATH = "/v1/responses"
ASK = json.dumps({"type": "response.create", "model": CHAT_STAND_IN, "input": "hello there", "store": False})
KEY = "dGhlIHNhbXBsZSBub25jZQ=="
UPGRADE = {"Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13", "Sec-WebSocket-Key": KEY}


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, bool]]:
    """As the product runs."""
    return "asyncio", {"use_uvloop": True}


@dataclass
class Server:
    """One that runs until it gets a signal, which it gets at the end if it had none."""

    desk: Any
    port: int
    ended: anyio.Event = field(default_factory=anyio.Event)

    def connect(self, **options: Any) -> connect:
        """A client's connection to be."""
        return connect(f"ws://127.0.0.1:{self.port}{PATH}", compression=None, proxy=None, **options)

    def stop(self) -> None:
        os.kill(os.getpid(), signal.SIGTERM)

    async def raw(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_connection("127.0.0.1", self.port)


@asynccontextmanager
async def running(make_desk: Any, **world: Any) -> AsyncGenerator[Server, None]:
    async with make_desk(**world) as desk:
        listener = listen("127.0.0.1", 0)
        server = Server(desk, listener.socket.getsockname()[1])

        async def run() -> None:
            await serve(desk.world.app, [listener], Stop(BOUND_S, lambda: None, lambda: None), MESSAGE_BYTES)
            server.ended.set()

        with anyio.fail_after(BOUND_S):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(run)
                yield server
                if not server.ended.is_set():
                    server.stop()
                    await server.ended.wait()


@pytest.fixture
async def server(make_desk) -> AsyncGenerator[Server, None]:
    async with running(make_desk) as made:
        yield made


def head(method: str = "GET", path: str = PATH, **headers: str) -> bytes:
    lines = {"Host": "127.0.0.1", **UPGRADE, **{name.replace("_", "-"): value for name, value in headers.items()}}
    return f"{method} {path} HTTP/1.1\r\n".encode() + b"".join(f"{k}: {v}\r\n".encode() for k, v in lines.items())


async def answer(reader: asyncio.StreamReader) -> tuple[int, dict[str, Any]]:
    """The status and the body of an answer that has a length."""
    said = (await reader.readuntil(b"\r\n\r\n")).lower()
    length = int(said.partition(b"content-length: ")[2].partition(b"\r\n")[0])
    return int(said.split()[1]), json.loads(await reader.readexactly(length))


async def turn(client: ClientConnection) -> list[dict[str, Any]]:
    """A response's events."""
    await client.send(ASK)
    return await rest(client)


async def rest(client: ClientConnection) -> list[dict[str, Any]]:
    events = [json.loads(await client.recv())]
    while events[-1]["type"] not in ("response.completed", "error"):
        events.append(json.loads(await client.recv()))
    return events


async def closed(client: ClientConnection) -> int:
    """The code that the connection is closed with."""
    with pytest.raises(ConnectionClosed):
        while True:
            await client.recv()
    return client.close_code or 0


async def test_several_responses_come_on_one_connection(server):
    async with server.connect() as client:
        assert client.response is not None
        assert client.response.headers["x-request-id"]
        for _ in range(3):
            assert (await turn(client))[-1]["response"]["status"] == "completed"
    assert client.close_code == 1000
    await server.desk.world.metrics.recorded()
    assert server.desk.world.metrics.requests == [(PATH, "GET", 101)]


async def test_a_ping_is_answered_while_a_response_runs(server):
    stage = server.desk.world.chat.stage
    stage.hold("token:1")
    async with server.connect() as client:
        await client.send(ASK)
        await stage.reached("token:1")
        await (await client.ping(b"there?"))
        stage.open("token:1")
        assert (await rest(client))[-1]["type"] == "response.completed"


async def test_who_isnt_let_in_gets_a_status_and_the_usual_body(make_desk, tokens):
    async with running(make_desk, auth=TokenAuth(tokens)) as server:
        foreign = {"authorization": "Bearer good", "origin": "https://evil.example"}
        for headers, status in (({}, 401), (foreign, 403)):
            with pytest.raises(InvalidStatus) as raised:
                await server.connect(additional_headers=headers)
            assert raised.value.response.status_code == status
            body = json.loads(raised.value.response.body)
            assert body["error"]["message"] == body["errors"][0]["message"]
            assert raised.value.response.headers["content-type"] == "application/json"
        async with server.connect(additional_headers={"authorization": "Bearer good"}) as client:
            assert (await turn(client))[-1]["type"] == "response.completed"


@pytest.mark.parametrize(
    ("wrong", "status"),
    [
        ({"Sec_WebSocket_Version": "12"}, 400),
        ({"Sec_WebSocket_Key": "short"}, 400),
        ({"Sec_WebSocket_Key": "\u00e4" * 8}, 400),
        ({"Content_Length": "3"}, 400),
        ({"X_Long": "x" * 9_000}, 431),
        ({f"X_{number}": "x" for number in range(130)}, 431),
    ],
)
async def test_a_handshake_that_is_none_gets_the_usual_answer(server, wrong, status):
    reader, writer = await server.raw()
    writer.write(head(**wrong) + b"\r\nabc")
    found, body = await answer(reader)
    assert (found, body["success"]) == (status, False)
    assert await reader.read() == b""
    writer.close()


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [("GET", "/v1/models", 200), ("GET", "/v1/no", 404), ("GET", "/v1/chat/completions", 405)],
)
async def test_anywhere_else_an_upgrade_is_a_request_as_any_other(server, method, path, status):
    reader, writer = await server.raw()
    for _ in range(2):
        writer.write(head(method, path) + b"\r\n")
        assert (await answer(reader))[0] == status
    writer.close()


async def test_without_an_upgrade_the_path_is_as_it_was(server):
    reader, writer = await server.raw()
    writer.write(b"GET /v1/responses HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
    assert (await answer(reader))[0] == 405
    writer.write(head("POST") + b"Content-Length: 2\r\n\r\n{}")
    assert (await answer(reader))[0] == 400
    writer.close()


async def test_a_handshake_behind_an_answer_under_way_ends_the_connection(server):
    stage = server.desk.world.chat.stage
    stage.hold("prepare")
    reader, writer = await server.raw()
    body = json.dumps({"model": CHAT_STAND_IN, "input": "hello"}).encode()
    writer.write(b"POST /v1/responses HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
    await stage.reached("prepare")
    writer.write(head() + b"\r\n")
    assert await reader.read() == b""
    writer.close()


async def test_a_message_that_is_too_large_ends_the_connection(server):
    async with server.connect() as client:
        await client.send("x" * (MESSAGE_BYTES + 1))
        assert await closed(client) == 1009


async def test_so_does_one_of_too_many_fragments(server):
    async with server.connect() as client:
        with anyio.move_on_after(BOUND_S), pytest.raises(ConnectionClosed):
            await client.send([""] * (FRAGMENTS + 2))
            await client.recv()
        assert client.close_code == 1009


async def test_fragments_make_a_message(server):
    async with server.connect() as client:
        await client.send([ASK[:10], ASK[10:20], ASK[20:]])
        assert (await rest(client))[-1]["type"] == "response.completed"


async def test_text_that_is_no_utf_8_ends_the_connection(server):
    async with server.connect() as client:
        client.protocol.send_frame(Frame(Opcode.TEXT, b"\xff"))
        client.transport.write(b"".join(client.protocol.data_to_send()))
        assert await closed(client) == 1007


async def test_a_client_that_vanishes_frees_its_sequence(server):
    stage = server.desk.world.chat.stage
    stage.hold("token:1")
    async with server.connect() as client:
        await client.send(ASK)
        await stage.reached("token:1")
        client.transport.abort()
        await server.desk.world.metrics.recorded()
    assert (server.desk.world.chat.running, len(server.desk.world.chat.cancelled)) == ([], 1)


async def test_a_client_that_takes_nothing_is_given_up(make_desk):
    settings = HttpSettings(any_account=True, write_timeout_s=0.2)
    async with running(make_desk, reply="much " * 5_000, settings=settings) as server:
        small = socket.socket()
        small.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, SMALL_BYTES)
        small.connect(("127.0.0.1", server.port))
        async with server.connect(sock=small) as client:
            client.transport.pause_reading()
            await client.send(json.dumps({**json.loads(ASK), "max_output_tokens": 5_000}))
            await server.desk.world.metrics.recorded()
            client.transport.abort()
        assert len(server.desk.world.chat.cancelled) == 1
        assert server.desk.world.logs.calls[-1].kwargs["outcome"] == "write_timeout"


async def test_a_server_that_stops_lets_a_response_end_and_goes_away(server):
    stage = server.desk.world.chat.stage
    stage.hold("token:1")
    async with server.connect() as client, server.connect() as idle:
        await client.send(ASK)
        await stage.reached("token:1")
        server.stop()
        assert await closed(idle) == 1001
        stage.open("token:1")
        assert (await rest(client))[-1]["type"] == "response.completed"
        assert await closed(client) == 1001
        await server.ended.wait()


async def test_a_server_that_stops_does_not_wait_for_a_client_that_never_closes(server):
    reader, writer = await server.raw()
    writer.write(head() + b"\r\n")
    await reader.readuntil(b"\r\n\r\n")
    server.stop()
    assert (await reader.read())[:2] == b"\x88\x18"  # a close, and then the end though we didn't say one
    writer.close()
    await server.ended.wait()


async def test_nor_for_one_that_was_closed_before_and_says_nothing_to_it(server):
    reader, writer = await server.raw()
    writer.write(head() + b"\r\n")
    await reader.readuntil(b"\r\n\r\n")
    with anyio.move_on_after(0.5):
        await server.desk.world.clock.advance(IDLE_S)
    assert (await reader.readexactly(2))[:1] == b"\x88"
    server.stop()
    with anyio.fail_after(CLOSE_S - 1):
        await server.ended.wait()
    writer.close()


async def test_a_bug_in_the_midst_of_a_connection_closes_it_with_its_code(make_desk):
    async with running(make_desk) as server, server.connect() as client:
        server.desk.world.clock.monotonic = None
        await client.send(ASK)
        assert await closed(client) == 1011


class Wireless(asyncio.Transport):
    """A transport that goes nowhere."""

    is_closed = False

    def write(self, data: bytes) -> None:
        """Nobody reads it."""

    def close(self) -> None:
        self.is_closed = True


async def test_a_head_that_the_library_cannot_read_ends_the_connection(server):
    config = uvicorn.Config(server.desk.world.app, log_config=None, lifespan="off")
    config.load()
    transport, connection = Wireless(), SocketConnection(config, ServerState(), {})
    connection.connection_made(transport)
    connection.data_received(b"nonsense\r\n\r\n")
    assert transport.is_closed
