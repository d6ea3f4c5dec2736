"""What comes back up the narrow waist at once: vectors, scores, labels. Generations come as ``events``.

``weights`` names the weights and engine that answered, ``stand_in`` the card that answered for another, or None;
``prompt_tokens`` counts what the model was given; ``neurons`` are what that cost, by the card that was asked for, and
engines don't know them: None.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from lowcloud.core.requests import Pooling


@dataclass(frozen=True, slots=True)
class Embedded:
    """Vectors in the order of the inputs, each little-endian float32 bytes of one length.

    ``pooling`` None: it isn't known, or is another.
    """

    vectors: tuple[bytes, ...]
    prompt_tokens: int
    weights: str
    stand_in: str | None = None
    neurons: float | None = None
    pooling: Pooling | None = None


@dataclass(frozen=True, slots=True)
class Reranked:
    """A finite score a document, in the order of the documents; the higher, the more it has to do with the query."""

    scores: tuple[float, ...]
    prompt_tokens: int
    weights: str
    stand_in: str | None = None
    neurons: float | None = None


@dataclass(frozen=True, slots=True)
class Label:
    """What a text may be, and the probability that it is."""

    name: str
    score: float


@dataclass(frozen=True, slots=True)
class Classified:
    """For each input, in order, every label of the model in the model's own order."""

    labels: tuple[tuple[Label, ...], ...]
    prompt_tokens: int
    weights: str
    stand_in: str | None = None
    neurons: float | None = None


def best_first(scores: Sequence[float], n: int | None = None) -> list[tuple[int, float]]:
    """The places of the ``n`` highest scores, with them; of equal ones the first. None: all."""
    return sorted(enumerate(scores), key=lambda scored: -scored[1])[:n]
