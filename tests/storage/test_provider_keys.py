"""Stored keys of providers: a gateway's own, one of an alias, one that is the default."""

from dataclasses import replace

import pytest
from query_plans import recorded, whole_reads

from lowcloud.storage.database import open_database
from lowcloud.storage.provider_keys import ProviderKeyRow, ProviderKeyStore

pytestmark = pytest.mark.anyio
ACCOUNT, OTHER = "a" * 32, "b" * 32


@pytest.fixture
def store(url):
    with open_database(url) as database:
        yield ProviderKeyStore(database)


def key(number, alias, *, is_default=False, provider="openai", gateway="g", account=ACCOUNT, **fields):
    row = ProviderKeyRow(
        f"k{number}", account, gateway, provider, alias, is_default, f"sealed {number}", "…abc", 10, 60, 1.0, 2.0
    )
    return replace(row, **fields)


async def filled(store, *keys):
    for each in keys:
        assert await store.create(each)


async def test_a_key_comes_back_to_its_gateway_alone(store):
    await filled(store, key(1, "a"))
    assert await store.get(ACCOUNT, "g", "k1") == key(1, "a")
    for account, gateway in ((OTHER, "g"), (ACCOUNT, "h")):
        assert await store.get(account, gateway, "k1") is None
        assert await store.list(account, gateway) == ()
        assert await store.lookup(account, gateway, "openai", "a") is None
        assert await store.delete(account, gateway, "k1") is False
        assert await store.update(key(1, "b", account=account, gateway=gateway)) is False


async def test_a_provider_has_one_key_of_an_alias(store):
    await filled(store, key(1, "a"), key(2, "a", provider="groq"), key(3, "a", gateway="h"), key(4, "b"))
    assert await store.create(key(5, "a", is_default=True)) is False
    assert await store.update(key(4, "a", is_default=True)) is False
    assert [row.id for row in await store.list(ACCOUNT, "g")] == ["k2", "k1", "k4"]


async def test_the_key_that_is_meant_is_the_one_of_the_alias(store):
    await filled(store, key(1, "a", is_default=True), key(2, "b"))
    assert (await store.lookup(ACCOUNT, "g", "openai", "b")).id == "k2"
    assert await store.lookup(ACCOUNT, "g", "openai", "c") is None
    assert await store.lookup(ACCOUNT, "g", "groq", "a") is None


async def test_a_longer_alias_or_provider_is_no_other_ones(store):
    alias, provider = "a" * 64, "p" * 80
    await filled(store, key(1, alias, provider=provider))
    assert (await store.lookup(ACCOUNT, "g", provider, alias)).id == "k1"
    assert await store.lookup(ACCOUNT, "g", provider, alias + "1") is None
    assert await store.lookup(ACCOUNT, "g", provider + "1", alias) is None


async def test_without_an_alias_the_default_is_meant_then_the_one_so_called(store):
    assert await store.lookup(ACCOUNT, "g", "openai") is None
    await filled(store, key(1, "default"), key(2, "b"))
    assert (await store.lookup(ACCOUNT, "g", "openai")).id == "k1"
    await store.update(key(2, "b", is_default=True))
    assert (await store.lookup(ACCOUNT, "g", "openai")).id == "k2"


async def test_the_key_that_is_called_default_is_meant_by_its_name_whichever_is_the_default(store):
    await filled(store, key(1, "default"), key(2, "b", is_default=True), key(3, "c", provider="groq", is_default=True))
    assert (await store.lookup(ACCOUNT, "g", "openai", "default")).id == "k1"
    assert (await store.lookup(ACCOUNT, "g", "groq", "default")).id == "k3"


async def test_a_new_default_takes_the_place_of_the_one_before(store):
    others = key(3, "a", provider="groq", is_default=True)
    await filled(store, key(1, "a", is_default=True), others, key(2, "b", is_default=True))
    assert [row.is_default for row in await store.list(ACCOUNT, "g")] == [True, False, True]
    assert await store.update(key(1, "a", is_default=True))
    assert [row.id for row in await store.list(ACCOUNT, "g") if row.is_default] == ["k3", "k1"]


async def test_a_key_is_changed_and_deleted(store):
    await filled(store, key(1, "a"))
    changed = key(1, "b", sealed="other", rate_limit=None, modified_at=9.0)
    assert await store.update(replace(changed, created_at=0.0)) is True
    assert await store.get(ACCOUNT, "g", "k1") == changed
    assert [await store.delete(ACCOUNT, "g", "k1"), await store.delete(ACCOUNT, "g", "k1")] == [True, False]


async def test_nothing_reads_a_whole_table(url):
    with open_database(url) as database:
        store = ProviderKeyStore(database)
        await filled(store, *(key(n, f"a{n}") for n in range(5)))
        with recorded() as statements:
            await store.lookup(ACCOUNT, "g", "openai")
            await store.list(ACCOUNT, "g")
            await store.update(key(1, "b", is_default=True))
            await store.delete(ACCOUNT, "g", "k2")
        assert len(statements) == 6
        assert await whole_reads(database, statements) == []
