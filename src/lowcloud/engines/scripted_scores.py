"""A deterministic reranker and classifier without weights. One token is one word, as in ``scripted``."""

import re
from collections.abc import Sequence

import anyio

from lowcloud.core.errors import PromptTooLong
from lowcloud.core.requests import Classify, Rerank
from lowcloud.core.results import Classified, Label, Reranked
from lowcloud.engines.engine import Counted, unheard
from lowcloud.engines.scripted import UNBOUNDED_INPUT, Stage
from lowcloud.engines.scripted_reply import words
from lowcloud.models.card import Card

_TERM = re.compile(r"\w+")
_GOOD = frozenset({"delicious", "good", "great", "happy", "love", "nice", "wonderful"})
_BAD = frozenset({"awful", "bad", "hate", "horrible", "sad", "terrible", "ugly"})


class ScriptedReranker:
    """A ``Reranker``: a score is the share of the query's words that the document has, in any case and order.

    Its stage has the point ``rerank``. ``cancelled`` holds the ids of requests that were given up there.
    """

    def __init__(self, card: Card, *, stage: Stage | None = None, weights: str = "scripted") -> None:
        self._card, self._weights = card, weights
        self.stage = stage or Stage()
        self.requests: list[Rerank] = []
        self.cancelled: list[str] = []

    @property
    def card(self) -> Card:
        return self._card

    async def rerank(self, request: Rerank, counted: Counted = unheard) -> Reranked:
        self.requests.append(request)
        limit = self._card.max_input_tokens or UNBOUNDED_INPUT
        query = words(request.query)
        if len(query) >= limit:
            raise _too_long("query", len(query), limit)
        kept = [words(document)[: request.document_tokens] for document in request.documents]
        for place, document in enumerate(kept):
            if len(query) + len(document) > limit and not request.truncate:
                raise _too_long(f"{request.name(place)}, with the query,", len(query) + len(document), limit)
        documents = [document[: limit - len(query)] for document in kept]
        n_tokens = sum(len(query) + len(document) for document in documents)
        counted(n_tokens)
        await _pass(self.stage, "rerank", request.id, self.cancelled)
        scores = tuple(_share(query, document) for document in documents)
        return Reranked(scores, n_tokens, self._weights)


class ScriptedClassifier:
    """A ``Classifier`` into NEGATIVE and POSITIVE, by a few words that are one or the other.

    Its stage has the point ``classify``. ``cancelled`` holds the ids of requests that were given up there.
    """

    def __init__(self, card: Card, *, stage: Stage | None = None, weights: str = "scripted") -> None:
        self._card, self._weights = card, weights
        self.stage = stage or Stage()
        self.requests: list[Classify] = []
        self.cancelled: list[str] = []

    @property
    def card(self) -> Card:
        return self._card

    async def classify(self, request: Classify, counted: Counted = unheard) -> Classified:
        self.requests.append(request)
        limit = self._card.max_input_tokens or UNBOUNDED_INPUT
        inputs = [words(text) for text in request.inputs]
        for place, tokens in enumerate(inputs):
            if len(tokens) > limit and not request.truncate:
                raise _too_long(request.name(place), len(tokens), limit)
        kept = [tokens[:limit] for tokens in inputs]
        counted(sum(map(len, kept)))
        await _pass(self.stage, "classify", request.id, self.cancelled)
        return Classified(tuple(map(_labels, kept)), sum(map(len, kept)), self._weights)


async def _pass(stage: Stage, point: str, request_id: str, cancelled: list[str]) -> None:
    try:
        await stage.at(point)
    except anyio.get_cancelled_exc_class():
        cancelled.append(request_id)
        raise


def _share(query: Sequence[str], document: Sequence[str]) -> float:
    asked = _terms(query)
    return len(asked & _terms(document)) / len(asked) if asked else 0.0


def _labels(tokens: Sequence[str]) -> tuple[Label, ...]:
    terms = _terms(tokens)
    good, bad = len(terms & _GOOD), len(terms & _BAD)
    positive = (1 + 9 * good) / (2 + 9 * (good + bad))
    return Label("NEGATIVE", 1 - positive), Label("POSITIVE", positive)


def _terms(tokens: Sequence[str]) -> set[str]:
    return set(_TERM.findall("".join(tokens).lower()))


def _too_long(name: str, n_tokens: int, limit: int) -> PromptTooLong:
    param = name.partition(",")[0]
    return PromptTooLong(f"{name} has {n_tokens} tokens; this model takes at most {limit}.", param=param)
