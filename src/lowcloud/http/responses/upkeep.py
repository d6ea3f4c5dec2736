"""What goes on beside the responses: locks are kept, and what isn't kept any more goes."""

from collections.abc import Awaitable, Callable

import anyio
import structlog

from lowcloud.http.responses.context import Locks
from lowcloud.storage.responses import ResponseStore

CLEAR_S = 60.0


async def keep_up(store: ResponseStore, locks: Locks, sleep: Callable[[float], Awaitable[None]] = anyio.sleep) -> None:
    """Until cancelled."""
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(locks.run)
        await _clear(store, sleep)


async def _clear(store: ResponseStore, sleep: Callable[[float], Awaitable[None]]) -> None:
    log = structlog.get_logger("lowcloud.responses")
    while True:
        try:
            while await store.clear():
                pass
        except Exception:  # the outermost loop: it may go the next time
            log.exception("responses that are over can't be cleared")
        await sleep(CLEAR_S)
