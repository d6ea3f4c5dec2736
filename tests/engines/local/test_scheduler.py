"""What runs next: prompts cut on block borders, by rank and first come first served, the last in line gives way."""

import pytest
from fake_model import submit
from hypothesis import given
from hypothesis import strategies as st

from lowcloud.engines.local.blocks import BLOCK, BlockPool, blocks_for, prefix_keys
from lowcloud.engines.local.scheduler import Limits, next_tokens, plan
from lowcloud.engines.local.sequence import Sequence

LIMITS = Limits(max_seqs=4, prefill_tokens=64)


def sequence(order, n_prompt, *, pool=None, done=0, generated=0, first=0, rank=0):
    """A sequence of distinct prompts unless ``first`` is shared; with ``done`` it holds that many tokens' blocks."""
    ids = [first or order + 1] * n_prompt
    made = Sequence(order, submit(order, ids, rank=rank), prefix_keys(ids), ids + [1] * generated, {}, done)
    if pool:
        made.blocks = pool.take(blocks_for(done))
    return made


def work(decided):
    return [(item.sequence.order, item.n_tokens) for item in decided.work]


@given(st.integers(1, 400), st.lists(st.integers(0, 300), min_size=1, max_size=8))
def test_pieces_begin_on_borders_fit_the_budget_and_leave_no_lone_token(n_prompt, budgets):
    made = sequence(0, n_prompt)
    for budget in [*budgets, *[2 * BLOCK] * (n_prompt // BLOCK + 1)]:
        if made.done == n_prompt:
            break
        piece = next_tokens(made, made.done, budget)
        assert made.done % BLOCK == 0
        assert 0 <= piece <= budget
        made.done += piece
        assert n_prompt - made.done != 1 or n_prompt == 1
    assert made.done == n_prompt
    assert next_tokens(made, made.done, 0) == 1


def test_prompts_share_the_budget_in_order_and_the_last_waits():
    waiting = [sequence(0, 40), sequence(1, 40), sequence(2, 40)]
    decided = plan([], waiting, BlockPool(16), 0, LIMITS)
    assert work(decided) == [(0, 40)]
    waiting = [sequence(0, 20), sequence(1, 44), sequence(2, 40)]
    assert work(plan([], waiting, BlockPool(16), 0, LIMITS)) == [(0, 20), (1, 44)]


def test_decodes_cost_no_budget_and_come_with_the_next_piece_of_a_prompt():
    pool = BlockPool(16)
    running = [sequence(0, 10, pool=pool, done=10, generated=1), sequence(1, 200, pool=pool, done=64)]
    decided = plan(running, [], pool, 0, LIMITS)
    assert [w.sequence.order for w in decided.decodes] == [0]
    assert [(w.sequence.order, w.n_tokens) for w in decided.prefills] == [(1, 64)]


def test_no_more_than_max_seqs_run():
    waiting = [sequence(order, 4) for order in range(6)]
    assert work(plan([], waiting, BlockPool(16), 0, LIMITS)) == [(0, 4), (1, 4), (2, 4), (3, 4)]


def test_a_sequence_starts_only_when_its_whole_prompt_has_blocks():
    """Neither may it take the blocks that a running prompt will need."""
    pool = BlockPool(8)
    running = [sequence(0, 160, pool=pool, done=64)]
    assert work(plan(running, [sequence(1, 128)], pool, 0, Limits(4, 128))) == [(0, 96)]
    assert work(plan(running, [sequence(1, 96), sequence(2, 2)], pool, 0, Limits(4, 256))) == [(0, 96), (1, 96)]


def test_the_head_of_the_line_is_not_overtaken():
    pool = BlockPool(4)
    running = [sequence(0, 60, pool=pool, done=60, generated=1)]
    assert work(plan(running, [sequence(1, 100), sequence(2, 2)], pool, 0, LIMITS)) == [(0, 1)]


def test_the_youngest_gives_way_to_swap_space_and_nothing_starts_in_that_step():
    pool = BlockPool(4)
    running = [sequence(order, 32, pool=pool, done=32, generated=1) for order in range(3)]
    decided = plan(running, [sequence(3, 1)], pool, 8, LIMITS)
    assert ([s.order for s in decided.swap_out], decided.restart) == ([2], [])
    assert work(decided) == [(0, 1), (1, 1)]


def test_the_last_in_line_gives_way_first_and_a_higher_rank_is_behind_all_of_a_lower_one():
    pool = BlockPool(3)
    running = [sequence(9, 32, pool=pool, done=32, generated=1)]
    running += [sequence(order, 32, pool=pool, done=32, generated=1, rank=2) for order in (1, 5)]
    decided = plan(running, [], pool, 8, LIMITS)
    assert [s.order for s in decided.swap_out] == [5, 1]
    assert work(decided) == [(9, 1)]


def test_with_the_swap_space_full_the_youngest_starts_again():
    pool = BlockPool(2)
    running = [sequence(order, 32, pool=pool, done=32, generated=1) for order in range(2)]
    decided = plan(running, [], pool, 0, LIMITS)
    assert ([s.order for s in decided.restart], decided.swap_out) == ([1], [])


def test_blocks_that_two_victims_share_are_counted_once_both_leave():
    pool = BlockPool(5)
    oldest = sequence(0, 96, pool=pool, done=64)
    shared = pool.take(1)
    keys = prefix_keys([9] * 32)
    pool.register(keys[0], shared[0])
    young = []
    for order in (1, 2):
        made = sequence(order, 33, done=33, generated=1, first=9)
        made.blocks = (pool.hold(keys) if order == 2 else shared) + pool.take(1)
        young.append(made)
    decided = plan([oldest, *young], [], pool, 8, Limits(4, 96))
    assert [s.order for s in decided.swap_out] == [2]
    oldest.request.ids.extend([1] * 64)
    decided = plan([oldest, *young], [], pool, 8, Limits(4, 96))
    assert [s.order for s in decided.swap_out] == [2, 1]
    assert work(decided) == [(0, 96)]


def test_a_swapped_out_sequence_comes_back_at_its_place_in_line():
    pool = BlockPool(4)
    swapped = sequence(0, 40, done=41, generated=2)
    swapped.is_swapped = True
    decided = plan([], [swapped, sequence(1, 8)], pool, 0, LIMITS)
    assert work(decided) == [(0, 1), (1, 8)]
    assert [(start.sequence.order, start.reuse) for start in decided.start] == [(0, 0), (1, 0)]


def test_equal_prompts_wait_for_the_one_that_is_being_computed():
    """And hold back nobody who comes after them."""
    waiting = [sequence(0, 70, first=9), sequence(1, 70, first=9), sequence(2, 3)]
    assert work(plan([], waiting, BlockPool(16), 0, Limits(4, 256))) == [(0, 70), (2, 3)]


@pytest.mark.parametrize(("n_prompt", "reused"), [(33, 0), (34, 1), (65, 1), (66, 2), (70, 2)])
def test_a_reused_prefix_leaves_two_tokens_at_least(n_prompt, reused):
    pool, made = BlockPool(16), sequence(0, n_prompt)
    for key, block in zip(made.keys, pool.take(len(made.keys)), strict=True):
        pool.register(key, block)
    decided = plan([], [made], pool, 0, LIMITS)
    assert [start.reuse for start in decided.start] == [reused]
    assert work(decided) == [(0, n_prompt - reused * BLOCK)]


def test_a_waiting_prompt_is_computed_before_the_running_ones_of_higher_ranks_which_get_what_is_left():
    pool = BlockPool(32)
    running = [sequence(0, 300, pool=pool, done=64, rank=2)]
    assert work(plan(running, [], pool, 0, LIMITS)) == [(0, 64)]
    assert work(plan(running, [sequence(1, 64)], pool, 0, LIMITS)) == [(1, 64)]
    assert work(plan(running, [sequence(1, 20)], pool, 0, LIMITS)) == [(1, 20), (0, 32)]
    assert work(plan(running, [sequence(1, 64, rank=2)], pool, 0, LIMITS)) == [(0, 64)]


def test_a_higher_rank_gives_its_seat_to_a_lower_one_that_waits_and_goes_on_in_no_pass_of_that_step():
    pool = BlockPool(32)
    running = [sequence(order, 32, pool=pool, done=32, generated=1, rank=1) for order in range(4)]
    decided = plan(running, [sequence(9, 8), sequence(10, 8)], pool, 8, LIMITS)
    assert [s.order for s in decided.swap_out] == [3]
    assert (work(decided), decided.start) == ([(0, 1), (1, 1), (2, 1)], [])
    assert plan(running, [sequence(9, 8, rank=1)], pool, 8, LIMITS).preempted == []


def test_a_higher_rank_gives_its_blocks_to_a_lower_one_that_waits():
    pool = BlockPool(8)
    running = [sequence(0, 160, pool=pool, done=160, generated=1, rank=2)]
    decided = plan(running, [sequence(1, 128)], pool, 8, Limits(4, 256))
    assert [s.order for s in decided.swap_out] == [0]
    assert work(decided) == []


def test_who_lacks_only_the_budget_of_this_step_takes_nobodys_place():
    pool = BlockPool(32)
    running = [sequence(0, 64, pool=pool, done=0), sequence(1, 32, pool=pool, done=32, generated=1, rank=2)]
    decided = plan(running, [sequence(2, 64)], pool, 8, LIMITS)
    assert work(decided) == [(0, 64), (1, 1)]
    assert decided.preempted == []


def test_a_prompt_waits_for_one_of_its_prefix_only_where_that_is_of_no_higher_rank():
    pool = BlockPool(32)
    running = [sequence(0, 96, first=9, rank=1)]
    assert work(plan(running, [sequence(1, 96, first=9, rank=1)], pool, 0, Limits(4, 256))) == [(0, 96)]
    assert work(plan(running, [sequence(1, 96, first=9)], pool, 0, Limits(4, 256))) == [(1, 96), (0, 96)]
