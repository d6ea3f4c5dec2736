"""What a request's sampling and length mean once the card's defaults are in. Pure."""

from dataclasses import replace

from lowcloud.core.requests import Generate, Sampling
from lowcloud.models.card import Card, Defaults

_NAMES = ("temperature", "top_p", "top_k", "min_p", "repetition_penalty")


def filled(asked: Sampling, others: Sampling | Defaults) -> Sampling:
    """``asked``, and what ``others`` say where it says nothing. What neither says stays None."""
    missing = {name: getattr(others, name) for name in _NAMES if getattr(asked, name) is None}
    return replace(asked, **missing)


def default_length(request: Generate, card: Card) -> int | None:
    """The bound on an answer whose caller names none: the format's own, else the card's."""
    default = request.default_max_tokens
    return card.defaults.max_tokens if default is None else default
