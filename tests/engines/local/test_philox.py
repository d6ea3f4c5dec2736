"""The random stream is numpy's Philox, keyed by seed and choice, at the token's position."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from lowcloud.engines.local.philox import Draws


@given(st.integers(-(2**63), 2**63 - 1), st.integers(0, 127), st.integers(0, 2**20))
def test_draws_are_those_of_numpys_philox(seed, choice, position):
    draws = Draws(seed, choice, position)
    key, counter = np.array([seed % 2**64, choice], np.uint64), np.array([0, position, 0, 0], np.uint64)
    generator = np.random.Philox(key=key, counter=counter)
    wanted = (generator.random_raw(9) >> np.uint64(11)).astype(np.float64) * 2.0**-53
    assert [draws.uniform() for _ in range(9)] == wanted.tolist()


def test_every_place_has_numbers_of_its_own():
    places = [Draws(s, c, p).uniform() for s in (-1, 0, 1) for c in (0, 1) for p in (5, 6)]
    assert len(set(places)) == len(places)
