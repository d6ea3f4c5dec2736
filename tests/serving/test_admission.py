"""The queue in front of a model: who is let in, what the others are told, and that nothing is left over."""

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st
from told_clock import Clock

from lowcloud.core.errors import Overloaded
from lowcloud.serving.admission import RANKS, Bounds, Place, Queue, Rate, State, admit, departed, may_go, retry_after_s

BOUNDS = Bounds(requests=3, tokens=100)
COUNTS = st.integers(0, 1000)


def queue(clock: Clock | None = None, bounds: Bounds = BOUNDS) -> tuple[Queue, list[tuple[int, int]]]:
    reports: list[tuple[int, int]] = []
    return Queue(bounds, clock or Clock(), lambda requests, tokens: reports.append((requests, tokens))), reports


def enter(waiting: Queue, tokens: int) -> Place:
    place = waiting.enter()
    place.count(tokens)
    return place


def test_a_request_that_fits_both_bounds_is_let_in():
    assert admit(State(2, 60), BOUNDS, requests=1, tokens=40) is None


def test_a_full_queue_refuses_in_requests_and_in_tokens():
    assert admit(State(3, 0), BOUNDS, requests=1, tokens=1) is not None
    assert admit(State(1, 60), BOUNDS, requests=1, tokens=41) is not None


def test_a_request_larger_than_the_whole_bound_is_let_into_an_empty_queue():
    assert admit(State(1, 0), BOUNDS, requests=0, tokens=5000) is None
    assert admit(State(2, 1), BOUNDS, requests=0, tokens=5000) is not None


def test_the_wait_is_what_is_queued_at_the_measured_rate():
    assert retry_after_s(State(3, 100, Rate(tokens=50, seconds=10))) == 20
    assert retry_after_s(State(3, 100, Rate(tokens=50, seconds=10.1))) == 21


def test_before_anything_was_measured_the_wait_is_five_seconds():
    assert retry_after_s(State(3, 100)) == 5


@given(st.builds(State, COUNTS, COUNTS, st.builds(Rate, st.floats(0, 1e6), st.floats(0, 1e6))), COUNTS, COUNTS)
def test_a_refusal_always_names_a_wait_between_1_and_120_whole_seconds(state: State, more: int, tokens: int):
    wait_s = admit(state, BOUNDS, requests=more, tokens=tokens)
    if wait_s is None:
        assert state.requests + more <= BOUNDS.requests
        assert state.tokens + tokens <= BOUNDS.tokens or state.tokens == 0
    else:
        assert 1 <= wait_s <= 120
        assert wait_s == int(wait_s)


@given(st.lists(st.tuples(st.integers(0, 10_000), st.floats(-1, 1000)), max_size=30))
def test_a_rate_is_never_negative_and_forgets_slowly(departures: list[tuple[int, float]]):
    rate = Rate()
    for tokens, seconds in departures:
        rate = departed(rate, tokens, seconds)
    assert 0 <= rate.tokens <= 10 * 10_000 + 1
    assert 0 <= rate.seconds <= 10 * 1000 + 1


def test_a_request_waits_from_its_arrival_until_it_has_started():
    waiting, reports = queue()
    with waiting.enter() as place:
        place.count(7)
        place.started()
        place.started()
        assert waiting.state().requests == 0
    assert reports == [(1, 0), (1, 7), (0, 0)]


def test_a_request_that_ends_unstarted_leaves_the_queue_and_measures_nothing():
    waiting, reports = queue()
    with pytest.raises(KeyError), waiting.enter() as place:
        place.count(7)
        raise KeyError
    assert reports[-1] == (0, 0)
    assert waiting.state() == State(0, 0, Rate())


def test_a_full_queue_raises_overloaded_with_the_wait_and_holds_no_place_for_the_refused():
    clock = Clock(0.0)
    waiting, _ = queue(clock)
    first = enter(waiting, 10)
    clock.now = 2.0
    first.started()
    for _ in range(3):
        enter(waiting, 30)
    with pytest.raises(Overloaded, match="3 requests of 90 tokens") as refused:
        waiting.enter()
    assert refused.value.retry_after_s == 18
    assert waiting.state().requests == 3


def test_a_request_refused_for_its_tokens_gives_its_place_back():
    waiting, _ = queue()
    enter(waiting, 90)
    with pytest.raises(Overloaded), waiting.enter() as place:
        place.count(11)
    assert (waiting.state().requests, waiting.state().tokens) == (1, 90)


