"""The sampler against a slow reference that follows its docstring word by word, in float64 and with sorting."""

import math

import numpy as np
import pytest
from fake_model import submit
from hypothesis import given, settings
from hypothesis import strategies as st

from lowcloud.engines.local.sampler import LANE, NoNumbersError, Sampler, greatest, nucleus
from lowcloud.engines.local.sequence import Sequence

N_VOCAB = 5 * LANE + 37
PROMPT = [3, 3, 9, 200, 1300]
GENERATED = [9, 40, 40, 40]


def sequence(request, position=0):
    """A sequence after ``GENERATED``; a greater ``position`` only moves the random stream."""
    tokens = PROMPT + [PROMPT[0]] * position + GENERATED
    return Sequence(0, request, (), tokens, {9: 1, 40: 3})


def row(seed, *, steps=None, spread=3.0):
    """Logits; with ``steps`` on a coarse grid, so that many are equal."""
    logits = np.random.default_rng(seed).normal(0, spread, N_VOCAB)
    return (np.round(logits * steps) / steps if steps else logits).astype(np.float32)


def reference(logits, request):
    """The exact distribution of the next token."""
    x = logits.astype(np.float64)
    for token in set(PROMPT + GENERATED):
        penalty = float(np.float32(request.repetition_penalty))
        x[token] = x[token] / penalty if x[token] > 0 else x[token] * penalty
    for token, count in {9: 1, 40: 3}.items():
        x[token] -= request.presence_penalty + request.frequency_penalty * count
    for token, bias in request.logit_bias:
        x[int(token)] += bias
    p = np.exp((x - x.max()) / request.temperature)
    if 0 < request.top_k < len(p):
        p[np.argsort(-p, kind="stable")[request.top_k :]] = 0
    likelier = np.array([p[p > one].sum() for one in np.unique(p)])
    inside = dict(zip(np.unique(p), likelier < request.top_p * p.sum(), strict=True))
    kept = np.array([inside[one] for one in p]) if request.top_p < 1 else np.ones(len(p), bool)
    p = np.where(kept & (p >= request.min_p * p.max()), p, 0)
    return p / p.sum()


COMBINATIONS = [
    {},
    {"temperature": 0.3},
    {"top_p": 0.9},
    {"top_p": 0.3, "temperature": 2.0},
    {"top_k": 40},
    {"top_k": 7, "top_p": 0.8},
    {"min_p": 0.05},
    {"min_p": 0.02, "top_p": 0.7},
    {"top_k": 30, "top_p": 0.9, "min_p": 0.1, "temperature": 1.4},
    {"repetition_penalty": 1.5, "presence_penalty": 1.0, "frequency_penalty": 0.7, "top_k": 50},
    {"logit_bias": [[17, 9.0], [18, -100.0], [17, 1.0]]},
]


@pytest.mark.parametrize("combination", COMBINATIONS, ids=str)
def test_draws_follow_the_exact_distribution(combination):
    """Pearson's statistic over the likeliest tokens and all others together, 4,000 draws."""
    request = submit(**({"temperature": 1.0, "seed": 5} | combination))
    logits, sampler, n = row(1), Sampler(N_VOCAB), 4000
    wanted = reference(logits, request)
    counts = np.zeros(N_VOCAB)
    made = sequence(request)
    for _ in range(n):
        counts[sampler.sample(logits, made).token] += 1
        made.tokens.insert(0, PROMPT[0])  # the same set of tokens, another place in the stream
    assert counts[wanted == 0].sum() == 0
    big = wanted * n >= 5
    seen, due = np.append(counts[big], counts[~big].sum()), np.append(wanted[big], wanted[~big].sum()) * n
    statistic = ((seen - due)[due > 0] ** 2 / due[due > 0]).sum()
    freedom = max(1, (due > 0).sum() - 1)
    assert statistic < freedom + 5 * math.sqrt(2 * freedom)


@settings(max_examples=80, deadline=None)
@given(
    st.integers(0, 10**6),
    st.sampled_from([None, 2, 8]),
    st.floats(0.05, 2),
    st.floats(1e-6, 1),
    st.integers(0, 2 * N_VOCAB),
    st.sampled_from([0.0, 0.01, 0.3, 1.0]),
)
def test_only_tokens_inside_every_bound_are_drawn(seed, steps, temperature, top_p, top_k, min_p):
    """Where equal logits stand at the k-th place any of them may stay, so those rows have distinct logits."""
    request = submit(temperature=temperature, top_p=top_p, top_k=top_k, min_p=min_p, seed=seed)
    logits = row(seed, steps=None if 0 < top_k < N_VOCAB else steps)
    wanted, sampler = reference(logits, request), Sampler(N_VOCAB)
    edge = reference(logits, submit(temperature=temperature, top_p=min(1, top_p * 1.00001), top_k=top_k, min_p=min_p))
    for position in range(12):
        token = sampler.sample(logits, sequence(request, position)).token
        assert wanted[token] > 0 or edge[token] > 0 or wanted[wanted > 0].min() < 1e-30


