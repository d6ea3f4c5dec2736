"""Usage: counts add up by account, day and model, for a bounded number of days and models."""

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st
from told_clock import Clock

from lowcloud.storage.database import open_database
from lowcloud.storage.usage import MODELS_A_DAY, OTHERS, Usage, UsageCounts, UsageKey, UsageStore, merged, utc_day

pytestmark = pytest.mark.anyio
ACCOUNT, OTHER = "a" * 32, "b" * 32
DAY, NEXT = "2026-11-26", "2026-11-27"
NOON = 1_795_694_400.0
ONE = UsageCounts(1, 0, 0, 10, 4, 3, 1.5)
counts = st.builds(UsageCounts, *[st.integers(0, 2**40)] * 6, st.integers(0, 2**40).map(float))


@pytest.fixture
def clock():
    return Clock(NOON)


@pytest.fixture
def store(url, clock):
    with open_database(url) as database:
        yield UsageStore(database, days=3, clock=clock)


def key(model="m", day=DAY, account=ACCOUNT, by="m"):
    return UsageKey(account, day, model, by)


async def test_counts_of_a_key_add_up(store):
    await store.add({key(): ONE})
    await store.add({key(): UsageCounts(2, 1, 1, 2**40, 0, 5, 0.25)})
    assert await store.list(ACCOUNT, DAY, DAY, 9) == (Usage(key(), UsageCounts(3, 1, 1, 2**40 + 10, 4, 8, 1.75)),)


async def test_a_days_sum_is_over_all_models_and_over_that_account_and_day_alone(store):
    others = {key(account=OTHER): ONE, key(day=NEXT): ONE}
    await store.add({key(): ONE, key("n"): ONE, key("n", by="o"): ONE, **others})
    assert await store.of_day(ACCOUNT, DAY) == UsageCounts(3, 0, 0, 30, 12, 9, 4.5)
    assert await store.of_day(ACCOUNT, NEXT) == ONE
    assert await store.of_day("c" * 32, DAY) == UsageCounts()


async def test_the_list_has_the_newest_day_first_within_its_bounds(store):
    await store.add({key(): ONE, key("l"): ONE, key(day=NEXT): ONE, key(day="2026-11-25"): ONE})
    assert [each.key for each in await store.list(ACCOUNT, DAY, NEXT, 9)] == [key(day=NEXT), key("l"), key()]
    assert [each.key for each in await store.list(ACCOUNT, DAY, NEXT, 1)] == [key(day=NEXT)]


async def test_days_that_are_over_go_with_the_next_addition(store, clock):
    await store.add({key(): ONE})
    clock.now += 2 * 86_400
    await store.add({})
    assert await store.of_day(ACCOUNT, DAY) == ONE
    clock.now += 86_400
    await store.add({})
    assert await store.of_day(ACCOUNT, DAY) == UsageCounts()


async def test_models_beyond_those_of_a_day_are_counted_as_one(store):
    await store.add({key(f"m{n:04}"): ONE for n in range(MODELS_A_DAY - 1)})
    await store.add({key("x1"): ONE, key("x2"): ONE, key("x3"): ONE, key("m0000"): ONE, key("x2", NEXT): ONE})
    rows = {each.key: each.counts for each in await store.list(ACCOUNT, DAY, DAY, 2 * MODELS_A_DAY)}
    assert len(rows) == MODELS_A_DAY + 1
    assert rows[key(OTHERS, by=OTHERS)] == ONE + ONE
    assert (rows[key("x1")], rows[key("m0000")]) == (ONE, ONE + ONE)
    assert await store.of_day(ACCOUNT, NEXT) == ONE


async def test_any_names_are_counted(store):
    odd = key("m" * 500 + "\0", account="ключ\0")
    await store.add({odd: ONE})
    await store.add({odd: ONE})
    assert (await store.of_day(odd.account_id, DAY)).requests == 2


async def test_additions_at_once_are_all_counted(store):
    await asyncio.gather(*(store.add({key(): ONE, key(f"m{n % 3}"): ONE}) for n in range(30)))
    assert (await store.of_day(ACCOUNT, DAY)).requests == 60


@pytest.mark.parametrize(
    ("seconds", "days_ago", "day"), [(NOON, 0, DAY), (0.0, 0, "1970-01-01"), (NOON, 400, "2025-10-22")]
)
def test_a_day_is_utcs(seconds, days_ago, day):
    assert utc_day(seconds, days_ago=days_ago) == day


@given(st.lists(st.tuples(st.sampled_from([key(), key("n")]), counts)))
def test_merging_loses_nothing(counted):
    sums = merged(counted)
    assert sum((each for _, each in counted), UsageCounts()) == sum(sums.values(), UsageCounts())
    assert set(sums) == {each for each, _ in counted}
