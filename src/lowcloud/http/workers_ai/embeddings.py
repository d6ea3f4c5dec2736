"""Native embeddings: vectors of texts; of bge-m3 also the scores of contexts for a query."""

from operator import mul

from lowcloud.core.results import Embedded, best_first
from lowcloud.http.encode import result_headers, result_usage, to_json
from lowcloud.http.generation import Whole
from lowcloud.http.offload import Offload
from lowcloud.http.vectors import as_numbers, floats, size
from lowcloud.http.workers_ai.embeddings_request import VectorsAsked, vectors_asked
from lowcloud.http.workers_ai.native import NativeResult, Run
from lowcloud.serving.service import Service


class EmbeddingsRunner:
    """Runs text embeddings."""

    def __init__(self, service: Service, offload: Offload) -> None:
        self._service, self._offload = service, offload

    async def run(self, run: Run) -> NativeResult:
        """The card that was asked for decides what the inputs mean, whoever answers for it."""
        asked = await self._asked(run)
        embedded = await self._service.embed(run.answer.card.id, asked.embed, run.caller)
        body = await self._offload.sized(sum(map(len, embedded.vectors)), lambda: encoded(asked, embedded))
        return Whole(body, result_headers(asked.ignored, embedded))

    async def check(self, run: Run, *, is_whole: bool) -> None:  # noqa: ARG002 - as the protocol has it
        """Refuse what ``run`` would, as far as the inputs alone say so."""
        await self._asked(run)

    async def _asked(self, run: Run) -> VectorsAsked:
        return await self._offload.sized(run.n_bytes, lambda: vectors_asked(run.inputs, run.answer.card, run.trace.id))


def encoded(asked: VectorsAsked, embedded: Embedded) -> bytes:
    """The result. Raises EngineFailed for a vector that isn't made of numbers."""
    usage = {"usage": result_usage(embedded)}
    if asked.shape == "scores":
        scores = [{"id": place, "score": score} for place, score in best_first(_scores(embedded.vectors))]
        return to_json({"response": scores, **usage})
    name = b"data" if asked.shape == "vectors" else b"response"
    shape = len(embedded.vectors), size(embedded.vectors[0])
    pooling = {"pooling": embedded.pooling} if asked.shows_pooling and embedded.pooling is not None else {}
    numbers = b",".join(map(as_numbers, embedded.vectors))
    return b'{"shape":[%d,%d],"%b":[%b],' % (*shape, name, numbers) + to_json({**pooling, **usage})[1:]


def _scores(vectors: tuple[bytes, ...]) -> list[float]:
    """The cosines of the first with the others: they are unit vectors."""
    query, *contexts = map(floats, vectors)
    return [sum(map(mul, query, context)) for context in contexts]
