"""Dollars under rules: kept in the database, decided in memory."""

import os
import tempfile
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import anyio
import pytest
from anyio.abc import TaskGroup
from hypothesis import given
from hypothesis import strategies as st
from spend_book import SpendBook
from structlog.testing import capture_logs

from lowcloud.gateway.errors import SpendLimitReached
from lowcloud.gateway.settlements import Settlements
from lowcloud.gateway.spend import Facts, Key, Partition, SpendRule
from lowcloud.gateway.spending import PRUNE_S, Reservation, Spending
from lowcloud.gateway.windows import MAX_ENTRIES, Held

pytestmark = pytest.mark.anyio
NOW = 1_800_000_000.0
PLACE = ("a" * 32, "g")
RULE = SpendRule("r", limit=1.0, window_s=3_600)
BY_USER = SpendRule("u", limit=1.0, window_s=3_600, technique="sliding", metadata={"user": Partition()})
AMPLE = (replace(RULE, limit=1e9), replace(BY_USER, limit=1e9))


class Desk:
    """Spending on a store and a folder, and a clock that a test sets. ``restarted`` is another server on the same."""

    def __init__(
        self, folder: Path, store: SpendBook | None = None, max_bytes: int = 10**6, *, is_shared: bool = False
    ) -> None:
        self.folder, self.store, self.now, self.n_calls = folder, store or SpendBook(), NOW, 0
        settlements = Settlements(folder, max_bytes)
        settlements.open()
        self.spending = Spending(self.store, settlements, lambda: self.now, is_shared=is_shared)

    async def restarted(self) -> "Desk":
        again = Desk(self.folder, self.store)
        await again.spending.recover()
        return again

    async def reserve(self, *rules: SpendRule, amount: float = 0.0, **metadata: object) -> Reservation:
        self.n_calls += 1
        held = Held(f"call-{self.n_calls}", self.now, amount)
        found = await self.spending.reserve(PLACE, rules or (RULE,), Facts("openai", "m", metadata), held)
        assert found is not None
        return found

    async def spend(self, amount: float, *rules: SpendRule, **metadata: object) -> None:
        self.spending.settle(await self.reserve(*rules, **metadata), amount, self.now)

    async def spent(self, *rules: SpendRule, **metadata: object) -> float:
        """As a refusal of a call under rules without money tells it."""
        broke = [replace(rule, limit=0.0) for rule in rules or (RULE,)]
        with pytest.raises(SpendLimitReached) as refused:
            await self.reserve(*broke, **metadata)
        return refused.value.spent

    @asynccontextmanager
    async def saving(self) -> AsyncGenerator[TaskGroup, None]:
        """A save that the database holds up until the block is over."""
        self.store.gate = anyio.Event()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self.spending.save)
            await anyio.wait_all_tasks_blocked()
            yield tasks
            self.store.gate.set()
        self.store.gate = None

    def segments(self) -> list[Path]:
        return sorted(self.folder.iterdir())

    def buckets(self) -> list[Key]:
        return sorted(self.spending._ledgers[PLACE])


@pytest.fixture
def desk(tmp_path) -> Desk:
    return Desk(tmp_path)


async def test_what_is_spent_and_what_is_held_count_together(desk):
    await desk.spend(0.6)
    held = await desk.reserve(amount=0.5)
    with pytest.raises(SpendLimitReached):
        await desk.reserve()
    desk.spending.settle(held, 0.0, NOW)
    await desk.reserve()


async def test_a_call_that_no_rule_is_for_holds_nothing(desk):
    held = Held("call", NOW, 1.0)
    off = SpendRule("off", limit=0.0, window_s=60, enabled=False)
    assert await desk.spending.reserve(PLACE, (off,), Facts("openai", "m"), held) is None
    assert desk.store.n_loads == 0


