"""What calls cost, by the table that ships and by others."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lowcloud.gateway.options import CustomCost
from lowcloud.gateway.prices import BadPricesError, Price, cost, load, parsed, price_of
from lowcloud.gateway.providers import PROVIDERS
from lowcloud.gateway.usage import Used

TABLE = parsed(
    """
    ["openai"]
    "gpt-4o" = { in = 2.5, out = 10.0, cached = 1.25 }
    "gpt-4o-2024-05-13" = { in = 5, out = 15 }
    ["anthropic"]
    "claude-opus-4" = { in = 15, out = 75, cached = 1.5, written = 18.75 }
    """
)


def test_tokens_cost_what_their_side_costs():
    assert cost(TABLE, "openai", "gpt-4o", Used(1_000_000, 100_000)) == pytest.approx(3.5)


def test_tokens_of_a_prompt_cache_are_among_those_in_and_cost_their_own_price():
    used = Used(1_000_000, 0, cached_in=400_000, written_in=200_000)
    assert cost(TABLE, "anthropic", "claude-opus-4", used) == pytest.approx(0.4 * 15 + 0.4 * 1.5 + 0.2 * 18.75)


def test_a_cache_without_a_price_costs_as_any_other_token():
    assert cost(TABLE, "openai", "gpt-4o-2024-05-13", Used(1_000_000, 0, 500_000, written_in=10)) == pytest.approx(5.0)


@pytest.mark.parametrize(
    "model", ["gpt-4o", "gpt-4o-2024-08-06", "gpt-4o-20240806", "gpt-4o-0806", "gpt-4o@001", "gpt-4o-latest"]
)
def test_a_dated_version_costs_as_its_model_does(model):
    assert price_of(TABLE, "openai", model) == Price(2.5, 10.0, 1.25)


def test_a_version_with_a_line_of_its_own_costs_that():
    assert price_of(TABLE, "openai", "gpt-4o-2024-05-13") == Price(5.0, 15.0)


@pytest.mark.parametrize(
    ("provider", "model"),
    [
        ("openai", "gpt-4o-mini"),
        ("openai", "gpt-4o-mini-2024-07-18"),
        ("openai", "gpt-4o-audio-preview"),
        ("openai", "gpt-4"),
        ("openai", "gpt-4o-8"),
        ("openai", ""),
        ("anthropic", "claude-opus-4-1"),
        ("anthropic", "claude-opus-4-1-20250805"),
        ("anthropic", "gpt-4o"),
        ("nobody", "gpt-4o"),
    ],
)
def test_a_model_that_isnt_in_the_table_has_no_price_however_like_its_name_is(provider, model):
    assert cost(TABLE, provider, model, Used(1, 1)) is None


@given(st.text("gpt4o-mni.@0123456789", max_size=12))
def test_no_suffix_of_letters_is_a_version(suffix):
    if any(letter.isalpha() for letter in suffix):
        assert price_of(TABLE, "openai", f"gpt-4o{suffix}") is None


def test_a_callers_own_cost_wins():
    used = Used(1000, 100, cached_in=400, written_in=100)
    assert cost(TABLE, "openai", "gpt-4o", used, CustomCost(total_cost=0.25)) == 0.25
    by_token = CustomCost(per_token_in=0.01, per_token_out=0.02)
    assert cost(TABLE, "openai", "gpt-4o", used, by_token) == pytest.approx(12.0)
    cached = CustomCost(0.01, 0.02, per_cache_read_token=0.0, per_cache_write_token=0.1)
    assert cost({}, "openai", "unheard-of", used, cached) == pytest.approx(5.0 + 10.0 + 2.0)
    assert cost({}, "openai", "unheard-of", used, CustomCost(per_token_out=0.5)) == pytest.approx(50.0)


@given(st.integers(0, 10**9), st.integers(0, 10**9), st.integers(0, 10**9), st.integers(0, 10**9))
def test_a_cost_is_never_negative(n_in, n_out, cached, written):
    found = cost(TABLE, "anthropic", "claude-opus-4", Used(n_in, n_out, cached, written_in=written))
    assert found is not None
    assert 0 <= found < math.inf


def test_the_table_that_ships_is_of_known_providers_and_dearer_out_than_in(tmp_path):
    prices = load()
    assert prices.keys() <= PROVIDERS.keys()
    for models in prices.values():
        for price in models.values():
            assert price.tokens_out >= price.tokens_in or price.tokens_out == 0
            assert (price.cached_in or 0) <= price.tokens_in <= (price.written_in or math.inf)


def test_another_file_replaces_the_table_whole(tmp_path):
    own = tmp_path / "prices.toml"
    own.write_text('["custom-mine"]\n"m" = {in = 1, out = 2}\n')
    assert load(own) == {"custom-mine": {"m": Price(1.0, 2.0)}}


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("openai", "Expected"),
        ('openai = "gpt-4o"', "openai must be a table of models"),
        ('[openai]\n"a" = 3', "openai.a must have in and out, and may have cached and written"),
        ('[openai]\n"a" = {in = 3}', "openai.a must have in and out"),
        ('[openai]\n"a" = {in = 3, out = 1, read = 2}', "openai.a must have in and out"),
        ('[openai]\n"a" = {in = -3, out = 1}', "openai.a.in must be dollars a million tokens"),
        ('[openai]\n"a" = {in = 3, out = inf}', "openai.a.out must be dollars"),
        ('[openai]\n"a" = {in = 3, out = nan}', "openai.a.out must be dollars"),
        ('[openai]\n"a" = {in = 3, out = true}', "openai.a.out must be dollars"),
        ('[openai]\n"a" = {in = 3, out = "1"}', "openai.a.out must be dollars"),
    ],
)
def test_a_table_that_isnt_one_is_refused_by_the_place(text, says):
    with pytest.raises(BadPricesError, match=says):
        parsed(text)
