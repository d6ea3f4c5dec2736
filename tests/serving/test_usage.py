"""The ledger: what accounts use is counted once, written whatever happens, and limited where that is configured."""

from collections.abc import Mapping

import anyio
import pytest
from structlog.testing import capture_logs
from told_clock import Clock
from usage_sums import Sums, UsageTold

from lowcloud.core.errors import DailyLimitReached, LimitReached
from lowcloud.core.requests import Caller
from lowcloud.models.card import Card, Price, Task
from lowcloud.serving.limits import Allowance
from lowcloud.serving.usage import MAX_ACCOUNTS, MAX_PENDING, Ledger, UsageRecord
from lowcloud.storage.database import open_database
from lowcloud.storage.usage import UsageCounts, UsageKey, UsageStore

pytestmark = pytest.mark.anyio
DAY = "2027-01-15"
MIDNIGHT = 1_799_971_200.0  # the beginning of DAY
CALLER = Caller("a" * 32)
PRICED = Card(id="@cf/x", task=Task.TEXT_GENERATION, owned_by="x", price=(Price(unit="per M input tokens", price=1),))
FREE = Card(id="@local/x", task=Task.TEXT_GENERATION, owned_by="x")
EMBEDS = Card(id="@cf/e", task=Task.TEXT_EMBEDDINGS, owned_by="x")


class Desk:
    """A ledger, and all that is around it."""

    def __init__(self, neurons_per_day: float | None = None, rates: Mapping[Task, int] | None = None) -> None:
        self.store, self.meter, self.clock = Sums(), UsageTold(), Clock(MIDNIGHT + 3_600)
        self.allowance = Allowance(neurons_per_day, rates or {})
        self.ledger = self.anew()

    def anew(self) -> Ledger:
        """Another ledger on the same store, as after a restart."""
        return Ledger(self.store, self.meter, self.allowance, self.clock)


def record(neurons: float = 1.0, outcome: str = "done", account: str = CALLER.account_id, model: str = "@cf/x"):
    return UsageRecord(account, model, "@local/by", Task.TEXT_GENERATION, outcome, 10, 4, 3, neurons)


def key(model: str = "@cf/x", day: str = DAY) -> UsageKey:
    return UsageKey(CALLER.account_id, day, model, "@local/by")


async def test_runs_are_summed_by_account_day_and_models_and_written_at_once():
    desk = Desk()
    for outcome in ("done", "failed", "client_gone"):
        desk.ledger.add(record(0.5, outcome))
    desk.ledger.add(record(model="@cf/y"))
    assert desk.store.rows == {}
    await desk.ledger.flush()
    assert desk.store.rows == {
        key(): UsageCounts(3, 1, 1, 30, 12, 9, 1.5),
        key("@cf/y"): UsageCounts(1, 0, 0, 10, 4, 3, 1.0),
    }
    await desk.ledger.flush()
    assert desk.store.writes == 1


async def test_a_run_is_counted_on_the_day_that_it_ends():
    desk = Desk()
    desk.ledger.add(record())
    desk.clock.now = MIDNIGHT + 86_400
    desk.ledger.add(record())
    await desk.ledger.flush()
    assert set(desk.store.rows) == {key(), key(day="2027-01-16")}


async def test_every_run_is_told_to_the_metrics():
    desk = Desk()
    desk.ledger.add(record(2.5, "failed"))
    assert desk.meter.runs == [("@local/by", "Text Generation", "failed", 2.5)]


async def test_what_cant_be_written_is_written_later_together_with_what_came_meanwhile():
    desk = Desk()
    desk.store.fails = True
    desk.ledger.add(record())
    await desk.ledger.flush()
    desk.ledger.add(record())
    desk.store.fails = False
    await desk.ledger.flush()
    assert desk.store.rows == {key(): UsageCounts(2, 0, 0, 20, 8, 6, 2.0)}


async def test_that_usage_cant_be_written_is_logged_when_it_begins():
    desk = Desk()
    desk.ledger.add(record())
    with capture_logs() as lines:
        for fails in (True, True, False, True):
            desk.store.fails = fails
            desk.ledger.add(record())
            await desk.ledger.flush()
    assert [line["log_level"] for line in lines] == ["error", "error"]


