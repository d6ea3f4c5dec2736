"""The events of a response under way, for any number of those who follow it."""

from collections.abc import AsyncGenerator

import anyio

from lowcloud.core.errors import LowcloudError


class Live:
    """Events by their numbers, from 0 on. It grows by one response, whose length is bounded by its model's context.

    ``has_ended``: the last one is among them.
    """

    def __init__(self) -> None:
        self._events: list[bytes] = []
        self._changed = anyio.Event()
        self._is_closed = False
        self.has_ended = False
        self._error: LowcloudError | None = None

    def add(self, event: bytes) -> None:
        """The next event."""
        self._events.append(event)
        self._changed.set()
        self._changed = anyio.Event()

    def end(self) -> None:
        """The last event was told, and there is nothing to be looked for elsewhere."""
        self.has_ended = True
        self.close()

    def close(self, error: LowcloudError | None = None) -> None:
        """No event comes any more, unless it is closed already; ``error`` is why there was no last one."""
        if not self._is_closed:
            self._is_closed, self._error = True, error
            self._changed.set()

    async def after(self, number: int) -> AsyncGenerator[bytes, None]:
        """The events behind that of a number, those to come too. Raises what it was closed with."""
        place = number + 1
        while True:
            changed = self._changed
            while place < len(self._events):
                yield self._events[place]
                place += 1
            if self._is_closed:
                break
            await changed.wait()
        if self._error is not None:
            raise self._error

    async def over(self) -> None:
        """Return once it is closed."""
        while not self._is_closed:
            await self._changed.wait()
