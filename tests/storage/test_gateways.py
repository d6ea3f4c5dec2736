"""Gateways and custom providers: each account's own, made once, gone with all that is theirs."""

import asyncio
from dataclasses import replace

import pytest
from query_plans import recorded, whole_reads
from sqlalchemy import func, select

from lowcloud.storage.database import open_database
from lowcloud.storage.gateway_cache import CacheRow, CacheStore
from lowcloud.storage.gateway_logs import LogRow, LogStore, NewLog
from lowcloud.storage.gateway_spend import SpendStore
from lowcloud.storage.gateways import STEP, CustomProviderRow, CustomProviderStore, GatewayStore
from lowcloud.storage.provider_keys import ProviderKeyRow, ProviderKeyStore
from lowcloud.storage.tables import metadata

pytestmark = pytest.mark.anyio
ACCOUNT, OTHER = "a" * 32, "b" * 32
RULE = ("rule", "all")
START = 1_000_000_000.0


class Clock:
    """Seconds since 1970, one more each time that it is asked."""

    now = START

    def __call__(self) -> float:
        self.now += 1
        return self.now


@pytest.fixture
def store(database):
    return GatewayStore(database, Clock())


@pytest.fixture
def providers(database):
    return CustomProviderStore(database)


def provider(number, account=ACCOUNT, **fields):
    about = {"name": f"Name {number}", "base_url": "https://x.example", "about": "{}", "enabled": True}
    times = {"created_at": START + number, "modified_at": START + number}
    return CustomProviderRow(f"p{number}", account, **({"slug": f"slug-{number}"} | about | times | fields))


async def rows_of(database):
    """How many rows each table has that has some."""

    def count(connection):
        counts = {
            name: connection.execute(select(func.count()).select_from(table)).scalar_one()
            for name, table in metadata.tables.items()
        }
        return {name: count for name, count in counts.items() if count}

    return await database.run(count)


async def test_a_gateway_is_made_once(store):
    made = await store.create(ACCOUNT, "g", '{"a": 1}')
    assert await store.create(ACCOUNT, "g", "{}") is None
    assert await store.create(OTHER, "g", "{}") is not None
    assert await store.get(ACCOUNT, "g") == made
    assert (made.config, made.created_at, made.modified_at, made.is_default) == (
        '{"a": 1}',
        START + 1,
        START + 1,
        False,
    )
    assert await store.get(ACCOUNT, "h") is None


async def test_a_longer_id_or_slug_is_no_other_ones(store, providers):
    longest = "g" * 64
    await store.create(ACCOUNT, longest, "{}")
    assert await store.get(ACCOUNT, longest + "1") is None
    assert await store.update(ACCOUNT, longest + "1", '{"a": 1}') is None
    assert await store.delete(ACCOUNT, longest + "1") is None
    assert (await store.get(ACCOUNT, longest)).config == "{}"
    await providers.create(provider(1, slug=longest))
    assert await providers.by_slug(ACCOUNT, longest) is not None
    assert await providers.by_slug(ACCOUNT, longest + "1") is None


async def test_the_default_makes_itself_once_whoever_asks_at_the_same_time(url):
    with open_database(url) as one, open_database(url) as two:
        stores = [GatewayStore(one, Clock()), GatewayStore(two, Clock())]
        found = await asyncio.gather(*(stores[n % 2].ensure_default(ACCOUNT, f"{n}") for n in range(10)))
    assert len(set(found)) == 1
    assert (found[0].id, found[0].is_default) == ("default", True)


async def test_a_default_that_is_there_stays_as_it_is(store):
    made = await store.create(ACCOUNT, "default", "mine")
    assert await store.ensure_default(ACCOUNT, "other") == made


async def test_gateways_are_listed_by_age_page_and_a_part_of_their_id(store):
    for name in ("c", "a_1", "B1", "b"):
        await store.create(ACCOUNT, name, "{}")
    await store.create(OTHER, "z", "{}")

    async def names(**page):
        rows, total = await store.list(ACCOUNT, **page)
        return [row.id for row in rows], total

    assert await names() == (["c", "a_1", "B1", "b"], 4)
    assert await names(page=2, per_page=3) == (["b"], 4)
    assert await names(page=10**30) == ([], 4)
    assert await names(search="b") == (["B1", "b"], 2)
    assert await names(search="_") == (["a_1"], 1)


async def test_an_update_makes_the_cache_forgotten_only_where_it_says_so(store):
    made = await store.create(ACCOUNT, "g", "old")
    updated = await store.update(ACCOUNT, "g", "new")
    assert updated == replace(made, config="new", modified_at=START + 2) == await store.get(ACCOUNT, "g")
    assert (await store.update(ACCOUNT, "g", "new", forgets_cache=True)).generation == made.generation + 1
    assert await store.update(OTHER, "g", "new") is None


async def test_a_gateway_that_is_made_again_has_a_generation_of_its_own(store):
    first = await store.create(ACCOUNT, "g", "{}")
    last = await store.update(ACCOUNT, "g", "{}", forgets_cache=True)
    await store.delete(ACCOUNT, "g")
    assert (await store.create(ACCOUNT, "g", "{}")).generation > last.generation > first.generation


async def filled(database, gateway, n_logs=3):
    logs = [NewLog(LogRow(f"{gateway}-{n}", ACCOUNT, gateway, START + n), b"x") for n in range(n_logs)]
    await LogStore(database).add(logs)
    for n in range(3):
        await CacheStore(database).put(CacheRow(f"k{n}", ACCOUNT, gateway, 200, "[]", b"x", START, START + 9))
    await SpendStore(database).change(ACCOUNT, gateway, [RULE], lambda _: {RULE: "[]"})
    key = ProviderKeyRow(f"{gateway}-key", ACCOUNT, gateway, "openai", "a", True, "s", "p", None, None, START, START)
    await ProviderKeyStore(database).create(key)


