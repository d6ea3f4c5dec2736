"""Jobs: queued together, leased, renewed, and ended once each, whoever dies on the way."""

import asyncio
from contextlib import contextmanager
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, multiple, rule
from query_plans import recorded, whole_reads
from sqlalchemy import Engine, delete, event, select, update
from told_clock import Clock

from lowcloud.core.errors import BodyTooLarge, Overloaded
from lowcloud.storage.database import open_database
from lowcloud.storage.jobs import (
    GAVE_UP,
    HEAD_CHARS,
    ROW_BYTES,
    TOO_LARGE,
    EndedJob,
    GroupState,
    JobError,
    JobGroup,
    JobLimits,
    JobStore,
    NewJob,
    next_in_turn,
)
from lowcloud.storage.tables import jobs

ACCOUNT, OTHER = "a" * 32, "b" * 32
LEASE_S = 60.0
KEPT_S = 86_400.0
BAD = JobError("invalid_request", "messages: required")


@pytest.fixture
def store(database, clock):
    return JobStore(database, clock=clock)


def group(name="g", account=ACCOUNT, kind="batch", expires_at=1_000_000_000.0 + KEPT_S):
    return JobGroup(name, kind, account, expires_at)


def new(count, first=0):
    return [NewJob(f'{{"n":{n}}}', n, f"ref {n}") for n in range(first, first + count)]


@pytest.mark.anyio
async def test_jobs_are_leased_in_the_order_in_which_they_came(store, clock):
    await store.enqueue(group("z"), new(2))
    clock.now += 1
    await store.enqueue(group("a"), new(2, first=2))
    leased = [*await store.lease("batch", LEASE_S, 3), *await store.lease("batch", LEASE_S, 3)]
    assert [(job.group_id, job.position, job.seed, job.payload, job.attempt) for job in leased] == [
        ("z", 0, 0, '{"n":0}', 1),
        ("z", 1, 1, '{"n":1}', 1),
        ("a", 0, 2, '{"n":2}', 1),
        ("a", 1, 3, '{"n":3}', 1),
    ]
    assert await store.lease("batch", LEASE_S, 3) == ()


@pytest.mark.anyio
async def test_a_kind_has_its_own_queue(store):
    await store.enqueue(group(kind="batch"), new(1))
    assert await store.lease("response", LEASE_S, 9) == ()
    assert len(await store.lease("batch", LEASE_S, 9)) == 1


@pytest.mark.anyio
async def test_accounts_take_turns_so_that_the_many_jobs_of_one_do_not_keep_anothers_single_one_waiting(store, clock):
    await store.enqueue(group("many", ACCOUNT), new(100))
    (first,) = await store.lease("batch", LEASE_S, 1)
    clock.now += 1
    await store.enqueue(group("single", OTHER), new(1))
    await store.finish(first, "1")
    leased = await store.lease("batch", LEASE_S, 3)
    assert [(job.group_id, job.position) for job in leased] == [("single", 0), ("many", 1), ("many", 2)]


@pytest.mark.anyio
async def test_a_free_place_is_for_the_account_with_the_fewest_jobs_running(store, clock):
    await store.enqueue(group("many", ACCOUNT), new(9))
    await store.lease("batch", LEASE_S, 3)
    await store.enqueue(group("few", OTHER), new(9))
    leased = [*await store.lease("batch", LEASE_S, 1), *await store.lease("batch", LEASE_S, 4)]
    assert [job.group_id for job in leased] == ["few", "few", "few", "many", "few"]
    clock.now += LEASE_S
    assert len(await store.lease("batch", LEASE_S, 8)) == 8  # the jobs of one whose server died are the first


@pytest.mark.anyio
async def test_whose_turn_it_is_is_found_without_reading_the_jobs_of_the_others(store, database):
    await store.enqueue(group("many", ACCOUNT), new(9))
    with recorded() as statements:
        await store.lease("batch", LEASE_S, 1)
        assert await store.queued("batch") == 8
    assert await whole_reads(database, statements) == []


@given(st.lists(st.sampled_from("abcde"), max_size=30))
def test_whoever_waits_is_served_after_every_other_at_the_latest(served):
    turns, last = [], served[-1] if served else ""
    for _ in range(5):
        last = next_in_turn("abcde", {}, last)
        turns.append(last)
    assert sorted(turns) == list("abcde")


