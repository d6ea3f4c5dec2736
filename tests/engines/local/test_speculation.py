"""Drafts in the loop change when tokens come, and nothing else: on a model that is honest about its past."""

from dataclasses import replace
from functools import partial

import numpy as np
import pytest
from fake_model import Driver, FakeModel, submit
from hypothesis import given, settings
from hypothesis import strategies as st

from lowcloud.engines.local.blocks import BLOCK
from lowcloud.engines.local.drafting import MAX_DRAFT
from lowcloud.engines.local.frames import Refused
from lowcloud.engines.local.grammar import vocabulary_of
from lowcloud.engines.local.loop import LoopSettings
from lowcloud.engines.local.spec import WorkerSpec

PLAIN = LoopSettings(max_seqs=8, prefill_tokens=64)
DRAFTING = replace(PLAIN, can_draft=True, speculation=True)
PERIOD = 5


class Repeating(FakeModel):
    """What came five tokens ago is likely to come again, most of the time; the rest is a hash of all it has seen."""

    def _logits(self, row):
        logits = super()._logits(row)
        seen = self._cache[list(row.blocks)].ravel()[: row.past + len(row.tokens)]
        if len(seen) >= PERIOD and logits[0] > -2.5:
            logits[seen[-PERIOD] // 2] += 12
        return logits


def run(requests, loop_settings, model=None, **how):
    driver = Driver(model or Repeating(), loop_settings, **how)
    for request in requests:
        driver.loop.submit(request)
    return driver.finish(), driver


def n_rows(driver):
    """Rows of all decode passes."""
    return [len(lengths) for lengths in driver.model.passes if lengths[0] == 1]


@st.composite
def requests(draw, seq):
    return submit(
        seq,
        draw(st.lists(st.integers(0, 96), min_size=1, max_size=70)),
        max_tokens=draw(st.integers(1, 90)),
        temperature=draw(st.sampled_from([0.0, 0.0, 0.7, 1.5])),
        top_p=draw(st.sampled_from([1.0, 0.8])),
        frequency_penalty=draw(st.sampled_from([0.0, 0.5])),
        repetition_penalty=draw(st.sampled_from([1.0, 1.3])),
        stop_ids=draw(st.sampled_from([[], [1, 2]])),
        seed=draw(st.integers(-(2**63), 2**63 - 1)),
        n_logprobs=draw(st.sampled_from([-1, 0, 3])),
        prediction=draw(st.sampled_from([[], [5, 6, 7, 8, 9, 10]])),
    )


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_every_reply_is_what_plain_decoding_gives_alone(data):
    """In company, in a small pool, with little swap space, whatever the budget: tokens, log-probabilities, ends."""
    mix = [data.draw(requests(seq)) for seq in range(data.draw(st.integers(1, 6)))]
    model = Repeating(data.draw(st.integers(9, 24)))
    swap = data.draw(st.sampled_from([0, 5, 1000])) * model.block_bytes
    told, driver = run(mix, replace(DRAFTING, max_seqs=data.draw(st.integers(1, 8)), swap_bytes=swap), model)
    plain = {request.seq: run([request], replace(PLAIN, prefix_cache=False))[0][request.seq] for request in mix}
    assert told == plain
    assert driver.stats[:3] == [0, 0, 0]


@settings(max_examples=40, deadline=None)
@given(requests(0), st.integers(0, 89))
def test_a_resumed_sequence_goes_on_bit_for_bit(request, n_sent):
    whole = run([request], DRAFTING)[0][0]
    sent = whole.tokens[: min(n_sent, len(whole.tokens) - 1)]
    told = run([replace(request, forced=sent)], DRAFTING)[0][0]
    assert (told.tokens, told.logprobs) == (whole.tokens[len(sent) :], whole.logprobs[len(sent) :])
    assert told.finish == whole.finish


REPEATS = submit(0, range(20, 40), max_tokens=60, n_logprobs=1)


def test_a_text_that_repeats_comes_in_fewer_passes():
    plain, slow = run([REPEATS], PLAIN)
    told, fast = run([REPEATS], DRAFTING)
    assert told == plain
    assert len(n_rows(fast)) < 0.8 * len(n_rows(slow)) and max(n_rows(fast)) == 1 + MAX_DRAFT
    assert set(n_rows(slow)) == {1}


def test_it_is_off_unless_the_settings_or_the_request_ask_for_it():
    predicted = replace(REPEATS, prediction=run([REPEATS], PLAIN)[0][0].tokens)
    only_asked = replace(DRAFTING, speculation=False)
    assert set(n_rows(run([REPEATS], only_asked)[1])) == {1}
    assert set(n_rows(run([predicted], replace(DRAFTING, can_draft=False))[1])) == {1}
    told, driver = run([predicted], only_asked)
    assert told == run([REPEATS], PLAIN)[0]
    assert len(n_rows(driver)) <= 60 / (1 + MAX_DRAFT) + 1
    ((accepted, rejected),) = driver.predicted.values()
    assert accepted >= 60 * MAX_DRAFT / (1 + MAX_DRAFT) - MAX_DRAFT
    assert rejected == 0
    assert run([REPEATS], DRAFTING)[1].predicted == {}


def test_a_prediction_that_is_wrong_changes_nothing_and_is_soon_given_up():
    wrong = replace(REPEATS, ids=[1], prediction=[50] * 400)
    told, driver = run([wrong], replace(DRAFTING, speculation=False), FakeModel())
    assert told == run([replace(wrong, prediction=[])], PLAIN, FakeModel())[0]
    assert sum(n_rows(driver)) <= 60 + 20
    assert driver.predicted == {0: [0, 0]}, "nothing of it was tried, since nothing of it came"


def test_what_became_of_a_prediction_is_the_same_for_a_resumed_sequence():
    tokens = run([REPEATS], PLAIN)[0][0].tokens
    predicted = replace(REPEATS, prediction=[*tokens[:18], 1, 1, *tokens[18:]])
    whole = run([predicted], DRAFTING)[1].predicted
    assert all(whole[0])
    for n in (1, 19, 23, 40):
        assert run([replace(predicted, forced=tokens[:n])], DRAFTING)[1].predicted == whole


def test_many_drafts_are_split_into_passes_of_the_size_that_was_tested():
    mix = [submit(seq, range(seq, seq + 20), max_tokens=40) for seq in range(6)]
    _, driver = run(mix, replace(DRAFTING, max_seqs=6))
    assert max(n_rows(driver)) <= 6
    _, driver = run(mix, replace(DRAFTING, max_seqs=1))
    assert max(n_rows(driver)) == 1 + MAX_DRAFT


def test_nobody_gives_way_to_a_guess():
    """The pool holds both to their ends, but not a draft more."""
    mix = [submit(seq, range(seq, seq + 20), max_tokens=BLOCK - 20) for seq in range(2)]
    told, driver = run(mix, DRAFTING, Repeating(2))
    assert driver.stats[5] == 0
    assert told == run(mix, PLAIN)[0]


def test_a_sequence_ends_inside_a_draft_where_it_ends_without():
    whole = run([REPEATS], PLAIN)[0][0].tokens
    for n in range(1, 40):
        assert run([replace(REPEATS, max_tokens=n)], DRAFTING)[0][0].tokens == whole[:n]
        stop = replace(REPEATS, stop_ids=[whole[n]])
        assert run([stop], DRAFTING)[0] == run([stop], PLAIN)[0]
    tight = [replace(REPEATS, max_tokens=500)]
    told = run(tight, DRAFTING, Repeating(2))[0]
    assert told == run(tight, PLAIN, Repeating(2))[0] and told[0].finish == "length"


def test_cancelled_in_the_midst_it_leaves_nothing_behind():
    driver = Driver(Repeating(), DRAFTING)
    driver.loop.submit(REPEATS)
    for _ in range(12):
        driver.step()
    driver.loop.cancel(0)
    assert driver.step().stats[:3] == [0, 0, 0]


def test_no_numbers_inside_a_draft_fail_the_sequence_after_what_came_before():
    tokens = run([REPEATS], PLAIN)[0][0].tokens
    late = next(
        token for n, token in enumerate(tokens) if n > 30 and token not in tokens[:n] and token not in range(20, 40)
    )
    mix, broken = [REPEATS], frozenset({late})
    plain, slow = run(mix, PLAIN, Repeating(broken=broken))
    told, fast = run(mix, DRAFTING, Repeating(broken=broken))
    assert told == plain
    assert isinstance(fast.news[-1], Refused) and fast.news[-1] == slow.news[-1]
    assert fast.stats[:3] == [0, 0, 0]


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_a_grammar_is_followed_in_drafts_too(temperature, byte_tokenizer):
    """``ab`` and ``cd`` in turns: the drafts are right, but for where a point ends all."""
    vocabulary = partial(vocabulary_of, byte_tokenizer, [257], 300)
    grammar = 'start: ("ab" "cd")* "."'
    request = submit(0, range(60), max_tokens=40, grammar=grammar, temperature=temperature, n_logprobs=2, seed=3)
    request = replace(request, logit_bias=[[ord("."), -6.0]])
    plain, slow = run([request], PLAIN, FakeModel(n_vocab=300), vocabulary=vocabulary)
    told, fast = run([request], DRAFTING, FakeModel(n_vocab=300), vocabulary=vocabulary)
    assert told == plain and len(told[0].tokens) > 12
    assert len(n_rows(fast)) < 0.7 * len(n_rows(slow))


def test_a_draft_foresees_no_token_outside_the_vocabulary():
    _, driver = run([replace(REPEATS, prediction=[97])], DRAFTING)
    assert [news.code for news in driver.news] == ["bad_token"]


def test_an_unpaged_model_does_not_draft():
    spec = WorkerSpec("text", "m", "c", speculation=True)
    assert not LoopSettings.of(spec, paged=False).can_draft
    paged = LoopSettings.of(spec, paged=True, can_draft=True)
    assert paged.can_draft and paged.speculation


def test_the_drafts_of_a_sampled_text_win_as_well():
    warm = replace(REPEATS, temperature=0.8, seed=5)
    plain, slow = run([warm], PLAIN)
    told, fast = run([warm], DRAFTING)
    assert told == plain
    assert len(n_rows(fast)) < 0.8 * len(n_rows(slow))
    assert np.mean(n_rows(fast)) > 1.5
