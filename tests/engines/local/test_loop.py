"""The loop on a model that is honest about its past: tokens, ends, refusals, cancellation, sameness in company."""

import numpy as np
import pytest
from fake_model import Driver, FakeModel, Told, submit
from hypothesis import given, settings
from hypothesis import strategies as st

from lowcloud.engines.local.blocks import BLOCK
from lowcloud.engines.local.frames import Accepted, Refused
from lowcloud.engines.local.loop import LoopSettings
from lowcloud.engines.local.spec import WorkerSpec

SMALL = LoopSettings(max_seqs=8, prefill_tokens=64)


def alone(request, n_blocks=64):
    """What a request gets with nobody else there and nothing in the cache."""
    driver = Driver(FakeModel(n_blocks), LoopSettings(prefix_cache=False))
    driver.loop.submit(request)
    return driver.finish()[request.seq]


def prompts(draw, n):
    """Prompts that often share prefixes of whole blocks."""
    shared = draw(st.integers(0, 3))
    tail = draw(st.lists(st.integers(0, 96), min_size=1, max_size=40))
    return [7] * (BLOCK * shared) + [n] * draw(st.integers(0, 1)) + tail


@st.composite
def requests(draw, seq):
    return submit(
        seq,
        prompts(draw, seq),
        max_tokens=draw(st.integers(1, 70)),
        temperature=draw(st.sampled_from([0.0, 0.0, 0.7, 1.5])),
        top_p=draw(st.sampled_from([1.0, 0.8])),
        frequency_penalty=draw(st.sampled_from([0.0, 0.5])),
        repetition_penalty=draw(st.sampled_from([1.0, 1.3])),
        stop_ids=draw(st.sampled_from([[], [1, 2]])),
        seed=draw(st.integers(-(2**63), 2**63 - 1)),
        n_logprobs=draw(st.sampled_from([-1, 0, 3])),
        rank=draw(st.sampled_from([0, 0, 1, 2])),
    )


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_a_reply_does_not_depend_on_its_company(data):
    """Staggered arrivals, a small pool, little or no swap space, any budget: every reply is what it is alone."""
    mix = [data.draw(requests(seq)) for seq in range(data.draw(st.integers(2, 7)))]
    swap = data.draw(st.sampled_from([0, 5, 1000]))
    model = FakeModel(data.draw(st.integers(9, 24)))
    budget = data.draw(st.sampled_from([64, 96, 256]))
    driver = Driver(model, LoopSettings(data.draw(st.integers(1, 8)), budget, swap_bytes=swap * model.block_bytes))
    for request in mix:
        driver.loop.submit(request)
        for _ in range(data.draw(st.integers(0, 12))):
            if driver.loop.is_busy:
                driver.step()
    assert driver.finish() == {request.seq: alone(request) for request in mix}
    assert driver.stats[:3] == [0, 0, 0]
    assert all(isinstance(told, Accepted) for told in driver.news)
    assert [told.seq for told in driver.news] != [] and len(driver.news) == len(mix)


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_no_sequence_starts_before_one_of_a_lower_rank_or_an_older_one_of_its_own(data):
    driver = Driver(FakeModel(data.draw(st.integers(9, 24))), LoopSettings(data.draw(st.integers(1, 4)), 64))
    waiting: list[tuple[int, int]] = []
    for seq in range(data.draw(st.integers(2, 8))):
        rank, n_prompt = data.draw(st.integers(0, 2)), data.draw(st.integers(1, 200))
        driver.loop.submit(submit(seq, [seq] * n_prompt, max_tokens=data.draw(st.integers(1, 40)), rank=rank))
        waiting.append((rank, seq))
        for _ in range(data.draw(st.integers(0, 6))):
            if driver.loop.is_busy:
                started = len(driver.news)
                driver.step()
                for told in driver.news[started:]:
                    assert min(waiting)[1] == told.seq
                    waiting.remove(min(waiting))
    driver.finish()
    assert len(driver.news) == len(driver.told)


def test_a_live_sequence_is_not_kept_waiting_by_a_batch_that_has_every_seat_and_every_block():
    driver = Driver(FakeModel(8), LoopSettings(max_seqs=2, prefill_tokens=64))
    batch = [submit(seq, [seq] * 60, max_tokens=60, rank=2) for seq in range(2)]
    for request in batch:
        driver.loop.submit(request)
    for _ in range(30):
        driver.step()
    live = submit(2, [2] * 60, max_tokens=60)
    driver.loop.submit(live)
    driver.step()
    driver.step()
    assert driver.news[-1] == Accepted(2, 0)
    assert driver.swapped == 1
    assert driver.finish() == {request.seq: alone(request) for request in [*batch, live]}


