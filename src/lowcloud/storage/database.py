"""The database: SQLite or PostgreSQL, brought up to date when it is opened, read and written in threads of its own."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from types import TracebackType
from typing import TypeVar

import anyio.to_thread
from anyio import CapacityLimiter
from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError

from lowcloud.storage import schema
from lowcloud.storage.connection import engine_of
from lowcloud.storage.errors import DatabaseUnusable
from lowcloud.storage.writer import Writer

THREADS = 4  # that read; the writer has one more

T = TypeVar("T")


class Database:
    """``run`` reads, ``writer`` writes. Blocking until it is used from the event loop."""

    def __init__(self, url: str) -> None:
        self._engine = engine_of(url, THREADS + 1)
        self._immediate = self._engine.execution_options(begin="IMMEDIATE")
        self._limiter = CapacityLimiter(THREADS)
        self.writer = Writer(self.writing)

    def writing(self) -> AbstractContextManager[Connection]:
        """A transaction that may write from its beginning, so that it can't lose a race for that. Blocking."""
        return self._immediate.begin()

    def revision(self) -> str | None:
        """The revision of the schema; None: there is none yet. Raises DatabaseUnusable. Blocking."""
        try:
            with self._engine.begin() as connection:
                return schema.found(connection)
        except DBAPIError as error:
            raise _unusable(error) from None

    def migrate(self) -> bool:
        """Bring the tables up to date, unless they are; whether they weren't. Raises DatabaseUnusable. Blocking."""
        try:
            with self.writing() as connection:
                return schema.migrate(connection)
        except DBAPIError as error:
            raise _unusable(error) from None

    async def run(self, work: Callable[[Connection], T]) -> T:
        """The result of ``work``, which reads, in a transaction in a thread."""

        def in_transaction() -> T:
            with self._engine.begin() as connection:
                return work(connection)

        return await anyio.to_thread.run_sync(in_transaction, limiter=self._limiter)

    def close(self) -> None:
        """Commit what waits to be written, and close the connections that no transaction uses. Blocking."""
        self.writer.close()
        self._engine.dispose()

    def __enter__(self) -> "Database":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def open_database(url: str, *, migrate: bool = True) -> Database:
    """The database of a ``sqlite:///`` or ``postgresql://`` URL, brought up to date if it may be. Blocking.

    Raises DatabaseUnusable where it can't be reached, or its schema is another than this version's; OSError.
    """
    database = Database(url)
    try:
        if migrate:
            database.migrate()
        else:
            schema.check(database.revision())
    except BaseException:
        database.close()
        raise
    return database


def _unusable(error: DBAPIError) -> DatabaseUnusable:
    """What the driver says, which names hosts and users but no password; the statement is left out."""
    return DatabaseUnusable(f"The database can't be used: {' '.join(str(error.orig).split())}")
