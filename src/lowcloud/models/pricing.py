"""What a run costs in neurons, by the card's price. Pure.

Source: Cloudflare docs, Workers AI › Pricing, read 2026-11: $0.011 a thousand neurons.
"""

from lowcloud.models.card import Card, Price

NEURON_USD = 0.000011
INPUT = "per M input tokens"
CACHED_INPUT = "per M cached input tokens"
OUTPUT = "per M output tokens"
_MILLION = 1_000_000


def neurons(card: Card, prompt: int, cached: int, completion: int) -> float:
    """The neurons of a run of so many tokens; ``cached`` are those of ``prompt`` that were reused.

    Cached tokens have the input's price where the card names none of their own. A card without a price costs nothing.
    """
    by_unit = {price.unit: neurons_of(price) for price in card.price}
    fresh = by_unit.get(INPUT, 0.0)
    reused = by_unit.get(CACHED_INPUT, fresh)
    made = by_unit.get(OUTPUT, 0.0)
    return ((prompt - cached) * fresh + cached * reused + completion * made) / _MILLION


def neurons_of(price: Price) -> float:
    """The neurons of one unit: the published ones, else those that its dollars buy."""
    return price.price / NEURON_USD if price.neurons is None else price.neurons


def token_prices(card: Card) -> tuple[float, float, float | None] | None:
    """Dollars a million tokens in, out, and in from the cache (None: as in). None: the card has no such price."""
    by_unit = {price.unit: price.price for price in card.price}
    if INPUT not in by_unit:
        return None
    return by_unit[INPUT], by_unit.get(OUTPUT, 0.0), by_unit.get(CACHED_INPUT)
