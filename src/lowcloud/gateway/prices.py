"""What tokens cost, by a table that the operator may replace. Pure, but for ``load``."""

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from lowcloud.gateway.options import CustomCost
from lowcloud.gateway.usage import Used

SHIPPED = Path(__file__).with_name("prices.toml")
MILLION = 1_000_000
# What a provider writes after a model's name for one of its versions, never for another model.
_VERSION = re.compile(r"(?:[-@](?:20\d{2}-\d{2}-\d{2}|20\d{6}|\d{4}|00\d)|-latest)\Z")


@dataclass(frozen=True, slots=True)
class Price:
    """Dollars a million tokens. ``cached_in`` and ``written_in`` are those read from and written to a prompt cache;
    None: as any other."""

    tokens_in: float
    tokens_out: float
    cached_in: float | None = None
    written_in: float | None = None


Prices: TypeAlias = Mapping[str, Mapping[str, Price]]  # by provider, then by model


class BadPricesError(ValueError):
    """A table that isn't one; the message says where."""


def load(path: Path = SHIPPED) -> Prices:
    """Reads a table of prices. Raises OSError, BadPricesError."""
    return parsed(path.read_text("utf-8"))


def parsed(text: str) -> Prices:
    """The table in TOML: ``["openai"]`` with lines such as ``"gpt-4o" = {in = 2.5, out = 10.0, cached = 1.25}``.

    Raises BadPricesError.
    """
    try:
        tables = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise BadPricesError(str(error)) from None
    return {provider: _models(provider, table) for provider, table in tables.items()}


def cost(prices: Prices, provider: str, model: str, used: Used, custom_cost: CustomCost | None = None) -> float | None:
    """Dollars that a call cost; None: unknown. ``custom_cost`` wins."""
    if custom_cost is not None:
        return _custom(custom_cost, used)
    price = price_of(prices, provider, model)
    return None if price is None else _spent(used, price) / MILLION


def price_of(prices: Prices, provider: str, model: str) -> Price | None:
    """The price of a model, or of the one that it is a dated version of: never that of another with a like name."""
    models = prices.get(provider, {})
    found = models.get(model)
    if found is not None:
        return found
    version = _VERSION.search(model)
    return models.get(model[: version.start()]) if version else None


def _custom(cost: CustomCost, used: Used) -> float:
    """A side that has no price costs nothing; the cache's costs as any other."""
    if cost.total_cost is not None:
        return cost.total_cost
    per_in, per_out = cost.per_token_in or 0.0, cost.per_token_out or 0.0
    return _spent(used, Price(per_in, per_out, cost.per_cache_read_token, cost.per_cache_write_token))


def _spent(used: Used, price: Price) -> float:
    """In the unit that the price is for."""
    cached = price.tokens_in if price.cached_in is None else price.cached_in
    written = price.tokens_in if price.written_in is None else price.written_in
    plain_in = max(0, used.tokens_in - used.cached_in - used.written_in)
    read = plain_in * price.tokens_in + used.cached_in * cached + used.written_in * written
    return read + used.tokens_out * price.tokens_out


def _models(provider: str, table: object) -> dict[str, Price]:
    if not isinstance(table, Mapping):
        raise BadPricesError(f"{provider} must be a table of models")
    return {model: _price(f"{provider}.{model}", row) for model, row in table.items()}


_FIELDS = {"in": "tokens_in", "out": "tokens_out", "cached": "cached_in", "written": "written_in"}


def _price(where: str, row: object) -> Price:
    if not isinstance(row, Mapping) or not row.keys() <= _FIELDS.keys() or not {"in", "out"} <= row.keys():
        raise BadPricesError(f"{where} must have in and out, and may have cached and written")
    for name, value in row.items():
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < float("inf"):
            raise BadPricesError(f"{where}.{name} must be dollars a million tokens")
    return Price(**{_FIELDS[name]: float(value) for name, value in row.items()})