async def test_the_sums_that_wait_are_bounded_and_those_of_known_models_go_on():
    desk = Desk()
    for number in range(MAX_PENDING + 5):
        desk.ledger.add(record(model=f"@cf/{number}"))
    desk.ledger.add(record(model="@cf/0"))
    await desk.ledger.flush()
    assert len(desk.store.rows) == MAX_PENDING
    assert desk.store.rows[key("@cf/0")].requests == 2


async def test_it_writes_once_a_second_until_it_is_cancelled_and_then_what_is_left():
    desk = Desk()
    slept: list[float] = []
    wakes = [anyio.Event() for _ in range(3)]

    async def sleep(seconds: float) -> None:
        slept.append(seconds)
        await wakes[len(slept) - 1].wait()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(desk.ledger.run, sleep)
        for number in range(2):
            desk.ledger.add(record())
            await anyio.wait_all_tasks_blocked()
            assert desk.store.writes == number
            wakes[number].set()
            await anyio.wait_all_tasks_blocked()
            assert desk.store.writes == number + 1
        desk.ledger.add(record())
        tasks.cancel_scope.cancel()
    assert slept == [1.0] * 3
    assert desk.store.rows[key()].requests == 3


async def test_a_write_that_is_under_way_when_all_is_cancelled_is_waited_for_and_done_once():
    desk = Desk()
    desk.store.held = anyio.Event()

    async def at_once(_seconds: float) -> None:
        await anyio.lowlevel.checkpoint()

    desk.ledger.add(record())
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(desk.ledger.run, at_once)
        await anyio.wait_all_tasks_blocked()
        tasks.cancel_scope.cancel()
        desk.store.held.set()
    assert desk.store.rows[key()].requests == 1


async def test_without_limits_every_run_is_let_in_and_nothing_is_read():
    desk = Desk()
    desk.store.rows[key()] = UsageCounts(neurons=1e9)
    for _ in range(1_000):
        await desk.ledger.admit(CALLER, PRICED)
    assert (desk.store.reads, desk.meter.refusals) == ([], [])


async def test_an_account_over_its_neurons_of_the_day_is_refused_until_the_next_day():
    desk = Desk(neurons_per_day=10)
    await desk.ledger.admit(CALLER, PRICED)
    desk.ledger.add(record(9.99))
    await desk.ledger.admit(CALLER, PRICED)
    desk.ledger.add(record(500))
    with pytest.raises(DailyLimitReached) as refused:
        await desk.ledger.admit(CALLER, PRICED)
    assert refused.value.retry_after_s == 82_800
    await desk.ledger.admit(Caller("b" * 32), PRICED)
    desk.clock.now = MIDNIGHT + 86_400
    await desk.ledger.admit(CALLER, PRICED)
    assert desk.meter.refusals == ["neurons_per_day"]


async def test_a_card_that_costs_nothing_has_no_daily_limit():
    desk = Desk(neurons_per_day=10)
    desk.ledger.add(record(500))
    await desk.ledger.admit(CALLER, FREE)
    assert desk.store.reads == []


async def test_the_days_neurons_are_those_of_the_database_too_and_each_is_counted_once():
    desk = Desk(neurons_per_day=10)
    desk.ledger.add(record(4))
    await desk.ledger.flush()
    desk.ledger.add(record(3))
    await desk.ledger.admit(CALLER, PRICED)
    desk.ledger.add(record(2.5))
    await desk.ledger.flush()
    await desk.ledger.admit(CALLER, PRICED)
    desk.ledger.add(record(0.5))
    with pytest.raises(DailyLimitReached):
        await desk.ledger.admit(CALLER, PRICED)
    assert desk.store.reads == [(CALLER.account_id, DAY)]


async def test_what_another_server_counts_is_seen_within_a_minute():
    desk = Desk(neurons_per_day=10)
    here, there = desk.ledger, desk.anew()
    await here.admit(CALLER, PRICED)
    there.add(record(20))
    await there.flush()
    await here.admit(CALLER, PRICED)
    desk.clock.now += 60
    with pytest.raises(DailyLimitReached):
        await here.admit(CALLER, PRICED)


