"""The service's reranking and classification: who answers, what waits, and what is counted."""

import anyio
import pytest
from caller import CALLER

from lowcloud.core.errors import BadRequest, ModelNotFound, Overloaded, RequestTimeout
from lowcloud.core.requests import Classify, Rerank
from lowcloud.models.catalogue import EMBEDDING_STAND_IN
from lowcloud.serving.admission import Bounds
from lowcloud.serving.service import Limits

pytestmark = pytest.mark.anyio
RERANKER = "@cf/baai/bge-reranker-base"
CLASSIFIER = "@cf/huggingface/distilbert-sst-2-int8"
TEA = Rerank("r", "green tea", ("black coffee", "tea"))
HAPPY = Classify("c", ("I love tea", "so"))


async def test_documents_get_their_scores_in_order_and_what_they_cost(rig):
    async with rig(scores=True) as r:
        reranked = await r.service.rerank(RERANKER, TEA, CALLER)
    assert (reranked.scores, reranked.prompt_tokens, reranked.stand_in) == ((0.0, 0.5), 2 + 2 + 2 + 1, None)
    assert reranked.neurons == pytest.approx(7 * 283 / 1e6)
    assert r.meter.counted == [(RERANKER, 7, 0, 0)]


async def test_texts_get_their_labels_in_order_and_what_they_cost(rig):
    async with rig(scores=True) as r:
        classified = await r.service.classify(CLASSIFIER, HAPPY, CALLER)
    assert [max(labels, key=lambda label: label.score).name for labels in classified.labels] == ["POSITIVE", "NEGATIVE"]
    assert classified.neurons == pytest.approx(4 * 2394 / 1e6)
    assert r.meter.counted == [(CLASSIFIER, 4, 0, 0)]


async def test_another_kind_of_model_does_neither(rig):
    async with rig(scores=True) as r:
        with pytest.raises(BadRequest, match="Text Embeddings, not Rerank") as reranked:
            await r.service.rerank(EMBEDDING_STAND_IN, TEA, CALLER)
        with pytest.raises(BadRequest, match="Rerank, not Text Classification"):
            await r.service.classify(RERANKER, HAPPY, CALLER)
    assert reranked.value.param == "model"


async def test_without_their_weights_neither_has_a_stand_in(rig):
    async with rig() as r:
        with pytest.raises(ModelNotFound, match="a model for Rerank has no stand-in"):
            await r.service.rerank(RERANKER, TEA, CALLER)
        with pytest.raises(ModelNotFound, match="a model for Text Classification has no stand-in"):
            await r.service.classify(CLASSIFIER, HAPPY, CALLER)


async def test_what_waits_is_bounded_with_the_query_once_a_document(rig):
    async with rig(scores=True, limits=Limits(Bounds(requests=1, tokens=100))) as r:
        r.reranker.stage.hold("rerank")
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(r.service.rerank, RERANKER, Rerank("r", "12345678", ("1234", "")), CALLER)
            await r.reranker.stage.reached("rerank")
            assert r.meter.queues[-1] == (RERANKER, 1, (3 + 2) + (3 + 1))
            with pytest.raises(Overloaded):
                await r.service.rerank(RERANKER, TEA, CALLER)
            await r.service.classify(CLASSIFIER, HAPPY, CALLER)
            r.reranker.stage.open("rerank")
    assert r.meter.queues[-1] == (RERANKER, 0, 0)


async def test_the_deadline_and_a_client_that_leaves_end_them(rig):
    async with rig(scores=True, limits=Limits(request_deadline_s=0.02)) as r:
        r.reranker.stage.hold("rerank")
        with pytest.raises(RequestTimeout):
            await r.service.rerank(RERANKER, TEA, CALLER)
    async with rig(scores=True) as r:
        r.classifier.stage.hold("classify")
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(r.service.classify, CLASSIFIER, HAPPY, CALLER)
            await r.classifier.stage.reached("classify")
            tasks.cancel_scope.cancel()
    assert r.classifier.cancelled == ["c"]
    assert r.meter.queues[-1] == (CLASSIFIER, 0, 0)