@pytest.mark.parametrize("extra", [{}, {"top_k": 50}, {"min_p": 0.001}], ids=str)
def test_a_tiny_top_p_leaves_the_likeliest_token_and_its_equals(extra):
    logits, sampler = row(2), Sampler(N_VOCAB)
    best = int(logits.argmax())
    for position in range(20):
        request = submit(temperature=2.0, top_p=1e-9, seed=-3, **extra)
        assert sampler.sample(logits, sequence(request, position)).token == best
    logits[[4, 999]] = logits[best]
    drawn = {sampler.sample(logits, sequence(request, position)).token for position in range(60)}
    assert drawn == {4, 999, best}


def test_a_flat_row_with_a_small_top_p_is_drawn_from_its_exact_nucleus():
    """Rejection would nearly always fail here: the nucleus is a thousandth of the mass."""
    logits = np.linspace(0, -0.001, N_VOCAB, dtype=np.float32)
    request = submit(temperature=1.0, top_p=0.005)
    sampler, wanted = Sampler(N_VOCAB), reference(logits, request)
    drawn = {sampler.sample(logits, sequence(request, position)).token for position in range(200)}
    assert drawn <= set(np.flatnonzero(wanted)) and len(drawn) == (wanted > 0).sum()


def test_the_nucleus_of_a_wide_row_may_be_everything():
    weights = np.ones(40 * LANE, np.float32)
    assert len(nucleus(weights, 0.5)) == weights.size
    falling = np.linspace(1, 0.5, 40 * LANE, dtype=np.float32)
    assert len(nucleus(falling, 0.5 * float(falling.sum()))) == pytest.approx(0.4189 * falling.size, rel=0.001)


@pytest.mark.parametrize("temperature", [0.0, 1e-31, 1e-29])
def test_the_coldest_temperatures_take_the_first_likeliest_token(temperature):
    logits = row(3)
    logits[700] = logits.max() + 1
    request = submit(temperature=temperature)
    assert Sampler(N_VOCAB).sample(logits, sequence(request)).token == 700


def test_greedy_takes_penalties_and_bias_into_account_and_leaves_the_row_alone():
    logits = np.zeros(N_VOCAB, np.float32)
    logits[[40, 9, 5]] = [10.0, 9.0, 4.0]
    kept = logits.copy()
    sampler = Sampler(N_VOCAB)
    for changes, token in [
        ({}, 40),
        ({"repetition_penalty": 3.0}, 5),
        ({"presence_penalty": 2.0, "frequency_penalty": 0.9}, 9),
        ({"frequency_penalty": 2.0}, 9),
        ({"logit_bias": [[5, 7.0]]}, 5),
    ]:
        assert sampler.sample(logits, sequence(submit(**changes))).token == token
    assert np.array_equal(logits, kept)


@pytest.mark.parametrize("n_top", [0, 1, 20])
def test_logprobs_are_of_the_raw_distribution_best_first(n_top):
    logits = row(4)
    exact = logits.astype(np.float64) - math.log(np.exp(logits.astype(np.float64)).sum())
    request = submit(n_logprobs=n_top, temperature=0.5, logit_bias=[[77, 100.0]])
    sampled = Sampler(N_VOCAB).sample(logits, sequence(request))
    assert (sampled.token, sampled.logprob) == (77, pytest.approx(exact[77], abs=1e-5))
    best = np.argsort(-exact)[:n_top]
    assert [token for token, _ in sampled.top] == best.tolist()
    assert [logprob for _, logprob in sampled.top] == pytest.approx(exact[best].tolist(), abs=1e-5)


def test_no_logprobs_unless_asked_for():
    sampled = Sampler(N_VOCAB).sample(row(4), sequence(submit()))
    assert (sampled.logprob, sampled.top) == (None, ())


def test_the_same_place_draws_the_same_token_whatever_was_drawn_before():
    sampler, logits = Sampler(N_VOCAB), row(5)
    request = submit(temperature=1.0, top_p=0.9, seed=-(2**63))
    first = sampler.sample(logits, sequence(request)).token
    sampler.sample(row(6), sequence(submit(temperature=1.5)))
    assert sampler.sample(logits, sequence(request)).token == first
    places = {sampler.sample(logits, sequence(request, position)).token for position in range(30)}
    choices = {sampler.sample(logits, sequence(submit(temperature=1.0, choice=c))).token for c in range(30)}
    assert len(places) > 10 and len(choices) > 10


def test_a_row_of_nan_is_no_row():
    logits = row(7)
    logits[5] = np.nan
    with pytest.raises(NoNumbersError):
        Sampler(N_VOCAB).sample(logits, sequence(submit()))


@given(st.integers(0, 10**6), st.integers(0, 8 * LANE))
def test_the_greatest_values_are_found_best_first(seed, k):
    values = np.random.default_rng(seed).normal(size=6 * LANE).astype(np.float32)
    assert greatest(values, min(k, values.size)).tolist() == np.argsort(-values, kind="stable")[:k].tolist()
