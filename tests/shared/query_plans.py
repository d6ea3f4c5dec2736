"""How a database answers what a store asks of it."""

from contextlib import contextmanager

from sqlalchemy import Engine, event, text


@contextmanager
def recorded():
    """The statements that look something up or change it, with their parameters."""
    found = []

    def record(_connection, _cursor, statement, parameters, _context, executemany):
        if statement.startswith(("SELECT", "UPDATE", "DELETE")) and not executemany:
            found.append((statement, parameters))

    event.listen(Engine, "before_cursor_execute", record)
    try:
        yield found
    finally:
        event.remove(Engine, "before_cursor_execute", record)


async def plans(database, statements):
    """How the database would answer each, where it reads no whole table unless it must."""

    def explain(connection):
        is_sqlite = connection.dialect.name == "sqlite"
        if not is_sqlite:
            connection.execute(text("SET LOCAL enable_seqscan = off"))
        prefix = "EXPLAIN QUERY PLAN" if is_sqlite else "EXPLAIN"
        return [
            [str(row[-1]) for row in connection.exec_driver_sql(f"{prefix} {statement}", parameters)]
            for statement, parameters in statements
        ]

    return await database.run(explain)


async def whole_reads(database, statements):
    """Those that read a whole table even so, each with its plan."""
    found = []
    for (statement, _), plan in zip(statements, await plans(database, statements), strict=True):
        if any((line.startswith("SCAN") and "CONSTANT ROW" not in line) or "Seq Scan" in line for line in plan):
            found.append((statement, plan))
    return found
