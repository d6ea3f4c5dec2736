"""What tokens cost in neurons."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lowcloud.models.card import Card, Price, Task
from lowcloud.models.catalogue import CHAT_STAND_IN, EMBEDDING_STAND_IN, packaged_cards
from lowcloud.models.pricing import CACHED_INPUT, INPUT, NEURON_USD, OUTPUT, neurons, neurons_of

CARDS = {card.id: card for card in packaged_cards()}
counts = st.integers(0, 10**7)
prices = st.floats(0, 10**3)


def priced(**usd: float) -> Card:
    units = {"input": INPUT, "cached": CACHED_INPUT, "output": OUTPUT}
    price = tuple(Price(unit=units[name], price=value) for name, value in usd.items())
    return Card(id="a", task=Task.TEXT_GENERATION, owned_by="me", price=price)


def test_a_million_tokens_cost_the_neurons_of_the_pricing_page():
    card = CARDS["@cf/meta/llama-3.2-1b-instruct"]
    assert neurons(card, 10**6, 0, 0) == pytest.approx(2457)
    assert neurons(card, 0, 0, 10**6) == pytest.approx(18252)
    assert neurons(card, 1000, 0, 100) == pytest.approx(2.457 + 1.8252)


def test_a_price_without_neurons_gives_those_that_its_dollars_buy():
    assert neurons(priced(input=0.1, output=0.3), 10**6, 0, 0) == pytest.approx(0.1 / 0.000011)
    assert neurons(priced(input=0.1, output=0.3), 0, 0, 10**6) == pytest.approx(27272.727, rel=1e-6)


def test_cached_tokens_have_their_own_price_where_the_card_has_one():
    card = CARDS["@cf/zai-org/glm-5.3"]
    assert neurons(card, 1000, 800, 0) == pytest.approx(0.2 * 127.273 + 0.8 * 23.636)
    without = CARDS["@cf/openai/gpt-oss-20b"]
    assert neurons(without, 1000, 800, 0) == neurons(without, 1000, 0, 0)


@pytest.mark.parametrize("model_id", [CHAT_STAND_IN, EMBEDDING_STAND_IN, "@cf/google/embeddinggemma-300m"])
def test_a_card_without_a_price_costs_nothing(model_id: str):
    assert neurons(CARDS[model_id], 10**6, 10**5, 10**6) == 0


def test_a_model_that_is_paid_by_other_units_costs_nothing_by_its_tokens():
    assert neurons(CARDS["@cf/openai/whisper"], 1000, 0, 1000) == 0


@given(prices, prices, counts, counts, counts)
def test_every_token_costs_the_same_whatever_comes_with_it(fresh, made, prompt, more, completion):
    card = priced(input=fresh, output=made)
    together = neurons(card, prompt + more, 0, completion)
    apart = neurons(card, prompt, 0, 0) + neurons(card, more, 0, 0) + neurons(card, 0, 0, completion)
    assert together == pytest.approx(apart, rel=1e-9, abs=1e-9)


@given(prices, prices, prices, counts, st.data())
def test_reuse_never_costs_more_than_computing_where_it_is_cheaper(fresh, cheaper, made, prompt, data):
    card = priced(input=fresh, cached=min(fresh, cheaper), output=made)
    cached = data.draw(st.integers(0, prompt))
    whole, reused = neurons(card, prompt, 0, 7), neurons(card, prompt, cached, 7)
    assert 0 <= reused <= whole * (1 + 1e-9)


@given(prices)
def test_a_units_neurons_and_dollars_are_the_same_money(usd):
    assert neurons_of(Price(unit=INPUT, price=usd)) * NEURON_USD == pytest.approx(usd)


def test_the_published_neurons_of_the_catalogue_agree_with_its_dollars():
    both = [price for card in CARDS.values() for price in card.price if price.neurons is not None and price.price]
    assert len(both) > 60
    for price in both:
        assert price.neurons * NEURON_USD == pytest.approx(price.price, rel=0.03), price
