"""What a request's sampling means once the card's defaults are in. Pure."""

from dataclasses import replace

from lowcloud.core.requests import Sampling
from lowcloud.models.card import Defaults

_NAMES = ("temperature", "top_p", "top_k", "min_p", "repetition_penalty")


def filled(asked: Sampling, others: Sampling | Defaults) -> Sampling:
    """``asked``, and what ``others`` say where it says nothing. What neither says stays None."""
    missing = {name: getattr(others, name) for name in _NAMES if getattr(asked, name) is None}
    return replace(asked, **missing)
