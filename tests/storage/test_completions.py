"""Stored completions: each account's own, in order, bounded in number, bytes and days."""

import pytest

from lowcloud.storage.completions import DAY_S, CompletionStore, Keep, Page, StoredCompletion
from lowcloud.storage.database import open_database

pytestmark = pytest.mark.anyio
ACCOUNT, OTHER = "a" * 32, "b" * 32


@pytest.fixture
def make(url, clock):
    with open_database(url) as database:
        yield lambda **keep: CompletionStore(database, Keep(**keep), clock)


def completion(name: str, account: str = ACCOUNT, **fields: object) -> StoredCompletion:
    whole = {"model": "m", "metadata": {}, "messages": "[]", "answer": "{}"} | fields
    return StoredCompletion(name, account, **whole)


async def names(store: CompletionStore, account: str = ACCOUNT, limit: int = 100, **page: object) -> list[str]:
    return [each.id for each in await store.list(account, Page(limit, **page))]


async def filled(store: CompletionStore, *completions: StoredCompletion) -> CompletionStore:
    for each in completions:
        await store.save(each)
    return store


async def test_what_is_saved_comes_back(make):
    one = completion("c1", metadata={"a": "é"}, messages='[{"role":"user"}]', answer='{"id":"c1"}')
    store = await filled(make(), one)
    assert await store.get(ACCOUNT, "c1") == one
    assert await store.list(ACCOUNT, Page(5)) == (one,)


async def test_an_account_sees_and_touches_its_own_alone(make):
    store = await filled(make(), completion("c1"), completion("c2", OTHER))
    assert (await names(store), await names(store, OTHER)) == (["c1"], ["c2"])
    assert await store.get(OTHER, "c1") is None
    assert await store.relabel(OTHER, "c1", {"a": "b"}) is None
    assert await store.delete(OTHER, "c1") is False
    assert await store.list(OTHER, Page(5, after="c1")) is None
    assert await store.get(ACCOUNT, "c1") == completion("c1")


async def test_pages_go_on_behind_an_id_in_both_directions(make):
    store = await filled(make(), *(completion(f"c{number}") for number in range(5)))
    assert await names(store, limit=2) == ["c0", "c1"]
    assert await names(store, limit=2, after="c1") == ["c2", "c3"]
    assert await names(store, limit=2, is_descending=True) == ["c4", "c3"]
    assert await names(store, limit=9, after="c3", is_descending=True) == ["c2", "c1", "c0"]
    assert await names(store, after="c4") == []


async def test_a_page_is_narrowed_by_model_and_by_every_pair_of_metadata(make):
    odd = "k\"]'$.\n\0"
    store = await filled(
        make(),
        completion("c0", metadata={'x": "y", "a': "1", "A": "1", "b": '1\n"a": "1'}),
        completion("c1", metadata={"a": "1", odd: "x"}),
        completion("c2", metadata={"a": "1"}, model="n"),
        completion("c3", metadata={"a": "2", "b": "1"}),
    )
    assert await names(store, model="n") == ["c2"]
    assert await names(store, metadata={"a": "1"}) == ["c1", "c2"]
    assert await names(store, metadata={"a": "1", odd: "x"}) == ["c1"]
    assert await names(store, metadata={"A": "1"}) == ["c0"]
    assert await names(store, metadata={"a": "1", "b": "1"}) == []


async def test_labels_are_replaced(make):
    store = await filled(make(), completion("c1", metadata={"a": "1"}))
    assert (await store.relabel(ACCOUNT, "c1", {"b": "2"})).metadata == {"b": "2"}
    assert (await store.get(ACCOUNT, "c1")).metadata == {"b": "2"}


async def test_what_is_deleted_is_gone(make):
    store = await filled(make(), completion("c1"))
    assert [await store.delete(ACCOUNT, "c1"), await store.delete(ACCOUNT, "c1")] == [True, False]
    assert await store.get(ACCOUNT, "c1") is None


async def test_the_oldest_of_an_account_make_room_in_number(make):
    store = await filled(make(completions=2), completion("o", OTHER), *(completion(f"c{n}") for n in range(4)))
    assert (await names(store), await names(store, OTHER)) == (["c2", "c3"], ["o"])


async def test_the_oldest_make_room_in_bytes_and_the_newest_stays_however_large(make):
    half = completion("c1", answer="x" * 50)
    store = await filled(make(size_bytes=120), half, completion("c2", answer="x" * 50))
    assert await names(store) == ["c1", "c2"]
    await store.save(completion("c3", answer="x" * 50))
    assert await names(store) == ["c2", "c3"]
    await store.save(completion("c4", answer="x" * 500))
    assert await names(store) == ["c4"]


async def test_what_is_too_old_is_not_there_and_goes_with_the_next(make, clock):
    store = await filled(make(days=2), completion("c1"))
    clock.now += 2 * DAY_S
    assert (await names(store), await store.get(ACCOUNT, "c1")) == ([], None)
    await store.save(completion("c2", OTHER))
    clock.now -= 2 * DAY_S
    assert await names(store) == []
