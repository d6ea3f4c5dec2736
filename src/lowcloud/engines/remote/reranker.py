"""The reranker of a remote model: an upstream's ``/rerank`` in Jina's form, which llama-server and vLLM have too."""

import math
from collections.abc import Mapping

from lowcloud.core.errors import Unsupported
from lowcloud.core.messages import Text
from lowcloud.core.requests import Rerank
from lowcloud.core.results import Reranked
from lowcloud.engines.engine import Counted, unheard
from lowcloud.engines.remote.body import rough_tokens
from lowcloud.engines.remote.failure import broken, complained
from lowcloud.engines.remote.runtime import RemoteRuntime
from lowcloud.engines.remote.upstream import Upstream
from lowcloud.models.card import Card


class RemoteReranker:
    """``Reranker`` of one remote model; it sends through ``runtime``, which the pool runs."""

    def __init__(self, card: Card, runtime: RemoteRuntime) -> None:
        self._card, self._runtime = card, runtime

    @property
    def card(self) -> Card:
        return self._card

    async def rerank(self, request: Rerank, _counted: Counted = unheard) -> Reranked:
        """Raises Unsupported for what not every such server has words for, and the upstream's failures as ours."""
        upstream = self._runtime.upstream
        body = rerank_body(request, upstream)
        async with self._runtime.post("/rerank", lambda: body) as answer:
            parsed = await answer.whole()
        if not isinstance(parsed, Mapping) or parsed.get("error"):
            raise complained(upstream, parsed)
        return Reranked(
            scores_of(parsed, len(request.documents), upstream), _prompt_tokens(parsed, request), upstream.weights
        )


def rerank_body(request: Rerank, upstream: Upstream) -> dict[str, object]:
    """Raises Unsupported."""
    if request.truncate:
        raise Unsupported(f"{upstream.id} is a remote model; it can't be told to truncate.", param="truncate")
    if request.document_tokens is not None:
        raise Unsupported(
            f"{upstream.id} is a remote model; it can't be told to cut documents.", param="max_tokens_per_doc"
        )
    return {"model": upstream.model, "query": request.query, "documents": list(request.documents)}


def scores_of(answer: Mapping[str, object], n_documents: int, upstream: Upstream) -> tuple[float, ...]:
    """The scores in the order of the documents. Raises EngineFailed for any other answer."""
    results = answer.get("results")
    items = [item for item in results if isinstance(item, Mapping)] if isinstance(results, list) else []
    places = [item.get("index") for item in items]
    if sorted(place for place in places if isinstance(place, int)) != list(range(n_documents)):
        raise broken(upstream, f"gave {len(items)} scores for {n_documents} documents")
    scores = {place: _score(item.get("relevance_score"), upstream) for place, item in zip(places, items, strict=True)}
    return tuple(scores[place] for place in range(n_documents))


def _score(value: object, upstream: Upstream) -> float:
    try:
        score = float(value) if isinstance(value, int | float) and not isinstance(value, bool) else math.nan
    except OverflowError:
        score = math.nan
    if not math.isfinite(score):
        raise broken(upstream, "gave a score that is no number")
    return score


def _prompt_tokens(answer: Mapping[str, object], request: Rerank) -> int:
    """The upstream's count, by either of the names that servers have for it; else an estimate, as its kin make."""
    usage = answer.get("usage")
    counts = [usage.get(name) for name in ("prompt_tokens", "total_tokens")] if isinstance(usage, Mapping) else []
    given = next((count for count in counts if isinstance(count, int) and count > 0), None)
    if given is not None:
        return given
    query = rough_tokens(Text(request.query))
    return sum(query + rough_tokens(Text(document)) for document in request.documents)
