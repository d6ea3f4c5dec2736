"""One worker process and the socket to it: started, read, written, ended.

The worker holds the only other end of the socket and ends when that closes; the server's end is never inherited. The
process has its own session, so Ctrl-C in a terminal reaches the server alone.
"""

import asyncio
import contextlib
import os
import signal
import socket
from collections.abc import AsyncIterable, Callable, Sequence
from subprocess import DEVNULL, PIPE, STDOUT
from typing import cast

import anyio
import anyio.abc

from lowcloud.engines.local.frames import Frame, FrameReader, encode
from lowcloud.engines.local.spec import WorkerSpec

MAX_LINE_BYTES = 2000
_LAST_FRAMES_S = 1.0


class Link(asyncio.Protocol):
    """``received`` gets every frame in order, on the loop. Bytes that are no frames end the connection."""

    def __init__(self, process: anyio.abc.Process, received: Callable[[Frame], None]) -> None:
        self._process = process
        self._received = received
        self._reader = FrameReader()
        self._transport: asyncio.Transport | None = None
        self._closed = asyncio.Event()

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def output(self) -> AsyncIterable[bytes]:
        """What the worker and its libraries print."""
        return cast(AsyncIterable[bytes], self._process.stdout)

    @property
    def unsent_bytes(self) -> int:
        """Bytes that the worker hasn't taken from the socket yet."""
        return self._transport.get_write_buffer_size() if self._transport else 0

    def send(self, frame: Frame) -> None:
        """Never waits; to a worker that is gone, it does nothing."""
        if self._transport and not self._transport.is_closing():
            self._transport.write(encode(frame))

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is one in all but its bases

    def data_received(self, data: bytes) -> None:
        try:
            for frame in self._reader.feed(data):
                self._received(frame)
        except (ValueError, TypeError, IndexError):  # what bytes that no worker of ours sends end in
            self.kill()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's signature
        self._closed.set()

    async def gone(self) -> None:
        """Return when the connection has closed, or the process has ended and what it had sent is read."""
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._exited, tasks.cancel_scope)
            await self._closed.wait()
            tasks.cancel_scope.cancel()

    async def _exited(self, scope: anyio.CancelScope) -> None:
        await self._process.wait()
        with anyio.move_on_after(_LAST_FRAMES_S):
            await self._closed.wait()
        scope.cancel()

    def kill(self) -> None:
        """End the connection and the process, and whatever that started, now."""
        if self._transport:
            self._transport.abort()
        if self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self.pid, signal.SIGKILL)

    async def end(self, grace_s: float) -> str:
        """Close the socket, which tells the worker to end; kill it after ``grace_s``. Returns how it ended."""
        if self._transport:
            self._transport.abort()
        with anyio.move_on_after(grace_s):
            await self._process.wait()
        self.kill()
        code = await self._process.wait()
        await self._process.aclose()
        return _ending(code)


async def start_worker(command: Sequence[str], spec: WorkerSpec, received: Callable[[Frame], None]) -> Link:
    """Start ``command SPEC FD`` and connect to it. Raises OSError when the machine can't."""
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    try:
        with theirs:
            process = await anyio.open_process(
                [*command, spec.to_json(), str(theirs.fileno())],
                stdin=DEVNULL,
                stdout=PIPE,
                stderr=STDOUT,
                start_new_session=True,
                pass_fds=[theirs.fileno()],
            )
        link = Link(process, received)
        try:
            await asyncio.get_running_loop().create_unix_connection(lambda: link, sock=ours)
        except BaseException:
            with anyio.CancelScope(shield=True):
                await link.end(0)
            raise
    except BaseException:
        ours.close()
        raise
    return link


async def log_lines(output: AsyncIterable[bytes], log: Callable[[str], None]) -> None:
    """Give ``log`` each line, cut at ``MAX_LINE_BYTES``; empty ones are left out."""
    held = b""
    async for chunk in output:
        *lines, held = (held + chunk).split(b"\n")
        held = held[:MAX_LINE_BYTES]
        for line in lines:
            if text := line[:MAX_LINE_BYTES].decode("utf-8", "replace").strip():
                log(text)
    if held:
        log(held.decode("utf-8", "replace").strip())


def _ending(code: int) -> str:
    if code >= 0:
        return f"its process ended with status {code}"
    try:
        name = signal.Signals(-code).name
    except ValueError:
        name = f"signal {-code}"
    return f"its process was ended by {name}"
