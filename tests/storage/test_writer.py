"""The writer: what waits is committed together, nothing half, and one's error is that one's alone."""

import asyncio
import threading
from contextlib import contextmanager

import pytest
from sqlalchemy import text
from structlog.testing import capture_logs

from lowcloud.storage.database import open_database
from lowcloud.storage.writer import BATCH, QUEUE, Writer

pytestmark = pytest.mark.anyio
GIVE_UP_S = 30


class Transactions:
    """A database's transactions, counted; ``failure`` is raised where one would be committed."""

    def __init__(self, database):
        self._database = database
        self.count = 0
        self.failure = None

    @contextmanager
    def __call__(self):
        self.count += 1
        with self._database.writing() as connection:
            yield connection
            if self.failure is not None:
                raise self.failure


class Gate:
    """A work that keeps the thread until it is opened, so that what is put meanwhile waits."""

    def __init__(self):
        self._entered, self._open = threading.Event(), threading.Event()

    def __call__(self, _connection):
        self._entered.set()
        assert self._open.wait(GIVE_UP_S)

    async def reached(self):
        assert await asyncio.to_thread(self._entered.wait, GIVE_UP_S)

    def open(self):
        self._open.set()


@pytest.fixture
def database(url):
    with open_database(url) as database:
        with database.writing() as connection:
            connection.execute(text("CREATE TABLE notes (note VARCHAR(64) PRIMARY KEY)"))
        yield database


@pytest.fixture
def transactions(database):
    return Transactions(database)


@pytest.fixture
def writer(transactions):
    writer = Writer(transactions)
    yield writer
    writer.close()


def note(words):
    def work(connection):
        connection.execute(text("INSERT INTO notes VALUES (:note)"), {"note": words})
        return words

    return work


def failing(words):
    def work(connection):
        note(words)(connection)
        raise LookupError(words)

    return work


async def notes(database):
    found = await database.run(lambda connection: connection.execute(text("SELECT note FROM notes")).scalars().all())
    return sorted(found)


async def begun(writer, *works):
    """The tasks of puts that wait behind one another."""
    tasks = [asyncio.ensure_future(writer.put(work)) for work in works]
    await asyncio.sleep(0)
    return tasks


async def behind_a_gate(writer, *works):
    """The gate, its own task first, and those of the works that wait for it."""
    gate = Gate()
    first = await begun(writer, gate)
    await gate.reached()
    return gate, first + await begun(writer, *works)


async def test_what_was_put_is_committed_and_its_result_comes_back(writer, database):
    assert await writer.put(note("a")) == "a"
    assert await notes(database) == ["a"]


async def test_all_that_waits_is_committed_at_once(writer, transactions, database):
    gate, tasks = await behind_a_gate(writer, *(note(f"{n}") for n in range(9)))
    gate.open()
    assert await asyncio.gather(*tasks) == [None, *(f"{n}" for n in range(9))]
    assert transactions.count == 2
    assert len(await notes(database)) == 9


async def test_a_commit_takes_a_bounded_number(writer, transactions):
    gate, tasks = await behind_a_gate(writer, *(note(f"{n}") for n in range(BATCH + 1)))
    gate.open()
    await asyncio.gather(*tasks)
    assert transactions.count == 3


async def test_a_works_error_is_its_own_and_leaves_nothing_of_it(writer, transactions, database):
    gate, tasks = await behind_a_gate(writer, note("a"), failing("b"), note("a"), note("c"))
    gate.open()
    _, one, bad, twice, three = await asyncio.gather(*tasks, return_exceptions=True)
    assert (one, three, transactions.count) == ("a", "c", 2)
    assert isinstance(bad, LookupError)
    assert "UNIQUE" in str(twice).upper()
    assert await notes(database) == ["a", "c"]


async def test_a_work_that_fails_alone_leaves_nothing(writer, database):
    with pytest.raises(LookupError):
        await writer.put(failing("a"))
    assert await notes(database) == []


