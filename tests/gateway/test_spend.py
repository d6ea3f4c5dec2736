"""Spend rules: which calls they count together, what a call may cost, and whether it may begin."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lowcloud.gateway.spend import (
    DEFAULT_OUTPUT_TOKENS,
    MAX_OUTPUT_TOKENS,
    Facts,
    Filter,
    Partition,
    SpendRule,
    bucket_of,
    estimated_cost,
    keys_of,
    max_tokens_of,
    reserve,
    settle,
)
from lowcloud.gateway.windows import Amounts, Held, spent

FACTS = Facts("openai", "gpt-5", {"user": "ann", "team": 7, "paid": True, "note": None})
values = st.none() | st.text(max_size=4) | st.sampled_from(['";provider="', '"', "\\", "null"])


def rule(**given):
    return SpendRule(**{"id": "r", "limit": 10.0, "window_s": 60, **given})


def test_a_rule_that_selects_nothing_counts_every_call_together():
    assert bucket_of(rule(), FACTS) == bucket_of(rule(), Facts("groq", None)) == "all"


def test_a_rule_that_is_not_enabled_is_for_no_call():
    assert bucket_of(rule(enabled=False), FACTS) is None


def test_a_partition_has_a_bucket_for_each_value():
    parted = rule(model=Partition(), provider=Partition(), metadata={"user": Partition(), "team": Partition()})
    assert bucket_of(parted, FACTS) == 'model="gpt-5";provider="openai";metadata.team="7";metadata.user="ann"'


def test_calls_without_the_entry_share_a_bucket_of_their_own():
    parted = rule(metadata={"user": Partition()})
    missing = {bucket_of(parted, Facts("openai", None, metadata)) for metadata in ({}, {"other": 1}, {"user": None})}
    assert missing == {"metadata.user=null"}
    assert bucket_of(parted, Facts("openai", None, {"user": "null"})) == 'metadata.user="null"'


@pytest.mark.parametrize(
    ("selected", "applies"),
    [
        ({"model": Filter(frozenset({"gpt-5"}))}, True),
        ({"model": Filter(frozenset({"gpt-4"}))}, False),
        ({"provider": Filter(frozenset({"groq", "openai"}))}, True),
        ({"metadata": {"team": Filter(frozenset({"7"}))}}, True),
        ({"metadata": {"paid": Filter(frozenset({"true"}))}}, True),
        ({"metadata": {"note": Filter(frozenset({"null"}))}}, False),
        ({"metadata": {"nobody": Filter(frozenset({"x"}))}}, False),
        ({"model": Filter(frozenset({"gpt-5"})), "provider": Filter(frozenset({"groq"}))}, False),
    ],
)
def test_a_filter_is_for_its_values_alone_and_counts_them_together(selected, applies):
    assert bucket_of(rule(**selected), FACTS) == ("all" if applies else None)


@given(st.tuples(values, values), st.tuples(values, values))
def test_two_calls_share_a_bucket_where_all_that_is_partitioned_is_the_same(first, second):
    parted = rule(model=Partition(), metadata={"a": Partition()})
    one, other = (bucket_of(parted, Facts("p", model, {"a": entry})) for model, entry in (first, second))
    assert (one == other) == (first == second)


RULES = (
    rule(id="each", limit=5.0, metadata={"user": Partition()}),
    rule(id="all", limit=8.0),
    rule(id="x", enabled=False),
)


def test_a_call_counts_in_a_bucket_of_each_rule_that_is_for_it():
    assert list(keys_of(RULES, FACTS)) == [("each", 'metadata.user="ann"'), ("all", "all")]


@given(st.lists(st.tuples(st.sampled_from(["ann", "bob"]), st.integers(0, 4), st.booleans()), max_size=30))
def test_an_estimate_is_held_in_all_its_buckets_or_in_none(calls):
    ledger: dict = {}
    for number, (user, estimate, ends) in enumerate(calls):
        keys = keys_of(RULES, Facts("p", "m", {"user": user}))
        totals = {key: spent(each.window, ledger.get(key, Amounts()), 1_000) for key, each in keys.items()}
        full = [key for key, each in keys.items() if totals[key] >= each.limit]
        refusal, changed = reserve(keys, ledger, Held(str(number), 1_000, estimate))
        assert (refusal is not None) == bool(full)
        assert changed.keys() == (set() if full else keys.keys())
        if refusal is not None:
            told = refusal.error()
            assert (told.bucket, told.spent, told.limit) == (full[0][1], totals[full[0]], keys[full[0]].limit)
            assert told.retry_after_s == 20  # 1,000 s are 16 minutes and 40 s
        ledger |= changed
        if ends and refusal is None:
            ledger |= settle(keys, ledger, str(number), 0, 1_000)
            assert {key: spent(each.window, ledger[key], 1_000) for key, each in keys.items()} == totals


def test_a_call_costs_what_it_did_in_the_end_also_where_its_bucket_is_not_known_any_more():
    keys = keys_of(RULES, FACTS)
    settled = settle(keys, {}, "from before the restart", 4.5, 1_000)
    assert {spent(each.window, settled[key], 1_000) for key, each in keys.items()} == {4.5}


def test_a_call_may_cost_its_prompt_and_the_longest_answer():
    assert estimated_cost(4_000, 200, per_token_in=0.5, per_token_out=2.0) == 1_000 * 0.5 + 200 * 2.0


@pytest.mark.parametrize(
    ("body", "tokens"),
    [
        ({"max_tokens": 9}, 9),
        ({"max_completion_tokens": 8, "max_tokens": 9}, 8),
        ({"max_output_tokens": 7}, 7),
        ({"generationConfig": {"maxOutputTokens": 6}}, 6),
        ({"max_tokens": 9, "n": 3}, 27),
        ({"max_tokens": 9, "n": "3"}, 9),
        ({"max_tokens": 10**400, "n": 10**9}, MAX_OUTPUT_TOKENS),
        ({"max_tokens": True}, DEFAULT_OUTPUT_TOKENS),
        ({"max_tokens": -1, "generationConfig": []}, DEFAULT_OUTPUT_TOKENS),
        ({}, DEFAULT_OUTPUT_TOKENS),
        (["max_tokens"], DEFAULT_OUTPUT_TOKENS),
        (None, DEFAULT_OUTPUT_TOKENS),
    ],
)
def test_the_longest_answer_is_what_the_body_allows_or_a_default(body, tokens):
    assert max_tokens_of(body) == tokens
