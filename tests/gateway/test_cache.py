"""Replies that are kept: in memory, bounded, and behind that in the database."""

import anyio
import pytest

from lowcloud.gateway.cache import ENTRY_BYTES, Cache, Entry

pytestmark = pytest.mark.anyio
NOW = 1_800_000_000.0


class Store:
    """A database whose time stands still."""

    def __init__(self) -> None:
        self.kept: dict[str, Entry] = {}
        self.n_gets = 0
        self.gate: anyio.Event | None = None

    async def get(self, _account_id: str, _gateway_id: str, key: str) -> Entry | None:
        self.n_gets += 1
        found = self.kept.get(key)
        if self.gate is not None:
            await self.gate.wait()
        return found

    async def put(self, entry: Entry) -> None:
        if self.gate is not None:
            await self.gate.wait()
        self.kept[entry.key] = entry


def entry(key: str, n_bytes: int = 100, gateway_id: str = "g", ttl_s: float = 60) -> Entry:
    return Entry(key, "a", gateway_id, 200, (), key[:1].encode() * n_bytes, NOW, NOW + ttl_s)


async def found(cache: Cache, key: str, now: float = NOW) -> Entry | None:
    return await cache.get("a", "g", key, now)


async def test_what_is_put_is_found_in_memory_and_after_a_restart_in_the_store():
    store = Store()
    cache = Cache(store)
    await cache.put(entry("k"))
    assert (await found(cache, "k"), store.n_gets) == (entry("k"), 0)
    again = Cache(store)
    assert [await found(again, "k") for _ in range(2)] == [entry("k")] * 2
    assert store.n_gets == 1
    assert await found(again, "other") is None


async def test_an_entry_whose_time_is_over_is_none():
    store = Store()
    cache = Cache(store)
    await cache.put(entry("k"))
    store.kept.clear()
    assert await found(cache, "k", NOW + 60) is None
    assert cache._size == 0


async def test_the_entries_that_rested_longest_leave_the_memory_first():
    store = Store()
    cache = Cache(store, memory_bytes=4 * (ENTRY_BYTES + 100))
    for key in "abcd":
        await cache.put(entry(key))
    await found(cache, "a")
    await cache.put(entry("e"))
    store.n_gets = 0
    assert await found(cache, "a") is not None
    assert store.n_gets == 0
    assert await found(cache, "b") is not None
    assert store.n_gets == 1


async def test_an_entry_that_would_take_a_quarter_of_the_memory_is_in_the_store_alone():
    store = Store()
    cache = Cache(store, memory_bytes=10_000)
    await cache.put(entry("k", 5_000))
    assert cache._size == 0
    assert await found(cache, "k") == entry("k", 5_000)


async def test_an_entry_takes_the_place_of_the_one_before():
    cache = Cache(Store())
    await cache.put(entry("k", 100))
    await cache.put(entry("k", 300))
    assert cache._size == ENTRY_BYTES + 300


async def test_a_gateways_entries_can_be_forgotten():
    store = Store()
    cache = Cache(store)
    for key, gateway_id in [("a", "g"), ("b", "other")]:
        await cache.put(entry(key, gateway_id=gateway_id))
    store.kept.clear()
    cache.forget("a", "g")
    assert await found(cache, "a") is None
    assert await found(cache, "b") is not None


async def test_what_is_put_while_the_store_is_asked_is_found():
    store = Store()
    cache = Cache(store)
    store.gate = anyio.Event()
    got: list[Entry | None] = []

    async def ask() -> None:
        got.append(await found(cache, "k"))

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(ask)
        await anyio.wait_all_tasks_blocked()
        tasks.start_soon(cache.put, entry("k"))
        await anyio.wait_all_tasks_blocked()
        store.gate.set()
    assert got == [entry("k")]


async def test_a_store_that_is_far_behind_holds_no_more_in_memory():
    store = Store()
    cache = Cache(store, memory_bytes=4 * (ENTRY_BYTES + 100))
    store.gate = anyio.Event()
    async with anyio.create_task_group() as tasks:
        for number in range(9):
            tasks.start_soon(cache.put, entry(str(number)))
        await anyio.wait_all_tasks_blocked()
        store.gate.set()
    assert len(store.kept) == 5
    await cache.put(entry("later"))
    assert "later" in store.kept