@pytest.mark.anyio
async def test_a_group_tells_how_far_it_is_and_in_the_end_what_came_of_it_in_order(store):
    await store.enqueue(group(), new(3))
    first, second = await store.lease("batch", LEASE_S, 2)
    assert await store.group("batch", ACCOUNT, "g") == GroupState(queued=1, running=2, done=0, failed=0, head='{"n":0}')
    assert await store.finish(second, BAD)
    assert await store.finish(first, '{"response":"é"}')
    assert await store.group("batch", ACCOUNT, "g") == GroupState(queued=1, running=0, done=1, failed=1, head='{"n":2}')
    (third,) = await store.lease("batch", LEASE_S, 2)
    assert await store.finish(third, "3")
    ended = (EndedJob(0, "ref 0", '{"response":"é"}'), EndedJob(1, "ref 1", BAD), EndedJob(2, "ref 2", "3"))
    assert await store.group("batch", ACCOUNT, "g") == GroupState(queued=0, running=0, done=2, failed=1, ended=ended)


@pytest.mark.anyio
async def test_a_group_is_its_accounts_and_its_kinds_alone(store):
    await store.enqueue(group(), new(1))
    assert await store.group("response", ACCOUNT, "g") is None
    assert await store.group("batch", OTHER, "g") is None
    assert await store.group("batch", ACCOUNT, "h") is None


@pytest.mark.anyio
async def test_a_lapsed_lease_is_anothers_and_the_first_holder_stores_nothing(store, clock):
    await store.enqueue(group(), new(1))
    (dead,) = await store.lease("batch", LEASE_S, 1)
    clock.now += LEASE_S
    (alive,) = await store.lease("batch", LEASE_S, 1)
    assert alive == replace(dead, attempt=2)
    assert await store.finish(dead, '"dead"') is False
    assert await store.renew([dead], LEASE_S) == ()
    await store.release([dead])
    assert await store.finish(alive, '"alive"') is True
    assert await store.finish(alive, '"again"') is False
    assert (await store.group("batch", ACCOUNT, "g")).ended == (EndedJob(0, "ref 0", '"alive"'),)


@pytest.mark.anyio
async def test_a_renewed_lease_lasts(store, clock):
    await store.enqueue(group(), new(2))
    kept, left = await store.lease("batch", LEASE_S, 2)
    clock.now += LEASE_S / 2
    assert await store.renew([kept], LEASE_S) == (kept,)
    clock.now += LEASE_S / 2
    assert await store.lease("batch", LEASE_S, 2) == (replace(left, attempt=2),)
    assert await store.finish(kept, "1") is True


@pytest.mark.anyio
async def test_a_released_job_starts_again_at_once_and_the_start_did_not_count(store):
    await store.enqueue(group(), new(1))
    for _ in range(5):
        (job,) = await store.lease("batch", LEASE_S, 1)
        assert job.attempt == 1
        await store.release([job])
        assert await store.finish(job, "1") is False


@pytest.mark.anyio
async def test_a_job_whose_starts_all_came_to_nothing_has_failed(store, clock):
    await store.enqueue(group(), new(1))
    for attempt in (1, 2, 3):
        assert [job.attempt for job in await store.lease("batch", LEASE_S, 1)] == [attempt]
        clock.now += LEASE_S
    assert await store.lease("batch", LEASE_S, 1) == ()
    assert (await store.group("batch", ACCOUNT, "g")).ended == (EndedJob(0, "ref 0", GAVE_UP),)


@pytest.mark.anyio
async def test_a_group_is_queued_whole_or_not_at_all(database, clock):
    store = JobStore(database, JobLimits(jobs=3), clock)
    await store.enqueue(group("g"), new(2))
    with pytest.raises(Overloaded):
        await store.enqueue(group("h"), new(2))
    assert await store.group("batch", ACCOUNT, "h") is None
    await store.enqueue(group("o", OTHER), new(3))
    for job in await store.lease("batch", LEASE_S, 2):
        assert await store.finish(job, "1")
    await store.enqueue(group("h"), new(2))


@pytest.mark.anyio
async def test_what_could_never_be_queued_is_too_large(database, clock):
    store = JobStore(database, JobLimits(jobs=3, size_bytes=100 + ROW_BYTES), clock)
    with pytest.raises(BodyTooLarge, match=f"these are 4 of {28 + 4 * ROW_BYTES} bytes"):
        await store.enqueue(group(), new(4))
    with pytest.raises(BodyTooLarge, match=f"these are 1 of {101 + ROW_BYTES} bytes"):
        await store.enqueue(group(), [NewJob("x" * 101, 0)])