@settings(max_examples=40, deadline=None)
@given(requests(0), st.integers(0, 69))
def test_a_resumed_sequence_goes_on_bit_for_bit(request, n_sent):
    """The tokens that were already sent are forced through decode steps, and not reported again."""
    whole = alone(request)
    sent = whole.tokens[: min(n_sent, len(whole.tokens) - 1)]
    request.forced.extend(sent)
    told = alone(request)
    assert (told.tokens, told.finish) == (whole.tokens[len(sent) :], whole.finish)
    assert told.logprobs == whole.logprobs[len(sent) :]


def test_a_small_pool_swaps_the_youngest_out_and_back():
    driver = Driver(FakeModel(6), SMALL)
    mix = [submit(seq, [seq] * 30, max_tokens=80) for seq in range(3)]
    for request in mix:
        driver.loop.submit(request)
    told = driver.finish()
    assert driver.swapped >= 1 and driver.stats[5] >= 1
    assert told == {request.seq: alone(request) for request in mix}


def test_decodes_and_prompts_run_in_passes_of_their_own():
    driver = Driver(FakeModel(), SMALL)
    driver.loop.submit(submit(0, [1] * 40))
    driver.step()
    driver.loop.submit(submit(1, [2] * 50))
    driver.step()
    assert driver.loop._model.passes == [[40], [1], [50]]


def test_choices_of_one_prompt_compute_it_once_and_say_what_was_cached():
    driver = Driver(FakeModel(), SMALL)
    for choice in range(3):
        driver.loop.submit(submit(choice, range(70), choice=choice, temperature=1.0))
    told = driver.finish()
    assert driver.news == [Accepted(0, 0), Accepted(1, 64), Accepted(2, 64)]
    assert driver.loop._model.passes[:3] == [[64], [6, 6, 6], [1, 1, 1]]
    assert told[0].tokens != told[1].tokens != told[2].tokens


def test_blocks_that_decode_steps_wrote_are_not_reused():
    """A next turn reuses its own prompt's blocks only: 40 + 40 tokens known, one whole block by the prompt."""
    driver = Driver(FakeModel(), SMALL)
    driver.loop.submit(submit(0, [3] * 40, max_tokens=40))
    first = driver.finish()[0]
    follow = submit(1, [3] * 40 + first.tokens + [5, 6], max_tokens=5)
    driver.loop.submit(follow)
    driver.finish()
    assert driver.news[-1] == Accepted(1, BLOCK)
    assert driver.told[1] == alone(follow)


def test_without_prefix_reuse_nothing_is_cached():
    driver = Driver(FakeModel(), LoopSettings(prefix_cache=False))
    for seq in range(2):
        driver.loop.submit(submit(seq, [3] * 70))
        driver.finish()
    assert driver.news == [Accepted(0, 0), Accepted(1, 0)]


def test_a_cancelled_sequence_frees_its_blocks_before_the_next_step():
    driver = Driver(FakeModel(8), SMALL)
    for seq in range(2):
        driver.loop.submit(submit(seq, [seq] * 100, max_tokens=100))
    driver.step()
    driver.step()
    driver.loop.cancel(0)
    assert driver.loop._pool.used == 0
    driver.step()
    assert driver.stats[:2] == [0, 1]
    driver.loop.cancel(1)
    driver.loop.cancel(1)
    driver.loop.cancel(99)
    assert not driver.loop.is_busy


def test_a_sequence_may_be_cancelled_while_it_waits_or_is_swapped_out():
    driver = Driver(FakeModel(6), SMALL)
    for seq in range(4):
        driver.loop.submit(submit(seq, [seq] * 30, max_tokens=80))
    while not driver.stats or driver.stats[4] == 0:
        driver.step()
    for seq in (3, 2, 1):
        driver.loop.cancel(seq)
    driver.finish()
    assert driver.stats[:3] == [0, 0, 0] and driver.stats[4] == 0
    assert driver.told[0] == alone(submit(0, [0] * 30, max_tokens=80))


