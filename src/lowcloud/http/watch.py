"""Ends the work of a request whose client has left: while it waits, in prefill, in decode."""

from collections.abc import Awaitable, Callable
from typing import Protocol

import anyio
from anyio.abc import TaskGroup
from starlette.types import Receive

CLOSE_BOUND_S = 5.0


class ClientLeft(Exception):
    """The client closed its connection before the answer was complete."""


async def while_connected(receive: Receive, work: Callable[[], Awaitable[None]]) -> None:
    """Run ``work``, cancelled when the client leaves. The request's body must have been read.

    Raises ClientLeft, or what ``work`` raises.
    """
    left = False

    async def watch(group: TaskGroup) -> None:
        nonlocal left
        while (await receive())["type"] != "http.disconnect":
            pass
        left = True
        group.cancel_scope.cancel()

    is_done = False
    try:
        async with anyio.create_task_group() as group:
            group.start_soon(watch, group)
            await work()
            is_done = True
            group.cancel_scope.cancel()
    except BaseExceptionGroup as raised:
        raise only(raised) from None
    if left and not is_done:
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
