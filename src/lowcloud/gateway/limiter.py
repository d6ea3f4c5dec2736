"""Windows of requests, shared by all calls of this process (``MemoryLimiter``) or of several (``RedisLimiter``)."""

from typing import Protocol

from lowcloud.gateway.windows import Counts, Decision, Technique, Window, take

MAX_KEYS = 100_000


class Limiter(Protocol):
    """Counts calls under keys."""

    async def take(self, key: str, limit: int, interval_s: float, technique: Technique, now: float) -> Decision:
        """Count one call, if its window lets it in. Exact, however many ask at once. ``now``: seconds since 1970."""


class MemoryLimiter:
    """Counts in this process, which forgets when it ends; beyond ``max_keys``, the keys that rested longest."""

    def __init__(self, max_keys: int = MAX_KEYS) -> None:
        self._max_keys = max_keys
        self._counts: dict[str, Counts] = {}  # in order of use

    async def take(self, key: str, limit: int, interval_s: float, technique: Technique, now: float) -> Decision:
        """Nothing is awaited here, so no call comes in between."""
        window = Window(limit, interval_s, technique)
        decision, counts = take(window, self._counts.pop(key, Counts()), now)
        self._counts[key] = counts
        if len(self._counts) > self._max_keys:
            del self._counts[next(iter(self._counts))]
        return decision

    def __len__(self) -> int:
        return len(self._counts)
