"""The job runner: every job gets one result, whoever stops, dies or is slow on the way."""

from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import func, select

from lowcloud.core.errors import (
    BadRequest,
    DailyLimitReached,
    EngineFailed,
    LowcloudError,
    ModelUnusable,
    Overloaded,
    RequestTimeout,
    Unavailable,
)
from lowcloud.serving.jobs import CLEANED, POLL_S, RETRY_S, JobRunner, RunnerLimits, retry_after_s
from lowcloud.storage.database import Database, open_database
from lowcloud.storage.jobs import STARTS, EndedJob, GroupState, JobError, JobStore, LeasedJob, NewJob
from lowcloud.storage.tables import jobs
from lowcloud.telemetry.metrics import Metrics

pytestmark = pytest.mark.anyio
ACCOUNT = "a" * 32
LIMITS = RunnerLimits(concurrency=2, lease_s=30.0, kept_s=10_000.0)
SLEEPERS = 3  # of a runner of one kind: what looks for jobs, renews leases and deletes what has expired


class Time:
    """Time that passes only in ``pass_by``."""

    def __init__(self) -> None:
        self.now = 1_000_000_000.0
        self._wakes: list[tuple[float, anyio.Event]] = []

    def __call__(self) -> float:
        return self.now

    @property
    def sleepers(self) -> int:
        return len(self._wakes)

    async def sleep(self, seconds: float) -> None:
        wake = (self.now + seconds, anyio.Event())
        self._wakes.append(wake)
        await wake[1].wait()

    def pass_by(self, seconds: float) -> None:
        self.now += seconds
        for wake in [wake for wake in self._wakes if wake[0] <= self.now]:
            self._wakes.remove(wake)
            wake[1].set()


class Stagehand:
    """A handler that echoes payloads: once ``is_open``, and where ``errors`` has none for the attempt."""

    def __init__(self, time: Time) -> None:
        self._time = time
        self.starts: list[tuple[str, int]] = []
        self.times: list[float] = []
        self.errors: dict[int, Exception] = {}
        self.running = self.most = 0
        self.is_open = anyio.Event()
        self._changed = anyio.Event()

    async def run(self, job: LeasedJob) -> bytes:
        self.starts.append((job.payload, job.attempt))
        self.times.append(self._time.now)
        self.running += 1
        self.most = max(self.most, self.running)
        changed, self._changed = self._changed, anyio.Event()
        changed.set()
        try:
            await self.is_open.wait()
        finally:
            self.running -= 1
        if job.attempt in self.errors:
            raise self.errors[job.attempt]
        return job.payload.encode()

    def failure(self, job: LeasedJob, error: LowcloudError) -> JobError:
        return JobError(error.code, f"{job.position}: {error}")

    async def started(self, times: int) -> None:
        with anyio.fail_after(30):
            while len(self.starts) < times:
                await self._changed.wait()


class FlakyStore(JobStore):
    """Each of ``failing`` raises once."""

    failing: frozenset[str] = frozenset()

    def _pass(self, what: str) -> None:
        if what in self.failing:
            self.failing = self.failing - {what}
            raise OSError("the disk is full")

    async def lease(self, kind, lease_s, limit):
        self._pass("lease")
        return await super().lease(kind, lease_s, limit)

    async def renew(self, held, lease_s):
        self._pass("renew")
        return await super().renew(held, lease_s)

    async def finish(self, job, outcome):
        self._pass("finish")
        return await super().finish(job, outcome)

    async def release(self, held):
        self._pass("release")
        await super().release(held)

    async def delete_expired(self, limit=1_000):
        self._pass("delete_expired")
        return await super().delete_expired(limit)


class Rig:
    """A runner on a real database."""

    def __init__(self, database: Database) -> None:
        self.time = Time()
        self.database = database
        self.store = FlakyStore(database, clock=self.time)
        self.metrics = Metrics()
        self.handler, self.runner = self.another()

    def another(self) -> tuple[Stagehand, JobRunner]:
        """What another server process has."""
        handler = Stagehand(self.time)
        runner = JobRunner(self.store, LIMITS, meter=self.metrics, clock=self.time, sleep=self.time.sleep)
        runner.add("test", handler)
        return handler, runner

    async def enqueue(self, n: int, group: str = "g") -> None:
        await self.runner.enqueue("test", group, ACCOUNT, [NewJob(f'"{group}{i}"', i, f"r{i}") for i in range(n)])

    async def state(self, group: str = "g") -> GroupState | None:
        return await self.runner.group("test", ACCOUNT, group)

    async def rows(self) -> int:
        count = select(func.count()).select_from(jobs)
        return await self.database.run(lambda connection: connection.execute(count).scalar_one())

    async def settled(self, runners: int) -> None:
        """Wait until what time has woken sleeps again: on a busy machine the disk is slower than time."""
        with anyio.fail_after(30):
            while self.time.sleepers < runners * SLEEPERS:
                await self.state()

    async def over(self, group: str = "g") -> tuple[EndedJob, ...]:
        """The ended jobs, once all are."""
        await self.until(lambda state: state.is_over, group=group)
        state = await self.state(group)
        assert state is not None
        return state.ended

    async def until(self, is_so: Callable[[GroupState], bool], *, step_s: float = 0.0, group: str = "g") -> None:
        """Let time pass, ``step_s`` at each look, until a group is so."""
        with anyio.fail_after(30):
            while (state := await self.state(group)) is None or not is_so(state):
                self.time.pass_by(step_s)