@pytest.mark.anyio
async def test_what_an_account_has_is_bounded_in_bytes_until_it_expires(database, clock):
    store = JobStore(database, JobLimits(size_bytes=100 + 2 * ROW_BYTES), clock)
    await store.enqueue(group("g"), [NewJob("x" * 90, 0)])
    with pytest.raises(Overloaded):
        await store.enqueue(group("h"), [NewJob("y" * 20, 0)])
    (job,) = await store.lease("batch", LEASE_S, 1)
    assert await store.finish(job, "z" * 80)
    await store.enqueue(group("h"), [NewJob("y" * 20, 0)])
    with pytest.raises(Overloaded):
        await store.enqueue(group("i"), [NewJob("y", 0)])


@pytest.mark.anyio
async def test_what_an_account_has_is_bounded_in_jobs_that_failed_too(database, clock):
    store = JobStore(database, JobLimits(size_bytes=100 + 2 * ROW_BYTES), clock)
    for name in ("g", "h"):
        await store.enqueue(group(name), [NewJob("x", 0, "a reference")])
        (job,) = await store.lease("batch", LEASE_S, 1)
        assert await store.finish(job, BAD)
    with pytest.raises(Overloaded):
        await store.enqueue(group("i"), [NewJob("x", 0)])


@pytest.mark.anyio
async def test_a_result_that_is_too_large_is_a_failure(database, clock):
    store = JobStore(database, JobLimits(result_bytes=10), clock)
    await store.enqueue(group(), new(1))
    (job,) = await store.lease("batch", LEASE_S, 1)
    assert await store.finish(job, "é" * 6)
    assert [each.outcome for each in (await store.group("batch", ACCOUNT, "g")).ended] == [TOO_LARGE]


@pytest.mark.anyio
async def test_the_results_of_a_group_are_bounded_together(database, clock):
    store = JobStore(database, JobLimits(group_bytes=10), clock)
    await store.enqueue(group("g"), new(4))
    await store.enqueue(group("h"), new(1))
    for job in await store.lease("batch", LEASE_S, 5):
        outcome = BAD if job.position == 2 else "1234" if job.group_id == "g" else "1234567890"
        assert await store.finish(job, outcome)
    state = await store.group("batch", ACCOUNT, "g")
    assert [each.outcome for each in state.ended] == ["1234", "1234", BAD, TOO_LARGE]
    assert [each.outcome for each in (await store.group("batch", ACCOUNT, "h")).ended] == ["1234567890"]


@pytest.mark.anyio
async def test_any_reference_and_message_come_back(store):
    odd = ["", "é\0\n", None]
    await store.enqueue(group(), [NewJob("{}", -(2**63), reference) for reference in odd])
    for job in await store.lease("batch", LEASE_S, 3):
        assert job.seed == -(2**63)
        assert await store.finish(job, JobError("engine_failed", "x" * 5000 + "\0"))
    ended = (await store.group("batch", ACCOUNT, "g")).ended
    assert [each.external_reference for each in ended] == odd
    assert {len(each.outcome.message) for each in ended} == {2000}


@contextmanager
def after_the_first_statement(act):
    """``act`` is done right after the next statement, within its transaction."""
    done = []

    def once(*_about):
        if not done:
            done.append(True)
            act()

    event.listen(Engine, "after_cursor_execute", once)
    try:
        yield
    finally:
        event.remove(Engine, "after_cursor_execute", once)


@pytest.mark.anyio
async def test_a_group_whose_last_job_ends_while_it_is_asked_for_is_running_or_over(store, database):
    await store.enqueue(group(), [NewJob('{"n":0}', 7)])
    await store.lease("batch", LEASE_S, 1)

    def end():
        with database.writing() as connection:
            connection.execute(update(jobs).values(state="done", payload="", result="1"))

    with after_the_first_statement(end):
        state = await store.group("batch", ACCOUNT, "g")
    assert (state.is_over, state.head) in [(False, '{"n":0}'), (True, "")]
    assert (await store.group("batch", ACCOUNT, "g")).ended == (EndedJob(0, None, "1"),)


@pytest.mark.anyio
async def test_of_what_is_left_only_the_head_of_a_payload_is_read(store):
    await store.enqueue(group(), [NewJob(f'"{"x" * 10_000}"', 7)])
    assert (await store.group("batch", ACCOUNT, "g")).head == '"' + "x" * (HEAD_CHARS - 1)


@pytest.mark.anyio
async def test_a_payload_is_gone_when_its_job_has_ended(store, database):
    await store.enqueue(group(), new(1))
    (job,) = await store.lease("batch", LEASE_S, 1)
    await store.finish(job, "1")
    assert await database.run(lambda connection: connection.execute(select(jobs.c.payload)).scalar()) == ""


