"""The database: SQLite in WAL mode, brought up to date when it is opened, read and written in threads of its own."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from types import TracebackType
from typing import TypeVar

import anyio.to_thread
from anyio import CapacityLimiter
from sqlalchemy import Connection, Engine, create_engine, event, inspect, make_url, text
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.pool import ConnectionPoolEntry

from lowcloud.storage.tables import REVISION
from lowcloud.storage.writer import Writer

THREADS = 4  # that read; the writer has one more
BUSY_WAIT_S = 5

T = TypeVar("T")


class Database:
    """One SQLite file. ``run`` reads, ``writer`` writes; it waits ``BUSY_WAIT_S`` for another process's write."""

    def __init__(self, url: str) -> None:
        self._engine = _engine(url)
        self._immediate = self._engine.execution_options(begin="IMMEDIATE")
        self._limiter = CapacityLimiter(THREADS)
        self.writer = Writer(self.writing)

    def writing(self) -> AbstractContextManager[Connection]:
        """A transaction that may write from its beginning, so that it can't lose a race for that. Blocking."""
        return self._immediate.begin()

    def migrate(self) -> None:
        """Bring the tables up to date, in one transaction that other processes wait for. Blocking."""
        with self.writing() as connection:
            if not _is_current(connection):
                _upgrade(connection)

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


def open_database(url: str) -> Database:
    """The database of a ``sqlite:///`` URL, brought up to date; a new one is its owner's alone (0600). Blocking."""
    path = Path(make_url(url).database or "")
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    path.touch(mode=0o600)
    database = Database(url)
    database.migrate()
    return database


def _is_current(connection: Connection) -> bool:
    if not inspect(connection).has_table("alembic_version"):
        return False
    found: str | None = connection.execute(text("SELECT version_num FROM alembic_version")).scalar()
    return found == REVISION


def _upgrade(connection: Connection) -> None:
    from alembic import command  # noqa: PLC0415 - half a second that a start with a current database is spared
    from alembic.config import Config  # noqa: PLC0415

    config = Config()
    config.set_main_option("script_location", "lowcloud.storage:migrations")
    config.attributes["connection"] = connection
    command.upgrade(config, "head")


def _engine(url: str) -> Engine:
    engine = create_engine(url, pool_size=THREADS + 1, max_overflow=0, hide_parameters=True)

    @event.listens_for(engine, "connect")
    def _configure(connection: DBAPIConnection, _entry: ConnectionPoolEntry) -> None:
        # sqlite3's own transaction handling commits before DDL; ours begins and ends where it says.
        connection.isolation_level = None
        cursor = connection.cursor()
        for pragma in (
            f"busy_timeout={BUSY_WAIT_S * 1000}",
            "journal_mode=WAL",
            "synchronous=NORMAL",
            "foreign_keys=ON",
        ):
            cursor.execute(f"PRAGMA {pragma}")
        cursor.close()

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        connection.exec_driver_sql(f"BEGIN {connection.get_execution_options().get('begin', '')}")

    return engine
