"""Dollars under rules: kept in the database, decided in memory."""

from collections.abc import Collection, Mapping

import anyio
import pytest

from lowcloud.gateway.errors import SpendLimitReached
from lowcloud.gateway.spend import Facts, Key, Partition, SpendRule
from lowcloud.gateway.spending import PRUNE_S, Place, Reservation, Spending
from lowcloud.gateway.windows import Held

pytestmark = pytest.mark.anyio
NOW = 1_800_000_000.0
PLACE = ("a" * 32, "g")
RULE = SpendRule("r", limit=1.0, window_s=3_600)
BY_USER = SpendRule("u", limit=1.0, window_s=3_600, technique="sliding", metadata={"user": Partition()})


class Store:
    """A database; while it ``is_down`` it does nothing."""

    def __init__(self) -> None:
        self.kept: dict[Place, dict[Key, str]] = {}
        self.is_down = False
        self.gate: anyio.Event | None = None
        self.n_loads = 0

    async def load(self, *place: str) -> Mapping[Key, str]:
        self.n_loads += 1
        await anyio.lowlevel.checkpoint()
        return dict(self.kept.get(place, {}))

    async def save(self, account_id: str, gateway_id: str, amounts: Mapping[Key, str]) -> None:
        if self.gate is not None:
            await self.gate.wait()
        if self.is_down:
            raise RuntimeError("not now")
        self.kept.setdefault((account_id, gateway_id), {}).update(amounts)

    async def remove(self, account_id: str, gateway_id: str, keys: Collection[Key]) -> None:
        if self.is_down:
            raise RuntimeError("not now")
        for key in keys:
            self.kept[account_id, gateway_id].pop(key, None)


class Desk:
    """Spending on a store, and a clock that a test sets."""

    def __init__(self, store: Store | None = None) -> None:
        self.store, self.now, self.n_calls = store or Store(), NOW, 0
        self.spending = Spending(self.store, lambda: self.now)

    async def reserve(self, *rules: SpendRule, amount: float = 0.0, **metadata: object) -> Reservation:
        self.n_calls += 1
        held = Held(f"call-{self.n_calls}", self.now, amount)
        found = await self.spending.reserve(PLACE, rules or (RULE,), Facts("openai", "m", metadata), held)
        assert found is not None
        return found

    async def spend(self, amount: float, *rules: SpendRule, **metadata: object) -> None:
        self.spending.settle(await self.reserve(*rules, **metadata), amount, self.now)

    def buckets(self) -> list[Key]:
        return sorted(self.spending._ledgers[PLACE])


async def test_what_is_spent_and_what_is_held_count_together():
    desk = Desk()
    await desk.spend(0.6)
    held = await desk.reserve(amount=0.5)
    with pytest.raises(SpendLimitReached):
        await desk.reserve()
    desk.spending.settle(held, 0.0, NOW)
    await desk.reserve()


async def test_a_call_that_no_rule_is_for_holds_nothing():
    desk = Desk()
    held = Held("call", NOW, 1.0)
    off = SpendRule("off", limit=0.0, window_s=60, enabled=False)
    assert await desk.spending.reserve(PLACE, (off,), Facts("openai", "m"), held) is None
    assert desk.store.n_loads == 0


async def test_it_outlives_a_restart_but_for_what_was_under_way():
    desk = Desk()
    await desk.spend(0.7)
    await desk.reserve(amount=0.2)
    await desk.spending.save()
    again = Desk(desk.store)
    await again.spend(0.2)
    with pytest.raises(SpendLimitReached) as refused:
        await again.spend(0.2)
        await again.reserve()
    assert refused.value.spent == pytest.approx(1.1)


async def test_all_who_ask_at_once_load_it_once():
    desk = Desk()
    async with anyio.create_task_group() as tasks:
        for _ in range(20):
            tasks.start_soon(desk.reserve)
    assert desk.store.n_loads == 1


async def test_what_cant_be_saved_is_saved_the_next_time():
    desk = Desk()
    await desk.spend(0.7)
    desk.store.is_down = True
    await desk.spending.save()
    desk.store.is_down = False
    await desk.spending.save()
    assert len(desk.store.kept[PLACE]) == 1


async def test_a_gateway_that_goes_takes_its_buckets_along_whatever_is_under_way():
    desk = Desk()
    held = await desk.reserve(amount=0.5)
    desk.store.gate, desk.store.is_down = anyio.Event(), True
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(desk.spending.save)
        await anyio.wait_all_tasks_blocked()
        desk.spending.forget(PLACE)
        desk.store.gate.set()
    desk.spending.settle(held, 0.5, NOW)
    await desk.spending.save()
    assert desk.store.kept == {}


async def test_one_of_two_gateways_that_goes_while_the_other_is_saved_isnt_saved():
    desk = Desk()
    other = ("b" * 32, "g")
    await desk.spending.reserve(other, (RULE,), Facts("openai", "m"), Held("x", NOW, 0.1))
    await desk.reserve(amount=0.5)
    desk.store.gate = anyio.Event()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(desk.spending.save)
        await anyio.wait_all_tasks_blocked()
        desk.spending.forget(PLACE)
        desk.store.gate.set()
    assert desk.store.kept.get(PLACE, {}) == {}


async def test_buckets_whose_time_is_over_go_from_memory_and_from_the_store():
    desk = Desk()
    for number in range(5):
        await desk.spend(0.1, BY_USER, user=f"user-{number}")
    held = await desk.reserve(BY_USER, amount=0.1, user="slow")
    await desk.spending.save()
    desk.now += 3_000
    await desk.spend(0.1, BY_USER, user="late")
    await desk.spending.save()
    await desk.spending.prune()
    assert len(desk.buckets()) == len(desk.store.kept[PLACE]) == 7
    desk.now += 1_000
    await desk.spending.prune()
    assert desk.buckets() == [("u", 'metadata.user="late"'), ("u", 'metadata.user="slow"')]
    assert sorted(desk.store.kept[PLACE]) == desk.buckets()
    desk.spending.settle(held, 0.1, desk.now)
    desk.now += 10_000
    await desk.spending.prune()
    await desk.spending.save()
    assert (desk.buckets(), desk.store.kept[PLACE]) == ([], {})


async def test_buckets_of_rules_that_are_no_more_go_as_well():
    desk = Desk()
    await desk.spend(0.1, RULE, BY_USER, user="ann")
    await desk.spend(0.1, BY_USER, user="ann")
    await desk.spending.prune()
    assert desk.buckets() == [("u", 'metadata.user="ann"')]


async def test_what_cant_be_deleted_from_the_store_holds_up_nothing():
    desk = Desk()
    await desk.spend(0.1)
    desk.now += 10_000
    desk.store.is_down = True
    await desk.spending.prune()
    assert desk.buckets() == []


async def test_it_saves_every_second_prunes_every_minute_and_saves_at_its_end():
    desk = Desk()
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
