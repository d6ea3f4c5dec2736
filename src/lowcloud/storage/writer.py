"""The one thread that writes: what waits is committed together, and no two writes of this process collide."""

import asyncio
import threading
from collections import deque
from collections.abc import Callable
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass
from typing import Any, TypeAlias, TypeVar

import anyio
import structlog
from sqlalchemy import Connection

T = TypeVar("T")
Begin: TypeAlias = Callable[[], AbstractContextManager[Connection]]
Work: TypeAlias = Callable[[Connection], None]  # a part of a transaction, which its error undoes

QUEUE = 1_024  # works that wait or run
BATCH = 256  # works of one commit


@dataclass(frozen=True, slots=True)
class _Outcome:
    """``value`` where ``error`` is None."""

    value: Any = None
    error: Exception | None = None


@dataclass(frozen=True, slots=True)
class _Entry:
    """What ``caller`` waits for, which is a future of another thread's event loop."""

    work: Callable[[Connection], Any]
    caller: asyncio.Future[_Outcome]

    def is_given_up(self) -> bool:
        return self.caller.cancelled()


class Writer:
    """Runs works in transactions that ``begin`` opens, in a thread that the first of them starts.

    A work is called once, with the connection; its error undoes it alone. It must not commit or roll back itself.
    """

    def __init__(self, begin: Begin) -> None:
        self._begin = begin
        self._room = anyio.Semaphore(QUEUE, fast_acquire=True)
        self._queue: deque[_Entry] = deque()
        self._changed = threading.Condition()
        self._is_closed = False
        self._thread: threading.Thread | None = None
        self._log = structlog.get_logger("lowcloud.storage")

    async def put(self, work: Callable[[Connection], T]) -> T:
        """The result of ``work``, after the commit; its error, or the commit's. Waits where too many do already.

        Where the caller is cancelled, the work is committed or was never begun.
        """
        await self._room.acquire()
        caller: asyncio.Future[_Outcome] = asyncio.get_running_loop().create_future()
        if not self._enqueue(_Entry(work, caller)):
            self._room.release()
            raise RuntimeError("the writer is closed")
        outcome = await caller
        if outcome.error is not None:
            raise outcome.error
        value: T = outcome.value
        return value

    def close(self) -> None:
        """Commit what waits, and take no more. Blocking."""
        with self._changed:
            self._is_closed = True
            self._changed.notify()
        if self._thread is not None:
            self._thread.join()

    def _enqueue(self, entry: _Entry) -> bool:
        with self._changed:
            if self._is_closed:
                return False
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="lowcloud.writer", daemon=True)
                self._thread.start()
            self._queue.append(entry)
            self._changed.notify()
            return True

    def _run(self) -> None:
        while batch := self._next():
            for entry, outcome in zip(batch, self._commit(batch), strict=True):
                if outcome.error is not None and entry.is_given_up():
                    self._log.error("a write that nobody waits for failed", exc_info=outcome.error)
                with suppress(RuntimeError):  # the loop is closed: nobody waits any more
                    entry.caller.get_loop().call_soon_threadsafe(self._settle, entry, outcome)

    def _next(self) -> list[_Entry]:
        """What the next commit takes; nothing once the writer is closed and all is done."""
        with self._changed:
            self._changed.wait_for(lambda: self._queue or self._is_closed)
            return [self._queue.popleft() for _ in range(min(BATCH, len(self._queue)))]

    def _commit(self, batch: list[_Entry]) -> list[_Outcome]:
        try:
            with self._begin() as connection:
                outcomes = [_outcome(connection, entry, is_alone=len(batch) == 1) for entry in batch]
        except Exception as error:
            return [_Outcome(error=error)] * len(batch)
        return outcomes

    def _settle(self, entry: _Entry, outcome: _Outcome) -> None:
        self._room.release()
        if not entry.caller.done():
            entry.caller.set_result(outcome)


def _outcome(connection: Connection, entry: _Entry, *, is_alone: bool) -> _Outcome:
    """What comes of one work. Raises what ends the whole transaction."""
    if entry.is_given_up():
        return _Outcome()
    if is_alone:
        return _Outcome(entry.work(connection))
    connection.exec_driver_sql("SAVEPOINT work")  # SQLAlchemy's own savepoints take five times as long
    try:
        value = entry.work(connection)
    except Exception as error:
        # Fails where the database has undone the whole transaction by itself, as on a full disk.
        connection.exec_driver_sql("ROLLBACK TO SAVEPOINT work")
        return _Outcome(error=error)
    connection.exec_driver_sql("RELEASE SAVEPOINT work")
    return _Outcome(value)
