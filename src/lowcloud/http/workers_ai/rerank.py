"""Native reranking: the scores of contexts for a query, best first."""

from dataclasses import dataclass

from pydantic import Field

from lowcloud.core.requests import Rerank
from lowcloud.core.results import best_first
from lowcloud.http.encode import result_headers, result_usage, to_json
from lowcloud.http.generation import Whole
from lowcloud.http.offload import Offload
from lowcloud.http.openai.parameters import named
from lowcloud.http.openai.rerank_request import MAX_DOCUMENTS
from lowcloud.http.validation import validated
from lowcloud.http.workers_ai.embeddings_request import Context, Filled, Truncating, unread_of_contexts
from lowcloud.http.workers_ai.lenient import Count
from lowcloud.http.workers_ai.native import NativeResult, Run
from lowcloud.serving.service import Service


class RerankInput(Truncating):
    """Texts to score for a query."""

    query: Filled
    contexts: list[Context] = Field(min_length=1, max_length=MAX_DOCUMENTS)
    top_k: Count | None = Field(None, description="how many of the best come back; else all")


class RerankRunner:
    """Runs reranking."""

    def __init__(self, service: Service, offload: Offload) -> None:
        self._service, self._offload = service, offload

    async def run(self, run: Run) -> NativeResult:
        """All scores at once."""
        asked = await self._asked(run)
        reranked = await self._service.rerank(run.answer.card.id, asked.rerank, run.caller)
        scores = [{"id": place, "score": score} for place, score in best_first(reranked.scores, asked.top_k)]
        body = to_json({"response": scores, "usage": result_usage(reranked)})
        return Whole(body, result_headers(asked.ignored, reranked))

    async def check(self, run: Run, *, is_whole: bool) -> None:  # noqa: ARG002 - as the protocol has it
        """Refuse what ``run`` would, as far as the inputs alone say so."""
        await self._asked(run)

    async def _asked(self, run: Run) -> "_Asked":
        return await self._offload.sized(run.n_bytes, lambda: _asked(run))


@dataclass(frozen=True, slots=True)
class _Asked:
    """``top_k`` None: all. ``ignored`` names what nothing reads."""

    rerank: Rerank
    top_k: int | None
    ignored: tuple[str, ...]


def _asked(run: Run) -> _Asked:
    """Raises BadRequest."""
    body = validated(RerankInput, dict(run.inputs))
    rerank = Rerank(
        id=run.trace.id,
        query=body.query,
        documents=tuple(context.text for context in body.contexts),
        truncate=bool(body.truncate_inputs),
        names=tuple(f"contexts[{place}].text" for place in range(len(body.contexts))),
    )
    ignored = (*named(run.inputs, RerankInput.model_fields, {}), *unread_of_contexts(run.inputs))
    return _Asked(rerank, body.top_k, ignored)
