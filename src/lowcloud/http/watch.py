"""Ends the work of a request whose client has left: while it waits, in prefill, in decode."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Protocol

import anyio
from starlette.types import Receive

CLOSE_BOUND_S = 5.0


class ClientLeft(Exception):
    """The client closed its connection before the answer was complete."""


async def while_connected(receive: Receive, work: Callable[[], Awaitable[None]]) -> None:
    """Run ``work``, cancelled when the client leaves. The request's body must have been read.

    Raises ClientLeft, or what ``work`` raises.
    """
    scope, ended, is_done = anyio.CancelScope(), False, False

    async def watch() -> None:
        while (await receive())["type"] != "http.disconnect":
            pass

    def gone(watcher: asyncio.Task[None]) -> None:
        nonlocal ended
        ended = not watcher.cancelled()
        if ended:
            scope.cancel()

    # Owned here, as by a task group, which costs every request a tenth of what the server adds to it.
    watcher = asyncio.get_running_loop().create_task(watch())
    watcher.add_done_callback(gone)
    try:
        with scope:
            await work()
            is_done = True
    finally:
        watcher.cancel()
    if ended and not is_done:
        watcher.result()  # raises what receiving raised
        raise ClientLeft


def only(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """The first error inside: of a task group in which one task can fail, the only one."""
    first = group.exceptions[0]
    return only(first) if isinstance(first, BaseExceptionGroup) else first


class Closable(Protocol):
    """What holds something until it is closed: a generator, say."""

    async def aclose(self) -> None: ...


async def close(held: Closable) -> None:
    """Close it, also from work that is being cancelled; what it holds is free within seconds."""
    with anyio.move_on_after(CLOSE_BOUND_S, shield=True):
        await held.aclose()
