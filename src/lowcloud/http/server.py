"""Listens and drains: uvicorn around an ASGI app, with signals that let running streams finish."""

import asyncio
import contextlib
import signal
import socket
from collections.abc import Callable, Generator
from dataclasses import dataclass

import uvicorn
from starlette.types import ASGIApp

KEEP_ALIVE_S = 75  # uvicorn's 5 s resets the idle connections of pooled clients
UNSENT_S = 120.0
_CANCEL_BOUND_S = 5.0


@dataclass(frozen=True, slots=True)
class Listener:
    """A bound socket and the URL that reaches it."""

    socket: socket.socket
    url: str


def listen(host: str, port: int) -> Listener:
    """Bind ``host``:``port`` (0: a free port). Raises OSError when it is taken or isn't ours."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    bound = socket.create_server((host, port), family=family, backlog=2048)
    if hasattr(socket, "TCP_USER_TIMEOUT"):
        # accepted sockets inherit it: what a client that reads no more leaves unsent is dropped with its connection
        bound.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, round(1000 * UNSENT_S))
    shown = f"[{host}]" if family == socket.AF_INET6 else host
    return Listener(bound, f"http://{shown}:{bound.getsockname()[1]}")


class _Server(uvicorn.Server):
    """uvicorn without its signal handling, which raises the signal again before our clean-up has run."""

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None]:
        yield


async def serve(app: ASGIApp, listener: Listener, *, grace_s: float, on_stop: Callable[[], None]) -> None:
    """Serve until SIGINT or SIGTERM; then stop accepting, let running requests finish for ``grace_s``, and return.

    ``on_stop`` is called once, when the first signal arrives. A second signal cuts the wait short. Requests that
    outlast the bound are cancelled, and awaited so that they can free what they hold. Runs in the main thread.
    """
    config = uvicorn.Config(
        app,
        http="httptools",
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_keep_alive=KEEP_ALIVE_S,
        timeout_graceful_shutdown=max(1, round(grace_s)),
    )
    server = _Server(config)

    def stop() -> None:
        if server.should_exit:
            server.force_exit = True
            return
        server.should_exit = True
        on_stop()

    loop = asyncio.get_running_loop()
    signals = (signal.SIGINT, signal.SIGTERM)
    for number in signals:
        loop.add_signal_handler(number, stop)
    try:
        await server.serve(sockets=[listener.socket])
        await _end(server.server_state.tasks)
    finally:
        for number in signals:
            loop.remove_signal_handler(number)


async def _end(tasks: set[asyncio.Task[None]]) -> None:
    left = list(tasks)
    for task in left:
        task.cancel()
    if left:
        await asyncio.wait(left, timeout=_CANCEL_BOUND_S)
