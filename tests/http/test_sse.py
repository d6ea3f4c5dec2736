from hypothesis import given
from hypothesis import strategies as st

from lowcloud.http.sse import Pace, verdict

PACE = Pace(heartbeat_s=10, write_timeout_s=60)
TIMES = st.integers(0, 1000)


@given(st.integers(0, 2), TIMES, TIMES)
def test_asking_again_when_told_to_never_comes_too_late(pending, since, later):
    now = since + later
    what, wait_s = verdict(pending, since, now, PACE)
    assert wait_s > 0
    if what == "wait":
        assert verdict(pending, since, now + wait_s, PACE)[0] != "wait"


def test_silence_is_broken_and_a_client_that_takes_nothing_is_late():
    assert verdict(0, 100, 109, PACE) == ("wait", 1)
    assert verdict(0, 100, 110, PACE) == ("beat", 10)
    assert verdict(1, 100, 110, PACE) == ("wait", 50)
    assert verdict(1, 100, 160, PACE) == ("late", 60)