@pytest.fixture
def rig(tmp_path):
    with open_database(f"sqlite:///{tmp_path}/lowcloud.db") as database:
        yield Rig(database)


@asynccontextmanager
async def running(*runners: JobRunner) -> AsyncGenerator[None]:
    async with anyio.create_task_group() as tasks:
        for runner in runners:
            tasks.start_soon(runner.run)
        yield
        tasks.cancel_scope.cancel()


async def test_jobs_run_as_many_at_once_as_may_and_all_results_are_kept_in_order(rig):
    async with running(rig.runner):
        await rig.enqueue(5)
        await rig.handler.started(2)
        assert await rig.state() == GroupState(3, 2, 0, 0, head='"g0"')
        rig.handler.is_open.set()
        assert [(job.outcome, job.external_reference) for job in await rig.over()] == [
            (f'"g{i}"', f"r{i}") for i in range(5)
        ]
    assert rig.handler.most == 2
    assert sorted(rig.handler.starts) == [(f'"g{i}"', 1) for i in range(5)]


async def test_what_was_queued_before_the_start_is_run(rig):
    await rig.enqueue(1)
    rig.handler.is_open.set()
    async with running(rig.runner):
        assert len(await rig.over()) == 1


async def test_jobs_that_anothers_transaction_queues_run_when_the_runner_is_told(rig):
    rig.handler.is_open.set()
    async with running(rig.runner):
        await rig.database.writer.put(rig.runner.queueing("test", "g", ACCOUNT, [NewJob('"mine"', 1)]))
        rig.runner.wake("test")
        assert [job.outcome for job in await rig.over()] == ['"mine"']


async def test_an_error_that_nothing_can_mend_is_the_jobs_result_and_the_others_go_on(rig):
    rig.handler.errors[1] = BadRequest("no prompt")
    rig.handler.is_open.set()
    async with running(rig.runner):
        await rig.enqueue(2)
        assert [job.outcome for job in await rig.over()] == [
            JobError("invalid_request", f"{i}: no prompt") for i in range(2)
        ]


async def test_a_bug_is_an_internal_error_that_shows_nothing_of_itself(rig):
    rig.handler.errors[1] = KeyError("secret")
    rig.handler.is_open.set()
    async with running(rig.runner):
        await rig.enqueue(1)
        (job,) = await rig.over()
    assert job.outcome.code == "internal_error"
    assert "secret" not in job.outcome.message and "g-0" in job.outcome.message


async def test_a_job_starts_again_a_while_after_an_error_that_may_pass(rig):
    rig.handler.errors[1] = Unavailable("loading", retry_after_s=5)
    rig.handler.is_open.set()
    async with running(rig.runner):
        await rig.enqueue(1)
        await rig.until(lambda state: state.is_over, step_s=1.0)
        assert [job.outcome for job in await rig.over()] == ['"g0"']
    assert rig.handler.starts == [('"g0"', 1), ('"g0"', 2)]
    assert RETRY_S <= rig.handler.times[1] - rig.handler.times[0] <= RETRY_S + 3 * POLL_S


async def test_after_three_starts_the_last_error_is_the_result(rig):
    rig.handler.errors = {attempt: Overloaded(f"full, {attempt}") for attempt in (1, 2, 3)}
    rig.handler.is_open.set()
    async with running(rig.runner):
        await rig.enqueue(1)
        await rig.until(lambda state: state.is_over, step_s=1.0)
        assert [job.outcome for job in await rig.over()] == [JobError("rate_limit_exceeded", "0: full, 3")]
    assert len(rig.handler.starts) == 3


async def test_a_lease_is_kept_for_as_long_as_its_job_takes(rig):
    handler, runner = rig.another()
    async with running(rig.runner):
        await rig.enqueue(1)
        await rig.handler.started(1)
        async with running(runner):
            for _ in range(200):
                rig.time.pass_by(1.0)
                await rig.settled(runners=2)
            rig.handler.is_open.set()
            assert [job.outcome for job in await rig.over()] == ['"g0"']
    assert rig.handler.starts == [('"g0"', 1)]
    assert handler.starts == []


async def test_jobs_that_wait_that_run_and_that_have_ended_are_measured(rig):
    def measured() -> set[str]:
        return {line for line in rig.metrics.render().decode().splitlines() if 'kind="test"' in line}

    await rig.enqueue(3)
    rig.handler.errors[1] = EngineFailed("no")
    async with running(rig.runner):
        await rig.handler.started(2)
        with anyio.fail_after(30):
            while not measured() >= {'lowcloud_queued_jobs{kind="test"} 1.0', 'lowcloud_running_jobs{kind="test"} 2.0'}:
                rig.time.pass_by(POLL_S)
                await rig.state()
        rig.handler.is_open.set()
        await rig.over()
        with anyio.fail_after(30):
            while 'lowcloud_running_jobs{kind="test"} 0.0' not in measured():
                await rig.state()
    assert 'lowcloud_jobs_total{kind="test",outcome="failed"} 3.0' in measured()


