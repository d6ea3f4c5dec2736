"""Carries one request's events from the worker's reader to the request's task.

Bounded without anyone waiting: in a full box a new delta is merged into the last one of its choice, so a slow client
gets the same text in fewer events, and neither the worker nor another client notices.
"""

import asyncio
from collections import deque

from lowcloud.core.errors import LowcloudError
from lowcloud.core.events import Event, Finished, TextDelta


class Mailbox:
    """One reader, one writer, on one event loop.

    Holds ``capacity`` events, and beyond them at most one delta a choice and the few events that come once.
    """

    def __init__(self, capacity: int = 64) -> None:
        self._capacity = capacity
        self._events: deque[Event] = deque()
        self._arrived = asyncio.Event()
        self._is_closed = False
        self._error: LowcloudError | None = None

    def __len__(self) -> int:
        return len(self._events)

    def put(self, event: Event) -> None:
        """Add an event, or merge it; never waits."""
        if len(self._events) < self._capacity or not isinstance(event, TextDelta) or not self._merge(event):
            self._events.append(event)
        self._arrived.set()

    def close(self, error: LowcloudError | None = None) -> None:
        """Nothing comes any more. The reader gets what is there, then ``error``. The first closing counts."""
        if not self._is_closed:
            self._is_closed, self._error = True, error
            self._arrived.set()

    async def get(self) -> Event | None:
        """The next event, waiting for it; None, or the error, once the box is closed and empty."""
        while not self._events:
            if self._error is not None:
                raise self._error
            if self._is_closed:
                return None
            self._arrived.clear()
            await self._arrived.wait()
        return self._events.popleft()

    def _merge(self, delta: TextDelta) -> bool:
        for index in range(len(self._events) - 1, -1, -1):
            match self._events[index]:
                case TextDelta(choice, text, logprobs) if choice == delta.choice:
                    self._events[index] = TextDelta(choice, text + delta.text, logprobs + delta.logprobs)
                    return True
                case Finished(choice=choice) if choice == delta.choice:
                    return False
        return False
