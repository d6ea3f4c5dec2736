"""Listens and drains: uvicorn around an ASGI app, with signals that let running streams finish."""

import asyncio
import math
import signal
import socket
import stat
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import uvicorn
from starlette.types import ASGIApp

from lowcloud.http.connection import Connection
from lowcloud.http.socket_connection import SocketConnection

KEEP_ALIVE_S = 75  # uvicorn's 5 s resets the idle connections of pooled clients
UNSENT_S = 120.0
UNSENT_BYTES = 65_536  # the kernel would take megabytes more before a client that reads nothing is noticed
CUT_S = 1.0
BACKLOG = 2048
MESSAGE_BYTES = 10 * 2**20  # as of a body
PING_S = 20.0
PONG_S = 60.0  # a client that reads no more answers no more, and is given as much time as for an answer over HTTP
UNIX = "unix:"
_CANCEL_BOUND_S = 5.0


@dataclass(frozen=True, slots=True)
class Listener:
    """A bound socket and the URL that reaches it."""

    socket: socket.socket
    url: str

    def forget(self) -> None:
        """Remove what a closed socket leaves: the file of one that is a file."""
        if self.url.startswith(UNIX):
            Path(self.url.removeprefix(UNIX)).unlink(missing_ok=True)


@dataclass(frozen=True, slots=True)
class Stop:
    """How a server ends. ``drain`` is called at the first signal; ``cut`` ends what is left ``grace_s`` later."""

    grace_s: float
    drain: Callable[[], None]
    cut: Callable[[], None]


def listen(host: str, port: int) -> Listener:
    """Bind ``host``:``port`` (0: a free port). Raises OSError when it is taken or isn't ours."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    bound = socket.create_server((host, port), family=family, backlog=BACKLOG)
    _bound_unsent(bound)
    shown = f"[{host}]" if family == socket.AF_INET6 else host
    return Listener(bound, f"http://{shown}:{bound.getsockname()[1]}")


def listen_at(address: str) -> Listener:
    """Bind ``HOST:PORT``, or a Unix socket at ``unix:/PATH``, which everybody on this machine may connect to, as to a
    port, and which takes the place of one that nobody listens at. Raises OSError.
    """
    if not address.startswith(UNIX):
        host, _, port = address.rpartition(":")
        return listen(host.strip("[]"), int(port))
    path = Path(address.removeprefix(UNIX))
    bound = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        if _is_left_over(path):
            path.unlink()
        bound.bind(str(path))
        path.chmod(0o666)
        bound.listen(BACKLOG)
    except BaseException:
        bound.close()
        raise
    return Listener(bound, address)


def _is_left_over(path: Path) -> bool:
    """Whether it is a socket of a server that is gone."""
    with suppress(FileNotFoundError), socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        if stat.S_ISSOCK(path.stat().st_mode):
            try:
                probe.connect(str(path))
            except ConnectionRefusedError:
                return True
    return False


def _bound_unsent(listening: socket.socket) -> None:
    """Accepted sockets inherit both: little waits in the kernel for a client, and not for ever."""
    if hasattr(socket, "TCP_NOTSENT_LOWAT"):
        listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, UNSENT_BYTES)
    if hasattr(socket, "TCP_USER_TIMEOUT"):
        # what a client that reads no more leaves unsent is dropped with its connection
        listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, round(1000 * UNSENT_S))


async def serve(
    app: ASGIApp,
    listeners: Sequence[Listener],
    stop: Stop,
    max_message_bytes: int = MESSAGE_BYTES,
) -> None:
    """Serve until SIGINT or SIGTERM; then stop accepting, let running requests finish, and return.

    A message of a WebSocket has at most ``max_message_bytes``.

    A second signal cuts at once. Requests have ``CUT_S`` to say so to their clients; those that are left then are
    cancelled, and awaited so that they can free what they hold. Runs in the main thread.
    """
    config = uvicorn.Config(
        app,
        http=Connection,
        ws=SocketConnection,
        ws_max_size=max_message_bytes,
        ws_ping_interval=PING_S,
        ws_ping_timeout=PONG_S,
        ws_per_message_deflate=False,  # a message that is small on the wire stays so
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_keep_alive=KEEP_ALIVE_S,
        timeout_graceful_shutdown=math.ceil(stop.grace_s + CUT_S) + 1,
    )
    server = _Server(config)
    stopping = _Stopping(server, stop)
    loop = asyncio.get_running_loop()
    signals = (signal.SIGINT, signal.SIGTERM)
    for number in signals:
        loop.add_signal_handler(number, stopping.signalled)
    try:
        await server.serve(sockets=[listener.socket for listener in listeners])
        await _end(server.server_state.tasks)
    finally:
        stopping.close()
        for listener in listeners:
            listener.forget()
        for number in signals:
            loop.remove_signal_handler(number)


class _Server(uvicorn.Server):
    """uvicorn without its signal handling, which raises the signal again before our clean-up has run."""

    @contextmanager
    def capture_signals(self) -> Generator[None]:
        yield


class _Stopping:
    """The way from the first signal to the end: drain, cut, force. A later signal goes on to the next of them."""

    def __init__(self, server: _Server, stop: Stop) -> None:
        self._server, self._stop = server, stop
        self._next: asyncio.TimerHandle | None = None
        self._is_cut = False

    def signalled(self) -> None:
        """On the event loop."""
        if not self._server.should_exit:
            self._server.should_exit = True
            self._stop.drain()
            self._later(self._stop.grace_s, self._cut)
        elif not self._is_cut:
            self._cut()
        else:
            self._force()

    def close(self) -> None:
        """Nothing happens any more."""
        if self._next:
            self._next.cancel()

    def _cut(self) -> None:
        self._is_cut = True
        self._stop.cut()
        self._later(CUT_S, self._force)

    def _force(self) -> None:
        self._server.force_exit = True

    def _later(self, delay_s: float, step: Callable[[], None]) -> None:
        self.close()
        self._next = asyncio.get_running_loop().call_later(delay_s, step)


async def _end(tasks: set[asyncio.Task[None]]) -> None:
    left = list(tasks)
    for task in left:
        task.cancel()
    if left:
        await asyncio.wait(left, timeout=_CANCEL_BOUND_S)