async def test_jobs_under_way_at_a_stop_are_given_back_and_the_start_does_not_count(rig):
    await rig.enqueue(3)
    for _ in range(4):
        handler, runner = rig.another()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(runner.run)
            await handler.started(2)
            runner.stop()
        assert handler.running == 0
        assert [attempt for _, attempt in handler.starts] == [1, 1]
        assert await rig.state() == GroupState(3, 0, 0, 0, head='"g0"')


async def test_a_stop_ends_well_though_the_database_is_gone(rig):
    rig.store.failing = frozenset({"release"})
    async with running(rig.runner):
        await rig.enqueue(1)
        await rig.handler.started(1)
    assert await rig.state() == GroupState(0, 1, 0, 0, head='"g0"')
    rig.time.pass_by(LIMITS.lease_s)
    rig.handler.is_open.set()
    async with running(rig.runner):
        await rig.over()


async def test_the_jobs_of_a_server_that_died_are_run_by_another_when_their_leases_lapse(rig):
    await rig.enqueue(2)
    dead = await rig.store.lease("test", LIMITS.lease_s, 1)
    rig.handler.is_open.set()
    async with running(rig.runner):
        await rig.until(lambda state: state.done == 1)
        assert await rig.state() == GroupState(0, 1, 1, 0, head='"g0"')
        await rig.until(lambda state: state.is_over, step_s=1.0)
        assert await rig.store.finish(dead[0], '"late"') is False
        assert [job.outcome for job in await rig.over()] == ['"g0"', '"g1"']
    assert rig.handler.starts == [('"g1"', 1), ('"g0"', 2)]


async def test_a_job_that_became_anothers_is_given_up(rig):
    async with running(rig.runner):
        await rig.enqueue(1)
        await rig.handler.started(1)
        rig.time.now += LIMITS.lease_s  # the server stood still
        (theirs,) = await rig.store.lease("test", 1000.0, 1)
        with anyio.fail_after(30):
            while rig.handler.running:
                rig.time.pass_by(1.0)
                await rig.state()
        assert await rig.store.finish(theirs, '"theirs"')
        rig.handler.is_open.set()
        assert [job.outcome for job in await rig.over()] == ['"theirs"']


async def test_what_expired_before_it_was_run_is_deleted_however_much_it_is(rig):
    await rig.enqueue(CLEANED + 1)
    rig.time.pass_by(LIMITS.kept_s)
    async with running(rig.runner):
        with anyio.fail_after(30):
            while await rig.rows():
                pass
    assert rig.handler.starts == []


async def test_a_runner_that_never_ran_has_nothing_to_stop(rig):
    rig.runner.stop()
    await rig.enqueue(1)
    assert await rig.state() == GroupState(1, 0, 0, 0, head='"g0"')


async def test_what_expired_is_deleted(rig):
    rig.handler.is_open.set()
    async with running(rig.runner):
        await rig.enqueue(3)
        await rig.over()
        rig.time.pass_by(LIMITS.kept_s)
        assert await rig.state() is None
        with anyio.fail_after(30):
            while await rig.rows():
                rig.time.pass_by(1.0)


async def test_a_database_that_fails_for_a_while_loses_nothing(rig):
    """A lease, a renewal, a result and a deletion that fail are done again."""
    rig.store.failing = frozenset({"lease", "renew", "finish", "delete_expired"})
    async with running(rig.runner):
        await rig.enqueue(1)
        await rig.until(lambda state: state.running == 1, step_s=1.0)
        await rig.handler.started(1)
        with anyio.fail_after(30):
            while "renew" in rig.store.failing:
                rig.time.pass_by(1.0)
                await rig.state()
        rig.handler.is_open.set()
        await rig.until(lambda state: state.is_over, step_s=1.0)
        assert [job.outcome for job in await rig.over()] == ['"g0"']
    assert rig.store.failing == frozenset()
    assert rig.handler.starts == [('"g0"', 1), ('"g0"', 2)]


@given(
    st.sampled_from([Unavailable("x"), ModelUnusable("x"), Overloaded("x", retry_after_s=120.0), RequestTimeout("x")]),
    st.integers(1, 2 * STARTS),
)
def test_the_wait_grows_and_is_no_shorter_than_the_error_says(error, attempt):
    wait_s = retry_after_s(error, attempt)
    assert (wait_s is None) == (attempt >= STARTS)
    if wait_s is not None:
        assert wait_s >= max(RETRY_S, error.retry_after_s or 0.0)
        assert attempt == 1 or wait_s > (retry_after_s(error, attempt - 1) or 0.0) or wait_s == 120.0


@pytest.mark.parametrize("error", [BadRequest("x"), EngineFailed("x"), DailyLimitReached("x", retry_after_s=9.0)])
def test_what_will_not_pass_is_not_tried_again(error):
    assert retry_after_s(error, 1) is None
