"""Fixed and sliding windows decide as a naive count over all that has ever happened."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lowcloud.gateway.windows import (
    CHUNK,
    MAX_ENTRIES,
    SLOTS,
    Amounts,
    Counts,
    Decision,
    Held,
    Technique,
    Window,
    reserve,
    settle,
    spent,
    start_of,
    take,
)

techniques = st.sampled_from(["fixed", "sliding"])
gaps = st.lists(st.integers(0, 12), max_size=80)  # whole seconds from one call to the next: sums are exact
INTERVAL_S = 10


def counted(technique: Technique, at: float, now: float) -> bool:
    """The definition of both windows."""
    if technique == "fixed":
        return at // INTERVAL_S == now // INTERVAL_S
    return now - INTERVAL_S < at <= now


@given(techniques, gaps, st.integers(0, 6))
def test_a_call_is_let_in_while_fewer_than_the_limit_were(technique, gaps, limit):
    window, counts, now, before = Window(limit, INTERVAL_S, technique), Counts(), 1_000, []
    for gap in gaps:
        now += gap
        n = sum(counted(technique, at, now) for at in before)
        decision, counts = take(window, counts, now)
        assert decision.is_allowed == (n < limit)
        assert decision.remaining == max(0, limit - n - 1)
        if decision.is_allowed:
            before.append(now)


@given(techniques, gaps, st.integers(1, 6))
def test_a_refused_call_is_let_in_after_retry_after_and_no_second_earlier(technique, gaps, limit):
    window, counts, now = Window(limit, INTERVAL_S, technique), Counts(), 1_000
    for gap in gaps:
        now += gap
        decision, counts = take(window, counts, now)
        assert (decision.retry_after_s == 0) == decision.is_allowed
        if not decision.is_allowed:
            again = now + decision.retry_after_s
            assert 0 < decision.retry_after_s <= INTERVAL_S
            assert take(window, counts, again)[0].is_allowed
            assert not take(window, counts, again - 0.5)[0].is_allowed


@given(techniques, gaps, st.integers(0, 6))
def test_what_is_kept_of_calls_is_bounded_by_the_limit(technique, gaps, limit):
    counts, now = Counts(), 1_000
    for gap in gaps:
        now += gap
        _, counts = take(Window(limit, INTERVAL_S, technique), counts, now)
        assert sum(map(len, counts.times)) <= (0 if technique == "fixed" else limit)
        assert counts.n <= (limit if technique == "fixed" else 0)


@given(techniques, st.lists(st.integers(-15, 15), max_size=60), st.integers(1, 4))
def test_a_clock_that_goes_back_counts_as_one_that_stands_still(technique, gaps, limit):
    counts, now, furthest, let_in = Counts(), 1_000, 0, []
    for gap in gaps:
        now += gap
        furthest = max(furthest, now)
        decision, counts = take(Window(limit, INTERVAL_S, technique), counts, now)
        if decision.is_allowed:
            let_in.append(furthest)
            assert sum(counted(technique, at, furthest) for at in let_in) <= limit


def test_a_limit_of_thousands_is_exact_too():
    window, counts = Window(3 * CHUNK, INTERVAL_S, "sliding"), Counts()
    times = [1_000 + n / 128 for n in range(20 * CHUNK)]  # sums of them are exact
    let_in = []
    for now in times:
        decision, counts = take(window, counts, now)
        let_in += [now] if decision.is_allowed else []
    rounds = [times[n : n + window.limit] for n in range(0, len(times), INTERVAL_S * 128)]
    assert let_in == [now for each in rounds for now in each]


def test_a_fixed_window_begins_at_whole_intervals_since_1970():
    assert start_of(60, 1_790_000_019) == 1_790_000_000 // 60 * 60
    refused, _ = take(Window(0, 60), Counts(), 119)
    assert refused == Decision(False, 1, 0)


def test_a_limit_that_was_lowered_counts_what_was_let_in_before():
    counts = Counts(times=((100, 101), (102, 103)))
    decision, counts = take(Window(2, INTERVAL_S, "sliding"), counts, 104)
    assert (decision.is_allowed, decision.retry_after_s) == (False, 8)  # until 102 has left
    assert take(Window(2, INTERVAL_S, "sliding"), counts, 112)[0].is_allowed


calls = st.lists(  # seconds to its begin, its estimate, its cost, and how many other calls begin before it ends
    st.tuples(st.integers(0, 12), st.integers(0, 5), st.integers(0, 5), st.integers(0, 4)), max_size=40
)


@given(techniques, calls, st.integers(1, 12))
def test_a_call_may_begin_while_what_is_spent_and_held_is_below_the_limit(technique, calls, limit):
    window, amounts, now = Window(limit, INTERVAL_S, technique), Amounts(), 1_000
    costs: dict[str, tuple[float, float]] = {}  # when a call began, and what counts for it now
    open_calls: list[tuple[int, str, int]] = []
    for number, (gap, estimate, cost, lasts) in enumerate(calls):
        now += gap
        for ends in [each for each in open_calls if each[0] <= number]:
            open_calls.remove(ends)
            amounts = settle(window, amounts, ends[1], ends[2], now)
            costs[ends[1]] = (costs[ends[1]][0], ends[2])
        total = sum(amount for at, amount in costs.values() if counted(technique, at, now))
        assert spent(window, amounts, now) == total
        decision, amounts = reserve(window, amounts, Held(str(number), now, estimate))
        assert decision.is_allowed == (total < limit)
        assert decision.remaining == (max(0, limit - total - estimate) if decision.is_allowed else 0)
        if decision.is_allowed:
            costs[str(number)] = (now, estimate)
            open_calls.append((number + 1 + lasts, str(number), cost))
        else:
            assert 0 < decision.retry_after_s <= INTERVAL_S
            again = reserve(window, amounts, Held("again", now + decision.retry_after_s, 0))
            assert again[0].is_allowed


@given(calls, st.integers(1, 12))
def test_a_window_is_overshot_by_calls_under_way_at_most(calls, limit):
    window, amounts, sum_of_costs, most = Window(limit, math.inf, "sliding"), Amounts(), 0, 0
    for number, (_, estimate, cost, _) in enumerate(calls):
        decision, amounts = reserve(window, amounts, Held(str(number), 0, max(estimate, cost)))
        sum_of_costs += cost if decision.is_allowed else 0
        most = max(most, cost)
    for number, (_, _, cost, _) in enumerate(calls):
        if any(each.id == str(number) for each in amounts.held):
            amounts = settle(window, amounts, str(number), cost, 0)
    assert spent(window, amounts, 0) == sum_of_costs <= limit + max((max(e, c) for _, e, c, _ in calls), default=0)


@pytest.mark.parametrize("technique", ["fixed", "sliding"])
def test_a_call_counts_for_the_time_when_it_began(technique):
    window = Window(10, INTERVAL_S, technique)
    _, amounts = reserve(window, Amounts(), Held("a", 1_001, 5))
    amounts = settle(window, amounts, "a", 7, 1_005)
    assert spent(window, amounts, 1_009) == 7
    assert spent(window, amounts, 1_011) == 0


@pytest.mark.parametrize("technique", ["fixed", "sliding"])
def test_a_call_that_ends_after_its_window_leaves_nothing(technique):
    window = Window(10, INTERVAL_S, technique)
    _, amounts = reserve(window, Amounts(), Held("a", 1_001, 5))
    assert settle(window, amounts, "a", 7, 1_020) == Amounts()


def test_a_call_that_holds_nothing_any_more_counts_for_now():
    amounts = settle(Window(10, INTERVAL_S, "sliding"), Amounts(), "from before the restart", 3, 1_000)
    assert amounts == Amounts(entries=((1_000, 3),))


def test_a_call_that_never_ran_gives_back_what_it_held():
    window = Window(10, INTERVAL_S)
    _, amounts = reserve(window, Amounts(), Held("a", 1_000, 10))
    assert not reserve(window, amounts, Held("b", 1_000, 1))[0].is_allowed
    assert reserve(window, settle(window, amounts, "a", 0, 1_000), Held("b", 1_000, 1))[0].is_allowed


def test_a_limit_of_nothing_lets_nothing_begin_and_gives_the_whole_interval():
    for technique in ("fixed", "sliding"):
        decision, _ = reserve(Window(0, INTERVAL_S, technique), Amounts(), Held("a", 1_000, 1))
        assert decision == Decision(False, INTERVAL_S, 0)


def test_many_entries_of_a_sliding_window_become_few_without_losing_a_cent_or_staying_for_ever():
    window, amounts = Window(math.inf, 100.0, "sliding"), Amounts()
    for n in range(4 * MAX_ENTRIES):
        now = 1_000 + n / 20
        amounts = settle(window, amounts, str(n), 1, now)
        exact = min(n + 1, 2_000)  # 20 a second, for 100 seconds
        assert len(amounts.entries) <= MAX_ENTRIES
        assert exact <= spent(window, amounts, now) <= exact + 20 * 100 / SLOTS
    assert spent(window, amounts, now + 101) == 0


def test_the_entries_of_a_fixed_window_are_one():
    window, amounts = Window(math.inf, 100.0), Amounts()
    for n in range(10):
        amounts = settle(window, amounts, str(n), 1, 1_000 + n)
    assert amounts.entries == ((1_000, 10),)
