"""When a dead worker is started again."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lowcloud.engines.local.backoff import Backoff, Death, restart_at

POLICY = Backoff(first_s=1.0, most_s=30.0, healthy_s=60.0)
lives = st.lists(st.sampled_from([0.0, 0.5, 59.0, 60.0, 1e6]), min_size=1, max_size=80)


def wait_after(*ready_s):
    deaths = [Death(1000.0, life) for life in ready_s]
    return restart_at(deaths, POLICY) - 1000.0


@pytest.mark.parametrize(
    ("ready_s", "wait_s"),
    [
        ((5,), 0),
        ((5, 5), 1),
        ((5, 5, 5), 2),
        ((5, 5, 5, 5), 4),
        ((5,) * 7, 30),
        ((5,) * 2000, 30),
    ],
)
def test_a_worker_that_had_been_ready_is_started_at_once_and_young_deaths_after_it_wait_twice_as_long(ready_s, wait_s):
    assert wait_after(*ready_s) == wait_s


@pytest.mark.parametrize(("ready_s", "wait_s"), [((0,), 1), ((0, 0), 2), ((0, 0, 0), 4), ((5, 0), 2), ((0, 5), 1)])
def test_a_worker_that_never_came_up_waits_from_the_first_time(ready_s, wait_s):
    assert wait_after(*ready_s) == wait_s


@pytest.mark.parametrize(("ready_s", "wait_s"), [((5, 5, 60), 0), ((5, 5, 60, 5), 0), ((5, 5, 60, 5, 5), 1)])
def test_a_while_of_health_forgets_the_deaths_before(ready_s, wait_s):
    assert wait_after(*ready_s) == wait_s


@given(lives)
def test_the_wait_is_never_negative_and_never_over_its_bound(ready_s):
    assert 0 <= wait_after(*ready_s) <= POLICY.most_s
