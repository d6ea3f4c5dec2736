"""Rows that may be there already. Both databases know such inserts, SQLAlchemy only each one's own."""

from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from typing import TypeAlias

from sqlalchemy import Connection, LargeBinary, Table
from sqlalchemy.dialects import postgresql, sqlite

Values: TypeAlias = tuple[object, ...]  # of a row's columns

MOST_VALUES = 32_766  # of one statement of SQLite
MOST_BYTES = 2**20  # in one, beside a single row's: it copies them, and keeps the copies until it is run again
SPARE = 16  # rows, that much less than another statement


def insert_new(connection: Connection, table: Table) -> sqlite.Insert | postgresql.Insert:
    """Leaves a row alone that is there, by any of the table's unique keys. Its ``rowcount`` says how many were new."""
    return _insert(connection, table).on_conflict_do_nothing().execution_options(preserve_rowcount=True)


def insert_many_new(connection: Connection, table: Table, rows: Sequence[Values]) -> None:
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
    blobs = [place for place, column in enumerate(table.c) if isinstance(column.type, LargeBinary)]
    sizes = [sum(len(value) for place in blobs if isinstance(value := row[place], bytes)) for row in rows]
    for places in _steps(sizes, MOST_VALUES // len(table.c)):
        several = statement.string.replace(one, ", ".join([one] * len(places)), 1)
        connection.exec_driver_sql(several, tuple(chain.from_iterable(rows[place] for place in places)))


def _steps(sizes: Sequence[int], most: int) -> Iterator[Sequence[int]]:
    """The places of all rows, which have so many bytes, in parts of a power of two, at most ``most``: so the statements
    for them are few. A part that lacks little has its smallest row several times, which the statement leaves alone."""
    at = 0
    while left := min(len(sizes) - at, most):
        n = 1 << (left - 1).bit_length()
        if n > most or n - left > max(SPARE, n // 4):
            n //= 2
        while n > 1 and _n_bytes(sizes[at : at + n], n) > MOST_BYTES:
            n //= 2
        part = range(at, at + min(n, left))
        yield [*part, *[min(part, key=sizes.__getitem__)] * (n - len(part))]
        at += len(part)


def _n_bytes(sizes: Sequence[int], n: int) -> int:
    """Of a part that is filled up to ``n`` rows."""
    return sum(sizes) + (n - len(sizes)) * min(sizes)


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
