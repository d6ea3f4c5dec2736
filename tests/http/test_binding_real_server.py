"""A Worker's binding on raw sockets: bytes as workerd and Miniflare send them, and as they read them."""

import asyncio
import json
from contextlib import asynccontextmanager

import anyio
import pytest
import uvicorn
from worker_binding import HOST, SECRET, SETTINGS

from lowcloud.http.connection import Connection
from lowcloud.http.server import listen, listen_at

pytestmark = pytest.mark.anyio
LLAMA = "@cf/meta/llama-3.1-8b-instruct"
SAY = {"inputs": {"prompt": "hello"}, "options": {}}
BEARS = {"Host": HOST, "lowcloud-binding-secret": SECRET, "cf-consn-model-id": LLAMA}


@asynccontextmanager
async def serving(world, listener):
    """The world behind a listener, as the product serves it."""
    config = uvicorn.Config(world.app, lifespan="off", log_config=None, access_log=False, http=Connection, ws="none")
    server = uvicorn.Server(config)
    with anyio.fail_after(30):
        async with anyio.create_task_group() as group:
            group.start_soon(server.serve, [listener.socket])
            try:
                yield
            finally:
                server.should_exit = True


@pytest.fixture
async def connection(make_world):
    """A kept connection to a server that answers bindings, and its world."""
    listener = listen("127.0.0.1", 0)
    async with make_world(settings=SETTINGS) as world, serving(world, listener):
        reader, writer = await asyncio.open_connection("127.0.0.1", listener.socket.getsockname()[1])
        yield reader, writer, world
        writer.close()


def request(method: str, target: str, body: object = None, headers: dict[str, str] = BEARS) -> bytes:
    sent = b"" if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
    length = {} if "Transfer-Encoding" in headers else {"Content-Length": str(len(sent))}
    head = "".join(f"{name}: {value}\r\n" for name, value in {**headers, **length}.items())
    return f"{method} {target} HTTP/1.1\r\n{head}\r\n".encode() + sent


async def answer(reader: asyncio.StreamReader) -> tuple[int, list[str], bytes]:
    """Status, the lines of headers as they came, and the body of an answer that has a length."""
    status, *lines = (await reader.readuntil(b"\r\n\r\n")).decode().removesuffix("\r\n\r\n").split("\r\n")
    (length,) = (line.partition(": ")[2] for line in lines if line.lower().startswith("content-length"))
    return int(status.split()[1]), lines, await reader.readexactly(int(length))


async def test_the_media_types_are_exactly_those_that_the_class_compares_with(connection):
    reader, writer, _ = connection
    writer.write(request("POST", "/run?version=3", SAY))
    status, lines, body = await answer(reader)
    assert (status, json.loads(body)["response"]) == (200, "one two three")
    assert [line for line in lines if line.lower().startswith("content-type")] == ["content-type: application/json"]
    assert not [line for line in lines if line.lower().startswith(("content-encoding", "transfer-encoding"))]
    writer.write(request("POST", "/run?version=3", {"inputs": {"prompt": "x", "stream": True}}))
    lines = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
    assert "content-type: text/event-stream" in lines
    assert (await reader.readuntil(b"0\r\n\r\n")).endswith(b"data: [DONE]\n\n\r\n0\r\n\r\n")


async def test_a_body_in_chunks_is_a_body(connection):
    reader, writer, _ = connection
    chunks = (
        b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in (b'{"inputs":{"pro', b'mpt":"x"}}')) + b"0\r\n\r\n"
    )
    writer.write(request("POST", "/run?version=3", chunks, {**BEARS, "Transfer-Encoding": "chunked"}))
    assert (await answer(reader))[0] == 200
    inside = {f"MF-Header-{name}": value for name, value in BEARS.items() if name.startswith("cf-")}
    outside = {"Host": "x", "MF-URL": f"https://{HOST}/run?version=3", "MF-Header-Transfer-Encoding": "chunked"}
    writer.write(request("POST", f"/binding/{SECRET}/", SAY, {**outside, **inside}))
    assert (await answer(reader))[0] == 200


async def test_an_upgrade_is_answered_and_the_connection_goes_on(connection, caplog):
    reader, writer, _ = connection
    upgrade = {"Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Key": "x" * 24}
    body = "%7B%22inputs%22%3A%7B%7D%7D"
    writer.write(request("GET", f"/run?version=3&body={body}", headers={**BEARS, **upgrade}))
    status, _, said = await answer(reader)
    assert (status, json.loads(said)["internalCode"]) == (400, 5006)
    writer.write(request("GET", f"/binding/{SECRET}/?MF-Binding=AI", headers={"Host": "x", **upgrade}))
    assert (await answer(reader))[0] == 404
    writer.write(request("POST", "/run?version=3", SAY))
    assert (await answer(reader))[0] == 200
    assert caplog.records == []


async def test_a_stream_input_that_is_refused_leaves_the_connection_in_order(connection):
    reader, writer, _ = connection
    audio = {**BEARS, "Content-Type": "audio/wav"}
    writer.write(request("POST", "/run?version=3&userInputs=%7B%7D", b"x" * 300_000, audio))
    assert (await answer(reader))[0] == 415
    writer.write(request("PATCH", "/ai-gateway/gateways/g/logs/1", {"score": 1}))
    assert (await answer(reader))[0] == 400
    writer.write(request("POST", "/run?version=3", SAY))
    assert (await answer(reader))[0] == 200


@pytest.mark.parametrize("stream", [True, False])
async def test_a_worker_that_drops_its_connection_frees_the_sequence(connection, stream):
    _, writer, world = connection
    world.chat.stage.hold("token:1")
    writer.write(request("POST", "/run?version=3", {"inputs": {"prompt": "x", "stream": stream}}))
    await world.chat.stage.reached("token:1")
    writer.transport.abort()
    await world.metrics.recorded()
    assert (len(world.chat.cancelled), world.chat.running) == (1, [])
    assert world.logs.calls[-1].kwargs["outcome"] == "client_left"


async def test_a_unix_socket_for_bindings_is_told_from_the_servers_own_address(make_world, tmp_path):
    path = str(tmp_path / "a.sock")
    settings = SETTINGS.__class__(binding=SETTINGS.binding.__class__(SECRET, own_listener=path))
    async with make_world(settings=settings) as world, serving(world, listen_at(f"unix:{path}")):
        reader, writer = await asyncio.open_unix_connection(path)
        for headers, status in ((BEARS, 200), ({"Host": "127.0.0.1"}, 403)):
            writer.write(request("POST", "/run?version=3", SAY, headers))
            assert (await answer(reader))[0] == status
        writer.close()