def test_a_stop_token_is_the_last_one_and_ends_with_stop():
    free = alone(submit(0, [4] * 5, max_tokens=20))
    stop = free.tokens[6]
    told = alone(submit(0, [4] * 5, max_tokens=20, stop_ids=[stop]))
    assert told == Told(free.tokens[: free.tokens.index(stop) + 1], [], "stop")


def test_max_tokens_and_the_context_end_with_length():
    assert len(alone(submit(0, [4] * 5, max_tokens=3)).tokens) == 3
    told = alone(submit(0, [4] * 50, max_tokens=1000), n_blocks=2)
    assert (len(told.tokens), told.finish) == (2 * BLOCK - 50, "length")


def test_logprobs_are_of_the_models_own_distribution():
    told = alone(submit(0, [4] * 5, max_tokens=2, n_logprobs=2, logit_bias=[[11, 100.0]]))
    assert told.tokens == [11, 11]
    logprob, top = told.logprobs[0]
    assert logprob < top[0][1] and [token for token, _ in top] != [11, 11] and len(top) == 2


@pytest.mark.parametrize(
    ("request_", "code"),
    [
        (submit(5, []), "bad_token"),
        (submit(5, [1, 97]), "bad_token"),
        (submit(5, [-1]), "bad_token"),
        (submit(5, [1], forced=[97]), "bad_token"),
        (submit(5, [1], logit_bias=[[97, 1.0]]), "bad_token"),
        (submit(5, [1] * 64), "too_long"),
        (submit(5, [1] * 60, forced=[1] * 4, max_tokens=9), "too_long"),
        (submit(5, [1], forced=[1] * 8), "too_long"),
        (submit(0, [1]), "failed"),
    ],
)
def test_what_can_not_run_is_refused_and_disturbs_nothing(request_, code):
    driver = Driver(FakeModel(2), SMALL)
    driver.loop.submit(submit(0, [1, 2]))
    driver.loop.submit(request_)
    (refused,) = driver.news
    assert isinstance(refused, Refused) and (refused.seq, refused.code) == (request_.seq, code)
    assert driver.finish() == {0: alone(submit(0, [1, 2]))}


def test_more_than_max_live_sequences_are_refused():
    driver = Driver(FakeModel(), LoopSettings(max_live=1))
    driver.loop.submit(submit(0))
    driver.loop.submit(submit(1))
    assert [told.code for told in driver.news] == ["failed"]


def test_a_sequence_without_numbers_fails_and_the_others_go_on():
    driver = Driver(FakeModel(broken=frozenset({50})), SMALL)
    driver.loop.submit(submit(0, [50, 50]))
    driver.loop.submit(submit(1, [1, 2]))
    assert driver.finish() == {1: alone(submit(1, [1, 2]))}
    assert [type(told) for told in driver.news] == [Accepted, Accepted, Refused]
    assert driver.stats[:3] == [0, 0, 0]


def test_an_unpaged_model_gets_one_sequence_at_a_time():
    spec = WorkerSpec("text", "m", "c", max_seqs=9, prefill_tokens=128, swap_bytes=7, prefix_cache=True)
    assert LoopSettings.of(spec, paged=False) == LoopSettings(1, 128, prefix_cache=False, swap_bytes=0)
    assert LoopSettings.of(spec, paged=True) == LoopSettings(9, 128, prefix_cache=True, swap_bytes=7)
    driver = Driver(FakeModel(), LoopSettings.of(spec, paged=False))
    for seq in range(2):
        driver.loop.submit(submit(seq, [seq] * 40))
    driver.finish()
    assert {len(lengths) for lengths in driver.loop._model.passes} == {1}


def test_a_model_smaller_than_a_prompt_never_spins():
    """A pool view that lies would leave the head waiting for ever: the loop says so instead."""
    driver = Driver(FakeModel(4), SMALL)
    driver.loop.submit(submit(0, [1] * 40))
    driver.loop._pool.take(4)
    with pytest.raises(RuntimeError, match="none can start"):
        driver.step()


def test_tokens_are_plain_integers():
    step_driver = Driver(FakeModel(), SMALL)
    step_driver.loop.submit(submit(0, [1], temperature=1.0, n_logprobs=1))
    (output,) = step_driver.step().outputs
    assert type(output[1][0]) is int and not isinstance(output[2][0][0], np.generic)