async def test_neurons_that_are_being_written_while_an_account_is_looked_up_are_counted_once():
    desk = Desk(neurons_per_day=10)
    desk.store.held = anyio.Event()
    desk.ledger.add(record(6))
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(desk.ledger.flush)
        await anyio.wait_all_tasks_blocked()
        for _ in range(3):
            tasks.start_soon(desk.ledger.admit, CALLER, PRICED)
        await anyio.wait_all_tasks_blocked()
        desk.ledger.add(record(3))
        desk.store.held.set()
    assert len(desk.store.reads) == 1
    desk.ledger.add(record(0.99))
    await desk.ledger.admit(CALLER, PRICED)
    desk.ledger.add(record(0.01))
    with pytest.raises(DailyLimitReached):
        await desk.ledger.admit(CALLER, PRICED)


async def test_a_restart_forgets_nothing_of_the_day(tmp_path):
    clock = Clock(MIDNIGHT + 3_600)
    with open_database(f"sqlite:///{tmp_path}/x.db") as database:
        before = Ledger(UsageStore(database, clock=clock), UsageTold(), Allowance(10), clock)
        before.add(record(10))
        await before.flush()
        after = Ledger(UsageStore(database, clock=clock), UsageTold(), Allowance(10), clock)
        with pytest.raises(DailyLimitReached):
            await after.admit(CALLER, PRICED)


async def test_accounts_that_are_kept_in_memory_are_bounded_and_those_that_go_are_looked_up_again():
    desk = Desk(neurons_per_day=10)
    await desk.ledger.admit(CALLER, PRICED)
    desk.ledger.add(record(10))
    for number in range(MAX_ACCOUNTS):
        await desk.ledger.admit(Caller(str(number)), PRICED)
    with pytest.raises(DailyLimitReached):
        await desk.ledger.admit(CALLER, PRICED)
    assert desk.store.reads.count((CALLER.account_id, DAY)) == 2


async def test_requests_of_a_minute_are_bounded_by_account_and_task_until_the_minutes_end():
    desk = Desk(rates={Task.TEXT_GENERATION: 2})
    desk.clock.now = MIDNIGHT + 70
    for _ in range(2):
        await desk.ledger.admit(CALLER, FREE)
    for _ in range(3):
        with pytest.raises(LimitReached) as refused:
            await desk.ledger.admit(CALLER, FREE)
        assert refused.value.retry_after_s == 50
    await desk.ledger.admit(Caller("b" * 32), FREE)
    for _ in range(9):
        await desk.ledger.admit(CALLER, EMBEDS)
    desk.clock.now = MIDNIGHT + 120
    await desk.ledger.admit(CALLER, FREE)
    assert desk.meter.refusals == ["requests_per_minute"] * 3


@pytest.mark.parametrize("caller", [Caller("c", "background"), Caller("c", "batch"), Caller("c", is_part=True)])
async def test_what_waits_for_others_and_the_later_runs_of_a_request_are_no_requests_of_a_minute(caller):
    desk = Desk(rates={Task.TEXT_GENERATION: 1})
    for _ in range(3):
        await desk.ledger.admit(caller, FREE)
    await desk.ledger.admit(Caller("c"), FREE)


async def test_a_request_that_the_daily_limit_refuses_is_no_request_of_the_minute():
    desk = Desk(neurons_per_day=10, rates={Task.TEXT_GENERATION: 1})
    desk.ledger.add(record(10))
    with pytest.raises(DailyLimitReached):
        await desk.ledger.admit(CALLER, PRICED)
    await desk.ledger.admit(CALLER, FREE)


async def test_a_batch_is_bounded_in_neurons_as_well():
    desk = Desk(neurons_per_day=10)
    desk.ledger.add(record(10))
    with pytest.raises(DailyLimitReached):
        await desk.ledger.admit(Caller(CALLER.account_id, "batch"), PRICED)