async def test_it_outlives_a_restart_but_for_what_was_under_way(desk):
    await desk.spend(0.7)
    await desk.reserve(amount=0.2)
    await desk.spending.save()
    again = await desk.restarted()
    for _ in range(2):
        await again.spend(0.2)
    with pytest.raises(SpendLimitReached) as refused:
        await again.reserve()
    assert refused.value.spent == pytest.approx(1.1)


async def test_all_who_ask_at_once_load_it_once(desk):
    async with anyio.create_task_group() as tasks:
        for _ in range(20):
            tasks.start_soon(desk.reserve)
    assert desk.store.n_loads == 1


async def test_what_cant_be_saved_is_saved_the_next_time(desk):
    await desk.spend(0.7)
    desk.store.is_down = True
    await desk.spending.save()
    desk.store.is_down = False
    await desk.spending.save()
    assert len(desk.store.kept[PLACE]) == 1


async def test_a_gateway_that_goes_takes_its_buckets_along_whatever_is_under_way(desk):
    held = await desk.reserve(amount=0.5)
    await desk.spend(0.1)
    async with desk.saving():
        desk.store.kept.pop(PLACE, None)
        desk.spending.forget(PLACE)
    desk.spending.settle(held, 0.5, NOW)
    await desk.spending.save()
    assert desk.store.kept.get(PLACE, {}) == {}
    assert (await (await desk.restarted()).spent(), desk.segments()) == (0.0, [])


async def test_a_gateway_that_goes_while_its_buckets_are_asked_for_is_gone(desk):
    desk.store.is_asked = anyio.Event()
    got: list[Reservation] = []

    async def reserve() -> None:
        got.append(await desk.reserve(amount=0.5))

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(reserve)
        await anyio.wait_all_tasks_blocked()
        desk.spending.forget(PLACE)
        desk.store.is_asked.set()
    desk.spending.settle(got[0], 0.5, NOW)
    await desk.spending.save()
    assert desk.store.kept == {}


async def test_one_of_two_gateways_that_goes_while_the_other_is_saved_isnt_saved(desk):
    other = ("b" * 32, "g")
    held = await desk.spending.reserve(other, (RULE,), Facts("openai", "m"), Held("x", NOW, 0.1))
    desk.spending.settle(held, 0.1, NOW)
    await desk.spend(0.5)
    async with desk.saving():
        desk.spending.forget(PLACE)
    assert [sorted(desk.store.kept[other]), desk.store.kept.get(PLACE, {})] == [[("r", "all")], {}]


async def test_a_gateway_that_cant_be_saved_holds_up_no_other(desk):
    other = ("b" * 32, "g")
    desk.store.refused = PLACE
    for place in (PLACE, other):
        held = await desk.spending.reserve(place, (RULE,), Facts("openai", "m"), Held("x", NOW, 0.1))
        desk.spending.settle(held, 0.1, NOW)
    with capture_logs() as lines:
        await desk.spending.save()
    assert [line["event"] for line in lines] == ["what was spent can't be saved"]
    assert list(desk.store.kept) == [other]
    desk.store.refused = None
    await desk.spending.save()
    assert (desk.store.kept[PLACE], desk.segments()) == (desk.store.kept[other], [])


async def test_what_cant_be_saved_for_long_is_no_more_than_buckets_hold(desk):
    await desk.spend(0.1, *AMPLE)
    desk.store.is_down = True
    for _ in range(2 * MAX_ENTRIES):
        await desk.spend(0.1, *AMPLE)
        desk.now += 0.001
    await desk.spending.save()
    assert max(len(entries) for entries in desk.spending._gains[PLACE].values()) <= MAX_ENTRIES
    desk.store.is_down = False
    await desk.spending.save()
    assert await (await desk.restarted()).spent() == pytest.approx(0.1 * (2 * MAX_ENTRIES + 1))


