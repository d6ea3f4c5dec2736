"""How many rows go to SQLite in one statement."""

from hypothesis import given
from hypothesis import strategies as st

from lowcloud.storage.upsert import MOST_BYTES, SPARE, _steps

sizes = st.sampled_from([0, 1, 1_000, MOST_BYTES // 2, MOST_BYTES, 2 * MOST_BYTES])


@given(st.lists(sizes, max_size=40), st.integers(1, 40))
def test_all_rows_go_in_order_in_parts_of_a_power_of_two_and_of_bounded_size(sizes, most):
    parts = list(_steps(sizes, most))
    assert list(dict.fromkeys(place for part in parts for place in part)) == list(range(len(sizes)))
    for part in parts:
        assert len(part) <= most
        assert len(part).bit_count() == 1
        assert len(part) == 1 or sum(sizes[place] for place in part) <= MOST_BYTES


@given(st.integers(0, 500))
def test_parts_are_few_and_little_of_them_is_there_to_fill_them(n):
    parts = list(_steps([0] * n, 862))
    assert len(parts) <= 4
    assert n.bit_count() != 1 or parts == [list(range(n))]
    assert sum(map(len, parts)) <= n + max(SPARE, n // 3)


@given(st.lists(sizes, min_size=1, max_size=40))
def test_what_fills_a_part_is_its_smallest_row(sizes):
    for part in _steps(sizes, 64):
        again = {place for place in part if part.count(place) > 1}
        assert len(again) <= 1
        assert all(sizes[place] == min(sizes[other] for other in part) for place in again)
