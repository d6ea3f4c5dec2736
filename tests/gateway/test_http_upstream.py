"""Calls to other people's servers, which a server on a loopback port plays here."""

import asyncio
import gzip
import zlib
from collections.abc import AsyncGenerator, Callable, Collection
from contextlib import asynccontextmanager

import pytest
from aiohttp import web
from fake_upstream import FakeUpstream, fake_upstream, said, streamed

from lowcloud.core.errors import BadRequest, Unavailable
from lowcloud.gateway.call import Call, Headers, Reply, Target
from lowcloud.gateway.errors import NoReply
from lowcloud.gateway.http_upstream import HttpUpstream, UpstreamBounds

pytestmark = pytest.mark.anyio

GIVE_UP_S = 10
HOST = "provider.test"
JSON = ("content-type", "application/json")
BODY = b'{"model": "m"}'


def lookup(host: str) -> list[str]:
    known = {HOST: ["127.0.0.1"], "inside.test": ["10.0.0.7"], "mixed.test": ["127.0.0.1", "10.0.0.7"]}
    if host not in known:
        raise OSError("Name or service not known")
    return known[host]


@asynccontextmanager
async def upstream(
    allowed: Collection[str] = (),
    allows: Callable[[str], bool] = lambda address: address == "127.0.0.1",
    **bounds: float,
) -> AsyncGenerator[HttpUpstream, None]:
    """For whom 127.0.0.1 is the open Internet."""
    http = HttpUpstream(UpstreamBounds(**bounds), allowed, allows=allows, lookup=lookup)
    async with http.connected():
        yield http


def call(method: str = "POST", body: bytes = BODY) -> Call:
    return Call("custom-mine", method, "chat", "", (), body)


def target(fake: FakeUpstream, host: str = HOST, headers: Headers = (JSON,), is_checked: bool = True) -> Target:
    return Target(fake.url.replace("127.0.0.1", host) + "/chat", headers, is_checked)


async def whole(reply: Reply) -> bytes:
    return b"".join([piece async for piece in reply.body])


async def refusal(http: HttpUpstream, to: Target, first_byte_s: float | None = None) -> str:
    with pytest.raises(NoReply, match=r"^Failed to get response from provider$") as caught:
        await http.send(call(), to, first_byte_s)
    return caught.value.kind


async def test_a_call_goes_as_it_is_and_its_reply_comes_as_it_is():
    async with fake_upstream(said({"a": 1}, status=201, headers={"X-Request-Id": "r1"})) as fake, upstream() as http:
        headers = (JSON, ("x-thing", "a"), ("x-thing", "b"), ("authorization", "Bearer key"))
        reply = await http.send(call(), target(fake, headers=headers), None)
        assert (reply.status, reply.header("x-request-id"), await whole(reply)) == (201, "r1", b'{"a": 1}')
        [sent] = fake.headers
    assert fake.bodies == [{"model": "m"}]
    assert [(name.lower(), value) for name, value in sent.items() if name != "Host"] == [
        *headers,
        ("accept-encoding", "identity"),
        ("content-length", str(len(BODY))),
    ]


async def test_a_path_and_a_query_arrive_as_they_were_written():
    async with fake_upstream(said({})) as fake, upstream() as http:
        raw: list[str] = []

        async def answer(request: web.Request) -> web.StreamResponse:
            raw.append(request.raw_path)
            return web.Response()

        fake.answer = answer
        to = Target(f"{target(fake).url}/a%2Fb%20c:d@e+f?x=%2B&y=a+b&z=%7E", ())
        assert await whole(await http.send(call("GET", b""), to, None)) == b""
    assert raw == ["/v1/chat/a%2Fb%20c:d@e+f?x=%2B&y=a+b&z=%7E"]


async def test_headers_of_a_connection_and_of_its_host_stay_there():
    given = {
        "Connection": "keep-alive, X-Own",
        "X-Own": "1",
        "Keep-Alive": "timeout=5",
        "Set-Cookie": "a=b",
        "Strict-Transport-Security": "max-age=1",
        "Alt-Svc": 'h3=":443"',
        "Retry-After": "3",
    }
    async with fake_upstream(said({}, headers=given)) as fake, upstream() as http:
        headers = (
            JSON,
            ("connection", "close"),
            ("te", "trailers"),
            ("host", "other"),
            ("content-length", "3"),
            ("expect", "x"),
        )
        reply = await http.send(call(), target(fake, headers=headers), None)
        await whole(reply)
        assert {name for name, _ in reply.headers} == {
            "retry-after",
            "content-type",
            "content-length",
            "date",
            "server",
        }
        assert not {"Te", "Expect", "Connection"} & fake.headers[0].keys()
        assert fake.headers[0]["Host"].startswith(HOST)


