"""POST rerank: documents in, their scores for a query out, best first, as clients of Jina and of Cohere read them."""

from collections.abc import Callable
from dataclasses import replace
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue
from starlette.responses import Response
from starlette.types import ASGIApp

from lowcloud.core.results import Reranked, best_first
from lowcloud.http.call import Call
from lowcloud.http.encode import result_headers, result_usage, to_json
from lowcloud.http.offload import Offload
from lowcloud.http.openai.chat_answer import fingerprint
from lowcloud.http.openai.rerank_request import RerankAsked, rerank_asked
from lowcloud.serving.service import Service

DOCUMENTS_A_UNIT = 100
API_VERSION = "2"


class _Shape(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class RankedDocument(_Shape):
    index: int = Field(description="the document's place in the request")
    relevance_score: float
    document: dict[str, JsonValue] | None = Field(None, description="absent where return_documents is false")


class RerankUsage(_Shape):
    prompt_tokens: int
    total_tokens: int


class RerankVersion(_Shape):
    version: str


class BilledUnits(_Shape):
    search_units: int = Field(description="one a hundred documents")


class RerankMeta(_Shape):
    """Cohere's."""

    api_version: RerankVersion
    billed_units: BilledUnits


class Ranking(_Shape):
    """The best first."""

    id: str
    object: Literal["list"]
    model: str
    system_fingerprint: str
    results: list[RankedDocument]
    usage: RerankUsage
    meta: RerankMeta


class Reranking:
    """Handles rerank requests. ``new_id`` makes the ids of requests."""

    def __init__(self, service: Service, offload: Offload, new_id: Callable[[], str]) -> None:
        self._service, self._offload, self._new_id = service, offload, new_id

    async def create(self, call: Call) -> ASGIApp:
        """All scores at once."""
        request_id = self._new_id()
        asked = await self._offload.read(call.body, lambda raw: rerank_asked(raw, request_id))
        call.trace.model = asked.model
        call.trace.completion_id = request_id
        caller = replace(call.caller, rejects_if_busy=asked.rejects_if_busy)
        reranked = await self._service.rerank(asked.model, asked.rerank, caller)
        body = await self._offload.sized(len(call.body), lambda: encoded(asked, reranked))
        return Response(body, 200, result_headers(asked.ignored, reranked), "application/json")


def encoded(asked: RerankAsked, reranked: Reranked) -> bytes:
    """The answer's body."""
    results: list[dict[str, object]] = []
    for place, score in best_first(reranked.scores, asked.top_n):
        document = {} if asked.shown is None else {"document": asked.shown[place]}
        results.append({"index": place, "relevance_score": score, **document})
    return to_json(
        {
            "id": asked.rerank.id,
            "object": "list",
            "model": asked.model,
            "system_fingerprint": fingerprint(reranked.weights),
            "results": results,
            "usage": result_usage(reranked),
            "meta": {
                "api_version": {"version": API_VERSION},
                "billed_units": {"search_units": -(-len(reranked.scores) // DOCUMENTS_A_UNIT)},
            },
        }
    )
