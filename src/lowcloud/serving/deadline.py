"""The time that one request may take in all, from its arrival to its last event."""

import asyncio
import math
from collections.abc import Awaitable, Callable
from typing import TypeVar

from lowcloud.core.errors import LowcloudError, RequestTimeout, Unavailable

T = TypeVar("T")


class Deadline:
    """Begins when it is made. ``clock`` is in seconds, monotonic."""

    def __init__(self, seconds: float, clock: Callable[[], float]) -> None:
        self._seconds = seconds
        self._clock = clock
        self._end = clock() + seconds
        self._scope: asyncio.Timeout | None = None
        self._cut: Unavailable | None = None

    def cut(self, error: Unavailable) -> None:
        """The time is over now, and this is why."""
        self._end, self._cut = -math.inf, error
        if self._scope is not None and not self._scope.expired():
            self._scope.reschedule(0.0)

    async def bound(self, call: Callable[[], Awaitable[T]]) -> T:
        """What ``call`` gives, if it comes in time. Raises RequestTimeout; what was awaited is cancelled then."""
        left = self._end - self._clock()
        if left <= 0:
            raise self._passed()
        try:
            # anyio's scopes cost several times as much, and this is entered for every token.
            async with asyncio.timeout(left) as scope:
                self._scope = scope
                try:
                    return await call()
                finally:
                    self._scope = None
        except TimeoutError:
            if scope.expired():
                raise self._passed() from None
            raise

    def _passed(self) -> LowcloudError:
        return self._cut or RequestTimeout(f"The request took longer than the {self._seconds:g} s it may take.")
