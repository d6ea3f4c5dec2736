"""The database: SQLite or PostgreSQL, brought up to date when it is opened, read and written in threads of its own."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import TypeVar

import anyio.to_thread
import structlog
from anyio import CapacityLimiter
from sqlalchemy import Connection, Engine
from sqlalchemy.exc import DBAPIError, OperationalError

from lowcloud.core.errors import Unavailable
from lowcloud.storage import schema
from lowcloud.storage.connection import engine_of
from lowcloud.storage.errors import DatabaseUnusable
from lowcloud.storage.writer import Writer

THREADS = 4  # that read; the writer has one more

T = TypeVar("T")


class Database:
    """``run`` reads, ``writer`` writes. Both raise Unavailable where the database is gone, or locked for too long."""

    def __init__(self, url: str) -> None:
        """Blocking. Raises OSError, DatabaseUnusable."""
        self._engine = engine_of(url, THREADS + 1)
        self._immediate = self._engine.execution_options(begin="IMMEDIATE")
        self._limiter = CapacityLimiter(THREADS)
        self._log = structlog.get_logger("lowcloud.storage")
        self.writer = Writer(self.writing)

    @property
    def is_shared(self) -> bool:
        """Whether other servers may use it at the same time."""
        return self._engine.dialect.name != "sqlite"

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        """A transaction that may write from its beginning, so that it can't lose a race for that. Blocking."""
        with self._available(), self._immediate.begin() as connection:
            yield connection

    def revision(self) -> str | None:
        """The revision of the schema; None: there is none yet. Raises DatabaseUnusable. Blocking."""
        return _usable(self._engine, schema.found)

    def migrate(self) -> bool:
        """Bring the tables up to date, unless they are; whether they weren't. Raises DatabaseUnusable. Blocking."""
        return _usable(self._immediate, schema.migrate)

    async def run(self, work: Callable[[Connection], T]) -> T:
        """The result of ``work``, which reads, in a transaction in a thread."""

        def in_transaction() -> T:
            with self._available(), self._engine.begin() as connection:
                return work(connection)

        return await anyio.to_thread.run_sync(in_transaction, limiter=self._limiter)

    @contextmanager
    def _available(self) -> Iterator[None]:
        try:
            yield
        except OperationalError as error:
            self._log.warning("the database can't be used", error=_said(error))
            raise Unavailable("The database can't be used just now.") from error

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
            schema.check(database.revision(), may_migrate=False)
    except BaseException:
        database.close()
        raise
    return database


def _usable(engine: Engine, work: Callable[[Connection], T]) -> T:
    """The result of ``work`` in a transaction, at a start, where a person is told what is wrong."""
    try:
        with engine.begin() as connection:
            return work(connection)
    except DBAPIError as error:
        raise DatabaseUnusable(f"The database can't be used: {_said(error)}") from None


def _said(error: DBAPIError) -> str:
    """What the driver says, which names hosts and users but no password; the statement is left out."""
    return " ".join(str(error.orig).split())
