"""The schema of a database against the one of this version: brought up to date, or refused."""

import re

from sqlalchemy import Connection, inspect, text

from lowcloud.storage.errors import DatabaseUnusable
from lowcloud.storage.tables import REVISION

LOCK = 7_018_230_145_226_511  # of all who migrate a PostgreSQL database; any number that nobody else has
LOCK_WAIT_S = 60


def found(connection: Connection) -> str | None:
    """The revision that a database is at; None: it has no tables of ours."""
    if not inspect(connection).has_table("alembic_version"):
        return None
    revision: str | None = connection.execute(text("SELECT version_num FROM alembic_version")).scalar()
    return revision


def check(revision: str | None, *, may_migrate: bool) -> None:
    """Refuse a schema that this version can't use, and one that it would have to migrate first but may not.

    Raises DatabaseUnusable.
    """
    # Revisions are counted; what isn't one of ours is of a version that we don't know.
    if revision is not None and (not re.fullmatch(r"\d{4}", revision) or revision > REVISION):
        raise DatabaseUnusable(
            f"The database's schema is {revision}, of a newer version; this version knows those up to {REVISION}. "
            "Run the newer version, or restore the backup that was made before it."
        )
    if revision != REVISION and not may_migrate:
        raise DatabaseUnusable(
            f"The database's schema is {revision or 'not there yet'}, and this version needs {REVISION}: "
            "run lowcloud db upgrade, or set storage.migrate_at_start."
        )


def migrate(connection: Connection) -> bool:
    """Bring the tables up to date; whether there was something to do. Others that do it at once wait for this one.

    In the transaction of ``connection``, all or nothing. Raises DatabaseUnusable where the schema is newer. Blocking.
    """
    if connection.dialect.name == "postgresql":
        _lock(connection)
    revision = found(connection)
    check(revision, may_migrate=True)
    if revision == REVISION:
        return False
    _upgrade(connection)
    return True


def _lock(connection: Connection) -> None:
    """SQLite's transactions that may write have the database for themselves anyway."""
    encoding = connection.execute(text("SHOW server_encoding")).scalar()
    if encoding != "UTF8":
        raise DatabaseUnusable(f"The database's encoding is {encoding}. Create it with ENCODING 'UTF8'.")
    connection.execute(text(f"SET LOCAL lock_timeout = '{LOCK_WAIT_S}s'"))
    connection.execute(text("SET LOCAL statement_timeout = 0"))
    connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": LOCK})


def _upgrade(connection: Connection) -> None:
    from alembic import command  # noqa: PLC0415 - half a second that a start with a current database is spared
    from alembic.config import Config  # noqa: PLC0415

    config = Config()
    config.set_main_option("script_location", "lowcloud.storage:migrations")
    config.attributes["connection"] = connection
    command.upgrade(config, "head")