async def test_buckets_whose_time_is_over_go_from_memory_and_from_the_store(desk):
    for number in range(5):
        await desk.spend(0.1, BY_USER, user=f"user-{number}")
    held = await desk.reserve(BY_USER, amount=0.1, user="slow")
    await desk.spending.save()
    desk.now += 3_000
    await desk.spend(0.1, BY_USER, user="late")
    await desk.spending.save()
    await desk.spending.prune()
    assert (len(desk.buckets()), len(desk.store.kept[PLACE])) == (7, 6)  # nothing is spent by the slow one yet
    desk.now += 1_000
    await desk.spending.prune()
    assert desk.buckets() == [("u", 'metadata.user="late"'), ("u", 'metadata.user="slow"')]
    assert sorted(desk.store.kept[PLACE]) == desk.buckets()[:1]
    desk.spending.settle(held, 0.1, desk.now)
    desk.now += 10_000
    await desk.spending.prune()
    await desk.spending.save()
    assert (desk.buckets(), desk.store.kept[PLACE]) == ([], {})


async def test_buckets_of_rules_that_are_no_more_go_as_well(desk):
    await desk.spend(0.1, RULE, BY_USER, user="ann")
    await desk.spend(0.1, BY_USER, user="ann")
    await desk.spending.prune()
    assert desk.buckets() == [("u", 'metadata.user="ann"')]


async def test_what_cant_be_deleted_from_the_store_holds_up_nothing(desk):
    await desk.spend(0.1)
    desk.now += 10_000
    desk.store.is_down = True
    await desk.spending.prune()
    assert desk.buckets() == []


async def test_it_saves_every_second_prunes_every_minute_and_saves_at_its_end(desk):
    await desk.spend(0.1)
    asleep = anyio.Event()

    async def sleep(seconds: float) -> None:
        desk.now += seconds
        if desk.now < NOW + 3_600 + PRUNE_S:
            await anyio.lowlevel.checkpoint()
            return
        asleep.set()
        await anyio.sleep_forever()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(desk.spending.run, sleep)
        await asleep.wait()
        assert desk.buckets() == []
        await desk.spend(0.2)
        tasks.cancel_scope.cancel()
    assert list(desk.store.kept[PLACE]) == [("r", "all")]


@given(
    st.lists(
        st.sampled_from(["spend", "spend", "spend", "save", "fail", "killed", "killed in a write", "stopped", "gone"]),
        max_size=25,
    )
)
def test_whatever_is_spent_and_whenever_it_dies_all_of_it_counts_once(steps):
    async def run(folder: Path) -> None:
        desk, spent = Desk(folder), 0
        for step in steps:
            match step:
                case "spend":
                    await desk.spend(1.0, *AMPLE, user="ann")
                    spent += 1
                case "save":
                    await desk.spending.save()
                case "fail":
                    desk.store.is_down = True
                    await desk.spending.save()
                    desk.store.is_down = False
                case "gone":
                    desk.store.kept.pop(PLACE, None)
                    desk.spending.forget(PLACE)
                    spent = 0
                case "stopped":
                    await desk.spending.save()
                    assert desk.segments() == []
                    desk = await desk.restarted()
                case "killed in a write":
                    await desk.spend(1.0, *AMPLE, user="ann")
                    last = desk.segments()[-1]
                    os.truncate(last, last.stat().st_size - 7)
                    desk = await desk.restarted()
                case _:
                    desk = await desk.restarted()
        desk = await desk.restarted()
        assert [await desk.spent(rule, user="ann") for rule in AMPLE] == [spent, spent]
        assert desk.segments() == []

    with tempfile.TemporaryDirectory() as folder:
        anyio.run(run, Path(folder))


async def test_what_is_spent_while_it_is_saved_counts_once_whenever_it_dies(desk):
    await desk.spend(1.0, *AMPLE)
    async with desk.saving():
        await desk.spend(1.0, *AMPLE)
    assert await (await desk.restarted()).spent() == 2.0


