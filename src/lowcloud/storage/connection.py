"""How each database is reached: SQLite, in WAL mode, or PostgreSQL, through psycopg."""

from pathlib import Path

from sqlalchemy import URL, Connection, Engine, create_engine, event, make_url
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.pool import ConnectionPoolEntry

from lowcloud.storage.errors import DatabaseUnusable

BUSY_WAIT_S = 5  # for another process's write; SQLite
CONNECT_S = 10  # PostgreSQL, also where something in between has died
STATEMENT_S = 30  # likewise, where it isn't the database that has died


def engine_of(url: str, connections: int) -> Engine:
    """The engine of a ``sqlite:///`` or ``postgresql://`` URL, with at most that many connections. Blocking.

    A new file of SQLite is its owner's alone (0600). Raises OSError; DatabaseUnusable where psycopg isn't installed.
    """
    parsed = make_url(url)
    if parsed.get_backend_name() == "sqlite":
        return _sqlite(parsed, connections)
    return _postgres(parsed, connections)


def _sqlite(url: URL, connections: int) -> Engine:
    path = Path(url.database or "")
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    path.touch(mode=0o600)
    engine = create_engine(url, pool_size=connections, max_overflow=0, hide_parameters=True)

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


def _postgres(url: URL, connections: int) -> Engine:
    """What the URL's query says wins over the defaults here. A connection is tried before use: servers restart."""
    defaults: dict[str, object] = {
        "connect_timeout": CONNECT_S,
        "application_name": "lowcloud",
        "options": f"-c statement_timeout={STATEMENT_S * 1000}",
    }
    try:
        return create_engine(
            url.set(drivername="postgresql+psycopg"),
            pool_size=connections,
            max_overflow=0,
            pool_pre_ping=True,
            hide_parameters=True,
            connect_args={name: value for name, value in defaults.items() if name not in url.query},
        )
    except ModuleNotFoundError:
        raise DatabaseUnusable("PostgreSQL needs the extra: pip install 'lowcloud[postgres]'.") from None
