"""A reply of server-sent events that stays alive, and that ends when nobody takes it.

The producer's time is not ours: while it is silent, comments go out; while the client takes nothing, nothing is
buffered, and past ``write_timeout_s`` the producer is closed.
"""

from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass
from typing import Literal, TypeAlias

import anyio
from anyio.abc import TaskGroup
from starlette.types import Receive, Scope, Send

from lowcloud.http.clock import Clock
from lowcloud.http.watch import Closable, close, only

HEARTBEAT = b": heartbeat\n\n"
DONE = b"data: [DONE]\n\n"
Verdict: TypeAlias = Literal["wait", "beat", "late"]


class WriteTimeout(Exception):
    """The client took no byte for ``write_timeout_s``."""


@dataclass(frozen=True, slots=True)
class Pace:
    """Seconds of silence before a comment; seconds without progress before the client is given up."""

    heartbeat_s: float
    write_timeout_s: float


def verdict(pending: int, since: float, now: float, pace: Pace) -> tuple[Verdict, float]:
    """What to do now, and after how many seconds to ask again.

    ``pending`` writes wait for the client; ``since`` is when the last one began or ended.
    """
    bound = pace.write_timeout_s if pending else pace.heartbeat_s
    left = since + bound - now
    if left > 0:
        return "wait", left
    return ("late" if pending else "beat"), bound


class EventStream:
    """An ASGI app that sends ``events``, whole events as bytes.

    They are closed however it ends, and so is ``source``, what they are made from: closing a generator that was never
    started runs none of its code. Raises WriteTimeout.
    """

    def __init__(
        self,
        events: AsyncGenerator[bytes, None],
        source: Closable,
        headers: Mapping[str, str],
        pace: Pace,
        clock: Clock,
    ) -> None:
        self._events = events
        self._source = source
        self._headers = headers
        self._pace = pace
        self._clock = clock
        self._pending = 0
        self._since = clock.monotonic()
        self._is_late = False

    async def __call__(self, _scope: Scope, _receive: Receive, send: Send) -> None:
        try:
            await send({"type": "http.response.start", "status": 200, "headers": self._raw_headers()})
            async with anyio.create_task_group() as group:
                group.start_soon(self._tend, group, send)
                async for event in self._events:
                    await self._write(send, event)
                group.cancel_scope.cancel()
        except BaseExceptionGroup as raised:
            raise only(raised) from None
        finally:
            await close(self._events)
            await close(self._source)
        if self._is_late:
            raise WriteTimeout
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _write(self, send: Send, data: bytes) -> None:
        if not self._pending:
            self._since = self._clock.monotonic()
        self._pending += 1
        await send({"type": "http.response.body", "body": data, "more_body": True})
        self._pending -= 1
        self._since = self._clock.monotonic()

    async def _tend(self, group: TaskGroup, send: Send) -> None:
        while True:
            what, wait_s = verdict(self._pending, self._since, self._clock.monotonic(), self._pace)
            if what == "late":
                self._is_late = True
                group.cancel_scope.cancel()
            elif what == "beat":
                # in a task of its own: a comment that the client doesn't take must run into the bound as well
                group.start_soon(self._write, send, HEARTBEAT)
            await self._clock.sleep(wait_s)

    def _raw_headers(self) -> list[tuple[bytes, bytes]]:
        fixed = {
            "content-type": "text/event-stream; charset=utf-8",
            "cache-control": "no-cache, no-store",
            "x-accel-buffering": "no",
        }
        return [(name.encode(), value.encode("latin-1")) for name, value in {**fixed, **self._headers}.items()]
