"""Rows that may be there already. Both databases know such inserts, SQLAlchemy only each one's own."""

from collections.abc import Iterable, Iterator, Sequence

from sqlalchemy import Connection, Table
from sqlalchemy.dialects import postgresql, sqlite

MOST_VALUES = 32_766  # of one statement of SQLite
MOST_BYTES = 2**20  # in one, beside a single row's: it copies them, and keeps the copies until it is run again


def insert_new(connection: Connection, table: Table) -> sqlite.Insert | postgresql.Insert:
    """Leaves a row alone that is there, by any of the table's unique keys. Its ``rowcount`` says how many were new."""
    return _insert(connection, table).on_conflict_do_nothing().execution_options(preserve_rowcount=True)


def insert_many_new(connection: Connection, table: Table, rows: Sequence[tuple[object, ...]]) -> None:
    """As ``insert_new``, many at once, with all columns in the table's order, as the database takes them.

    SQLAlchemy's own handling of a value takes longer than the database's, so the rows go past it.
    """
    statement = insert_new(connection, table).compile(dialect=connection.dialect)
    if statement.positiontup is None:
        names = table.c.keys()
        connection.exec_driver_sql(statement.string, [dict(zip(names, row, strict=True)) for row in rows])
        return
    # One statement for many rows: between two of them Python's lock goes back and forth, and the event loop waits.
    one = f"({', '.join('?' * len(table.c))})"
    for some in _steps(rows, MOST_VALUES // len(table.c)):
        several = statement.string.replace(one, ", ".join([one] * len(some)), 1)
        connection.exec_driver_sql(several, tuple(value for row in some for value in row))


def _steps(rows: Sequence[tuple[object, ...]], most: int) -> Iterator[Sequence[tuple[object, ...]]]:
    """All, in parts of a power of two of rows, at most ``most``: so the statements for them are few."""
    at = 0
    while left := min(len(rows) - at, most):
        n = 1 << left.bit_length() - 1
        while n > 1 and _n_bytes(rows[at : at + n]) > MOST_BYTES:
            n //= 2
        yield rows[at : at + n]
        at += n


def _n_bytes(rows: Sequence[tuple[object, ...]]) -> int:
    return sum(len(value) for row in rows for value in row if isinstance(value, bytes))


def insert_or_replace(
    connection: Connection, table: Table, changed: Iterable[str]
) -> sqlite.Insert | postgresql.Insert:
    """Gives the row that is there, by its primary key, the new values of the columns ``changed``."""
    new = _insert(connection, table)
    values = {name: new.excluded[name] for name in changed}
    return new.on_conflict_do_update(index_elements=list(table.primary_key), set_=values)


def insert_or_add(connection: Connection, table: Table, added: Iterable[str]) -> sqlite.Insert | postgresql.Insert:
    """Adds the columns ``added`` to those of the row that is there, by its primary key."""
    new = _insert(connection, table)
    sums = {name: table.c[name] + new.excluded[name] for name in added}
    return new.on_conflict_do_update(index_elements=list(table.primary_key), set_=sums)


def _insert(connection: Connection, table: Table) -> sqlite.Insert | postgresql.Insert:
    insert = postgresql.insert if connection.dialect.name == "postgresql" else sqlite.insert
    return insert(table)
