"""The time that http/ sees, so that tests can drive it."""

import time
from typing import Protocol

import anyio


class Clock(Protocol):
    """Seconds: ``monotonic`` for durations, ``wall`` since 1970 for what goes on the wire."""

    def monotonic(self) -> float: ...
    def wall(self) -> float: ...
    async def sleep(self, seconds: float) -> None: ...


class SystemClock:
    """The machine's own time."""

    def monotonic(self) -> float:
        return time.monotonic()

    def wall(self) -> float:
        return time.time()

    async def sleep(self, seconds: float) -> None:
        await anyio.sleep(seconds)
