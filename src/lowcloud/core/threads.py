"""Threads of one kind, and never more than so many: one whose caller has left is taken until its work is done.

anyio's own limiters count callers, so that those who leave could have any number of threads at work.
"""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from typing import TypeVar

T = TypeVar("T")
LARGE_BYTES = 2**18  # worth a thread: a millisecond's work or so


class Threads:
    """At most ``limit`` threads, started as they are needed. ``name`` begins theirs."""

    def __init__(self, limit: int, name: str) -> None:
        self._pool = ThreadPoolExecutor(limit, thread_name_prefix=name)

    async def run(self, work: Callable[[], T]) -> T:
        """What ``work`` returns. A caller that is cancelled doesn't wait; what hasn't begun then never does."""
        return await asyncio.get_running_loop().run_in_executor(self._pool, copy_context().run, work)

    async def sized(self, n_bytes: int, work: Callable[[], T]) -> T:
        """What ``work`` returns: from a thread where what it works on is large."""
        return work() if n_bytes <= LARGE_BYTES else await self.run(work)
