"""Entries of the cache: a gateway's own, until their time is over, bounded in bytes for each account."""

from dataclasses import replace

import pytest
from query_plans import recorded, whole_reads
from sqlalchemy import func, select
from told_clock import START

from lowcloud.storage.gateway_cache import ROW_BYTES, SHARE, STEP, CacheRow, CacheStore
from lowcloud.storage.tables import gateway_cache

pytestmark = pytest.mark.anyio
ACCOUNT, OTHER = "a" * 32, "b" * 32


@pytest.fixture
def store(database, clock):
    return CacheStore(database, clock=clock)


def entry(number, account=ACCOUNT, gateway="g", body=b"\0\xff", **fields):
    row = CacheRow(f"{number:064x}", account, gateway, 200, '[["a","b"]]', body, START + number, START + 100)
    return replace(row, **fields)


async def there(store, numbers, account=ACCOUNT):
    return [n for n in numbers if await store.get(account, "g", entry(n).key)]


async def total(database):
    query = select(func.count()).select_from(gateway_cache)
    return await database.run(lambda connection: connection.execute(query).scalar_one())


async def test_an_entry_comes_back_to_its_gateway_until_its_time_is_over(store, clock):
    await store.put(entry(1))
    assert await store.get(ACCOUNT, "g", entry(1).key) == entry(1)
    assert await store.get(ACCOUNT, "h", entry(1).key) is None
    assert await store.get(OTHER, "g", entry(1).key) is None
    clock.now += 100
    assert await store.get(ACCOUNT, "g", entry(1).key) is None


async def test_an_entry_takes_the_place_of_the_one_before(store, database):
    await store.put(entry(1))
    newer = entry(1, body=b"new", status=201, headers="[]", created_at=START + 9, expires_at=START + 99)
    await store.put(newer)
    assert await store.get(ACCOUNT, "g", newer.key) == newer
    assert await total(database) == 1


async def test_what_is_over_goes_in_steps(store, database, clock):
    for n in range(5):
        await store.put(entry(n, expires_at=START + n))
    clock.now += 3
    assert [await store.delete_expired(3), await store.delete_expired(3), await store.delete_expired(3)] == [3, 1, 0]
    assert await there(store, range(5)) == [4]
    assert await total(database) == 1


async def test_a_gateways_entries_go_together(store):
    for n in range(STEP + 5):
        await store.put(entry(n))
    await store.put(entry(1, gateway="h"))
    await store.put(entry(1, OTHER))
    assert await store.delete_gateway(ACCOUNT, "g") == STEP + 5
    assert await there(store, [1]) == []
    assert await there(store, [1], OTHER) == [1]
    assert await store.get(ACCOUNT, "h", entry(1).key) is not None


async def test_the_oldest_of_an_account_make_room(database, clock):
    size = entry(1).size_bytes
    store = CacheStore(database, account_bytes=10 * size, clock=clock)
    await store.put(entry(0, OTHER))
    for n in range(14):
        await store.put(entry(n))
    assert await there(store, range(14)) == list(range(4, 14))
    assert await there(store, [0], OTHER) == [0]


async def test_a_large_entry_takes_the_place_of_many(database, clock):
    small = entry(0, body=b"")
    store = CacheStore(database, account_bytes=(2 * STEP + 50) * small.size_bytes, clock=clock)
    for n in range(2 * STEP + 20):
        await store.put(entry(n, body=b""))
    await store.put(entry(9_000, body=b"x" * (2 * STEP * small.size_bytes - ROW_BYTES)))
    assert await there(store, [9_000]) == [9_000]
    left = await there(store, range(2 * STEP + 20))
    assert left == list(range(2 * STEP + 20 - len(left), 2 * STEP + 20))
    assert 48 <= len(left) <= 50


async def test_more_than_an_account_may_have_is_found_when_a_share_of_it_was_given(database, clock):
    """Of an account that another server filled, too."""
    size = entry(1).size_bytes
    large = CacheStore(database, clock=clock)
    for n in range(10):
        await large.put(entry(n))
    store = CacheStore(database, account_bytes=SHARE * size, clock=clock)
    await store.put(entry(10))
    for n in range(11, 10 + 2 * SHARE):
        await store.put(entry(n))
    assert SHARE <= await total(database) <= SHARE + 2


async def test_nothing_reads_a_whole_table(database, clock):
    store = CacheStore(database, account_bytes=8 * entry(1).size_bytes, clock=clock)
    with recorded() as statements:
        for n in range(12):
            await store.put(entry(n))
        await store.get(ACCOUNT, "g", entry(11).key)
        await store.delete_expired()
        clock.now += 1_000
        await store.delete_expired()
        await store.put(entry(1))
        await store.delete_gateway(ACCOUNT, "g")
    assert len(statements) > 12
    assert await whole_reads(database, statements) == []
