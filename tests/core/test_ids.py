"""UUIDs: of the right form, all different, and the sevenths in the order of their times."""

import re
from threading import Thread
from uuid import RFC_4122, UUID

from hypothesis import given
from hypothesis import strategies as st

from lowcloud.core.ids import new_uuid7, uuid4, uuid7

times, bits = st.integers(0, 2**48 - 1), st.integers(0, 2**74 - 1)


@given(times, bits)
def test_it_is_a_lowercase_uuid_of_version_7_with_its_time(now_ms, random):
    made = uuid7(now_ms, random)
    assert re.fullmatch(r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}", made)
    assert UUID(made).int >> 80 == now_ms


@given(times, bits, bits)
def test_other_random_bits_make_another(now_ms, one, other):
    assert (uuid7(now_ms, one) == uuid7(now_ms, other)) == (one == other)


@given(st.tuples(times, bits), st.tuples(times, bits))
def test_a_later_one_sorts_behind_an_earlier(one, other):
    if one[0] < other[0]:
        assert uuid7(*one) < uuid7(*other)


def test_new_ones_are_of_now():
    assert UUID(new_uuid7(lambda: 1_800_000_000.5)).int >> 80 == 1_800_000_000_500


def test_no_two_are_the_same_also_where_threads_make_them():
    made: list[str] = []
    threads = [Thread(target=lambda: made.extend(uuid4() for _ in range(1_000))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(made)) == 4_000
    assert {(UUID(each).version, UUID(each).variant) for each in made} == {(4, RFC_4122)}