async def test_an_error_at_the_commit_is_everybodys(writer, transactions, database):
    gate, tasks = await behind_a_gate(writer, note("a"), note("b"))
    transactions.failure = OSError("the disk is full")
    gate.open()
    assert [str(each) for each in await asyncio.gather(*tasks, return_exceptions=True)] == ["the disk is full"] * 3
    transactions.failure = None
    assert await writer.put(note("c")) == "c"
    assert await notes(database) == ["c"]


async def test_where_the_database_undoes_the_transaction_by_itself_nobody_is_told_otherwise(writer, database):
    def undone(connection):
        connection.exec_driver_sql("ROLLBACK")
        raise OSError("the disk is full")

    gate, tasks = await behind_a_gate(writer, note("a"), undone, note("b"))
    gate.open()
    _, *outcomes = await asyncio.gather(*tasks, return_exceptions=True)
    assert all(isinstance(each, Exception) for each in outcomes)
    assert await notes(database) == []
    assert await writer.put(note("c")) == "c"


async def test_where_the_connection_is_lost_the_next_commit_has_another(writer, database):
    def cut(connection):
        connection.invalidate()
        raise ConnectionError

    gate, tasks = await behind_a_gate(writer, note("a"), cut, note("b"))
    gate.open()
    _, *outcomes = await asyncio.gather(*tasks, return_exceptions=True)
    assert all(isinstance(each, Exception) for each in outcomes)
    assert await writer.put(note("c")) == "c"
    assert await notes(database) == ["c"]


async def test_a_caller_who_leaves_before_its_work_begins_leaves_nothing(writer, database):
    gate, (first, leaver, other) = await behind_a_gate(writer, note("a"), note("b"))
    leaver.cancel()
    gate.open()
    await asyncio.gather(first, other)
    assert leaver.cancelled()
    assert await notes(database) == ["b"]


async def test_a_caller_who_leaves_while_its_work_runs_leaves_it_whole(writer, database):
    gate = Gate()

    def work(connection):
        note("a")(connection)
        gate(connection)
        note("b")(connection)

    (leaver,) = await begun(writer, work)
    await gate.reached()
    leaver.cancel()
    with pytest.raises(asyncio.CancelledError):
        await leaver
    gate.open()
    await writer.put(note("c"))
    assert await notes(database) == ["a", "b", "c"]


async def test_the_error_of_a_caller_who_left_is_logged(writer):
    gate = Gate()

    def work(connection):
        gate(connection)
        failing("a")(connection)

    (leaver,) = await begun(writer, work)
    await gate.reached()
    leaver.cancel()
    with capture_logs() as logs:
        gate.open()
        await writer.put(note("b"))
    assert [line["exc_info"].args for line in logs] == [("a",)]


async def test_a_full_queue_makes_a_caller_wait(writer, database):
    gate, tasks = await behind_a_gate(writer, *(note(f"{n}") for n in range(QUEUE - 1)))
    (waits,) = await begun(writer, note("waits"))
    gate.open()
    await asyncio.gather(*tasks, waits)
    assert len(await notes(database)) == QUEUE


async def test_a_caller_who_leaves_a_full_queue_leaves_its_place_to_others(writer, database):
    gate, tasks = await behind_a_gate(writer, *(note(f"{n}") for n in range(QUEUE - 1)))
    leaver, stays = await begun(writer, note("leaver"), note("stays"))
    leaver.cancel()
    gate.open()
    await asyncio.gather(*tasks, stays)
    assert {"leaver", "stays"} & set(await notes(database)) == {"stays"}


async def test_closing_commits_what_waits_and_takes_no_more(writer, database):
    gate, tasks = await behind_a_gate(writer, note("a"))
    gate.open()
    writer.close()
    assert await notes(database) == ["a"]
    await asyncio.gather(*tasks)
    with pytest.raises(RuntimeError, match="closed"):
        await writer.put(note("b"))
    assert await notes(database) == ["a"]


def test_what_runs_while_its_event_loop_ends_is_committed(writer, database):
    gate = Gate()

    def work(connection):
        gate(connection)
        note("a")(connection)

    async def leave():
        await begun(writer, work)
        await gate.reached()

    asyncio.run(leave())
    gate.open()
    writer.close()
    assert asyncio.run(notes(database)) == ["a"]