def test_the_rate_counts_from_the_last_departure_or_the_later_arrival():
    clock = Clock(0.0)
    waiting, _ = queue(clock)
    first, second = enter(waiting, 10), enter(waiting, 10)
    clock.now = 1.0
    first.started()
    clock.now = 3.0
    second.started()
    assert waiting.state().rate == Rate(10 * 0.9 + 10, 1.0 * 0.9 + 2.0)
    clock.now = 100.0
    idle = enter(waiting, 10)
    clock.now = 101.0
    idle.started()
    assert waiting.state().rate.seconds == pytest.approx(2.9 * 0.9 + 1.0)


@given(st.lists(st.tuples(st.integers(0, 60), st.sampled_from(["start", "leave"])), max_size=40))
def test_whatever_comes_and_goes_the_queue_is_within_its_bounds_and_empty_at_the_end(steps: list[tuple[int, str]]):
    waiting, reports = queue()
    places: list[Place] = []
    for tokens, how in steps:
        try:
            places.append(waiting.enter())
            places[-1].count(tokens)
        except Overloaded:
            oldest = places.pop(0)
            oldest.started() if how == "start" else oldest.__exit__(None, None, None)
        assert waiting.state().requests <= BOUNDS.requests
        assert waiting.state().tokens <= BOUNDS.tokens
    for place in places:
        place.__exit__(None, None, None)
    assert (waiting.state().requests, waiting.state().tokens) == (0, 0)
    assert not reports or reports[-1] == (0, 0)


def test_who_rejects_a_wait_is_let_into_an_empty_queue_and_refused_behind_another():
    queue = Queue(Bounds(requests=9, tokens=99), lambda: 0.0, lambda _requests, _tokens: None)
    with queue.enter(rejects_if_busy=True) as first:
        with pytest.raises(Overloaded, match="Capacity temporarily exceeded, please try again") as refused:
            queue.enter(rejects_if_busy=True)
        assert refused.value.retry_after_s is not None
        queue.enter()
        first.started()
    assert queue.state().requests == 1


@given(st.integers(0, 2), st.lists(st.integers(0, 3), min_size=3, max_size=3))
def test_a_request_may_go_where_none_of_a_class_before_its_own_waits(rank: int, waiting: list[int]):
    assert may_go(rank, waiting) is (sum(waiting[:rank]) == 0)


def test_what_is_not_live_takes_no_place_of_what_is_and_the_report_is_of_all():
    waiting, reports = queue()
    for _ in range(9):
        waiting.enter("batch").count(50)
    waiting.enter("background").count(1_000)
    for _ in range(3):
        waiting.enter().count(20)
    with pytest.raises(Overloaded, match="3 requests of 60 tokens"):
        waiting.enter()
    assert [waiting.state(admission).requests for admission in RANKS] == [3, 1, 9]
    assert reports[-1] == (13, 1_510)


def test_who_rejects_a_wait_is_not_refused_for_what_waits_behind():
    waiting, _ = queue()
    waiting.enter("batch")
    waiting.enter(rejects_if_busy=True)


async def went(log: list[str], name: str, place: Place) -> None:
    with place:
        await place.turn()
        log.append(name)
        place.started()


@pytest.mark.anyio
async def test_who_waits_goes_when_the_classes_before_its_own_have_started_and_live_requests_at_once():
    waiting, _ = queue()
    log: list[str] = []
    first, second = waiting.enter(), waiting.enter()
    await second.turn()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(went, log, "batch", waiting.enter("batch"))
        tasks.start_soon(went, log, "background", waiting.enter("background"))
        await anyio.wait_all_tasks_blocked()
        first.started()
        await anyio.wait_all_tasks_blocked()
        assert log == []
        second.__exit__(None, None, None)
    assert log == ["background", "batch"]


@pytest.mark.anyio
async def test_who_is_cancelled_while_it_waits_for_its_turn_leaves_nothing_behind():
    waiting, reports = queue()
    waiting.enter()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(went, [], "batch", waiting.enter("batch"))
        await anyio.wait_all_tasks_blocked()
        assert reports[-1] == (2, 0)
        tasks.cancel_scope.cancel()
    assert reports[-1] == (1, 0)
    assert waiting.state("batch") == State()