async def test_a_gateway_that_is_deleted_is_gone_with_all_that_is_its_own(store, database):
    await store.create(ACCOUNT, "g", "{}")
    await filled(database, "g")
    alone = await rows_of(database)
    made = await store.create(ACCOUNT, "h", "{}")
    await filled(database, "h", n_logs=2 * STEP)
    assert await store.delete(OTHER, "h") is None
    assert await store.delete(ACCOUNT, "h") == made
    left = await rows_of(database)
    assert left == alone
    assert await store.delete(ACCOUNT, "h") is None
    assert await LogStore(database).count(ACCOUNT, "h") == await LogStore(database).count(ACCOUNT, "none")


async def test_of_two_who_delete_a_gateway_one_did(store, database):
    await store.create(ACCOUNT, "g", "{}")
    found = await asyncio.gather(store.delete(ACCOUNT, "g"), store.delete(ACCOUNT, "g"))
    assert found.count(None) == 1


async def test_a_custom_provider_comes_back_by_id_and_by_slug(providers):
    assert await providers.create(provider(1)) is True
    assert await providers.get(ACCOUNT, "p1") == await providers.by_slug(ACCOUNT, "slug-1") == provider(1)
    assert await providers.get(OTHER, "p1") is await providers.by_slug(OTHER, "slug-1") is None


async def test_a_slug_is_an_accounts_only_one(providers):
    assert await providers.create(provider(1))
    assert await providers.create(provider(2, slug="slug-1")) is False
    assert await providers.create(provider(3, OTHER, slug="slug-1"))
    assert await providers.create(provider(4))
    assert await providers.update(provider(4, slug="slug-1")) is False
    assert await providers.get(ACCOUNT, "p4") == provider(4)


async def test_custom_providers_are_listed_changed_and_deleted(providers):
    for n in range(3):
        await providers.create(provider(n))
    assert await providers.list(ACCOUNT, page=2, per_page=2) == ((provider(2),), 3)
    assert await providers.list(ACCOUNT, search="name 1") == ((provider(1),), 1)
    assert await providers.list(OTHER) == ((), 0)
    changed = provider(1, enabled=False, base_url="https://y.example", modified_at=START + 9)
    assert await providers.update(replace(changed, created_at=0.0)) is True
    assert await providers.get(ACCOUNT, "p1") == changed
    assert [await providers.delete(OTHER, "p1"), await providers.delete(ACCOUNT, "p1")] == [False, True]
    assert await providers.update(changed) is False


def key(number, slug, account=ACCOUNT, gateway="g", alias="a"):
    return ProviderKeyRow(
        f"k{number}", account, gateway, f"custom-{slug}", alias, True, "s", "p", None, None, START, START
    )


async def slugs_of_keys(keys, account=ACCOUNT):
    """For whom keys are kept, in either gateway."""
    return [row.provider_slug for gateway in ("g", "h") for row in await keys.list(account, gateway)]


@pytest.fixture
async def keys(providers, database):
    """Two providers of an account, and one of another's, with keys."""
    for each in (provider(1), provider(2), provider(3, OTHER, slug="slug-1")):
        await providers.create(each)
    stored = ProviderKeyStore(database)
    for each in (key(1, "slug-1"), key(2, "slug-1", gateway="h"), key(3, "slug-2"), key(4, "slug-1", OTHER)):
        await stored.create(each)
    return stored


async def test_a_custom_provider_that_is_deleted_is_gone_with_its_keys(providers, keys):
    assert await providers.delete(ACCOUNT, "p1")
    assert await slugs_of_keys(keys) == ["custom-slug-2"]
    assert await slugs_of_keys(keys, OTHER) == ["custom-slug-1"]


async def test_a_new_custom_provider_has_no_keys_though_some_were_left_of_its_slug(providers, keys):
    await keys.create(key(5, "slug-5"))
    assert await providers.create(provider(5))
    assert "custom-slug-5" not in await slugs_of_keys(keys)


async def test_keys_are_for_the_slug_that_their_custom_provider_has(providers, keys):
    await keys.create(key(5, "new", gateway="h"))
    assert await providers.update(provider(1, slug="new"))
    assert await slugs_of_keys(keys) == ["custom-new", "custom-slug-2", "custom-new"]
    assert (await keys.lookup(ACCOUNT, "h", "custom-new")).id == "k2"
    assert await slugs_of_keys(keys, OTHER) == ["custom-slug-1"]


async def test_a_change_that_is_refused_leaves_the_keys_where_they_are(providers, keys):
    before = await slugs_of_keys(keys)
    assert await providers.update(provider(1, slug="slug-2")) is False
    assert await providers.update(provider(9, slug="slug-1")) is False
    assert await providers.delete(OTHER, "p1") is False
    assert await slugs_of_keys(keys) == before


async def test_nothing_reads_a_whole_table(store, providers, database):
    await store.create(ACCOUNT, "g", "{}")
    await filled(database, "g")
    await providers.create(provider(1))
    with recorded() as statements:
        await store.get(ACCOUNT, "g")
        await store.list(ACCOUNT, search="g")
        await store.update(ACCOUNT, "g", "{}")
        await providers.by_slug(ACCOUNT, "slug-1")
        await providers.list(ACCOUNT, search="slug")
        await providers.update(provider(1))
        await providers.delete(ACCOUNT, "p1")
        await store.delete(ACCOUNT, "g")
    assert len(statements) > 15
    assert await whole_reads(database, statements) == []