async def test_a_stop_in_the_middle_of_a_save_loses_nothing(desk):
    await desk.spend(1.0, *AMPLE)
    async with desk.saving() as tasks:
        tasks.cancel_scope.cancel()
    await desk.spending.save()
    assert (await (await desk.restarted()).spent(), desk.segments()) == (1.0, [])


async def test_it_is_saved_every_second_so_the_folder_holds_no_more_than_that(desk):
    await desk.spend(1.0, *AMPLE)
    assert len(desk.segments()) == 1
    await desk.spending.save()
    assert desk.segments() == []


async def test_what_was_spent_before_the_window_counts_no_more_after_a_restart(desk):
    await desk.spend(1.0, *AMPLE)
    again = await desk.restarted()
    again.now += 3_600
    assert [await again.spent(rule) for rule in AMPLE] == [0.0, 0.0]


async def test_a_folder_that_cant_be_written_costs_a_server_that_is_killed_its_last_second_and_no_call(tmp_path):
    desk = Desk(tmp_path / "spend")
    (tmp_path / "spend").rmdir()
    with capture_logs() as lines:
        await desk.spend(1.0, *AMPLE)
        await desk.spend(1.0, *AMPLE)
    assert [line["event"] for line in lines] == ["what is spent can't be kept on the disk"]
    await desk.spending.save()
    assert await (await desk.restarted()).spent() == 2.0


async def test_a_folder_that_is_full_takes_no_more_until_it_is_saved(tmp_path):
    desk = Desk(tmp_path, max_bytes=100)
    await desk.spend(1.0, AMPLE[0])
    await desk.spend(1.0, AMPLE[0])
    assert len(desk.segments()) == 1
    await desk.spending.save()
    await desk.spend(1.0, AMPLE[0])
    assert await (await desk.restarted()).spent() == 3.0


async def test_servers_on_one_database_hear_of_one_another_within_a_second_and_add_up(tmp_path):
    store = SpendBook()
    one, two = (Desk(tmp_path / name, store, is_shared=True) for name in ("one", "two"))
    for _ in range(2):
        for desk in (one, two):
            await desk.spend(0.2, *AMPLE)
            await desk.spending.save()
        for desk in (one, two):
            desk.now += 1
    assert [await desk.spent() for desk in (one, two)] == [pytest.approx(0.8)] * 2
    assert await (await one.restarted()).spent() == pytest.approx(0.8)


async def test_what_one_holds_and_hasnt_saved_counts_with_what_others_have_saved(tmp_path):
    store = SpendBook()
    one, two = (Desk(tmp_path / name, store, is_shared=True) for name in ("one", "two"))
    await one.reserve(AMPLE[0], amount=0.1)
    await one.spend(0.2, AMPLE[0])
    await two.spend(0.4, AMPLE[0])
    await two.spending.save()
    assert await one.spent() == pytest.approx(0.3)
    one.now += 1
    assert await one.spent() == pytest.approx(0.7)
    store.is_down = True
    one.now += 1
    with capture_logs() as lines:
        assert await one.spent() == pytest.approx(0.7)
    assert [line["event"] for line in lines] == ["what others have spent can't be asked for"]


async def test_a_server_that_is_alone_asks_once(desk):
    await desk.spend(0.2)
    desk.now += 1_000
    await desk.spend(0.2)
    assert desk.store.n_loads == 1


async def test_what_another_spends_in_a_bucket_isnt_pruned_by_who_thinks_it_over(tmp_path):
    store = SpendBook()
    one, two = (Desk(tmp_path / name, store, is_shared=True) for name in ("one", "two"))
    for desk in (one, two):
        await desk.spend(0.2, *AMPLE)
        await desk.spending.save()
    two.now += 3_600
    await two.spend(0.2, *AMPLE)
    await two.spending.save()
    one.now += 3_600
    await one.spending.prune()
    assert one.buckets() == []
    assert await one.spent() == pytest.approx(0.2)
