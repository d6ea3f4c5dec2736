"""Requests and answers on raw sockets: what goes out to the byte, and what of a server's ways isn't an answer."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress

import aiohttp
import pytest
from yarl import URL

from lowcloud.core.exchange import Exchanges, Request

pytestmark = pytest.mark.anyio

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def serving(serve: Serve, **settings: float) -> AsyncGenerator[tuple[Exchanges, URL], None]:
    """``serve`` has each connection, which is closed when it returns."""

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await serve(reader, writer)
        finally:
            writer.close()

    server = await asyncio.start_server(connected, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with server, aiohttp.TCPConnector() as connector:
        yield (
            Exchanges(connector, connect_s=5, **settings),
            URL(f"http://127.0.0.1:{port}/v1/a%2Fb?x=%20", encoded=True),
        )


async def head_of(reader: asyncio.StreamReader) -> bytes:
    return await reader.readuntil(b"\r\n\r\n")


async def test_what_goes_out_is_the_request_and_nothing_else():
    got: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        got.append(await head_of(reader) + await reader.readexactly(4))
        writer.write(OK)
        await writer.drain()

    async with serving(serve) as (exchanges, url):
        answer = await exchanges.send(Request("POST", url, [("x-a", "1"), ("x-a", "é")], b"body"))
        assert (answer.status, await answer.content.read()) == (200, b"ok")
    host = f"127.0.0.1:{url.port}".encode()
    told = b"Host: %b\r\nx-a: 1\r\nx-a: \xe9\r\nContent-Length: 4\r\n\r\nbody" % host
    assert got == [b"POST /v1/a%2Fb?x=%20 HTTP/1.1\r\n" + told]


@pytest.mark.parametrize(("method", "has_length"), [("POST", True), ("PUT", True), ("GET", False), ("DELETE", False)])
async def test_a_request_without_a_body_says_so_where_one_is_expected(method, has_length):
    got: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        got.append(await head_of(reader))
        writer.write(OK)
        await writer.drain()

    async with serving(serve) as (exchanges, url):
        (await exchanges.send(Request(method, url))).close()
    assert (b"Content-Length: 0\r\n" in got[0]) == has_length


@pytest.mark.parametrize("value", ["a\r\nx-b: 1", "a\nb", "a\rb"])
async def test_a_header_with_an_end_of_line_is_not_sent(value):
    got: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
        got.append(await reader.read())

    async with serving(serve) as (exchanges, url):
        with pytest.raises(ValueError, match="end of line"):
            await exchanges.send(Request("GET", url, [("x-a", value)]))
    assert b"".join(got) == b""


async def test_what_is_said_before_an_answer_is_none():
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await head_of(reader)
        writer.write(b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 100 Continue\r\n\r\n" + OK)
        await writer.drain()

    async with serving(serve) as (exchanges, url):
        answer = await exchanges.send(Request("GET", url))
        assert (answer.status, await answer.content.read()) == (200, b"ok")


async def test_the_answer_to_head_has_no_body_whatever_length_it_tells():
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await head_of(reader)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\n")
        await head_of(reader)
        writer.write(OK)
        await writer.drain()

    async with serving(serve) as (exchanges, url):
        answer = await exchanges.send(Request("HEAD", url))
        assert (answer.headers["content-length"], await answer.content.read()) == ("7", b"")
        assert await (await exchanges.send(Request("GET", url))).content.read() == b"ok"  # on the same connection


async def test_what_got_no_answer_on_a_connection_that_had_served_is_sent_once_more_and_on_a_new_one_it_failed():
    connections = 0

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        if connections != 3:
            await head_of(reader)
            writer.write(OK)
            await writer.drain()
        if connections != 2:  # it reads the next request, and closes
            await head_of(reader)

    async with serving(serve) as (exchanges, url):
        for _ in range(2):
            assert await (await exchanges.send(Request("POST", url))).content.read() == b"ok"
        assert connections == 2
        with pytest.raises(aiohttp.ServerDisconnectedError):
            await exchanges.send(Request("POST", url))
        assert connections == 3


async def test_it_is_sent_once_more_however_many_connections_rest():
    got: list[bytes] = []
    all_came = asyncio.Event()  # so that each has a connection of its own

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(asyncio.IncompleteReadError):
            while not all_came.is_set():
                got.append(await head_of(reader))
                if len(got) == 8:
                    all_came.set()
                await all_came.wait()
                writer.write(OK)
                await writer.drain()
            got.append(await head_of(reader))

    async with serving(serve) as (exchanges, url):
        answers = await asyncio.gather(*(exchanges.send(Request("POST", url)) for _ in range(8)))
        for answer in answers:
            await answer.content.read()
        with pytest.raises(aiohttp.ServerDisconnectedError):
            await exchanges.send(Request("POST", url))
        assert len(got) == 8 + 2


@pytest.mark.parametrize(
    "sent",
    [
        b"garbage\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n",
        b"HTTP/1.1 999 Who\r\nContent-Length: 0\r\n\r\n",
    ],
)
async def test_what_is_no_http_is_an_error_of_the_client(sent):
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await head_of(reader)
        writer.write(sent)
        await writer.drain()

    async with serving(serve) as (exchanges, url):
        with pytest.raises(aiohttp.ClientError):
            await exchanges.send(Request("GET", url))


async def test_an_answer_that_is_left_before_its_end_closes_its_connection():
    ended = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await head_of(reader)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nsome")
        await writer.drain()
        await reader.read()
        ended.set()

    async with serving(serve) as (exchanges, url):
        answer = await exchanges.send(Request("GET", url))
        assert await answer.content.readany() == b"some"
        answer.close()
        answer.close()
        await asyncio.wait_for(ended.wait(), 5)


async def test_nothing_follows_a_body_that_was_answered_before_it_was_sent():
    connections = 0
    done = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        await head_of(reader)
        writer.write(OK)
        await writer.drain()
        await done.wait()

    async with serving(serve) as (exchanges, url), asyncio.timeout(10):  # behind such a body nothing is ever answered
        for body in (b"x" * 50_000_000, b""):
            assert await (await exchanges.send(Request("POST", url, body=body))).content.read() == b"ok"
        done.set()
    assert connections == 2


async def test_silence_is_bounded():
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    async with serving(serve, silence_s=0.01) as (exchanges, url):
        with pytest.raises(TimeoutError):
            await exchanges.send(Request("GET", url))
