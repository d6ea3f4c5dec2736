"""Ends the work of a request whose client has left: while it waits, in prefill, in decode."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Protocol

import anyio
from starlette.types import Receive, Scope

from lowcloud.http.link import link_of

CLOSE_BOUND_S = 5.0


class ClientLeft(Exception):
    """The client closed its connection before the answer was complete."""


async def while_connected(scope: Scope, receive: Receive, work: Callable[[], Awaitable[None]]) -> None:
    """Run ``work``, cancelled when the client leaves. The request's body must have been read.

    Raises ClientLeft, or what ``work`` raises.
    """
    cancelling, has_left, is_done = anyio.CancelScope(), False, False

    def leave() -> None:
        nonlocal has_left
        has_left = True
        cancelling.cancel()

    link = link_of(scope)
    # To be told costs nothing; a task that watches costs every request a twentieth of what the server adds to it.
    with link.told_to(leave) if link is not None else _watching(receive, leave), cancelling:
        await work()
        is_done = True
    if has_left and not is_done:
        raise ClientLeft


@contextmanager
def _watching(receive: Receive, leave: Callable[[], object]) -> Iterator[None]:
    """Raises what receiving raises."""

    async def watch() -> None:
        while (await receive())["type"] != "http.disconnect":
            pass

    def ended(watcher: asyncio.Task[None]) -> None:
        if not watcher.cancelled():
            leave()

    # Owned here, as by a task group, which costs as much again.
    watcher = asyncio.get_running_loop().create_task(watch())
    watcher.add_done_callback(ended)
    try:
        yield
    finally:
        watcher.cancel()
    if watcher.done() and not watcher.cancelled():
        watcher.result()


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
