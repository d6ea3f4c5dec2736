"""Which failures are tried again, when, and for how long an attempt waits."""

from email.utils import format_datetime, formatdate

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lowcloud.gateway.config import GatewayConfig
from lowcloud.gateway.options import Options, merged
from lowcloud.gateway.retry import PATIENCE_S, delay_s, is_retried, parse_retry_after, timeout_s

NOW = 1_790_000_000.0
SETTLED = merged(Options(max_attempts=5, retry_delay_ms=100), Options(), GatewayConfig("g"))


@pytest.mark.parametrize("failure", [408, 429, 500, 502, 503, 529, 599, "no_connection", "timeout"])
def test_what_may_pass_is_tried_again(failure):
    assert is_retried(failure)


@pytest.mark.parametrize("failure", [200, 302, 400, 401, 403, 404, 409, 422, 499, 600, "not_allowed"])
def test_what_will_not_pass_is_not_tried_again(failure):
    assert not is_retried(failure)


@pytest.mark.parametrize(
    ("backoff", "delays"),
    [("constant", [0.1] * 4), ("linear", [0.1, 0.2, 0.3, 0.4]), ("exponential", [0.1, 0.2, 0.4, 0.8])],
)
def test_delays_grow_as_asked(backoff, delays):
    settled = SETTLED._replace(backoff=backoff)
    assert [delay_s(attempt, settled, None) for attempt in range(1, 5)] == pytest.approx(delays)


def test_no_delay_of_our_own_grows_beyond_a_minute():
    slow = SETTLED._replace(retry_delay_ms=60_000, backoff="exponential")
    assert [delay_s(attempt, slow, None) for attempt in (1, 2, 3, 4)] == [60.0] * 4


@given(st.integers(1, 5), st.integers(1, 5))
def test_there_are_as_many_attempts_as_asked_the_first_among_them(attempt, most):
    settled = SETTLED._replace(max_attempts=most)
    assert (delay_s(attempt, settled, None) is None) == (attempt >= most)


@given(st.floats(0, 2 * PATIENCE_S))
def test_the_providers_wish_counts_where_it_is_longer_and_ends_the_step_where_it_is_too_long(wish):
    found = delay_s(1, SETTLED, wish)
    assert found == (None if wish > PATIENCE_S else max(0.1, wish))


@given(st.integers(1, 5), st.integers(1, 5))
def test_the_last_of_several_attempts_waits_without_the_callers_timeout(attempt, most):
    settled = SETTLED._replace(max_attempts=most, request_timeout_ms=1_500)
    is_bounded = attempt < most or most == 1
    assert timeout_s(attempt, settled) == (1.5 if is_bounded else None)


def test_without_a_timeout_no_attempt_has_one():
    assert timeout_s(1, SETTLED) is None


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("0", 0),
        (" 120 ", 120),
        ("1.5", 1.5),
        (formatdate(NOW + 30, usegmt=True), 30),
        (formatdate(NOW - 30, usegmt=True), 0),
        ("Mon, 21 Sep 2026 14:14:30 -0000", 70),
    ],
)
def test_a_retry_after_is_seconds_or_a_date(value, seconds):
    assert parse_retry_after(value, NOW) == seconds


LATE = f"Mon, 01 Jan {'9' * 20} 00:00:00 GMT"


@pytest.mark.parametrize("value", [None, "", "soon", "-1", "1,5", "٣", "Mon, 99 Foo 2026", LATE])
def test_a_retry_after_that_cannot_be_read_is_none(value):
    assert parse_retry_after(value, NOW) is None


@given(st.datetimes(timezones=st.timezones()))
def test_any_date_that_can_be_written_can_be_read(moment):
    found = parse_retry_after(format_datetime(moment), NOW)
    assert found is None or found >= 0


NUMBER = r"\d{1,25}"
WORDS = st.from_regex(rf"[+-]?{NUMBER}|\d\d?[:.]\d\d?([:.]{NUMBER})?|Jan,?|1-Jan-26|Mon,?|[,.:+-]", fullmatch=True)
DATES = st.from_regex(rf"[A-Z][a-z]{{2}}, {NUMBER} [A-Z][a-z]{{2}} {NUMBER} \d\d?:\d\d?:{NUMBER} [+-]?\w{{1,25}}")


@given(st.text() | DATES | st.lists(WORDS, max_size=7).map(" ".join))
def test_any_other_text_is_harmless(value):
    found = parse_retry_after(value, NOW)
    assert found is None or found >= 0