async def test_pieces_come_as_they_are_sent():
    held = asyncio.Event()
    async with fake_upstream(streamed(b"data: 1\n\n", b"data: 2\n\n", held=held)) as fake, upstream() as http:
        reply = await http.send(call(), target(fake), None)
        assert await anext(reply.body) == b"data: 1\n\n"
        held.set()
        assert [piece async for piece in reply.body] == [b"data: 2\n\n"]


async def test_a_connection_serves_call_after_call():
    async with fake_upstream(said({})) as fake, upstream() as http:
        for _ in range(3):
            await whole(await http.send(call(), target(fake), None))
        assert len(fake.connections) == 1


async def test_a_connection_that_was_closed_while_it_rested_is_made_again():
    async with fake_upstream(said({})) as fake, upstream() as http:
        await whole(await http.send(call(), target(fake), None))
        answers = iter([True, False])

        async def once_closed(request: web.Request) -> web.StreamResponse:
            if next(answers):
                assert request.transport is not None
                request.transport.abort()
            return web.Response(body=b"again")

        fake.answer = once_closed
        assert await whole(await http.send(call(), target(fake), None)) == b"again"


@pytest.mark.parametrize("reads_first", [True, False])
async def test_closing_a_reply_closes_its_connection(reads_first):
    async with fake_upstream(streamed(b"1", b"2", held=asyncio.Event())) as fake, upstream() as http:
        reply = await http.send(call(), target(fake), None)
        if reads_first:
            await anext(reply.body)
        await reply.body.aclose()
        async with asyncio.timeout(GIVE_UP_S):
            await fake.left.wait()


async def test_a_caller_that_leaves_while_it_waits_for_the_head_closes_the_connection():
    asked = asyncio.Event()

    async def silent(_: web.Request) -> web.StreamResponse:
        asked.set()
        await asyncio.Event().wait()
        raise AssertionError

    async with fake_upstream(silent) as fake, upstream() as http:
        waiting = asyncio.ensure_future(http.send(call(), target(fake), None))
        async with asyncio.timeout(GIVE_UP_S):
            await asked.wait()
            waiting.cancel()
            await fake.left.wait()
        with pytest.raises(asyncio.CancelledError):
            await waiting


@pytest.mark.parametrize(
    ("asked_s", "bounds"), [(0.1, {}), (None, {"first_byte_s": 0.1}), (60.0, {"first_byte_s": 0.1})]
)
async def test_a_provider_that_says_nothing_is_left_in_time(asked_s, bounds):
    async def silent(_: web.Request) -> web.StreamResponse:
        await asyncio.Event().wait()
        raise AssertionError

    async with fake_upstream(silent) as fake, upstream(**bounds) as http:
        assert await refusal(http, target(fake), asked_s) == "timeout"
        async with asyncio.timeout(GIVE_UP_S):
            await fake.left.wait()


async def test_a_stream_that_comes_to_a_halt_is_left_in_time():
    async with fake_upstream(streamed(b"1", b"2", held=asyncio.Event())) as fake, upstream(between_bytes_s=0.1) as http:
        reply = await http.send(call(), target(fake), 5)
        assert await anext(reply.body) == b"1"
        with pytest.raises(NoReply) as caught:
            await anext(reply.body)
        assert caught.value.kind == "timeout"


async def test_a_reply_that_breaks_off_says_so():
    async with fake_upstream(streamed(b"data: 1\n\n", broken=True)) as fake, upstream() as http:
        reply = await http.send(call(), target(fake), None)
        with pytest.raises(NoReply) as caught:
            await whole(reply)
        assert caught.value.kind == "no_connection"


