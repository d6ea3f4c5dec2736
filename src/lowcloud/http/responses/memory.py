"""What a connection remembers of its responses: the last one of each lane, for those that go on from it.

A response that is stored needs none of it. What isn't, lives no longer than its connection.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from lowcloud.http.responses.run import Context

MOST_LANES = 8


@dataclass(frozen=True, slots=True)
class Remembered:
    """A response that is over: ``context`` is all that it saw and made, ``n_bytes`` its size as JSON."""

    id: str
    context: Context
    n_bytes: int


class Memory:
    """At most ``most_bytes``; what is too much goes, the oldest first."""

    def __init__(self, most_bytes: int) -> None:
        self._most_bytes = most_bytes
        self._last: dict[str | None, Remembered] = {}

    def of(self, response_id: str | None) -> Context | None:
        """What one that goes on from that response sees; None: it isn't remembered."""
        return next((each.context for each in self._last.values() if each.id == response_id), None)

    def keep(self, lane: str | None, remembered: Remembered | None) -> None:
        """The last response of a lane; None: one that is stored."""
        self._last.pop(lane, None)
        if remembered is not None:
            self._last[lane] = remembered
        while self._last and (len(self._last) > MOST_LANES or _size(self._last) > self._most_bytes):
            del self._last[next(iter(self._last))]

    def evict(self, response_id: str | None) -> None:
        """Going on from it has failed, and nobody does again."""
        self._last = {lane: each for lane, each in self._last.items() if each.id != response_id}


def _size(last: Mapping[str | None, Remembered]) -> int:
    return sum(each.n_bytes for each in last.values())
