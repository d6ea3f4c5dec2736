"""Spend: what buckets hold is changed by one after the other, whichever server does."""

import threading

import anyio
import pytest
from query_plans import recorded, whole_reads
from told_clock import Clock

from lowcloud.storage.database import open_database
from lowcloud.storage.gateway_spend import SpendStore

pytestmark = pytest.mark.anyio
ACCOUNT, OTHER = "a" * 32, "b" * 32
ALL, BY_USER = ("r", "all"), ("s", "metadata.user=1")
ODD = ("r", 'metadata.team="\0\ud800é";' + "x" * 5_000)


@pytest.fixture
def store(url):
    with open_database(url) as database:
        yield SpendStore(database)


def n_waiting(connection):
    """How many wait for a lock of PostgreSQL's."""
    return connection.exec_driver_sql("SELECT count(*) FROM pg_locks WHERE NOT granted").scalar()


async def put(store, *buckets, amounts="[1]", account=ACCOUNT, gateway="g"):
    """Have buckets hold that."""
    await store.change(account, gateway, buckets, lambda _: dict.fromkeys(buckets, amounts))


async def test_what_buckets_hold_is_theirs_alone_and_outlives_a_restart(url):
    with open_database(url) as database:
        store = SpendStore(database)
        await put(store, ALL, BY_USER)
        await put(store, ALL, amounts="[2]")
        await put(store, ALL, amounts="[3]", gateway="h")
        await put(store, ALL, amounts="[4]", account=OTHER)
    with open_database(url) as database:
        store = SpendStore(database)
        assert await store.load(ACCOUNT, "g", [ALL, BY_USER, ("r", "none")]) == {ALL: "[2]", BY_USER: "[1]"}
        assert await store.load(ACCOUNT, "h", [ALL]) == {ALL: "[3]"}
        assert await store.load(OTHER, "g", [ALL]) == {ALL: "[4]"}


async def test_a_change_is_told_what_its_buckets_hold_and_what_it_leaves_out_goes(store):
    await put(store, ALL, BY_USER)
    told = []

    def change(kept):
        told.append(dict(kept))
        return {ODD: "[9]"}

    assert await store.change(ACCOUNT, "g", [ALL, ODD], change) == {ODD: "[9]"}
    assert told == [{ALL: "[1]"}]
    assert await store.load(ACCOUNT, "g", [ALL, BY_USER, ODD]) == {BY_USER: "[1]", ODD: "[9]"}


async def test_a_change_that_raises_changes_nothing(store):
    await put(store, ALL)

    def change(_kept):
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        await store.change(ACCOUNT, "g", [ALL, BY_USER], change)
    assert await store.load(ACCOUNT, "g", [ALL, BY_USER]) == {ALL: "[1]"}


async def test_nothing_may_be_changed(store):
    assert await store.change(ACCOUNT, "g", [], dict) == {}
    assert await store.load(ACCOUNT, "g", []) == {}


async def test_servers_that_change_the_same_bucket_at_once_lose_nothing(url):
    def more(kept):
        return {key: str(int(kept.get(key, "0")) + 1) for key in (ALL, BY_USER)}

    async def spend(store, keys):
        for _ in range(20):
            await store.change(ACCOUNT, "g", keys, more)

    with open_database(url) as one, open_database(url) as two:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(spend, SpendStore(one), [ALL, BY_USER])
            tasks.start_soon(spend, SpendStore(two), [BY_USER, ALL])
        assert await SpendStore(one).load(ACCOUNT, "g", [ALL, BY_USER]) == {ALL: "40", BY_USER: "40"}


async def test_what_is_spent_while_another_server_drops_the_bucket_is_there(url):
    is_dropping, may_drop = threading.Event(), threading.Event()

    def drop(_kept):
        is_dropping.set()
        assert may_drop.wait(20)
        return {}

    async def spend(database):
        await anyio.to_thread.run_sync(is_dropping.wait)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(SpendStore(database).change, ACCOUNT, "g", [ALL], lambda kept: {ALL: f"{kept}"})
            while database.is_shared and not await database.run(n_waiting):
                pass
            may_drop.set()

    with open_database(url) as one, open_database(url) as two:
        await put(SpendStore(one), ALL, amounts="7")
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(SpendStore(one).change, ACCOUNT, "g", [ALL], drop)
            tasks.start_soon(spend, two)
        assert await SpendStore(one).load(ACCOUNT, "g", [ALL]) == {ALL: "{}"}


async def test_many_buckets_change_and_go_at_once(store):
    many = [("r", f"b{n}") for n in range(1_201)]
    await put(store, *many)
    assert len(await store.load(ACCOUNT, "g", many)) == 1_201
    await store.change(ACCOUNT, "g", many, lambda _: {})
    assert await store.load(ACCOUNT, "g", many) == {}


async def test_what_was_changed_long_ago_goes_in_steps(url):
    clock = Clock(0.0)
    with open_database(url) as database:
        store = SpendStore(database, clock)
        for n in range(5):
            clock.now = float(n)
            await put(store, ("r", f"b{n}"))
        assert [await store.delete_old(3.0, 2) for _ in range(3)] == [2, 1, 0]
        assert len(await store.load(ACCOUNT, "g", [("r", f"b{n}") for n in range(5)])) == 2


async def test_nothing_reads_a_whole_table(url):
    with open_database(url) as database:
        store = SpendStore(database)
        await put(store, *[("r", f"b{n}") for n in range(5)])
        with recorded() as statements:
            await store.load(ACCOUNT, "g", [ALL])
            await store.change(ACCOUNT, "g", [("r", "b1"), ("r", "b2")], lambda _: {("r", "b1"): "[]"})
            await store.delete_old(3.0, 2)
        assert len(statements) == 5
        assert await whole_reads(database, statements) == []
