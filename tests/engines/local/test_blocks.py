"""The block pool gives each block to those who may hold it, and finds prefixes that are still good."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, precondition, rule

from lowcloud.engines.local.blocks import BLOCK, BlockPool, Match, SwapSpace, blocks_for, prefix_keys

PROMPTS = st.lists(st.integers(0, 2), max_size=4).map(lambda units: [u for u in units for _ in range(BLOCK)])


@given(PROMPTS, PROMPTS, st.integers(0, BLOCK - 1))
def test_keys_are_equal_exactly_as_far_as_prefixes_are(left, right, tail):
    """One key a whole block; a rest shorter than a block has none."""
    left_keys, right_keys = prefix_keys(left + [5] * tail), prefix_keys(right)
    assert len(left_keys) == len(left) // BLOCK
    for index, (a, b) in enumerate(zip(left_keys, right_keys, strict=False)):
        end = (index + 1) * BLOCK
        assert (a == b) == (left[:end] == right[:end])


@pytest.mark.parametrize(("tokens", "blocks"), [(0, 0), (1, 1), (32, 1), (33, 2), (64, 2)])
def test_a_started_block_counts_as_one(tokens, blocks):
    assert blocks_for(tokens) == blocks


def test_a_released_prefix_is_found_again_and_held_by_two():
    pool, keys = BlockPool(4), prefix_keys(list(range(2 * BLOCK)))
    blocks = pool.take(3)
    pool.register(keys[0], blocks[0])
    pool.register(keys[1], blocks[1])
    pool.release(blocks)
    assert pool.match(keys) == Match(2, idle=2)
    assert pool.hold(keys) == pool.hold(keys) == blocks[:2]
    assert (pool.match(keys), pool.used) == (Match(2, idle=0), 2)
    assert pool.freed({blocks[0]: 1, blocks[1]: 2}) == 1


def test_the_longest_idle_block_and_the_end_of_a_prefix_are_given_away_first():
    pool, keys = BlockPool(3), prefix_keys(list(range(3 * BLOCK)))
    blocks = pool.take(3)
    for key, block in zip(keys, blocks, strict=True):
        pool.register(key, block)
    pool.release(blocks)
    assert pool.take(1) == [blocks[2]]
    assert pool.match(keys) == Match(2, idle=2)


def test_the_first_block_of_a_key_stays_the_one_that_is_found():
    pool, keys = BlockPool(2), prefix_keys(list(range(BLOCK)))
    first, second = pool.take(2)
    pool.register(keys[0], first)
    pool.register(keys[0], second)
    pool.release([second])
    assert pool.hold(keys) == [first]
    assert pool.take(1) == [second]


def test_swap_space_counts_blocks_out_and_in():
    swap = SwapSpace(5)
    saved = (np.zeros((3, 8), np.uint8), np.zeros((3, 4), np.uint8))
    swap.put(7, saved)
    assert (len(swap), swap.available) == (1, 2)
    assert swap.pop(7) is saved
    assert (len(swap), swap.available) == (0, 5)


class PoolMachine(RuleBasedStateMachine):
    """Sequences take, register, share and release blocks in any order."""

    holders = Bundle("holders")

    def __init__(self):
        super().__init__()
        self.pool = BlockPool(6)
        self.held: list[list[int]] = []
        self.content: dict[int, bytes] = {}

    @rule(target=holders, n=st.integers(1, 3))
    def take(self, n):
        n = min(n, self.pool.available)
        blocks = self.pool.take(n)
        assert not set(blocks) & {block for held in self.held for block in held}
        for block in blocks:
            self.content.pop(block, None)
        self.held.append(blocks)
        return blocks

    @rule(blocks=holders, key=st.sampled_from([b"a", b"b", b"c"]))
    def register(self, blocks, key):
        if blocks and self.pool.match([key]).blocks == 0 and blocks[0] not in self.content:
            self.content[blocks[0]] = key
            self.pool.register(key, blocks[0])

    @rule(target=holders, key=st.sampled_from([b"a", b"b", b"c"]))
    def hold(self, key):
        blocks = self.pool.hold([key][: self.pool.match([key]).blocks])
        assert all(self.content[block] == key for block in blocks)
        self.held.append(blocks)
        return blocks

    @precondition(lambda self: self.held)
    @rule(blocks=consumes(holders))
    def release(self, blocks):
        self.held.remove(blocks)
        self.pool.release(blocks)

    @invariant()
    def every_block_is_held_or_available(self):
        held = {block for blocks in self.held for block in blocks}
        assert self.pool.used == len(held)
        assert self.pool.available == 6 - len(held)


TestPool = PoolMachine.TestCase
