"""No row reaches the plugin that it can't follow, and the pool has a sensible size."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lowcloud.engines.local.blocks import blocks_for
from lowcloud.engines.local.paged_model import check_rows, pool_blocks
from lowcloud.engines.local.sequence import Row
from lowcloud.engines.local.spec import WorkerSpec

GOOD = Row([1, 2, 3], 32, [4, 5], wants_logits=True)
SPEC = WorkerSpec("text", "m", "c", max_seqs=4)


def test_a_row_within_all_bounds_passes():
    check_rows([GOOD, Row([9], 0, [0], wants_logits=False)], 10, 6, 40)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (replace(GOOD, tokens=[]), "vocabulary"),
        (replace(GOOD, tokens=[10]), "vocabulary"),
        (replace(GOOD, tokens=[-1]), "vocabulary"),
        (replace(GOOD, past=-1), "context"),
        (replace(GOOD, past=38), "context"),
        (replace(GOOD, blocks=[4]), "table"),
        (replace(GOOD, blocks=[4, 6]), "pool"),
        (replace(GOOD, blocks=[-1, 5]), "pool"),
    ],
)
def test_a_row_out_of_bounds_never_reaches_the_plugin(row, message):
    with pytest.raises(ValueError, match=message):
        check_rows([row], 10, 6, 40)


def test_two_rows_may_read_one_block_and_never_write_it():
    check_rows([GOOD, replace(GOOD, blocks=[4, 3])], 10, 6, 40)
    with pytest.raises(ValueError, match="one block"):
        check_rows([GOOD, replace(GOOD, blocks=[3, 5])], 10, 6, 40)


def test_a_drafts_rows_stand_on_one_another_and_on_nothing_else():
    row = Row([1], 38, [4, 5], wants_logits=True)
    follows, border = replace(row, past=39), [replace(row, past=31), replace(row, past=32)]
    check_rows([row, follows], 10, 6, 40)
    check_rows(border, 10, 6, 40)
    for wrong in (row, replace(row, past=37), replace(follows, blocks=[3, 5]), replace(row, tokens=[1, 2])):
        with pytest.raises(ValueError, match="one block"):
            check_rows([row, wrong], 10, 6, 40)
    with pytest.raises(ValueError, match="one block"):
        check_rows([*border, replace(row, past=33, blocks=[3, 5])], 10, 6, 40)


@given(st.integers(1, 2**22), st.integers(1, 2**17), st.integers(2**28, 2**40))
def test_the_pool_is_a_tenth_of_memory_but_two_contexts_at_least_and_never_more_than_can_be_used(
    block, context, memory
):
    blocks, of_context = pool_blocks(SPEC, block, context, memory), blocks_for(context)
    assert 2 * of_context <= blocks <= 4 * of_context
    if 2 * of_context < blocks < 4 * of_context:
        assert blocks == int(memory * 0.1) // block


@pytest.mark.parametrize(("asked", "blocks"), [(2400, 24), (150, 2), (1, 2)])
def test_a_size_that_is_asked_for_is_given(asked, blocks):
    assert pool_blocks(replace(SPEC, kv_cache_bytes=asked), 100, 4096, 2**30) == blocks