async def test_what_isnt_there_and_what_speaks_no_http_give_no_reply():
    async def garbage(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readline()
        writer.write(b"SSH-2.0-OpenSSH\r\n\r\n")
        writer.close()

    server = await asyncio.start_server(garbage, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with upstream() as http:
        assert await refusal(http, Target(f"http://{HOST}:{port}/", ())) == "no_connection"
        server.close()
        await server.wait_closed()
        assert await refusal(http, Target(f"http://{HOST}:{port}/", ())) == "no_connection"
        assert await refusal(http, Target("http://nowhere.test/", ())) == "no_connection"
        assert await refusal(http, Target("http://" + "a" * 300 + "/", ())) == "no_connection"


@pytest.mark.parametrize("host", ["inside.test", "mixed.test", "127.0.0.2", "[::1]", "[::ffff:10.0.0.7]"])
async def test_a_host_in_this_network_is_not_gone_to(host):
    async with fake_upstream(said({})) as fake, upstream() as http:
        assert await refusal(http, target(fake, host)) == "not_allowed"
        assert fake.paths == []


@pytest.mark.parametrize("host", ["2130706433", "0x7f000001", "127.1", "127.0.0.1", "[::1]", "localhost"])
async def test_no_way_of_writing_the_loopback_address_gets_past_the_check(host):
    """By the real resolver and the real rule; nothing is connected to."""
    async with fake_upstream(said({})) as fake:
        http = HttpUpstream(UpstreamBounds())
        async with http.connected():
            assert await refusal(http, target(fake, host)) in ("not_allowed", "no_connection")
        assert fake.paths == []


@pytest.mark.parametrize(("allowed", "is_checked"), [(["127.0.0.1"], True), ([], False)])
async def test_a_host_that_the_operator_allows_is_gone_to(allowed, is_checked):
    async with fake_upstream(said({"a": 1})) as fake, upstream(allowed, allows=lambda _: False) as http:
        reply = await http.send(call(), target(fake, "127.0.0.1", is_checked=is_checked), None)
        assert await whole(reply) == b'{"a": 1}'
        assert await refusal(http, target(fake, "127.0.0.2")) == "not_allowed"


async def test_a_name_is_allowed_however_it_is_written():
    async with fake_upstream(said({})) as fake, upstream(["LocalHost", "[::1]"], allows=lambda _: False) as http:
        assert (await http.send(call(), target(fake, "LOCALHOST"), None)).status == 200


async def test_the_address_that_was_checked_is_the_one_that_is_connected_to():
    """A name server that gives another address each time it is asked, as in DNS rebinding."""
    answers = iter([["127.0.0.1"], ["10.0.0.7"]])
    async with fake_upstream(said({}, headers={"Connection": "close"})) as fake:
        http = HttpUpstream(
            UpstreamBounds(), allows=lambda address: address == "127.0.0.1", lookup=lambda _: next(answers)
        )
        async with http.connected():
            for _ in range(2):
                await whole(await http.send(call(), target(fake), None))
            assert len(fake.connections) == 2
            assert await refusal(http, target(fake, "other.test")) == "not_allowed"


@pytest.mark.parametrize("location", ["http://127.0.0.2/", "http://inside.test/", "/elsewhere"])
async def test_a_redirect_is_a_reply_and_isnt_followed(location):
    async with fake_upstream(said({}, status=307, headers={"Location": location})) as fake, upstream() as http:
        reply = await http.send(call(), target(fake), None)
        assert (reply.status, reply.header("location")) == (307, location)
        await whole(reply)
        assert len(fake.paths) == 1


@pytest.mark.parametrize(
    "url",
    [
        "ftp://provider.test/",
        "file:///etc/passwd",
        "provider.test/chat",
        "http:///chat",
        "http://user@provider.test/",
        "http://user:secret@provider.test/",
        "http://provider.test\\@inside.test/",
        "http://provider.test/a\nb",
        "http://provider.test:port/",
        "http://[broken/",
    ],
)
async def test_what_is_no_address_is_not_gone_to(url):
    async with upstream() as http:
        assert await refusal(http, Target(url, ())) == "not_allowed"


@pytest.mark.parametrize("header", [("x-a", "b\r\nx-c: d"), ("x a", "b"), ("", "b"), ("x-a", "\0"), ("x-é", "b")])
async def test_a_header_that_would_be_another_one_is_refused(header):
    async with fake_upstream(said({})) as fake, upstream() as http:
        with pytest.raises(BadRequest, match="can't be sent to a provider") as caught:
            await http.send(call(), target(fake, headers=(JSON, header)), None)
        assert caught.value.param == "headers"
        assert fake.paths == []


def in_members(plain: bytes) -> bytes:
    """As servers send that compress each piece by itself."""
    return gzip.compress(plain[:7]) + gzip.compress(b"") + gzip.compress(plain[7:])


@pytest.mark.parametrize(
    ("coding", "pack"), [("gzip", gzip.compress), ("gzip", in_members), ("deflate", zlib.compress)]
)
async def test_what_a_server_compressed_unasked_comes_plain(coding, pack):
    plain = b"data: {}\n\n" * 100_000

    async with fake_upstream() as fake, upstream() as http:

        async def packed(_: web.Request) -> web.StreamResponse:
            return web.Response(body=pack(plain), headers={"Content-Encoding": coding})

        fake.answer = packed
        reply = await http.send(call(), target(fake), None)
        assert {"content-encoding", "content-length"}.isdisjoint(name for name, _ in reply.headers)
        pieces = [piece async for piece in reply.body]
    assert b"".join(pieces) == plain
    assert max(map(len, pieces)) <= 2**16


async def unpacked(packed: bytes) -> bytes:
    """What comes of a reply that says it is gzip, sent byte by byte."""

    async def sent(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Encoding": "gzip"})
        await response.prepare(request)
        for at in range(len(packed)):
            await response.write(packed[at : at + 1])
        return response

    async with fake_upstream(sent) as fake, upstream() as http:
        return await whole(await http.send(call(), target(fake), None))


async def test_members_are_unpacked_wherever_they_are_cut_into_pieces():
    assert await unpacked(in_members(b"one member, and another")) == b"one member, and another"
    assert await unpacked(gzip.compress(b"x" * 10**6)) == b"x" * 10**6
    assert await unpacked(b"") == b""


@pytest.mark.parametrize(("n_before", "kept"), [(0, 1), (0, 15), (0, -9), (0, -1), (1, 1), (1, -1)])
async def test_a_compressed_reply_that_is_cut_breaks_off(n_before, kept):
    member = gzip.compress(b"a text that is cut")
    with pytest.raises(NoReply):
        await unpacked(member * n_before + member[:kept])


async def test_another_coding_passes_with_its_header():
    async with fake_upstream() as fake, upstream() as http:

        async def packed(_: web.Request) -> web.StreamResponse:
            return web.Response(body=b"\x1b\x03", headers={"Content-Encoding": "br"})

        fake.answer = packed
        reply = await http.send(call(), target(fake), None)
        assert (reply.header("content-encoding"), await whole(reply)) == ("br", b"\x1b\x03")


async def test_what_only_says_that_it_is_compressed_breaks_off():
    async with fake_upstream() as fake, upstream() as http:

        async def broken(_: web.Request) -> web.StreamResponse:
            return web.Response(body=b"not gzip", headers={"Content-Encoding": "gzip"})

        fake.answer = broken
        reply = await http.send(call(), target(fake), None)
        with pytest.raises(NoReply):
            await whole(reply)


async def test_closing_a_compressed_reply_closes_its_connection():
    async with fake_upstream() as fake, upstream() as http:

        async def endless(request: web.Request) -> web.StreamResponse:
            response = web.StreamResponse(headers={"Content-Encoding": "gzip"})
            await response.prepare(request)
            await response.write(gzip.compress(b"a"))
            await asyncio.Event().wait()
            return response

        fake.answer = endless
        reply = await http.send(call(), target(fake), None)
        await reply.body.aclose()
        async with asyncio.timeout(GIVE_UP_S):
            await fake.left.wait()


async def test_nothing_is_sent_before_and_after_it_is_connected(monkeypatch):
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    async with fake_upstream(said({})) as fake:
        http = HttpUpstream(UpstreamBounds(), allows=lambda _: True, lookup=lookup)
        with pytest.raises(Unavailable):
            await http.send(call(), target(fake), None)
        async with http.connected():
            assert (await http.send(call(), target(fake), None)).status == 200
        with pytest.raises(Unavailable):
            await http.send(call(), target(fake), None)
