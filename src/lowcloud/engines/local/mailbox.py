"""Carries one request's events from the worker's reader to the request's task.

Bounded without anyone waiting: in a full box a new delta is merged into the last one of its choice, so a slow client
gets the same text in fewer events, and neither the worker nor another client notices.
"""

import asyncio
from collections import deque
from dataclasses import replace

from lowcloud.core.errors import LowcloudError
from lowcloud.core.events import Event, ReasoningDelta, Started, TextDelta, ToolCallDelta, Usage


class Mailbox:
    """One reader, one writer, on one event loop.

    Holds ``capacity`` events, and beyond them at most one delta a choice and kind, and the few events that come once.
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
        if len(self._events) < self._capacity or not self._merge(event):
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

    def _merge(self, event: Event) -> bool:
        """Into the last event of its choice, where that is of the same kind."""
        if not isinstance(event, TextDelta | ReasoningDelta | ToolCallDelta):
            return False
        for index in range(len(self._events) - 1, -1, -1):
            last = self._events[index]
            if isinstance(last, Started | Usage) or last.choice != event.choice:
                continue
            merged = _merged(last, event)
            if merged is not None:
                self._events[index] = merged
            return merged is not None
        return False


def _merged(last: Event, event: Event) -> Event | None:
    """One event for two of a choice; None where they stay two."""
    match last, event:
        case TextDelta(), TextDelta():
            return TextDelta(last.choice, last.text + event.text, last.logprobs + event.logprobs)
        case ReasoningDelta(), ReasoningDelta():
            return ReasoningDelta(last.choice, last.text + event.text)
        case ToolCallDelta(), ToolCallDelta() if last.call == event.call:
            return replace(last, arguments=last.arguments + event.arguments, is_complete=event.is_complete)
    return None
