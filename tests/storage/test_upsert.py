"""How many rows go to SQLite in one statement."""

from hypothesis import given
from hypothesis import strategies as st

from lowcloud.storage.upsert import MOST_BYTES, _n_bytes, _steps

sizes = st.sampled_from([0, 1, 1_000, MOST_BYTES // 2, MOST_BYTES, 2 * MOST_BYTES])
BODIES = {size: bytes(size) for size in (0, 1, 1_000, MOST_BYTES // 2, MOST_BYTES, 2 * MOST_BYTES)}


@given(st.lists(sizes, max_size=40), st.integers(1, 40))
def test_all_rows_go_in_order_in_parts_of_a_power_of_two_and_of_bounded_size(sizes, most):
    rows = [(number, BODIES[size]) for number, size in enumerate(sizes)]
    parts = list(_steps(rows, most))
    assert [row for part in parts for row in part] == rows
    for part in parts:
        assert len(part) <= most
        assert len(part).bit_count() == 1
        assert len(part) == 1 or _n_bytes(part) <= MOST_BYTES
