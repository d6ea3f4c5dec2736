"""Listening and stopping: signals drain, then cut, then force; nothing outlasts its bound."""

import asyncio
import os
import signal
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import anyio
import anyio.lowlevel
import pytest

from lowcloud.http.server import UNSENT_BYTES, UNSENT_S, Stop, listen, listen_at, serve

pytestmark = pytest.mark.anyio
BOUND_S = 20
GET = b"GET %b HTTP/1.1\r\nHost: x\r\n\r\n"


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, bool]]:
    """As the product runs: plain asyncio's servers wait for their connections when they close."""
    return "asyncio", {"use_uvloop": True}


@dataclass
class App:
    """Answers with one piece, then the rest when ``finish`` is set; /deaf goes on after a cut, /flood for ever."""

    finish: anyio.Event = field(default_factory=anyio.Event)
    ended: list[str] = field(default_factory=list)
    stops: list[str] = field(default_factory=list)

    async def __call__(self, scope, receive, send):
        try:
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body", "body": b"begun ", "more_body": True})
            await self._middle(scope["path"], send)
            await send({"type": "http.response.body", "body": b"done"})
            self.ended.append("done")
        except asyncio.CancelledError:
            self.ended.append("cancelled")
            raise

    async def _middle(self, path, send):
        if path == "/deaf":
            await anyio.sleep_forever()
        while path == "/flood":
            await send({"type": "http.response.body", "body": bytes(100_000), "more_body": True})
        await self.finish.wait()

    def drain(self):
        self.stops.append("drain")

    def cut(self):
        self.stops.append("cut")
        self.finish.set()


