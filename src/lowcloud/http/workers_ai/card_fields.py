"""A model of the catalogue as the service shows it, and as marketplaces in OpenRouter's form read it. Pure.

What is ours is in properties whose names begin with ``lowcloud_``.
Source: Cloudflare docs, Workers AI › Models, and what readers of the marketplace form take from it, read 2026-11.
"""

from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal
from uuid import NAMESPACE_URL, uuid5

from lowcloud.http.workers_ai.tasks import task_fields
from lowcloud.models.card import Card, Task
from lowcloud.models.catalogue import Listing
from lowcloud.models.pricing import CACHED_INPUT, INPUT, OUTPUT

Property = tuple[str, object]
SOURCE = 1  # whose models these are; the service knows no other
_SAMPLING = (
    "temperature",
    "top_p",
    "top_k",
    "min_p",
    "frequency_penalty",
    "presence_penalty",
    "repetition_penalty",
    "seed",
    "stop",
    "logit_bias",
    "max_tokens",
)
_FLAGS = (
    "async_queue",
    "beta",
    "function_calling",
    "lora",
    "partner",
    "realtime",
    "reasoning",
    "require_workers_paid",
    "vision",
)
_MILLION = 1_000_000


def native_fields(listing: Listing) -> dict[str, object]:
    """The model with its properties. Their values are text, but for the price and the efforts."""
    card = listing.card
    created = {} if not card.created else {"created_at": f"{_day(card.created):%Y-%m-%d %H:%M:%S}.000"}
    return {
        "id": stable_id("model", card.id),
        "source": SOURCE,
        "name": card.id,
        "description": card.description,
        "task": task_fields(card.task),
        **created,
        "tags": [],
        "properties": [{"property_id": name, "value": value} for name, value in _properties(listing)],
    }


def author_fields(author: str) -> dict[str, object]:
    """Who made models of the catalogue."""
    return {"id": stable_id("author", author), "name": author}


def marketplace_fields(listing: Listing) -> dict[str, object] | None:
    """The model in OpenRouter's form; None for one that isn't of it: no text generation, or of an unknown context.

    The context is that of the weights that answer. Prices are dollars a token, as text.
    """
    card = listing.card
    window = (listing.answer.by if listing.answer else card).context_window
    if card.task != Task.TEXT_GENERATION or window is None:
        return None
    return {
        "id": card.id,
        "name": card.id.rpartition("/")[2],
        "created": card.created,
        "hugging_face_id": card.source,
        "context_length": window,
        "max_output_length": window,
        "input_modalities": ["text", "image"] if card.vision else ["text"],
        "output_modalities": ["text"],
        "pricing": _token_prices(card),
        "supported_features": [
            *(["tools"] if card.function_calling else []),
            *(["reasoning"] if card.reasoning else []),
            "json_mode",
            "structured_outputs",
            "logprobs",
        ],
        "supported_sampling_parameters": list(_SAMPLING),
    }


def stable_id(kind: str, name: str) -> str:
    """The same UUID for the same name, on every server and at every start."""
    return str(uuid5(NAMESPACE_URL, f"lowcloud:{kind}:{name}"))


def _properties(listing: Listing) -> Iterator[Property]:
    card = listing.card
    yield from ((name, "true") for name in _FLAGS if getattr(card, name))
    if card.reasoning_effort is not None:
        effort = card.reasoning_effort.model_dump(exclude_none=True)
        yield "reasoning_effort", {name: value for name, value in effort.items() if value or value is False}
    for name, number in (
        ("context_window", card.context_window),
        ("max_input_tokens", card.max_input_tokens),
        ("output_dimensions", card.dimensions),
    ):
        if number is not None:
            yield name, str(number)
    if card.price:
        yield "price", [{"unit": each.unit, "price": each.price, "currency": "USD"} for each in card.price]
    if card.deprecated is not None:
        yield "planned_deprecation_date", card.deprecated.isoformat()
    if card.info is not None:
        yield "info", card.info
    if card.terms is not None:
        yield "terms", card.terms
    yield from _own_properties(listing)


def _own_properties(listing: Listing) -> Iterator[Property]:
    """Where the weights are, and who would answer; limits are shown of one that answers in another's place."""
    answer = listing.answer
    yield "lowcloud_weights", listing.weights
    yield "lowcloud_available", "false" if answer is None else "true"
    if answer is None:
        yield "lowcloud_unavailable_because", listing.why_not
        return
    yield "lowcloud_answered_by", answer.by.id
    yield "lowcloud_stand_in", "true" if answer.stand_in else "false"
    if answer.by.id != answer.card.id:
        limits = (("context_window", answer.by.context_window), ("max_input_tokens", answer.by.max_input_tokens))
        yield from ((f"lowcloud_{name}", str(number)) for name, number in limits if number is not None)


def _token_prices(card: Card) -> dict[str, str]:
    usd = {price.unit: price.price for price in card.price}
    prices = {"prompt": _a_token(usd.get(INPUT, 0.0)), "completion": _a_token(usd.get(OUTPUT, 0.0))}
    return prices if CACHED_INPUT not in usd else prices | {"input_cache_read": _a_token(usd[CACHED_INPUT])}


def _a_token(usd_a_million: float) -> str:
    """Never with an exponent, which not every reader of decimals takes."""
    return format((Decimal(repr(usd_a_million)) / _MILLION).normalize(), "f")


def _day(seconds: int) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)