@pytest.mark.anyio
async def test_what_has_expired_is_not_there_and_goes_in_bounded_steps(store, database, clock):
    await store.enqueue(group("g"), new(3))
    await store.enqueue(group("h", expires_at=clock.now + 2 * KEPT_S), new(1))
    clock.now += KEPT_S
    assert await store.group("batch", ACCOUNT, "g") is None
    assert [job.group_id for job in await store.lease("batch", LEASE_S, 9)] == ["h"]
    assert [await store.delete_expired(2) for _ in range(3)] == [2, 1, 0]
    assert await database.run(lambda connection: connection.execute(select(jobs.c.group_id)).scalars().all()) == ["h"]


@pytest.mark.anyio
async def test_runners_at_once_get_different_jobs(store):
    await store.enqueue(group(), new(20))
    leased = await asyncio.gather(*(store.lease("batch", LEASE_S, 3) for _ in range(9)))
    ids = [job.id for each in leased for job in each]
    assert sorted(ids) == sorted(f"g-{n}" for n in range(20))


class Runners(RuleBasedStateMachine):
    """Groups come, runners start, stop, die and come back late, in any order; the database is opened anew."""

    held = Bundle("held")  # every lease that was ever given: a runner may think that it is its own long after
    url = ""  # of the test's database

    def __init__(self):
        super().__init__()
        self.clock = Clock()
        self.runner = asyncio.Runner()
        self.database = open_database(self.url)
        self.groups = {}
        self.newest = {}
        self.stored = {}
        self.run(self.database.writer.put(lambda connection: connection.execute(delete(jobs))))

    @property
    def store(self):
        return JobStore(self.database, clock=self.clock)

    def run(self, work):
        return self.runner.run(work)

    @rule(count=st.integers(1, 3))
    def enqueue(self, count):
        name = f"group{len(self.groups)}"
        self.groups[name] = count
        self.run(self.store.enqueue(group(name), new(count)))

    @rule(target=held, limit=st.integers(1, 3))
    def lease(self, limit):
        leased = self.run(self.store.lease("batch", LEASE_S, limit))
        for job in leased:
            assert job.id not in self.stored
            assert job.attempt == self.newest.get(job.id, 0) + 1 <= 3
            self.newest[job.id] = job.attempt
        return multiple(*leased)

    @rule(seconds=st.sampled_from([1.0, LEASE_S / 2, LEASE_S]))
    def time_passes(self, seconds):
        self.clock.now += seconds

    @rule(job=held)
    def renew(self, job):
        self.run(self.store.renew([job], LEASE_S))

    @rule(job=consumes(held))
    def release(self, job):
        """A start that is given back doesn't count, and its runner is quiet from then on."""
        is_its_own = self.run(self.store.renew([job], LEASE_S))
        self.run(self.store.release([job]))
        if is_its_own:
            self.newest[job.id] -= 1

    @rule(job=held, fails=st.booleans())
    def finish(self, job, fails):
        outcome = BAD if fails else f'"{job.id} {job.attempt}"'
        if self.run(self.store.finish(job, outcome)):
            assert job.id not in self.stored, "a second result"
            assert job.attempt == self.newest[job.id], "a result of one whose lease is another's by now"
            self.stored[job.id] = outcome

    @rule()
    def restart(self):
        self.database.close()
        self.database = open_database(self.url)

    @invariant()
    def what_is_stored_stays(self):
        for name, count in self.groups.items():
            state = self.run(self.store.group("batch", ACCOUNT, name))
            assert state.queued + state.running + state.done + state.failed == count
            for each in state.ended:
                assert each.outcome == self.stored.get(f"{name}-{each.position}", GAVE_UP)

    def teardown(self):
        """Whatever happened, a runner that lives brings every job to its end."""
        for _ in range(4):
            self.clock.now += LEASE_S
            for job in self.run(self.store.lease("batch", LEASE_S, 1_000)):
                assert self.run(self.store.finish(job, "late"))
                self.stored[job.id] = "late"
        for name, count in self.groups.items():
            assert len(self.run(self.store.group("batch", ACCOUNT, name)).ended) == count
        self.what_is_stored_stays()
        self.database.close()
        self.runner.close()


def test_every_job_ends_with_exactly_one_outcome_whatever_happens_when(url):
    Runners.url = url
    machine = type("Runners", (Runners,), {})
    machine.TestCase.settings = settings(max_examples=15, stateful_step_count=20, deadline=None)
    machine.TestCase().runTest()
