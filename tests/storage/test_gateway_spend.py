"""Spend: what was saved last is what a start loads."""

from dataclasses import replace

import pytest
from query_plans import recorded, whole_reads

from lowcloud.storage.database import open_database
from lowcloud.storage.gateway_spend import SpendRow, SpendStore

pytestmark = pytest.mark.anyio
ACCOUNT, OTHER = "a" * 32, "b" * 32
ODD = 'metadata.team="\0\ud800é";' + "x" * 5_000


@pytest.fixture
def store(url):
    with open_database(url) as database:
        yield SpendStore(database)


def row(rule="r", bucket="all", amounts="[1]", at=1.0, account=ACCOUNT, gateway="g"):
    return SpendRow(account, gateway, rule, bucket, amounts, at)


async def test_what_was_saved_last_is_what_is_loaded(url):
    with open_database(url) as database:
        store = SpendStore(database)
        await store.save([row(), row("s"), row(gateway="h"), row(account=OTHER)])
        await store.save([row(amounts="[2]"), row(amounts="[3]"), row(bucket="b")])
    with open_database(url) as database:
        store = SpendStore(database)
        assert await store.load(ACCOUNT, "g") == {("r", "all"): "[3]", ("s", "all"): "[1]", ("r", "b"): "[1]"}
        assert await store.load(ACCOUNT, "h") == await store.load(OTHER, "g") == {("r", "all"): "[1]"}


async def test_a_bucket_may_have_any_name(store):
    await store.save([row(bucket=ODD), row(bucket=ODD + "y")])
    assert await store.load(ACCOUNT, "g") == {("r", ODD): "[1]", ("r", ODD + "y"): "[1]"}


async def test_nothing_may_be_saved(store):
    await store.save([])
    assert await store.load(ACCOUNT, "g") == {}


async def test_what_was_saved_long_ago_goes_in_steps(store):
    await store.save([replace(row(bucket=f"b{n}"), updated_at=float(n)) for n in range(5)])
    assert [await store.delete_old(3.0, 2), await store.delete_old(3.0, 2), await store.delete_old(3.0, 2)] == [2, 1, 0]
    assert [bucket for _, bucket in await store.load(ACCOUNT, "g")] == ["b3", "b4"]


async def test_nothing_reads_a_whole_table(url):
    with open_database(url) as database:
        store = SpendStore(database)
        await store.save([row(bucket=f"b{n}") for n in range(5)])
        with recorded() as statements:
            await store.load(ACCOUNT, "g")
            await store.delete_old(3.0, 2)
        assert len(statements) == 4
        assert await whole_reads(database, statements) == []