@dataclass
class Run:
    """A server under way. ``ended`` is set when ``serve`` has returned."""

    app: App
    port: int
    ended: anyio.Event

    async def begin(self, path: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """A request whose answer has begun."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        writer.write(GET % path.encode())
        await reader.readuntil(b"begun ")
        return reader, writer


@asynccontextmanager
async def running(grace_s: float) -> AsyncIterator[Run]:
    app, listener, ended = App(), listen("127.0.0.1", 0), anyio.Event()

    async def run() -> None:
        await serve(app, [listener], Stop(grace_s, drain=app.drain, cut=app.cut))
        ended.set()

    with anyio.fail_after(BOUND_S):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(run)
            await anyio.wait_all_tasks_blocked()
            yield Run(app, listener.socket.getsockname()[1], ended)
            await ended.wait()


def signalled(number: signal.Signals = signal.SIGTERM) -> None:
    os.kill(os.getpid(), number)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_lets_answers_finish_and_takes_no_more(number):
    async with running(grace_s=60) as server:
        reader, writer = await server.begin("/stream")
        idle = await asyncio.open_connection("127.0.0.1", server.port)
        signalled(number)
        assert await idle[0].read() == b""
        with pytest.raises(OSError):
            await asyncio.open_connection("127.0.0.1", server.port)
        server.app.finish.set()
        assert (await reader.read()).endswith(b"done\r\n0\r\n\r\n")
        writer.close()
        idle[1].close()
    assert (server.app.stops, server.app.ended) == (["drain"], ["done"])


async def test_what_outlasts_the_grace_is_told_to_end():
    async with running(grace_s=0.2) as server:
        reader, writer = await server.begin("/stream")
        signalled()
        assert (await reader.read()).endswith(b"done\r\n0\r\n\r\n")
        writer.close()
    assert (server.app.stops, server.app.ended) == (["drain", "cut"], ["done"])


async def test_a_second_signal_does_not_wait_for_the_end_of_the_grace():
    async with running(grace_s=600) as server:
        reader, writer = await server.begin("/stream")
        signalled(signal.SIGINT)
        signalled(signal.SIGTERM)
        assert (await reader.read()).endswith(b"done\r\n0\r\n\r\n")
        writer.close()
    assert (server.app.stops, server.app.ended) == (["drain", "cut"], ["done"])


@pytest.mark.parametrize("signals", [2, 3])
async def test_what_goes_on_after_the_cut_is_cancelled(signals):
    async with running(grace_s=600) as server:
        reader, writer = await server.begin("/deaf")
        for _ in range(signals):
            signalled()
            await anyio.lowlevel.checkpoint()
        assert not (await reader.read()).endswith(b"0\r\n\r\n")
        writer.close()
    assert (server.app.stops, server.app.ended) == (["drain", "cut"], ["cancelled"])


async def test_a_client_that_reads_nothing_does_not_keep_the_server():
    async with running(grace_s=0.2) as server:
        _, writer = await server.begin("/flood")
        writer.transport.pause_reading()
        signalled()
        await server.ended.wait()
        writer.transport.abort()
    assert (server.app.stops, server.app.ended) == (["drain", "cut"], ["cancelled"])


async def test_once_it_has_ended_signals_are_the_processs_own_again():
    before = signal.getsignal(signal.SIGTERM)
    async with running(grace_s=1) as server:
        signalled()
        await server.ended.wait()
    assert signal.getsignal(signal.SIGTERM) == before


@pytest.mark.parametrize(("host", "shown"), [("127.0.0.1", "127.0.0.1"), ("::1", "[::1]")])
def test_a_free_port_is_found_and_shown(host, shown):
    listener = listen(host, 0)
    with listener.socket:
        assert listener.url == f"http://{shown}:{listener.socket.getsockname()[1]}"


def test_a_port_that_is_taken_is_an_error():
    with listen("127.0.0.1", 0).socket as taken, pytest.raises(OSError, match="in use"):
        listen("127.0.0.1", taken.getsockname()[1])


@pytest.mark.parametrize("address", ["127.0.0.1:0", "[::1]:0"])
def test_an_address_may_be_a_host_and_a_port(address):
    with listen_at(address).socket as bound:
        assert bound.getsockname()[0] == address.rpartition(":")[0].strip("[]")


def test_a_unix_socket_is_open_to_this_machine_and_takes_the_place_of_a_dead_one(tmp_path):
    path = tmp_path / "a.sock"
    for _ in range(2):
        with listen_at(f"unix:{path}").socket:
            assert path.stat().st_mode & 0o777 == 0o666
            with pytest.raises(OSError, match="in use"):
                listen_at(f"unix:{path}")


def test_a_file_is_never_taken_for_a_dead_socket(tmp_path):
    (tmp_path / "a").write_text("mine")
    with pytest.raises(OSError, match="in use"):
        listen_at(f"unix:{tmp_path}/a")
    assert (tmp_path / "a").read_text() == "mine"
    with pytest.raises(OSError, match="No such file"):
        listen_at(f"unix:{tmp_path}/none/a")


async def test_it_serves_at_every_listener_and_leaves_no_socket_behind(tmp_path):
    app, path, ended = App(), tmp_path / "a.sock", anyio.Event()
    app.finish.set()

    async def run() -> None:
        listeners = [listen("127.0.0.1", 0), listen_at(f"unix:{path}")]
        await serve(app, listeners, Stop(1, drain=app.drain, cut=app.cut))
        ended.set()

    with anyio.fail_after(BOUND_S):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(run)
            await anyio.wait_all_tasks_blocked()
            reader, writer = await asyncio.open_unix_connection(path)
            writer.write(GET % b"/stream")
            assert b"begun " in await reader.readuntil(b"done")
            writer.close()
            signalled()
            await ended.wait()
    assert not path.exists()


@pytest.fixture
def accepted() -> Iterator[socket.socket]:
    """The server's side of a connection whose client reads nothing."""
    with listen("127.0.0.1", 0).socket as listening, socket.create_connection(listening.getsockname()):
        connection, _ = listening.accept()
        with connection:
            yield connection


@pytest.mark.skipif(not hasattr(socket, "TCP_USER_TIMEOUT"), reason="not on this system")
def test_what_a_connection_can_not_send_is_dropped_with_it(accepted):
    assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == 1000 * UNSENT_S


@pytest.mark.skipif(not hasattr(socket, "TCP_NOTSENT_LOWAT"), reason="not on this system")
def test_the_kernel_keeps_little_for_a_client_that_reads_nothing(accepted):
    """Megabytes else; of what can be on its way there is as much as the client's own buffer has."""
    accepted.settimeout(0.2)
    kept = 0
    with pytest.raises(TimeoutError):
        while kept < 2**24:
            kept += accepted.send(bytes(4096))
    own = accepted.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF)
    assert kept < UNSENT_BYTES + own + 2**17
