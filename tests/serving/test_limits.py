"""What an account may use: decided from what it has used and the time, in seconds since 1970."""

import pytest

from lowcloud.core.errors import DailyLimitReached, LimitReached
from lowcloud.models.card import Task
from lowcloud.serving.limits import check_day, check_minute, rates, task_key

NOON = 20_000 * 86_400 + 43_200.0


def test_below_the_days_neurons_nothing_is_refused():
    check_day(0.0, 10_000, NOON)
    check_day(9_999.999, 10_000, NOON)


@pytest.mark.parametrize(
    ("limit", "shown"), [(10_000.0, "10,000"), (1.5, "1.5"), (12_345_678.0, "12,345,678"), (0.1, "0.1")]
)
def test_at_the_days_neurons_the_error_has_cloudflares_words_and_number_and_the_seconds_to_midnight(limit, shown):
    with pytest.raises(DailyLimitReached) as refused:
        check_day(limit, limit, NOON + 0.5)
    assert str(refused.value).startswith(f"You have used up your daily free allocation of {shown} neurons.")
    assert (refused.value.status, refused.value.number) == (429, 3036)
    assert (refused.value.is_worth_a_retry, refused.value.retry_after_s) == (False, 43_199.5)


def test_a_minutes_requests_are_let_in_up_to_the_limit_and_the_next_waits_for_the_minutes_end():
    check_minute(Task.TEXT_GENERATION, 299, 300, NOON)
    with pytest.raises(LimitReached, match="300 requests a minute for Text Generation") as refused:
        check_minute(Task.TEXT_GENERATION, 300, 300, NOON + 45)
    assert (refused.value.status, refused.value.number) == (429, 3036)
    assert (refused.value.is_worth_a_retry, refused.value.retry_after_s) == (True, 15)


def test_rates_go_by_task_and_a_star_is_every_task_that_isnt_named():
    found = rates({"text-generation": 300, "*": 720})
    assert found[Task.TEXT_GENERATION] == 300
    assert {found[task] for task in Task if task != Task.TEXT_GENERATION} == {720}
    assert rates({"text-embeddings": 3_000}) == {Task.TEXT_EMBEDDINGS: 3_000}
    assert rates({}) == {}


def test_every_task_has_a_key_of_its_own_that_toml_takes_bare():
    keys = [task_key(task) for task in Task]
    assert len(set(keys)) == len(keys)
    assert all(key.replace("-", "").isalpha() and key.islower() for key in keys)


def test_a_name_that_is_no_tasks_is_refused_by_name():
    with pytest.raises(ValueError, match=r"^text-generatoin: no such task; there are .*text-generation"):
        rates({"text-generatoin": 1})
