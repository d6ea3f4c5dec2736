"""Text from outside in columns of a bounded length: how it is stored, and what it is equal to."""

import pytest
from sqlalchemy import Column, Connection, MetaData, Table, insert, select, update

from lowcloud.storage.tables import Name, WireId

pytestmark = pytest.mark.anyio
HELD = Table("held", MetaData(), Column("name", Name(8), primary_key=True), Column("wire_id", WireId(8)))


@pytest.fixture
async def put(database):
    """Stores a row of a name and an id, in a table of these two."""

    def make(connection: Connection) -> None:
        HELD.create(connection)

    await database.writer.put(make)

    async def put(name: str, wire_id: str = "") -> None:
        row = insert(HELD).values(name=name, wire_id=wire_id)
        await database.writer.put(lambda connection: connection.execute(row))

    return put


async def names(database, *conditions) -> list[str]:
    query = select(HELD.c.name).where(*conditions).order_by(HELD.c.name)
    return await database.run(lambda connection: list(connection.execute(query).scalars()))


async def test_a_name_is_cut_where_it_is_stored_and_not_where_it_is_looked_for(put, database):
    await put("a" * 9)
    assert await names(database) == await names(database, HELD.c.name == "a" * 8) == ["a" * 8]
    assert await names(database, HELD.c.name == "a" * 9) == []
    assert await names(database, HELD.c.name.in_(["a" * 9, "b"])) == []
    assert await names(database, HELD.c.name != "a" * 9) == ["a" * 8]
    assert await names(database, HELD.c.name.icontains("A" * 9)) == []
    change = update(HELD).where(HELD.c.name == "a" * 10).values(name="b")
    await database.writer.put(lambda connection: connection.execute(change))
    assert await names(database) == ["a" * 8]


@pytest.mark.parametrize("odd", ["a\0", "\ud800b", "日" * 8])
async def test_a_name_is_found_by_what_it_was_stored_from(put, database, odd):
    await put(odd)
    assert len(await names(database, HELD.c.name == odd)) == 1
    assert await names(database, HELD.c.name == odd + "日" * 8) == []


async def test_of_ids_that_are_too_long_each_is_found_by_itself_alone(put, database):
    await put("a", "i" * 9)
    await put("b", "i" * 10)
    assert await names(database, HELD.c.wire_id == "i" * 9) == ["a"]
    assert await names(database, HELD.c.wire_id.in_(["i" * 10, "i" * 8])) == ["b"]
