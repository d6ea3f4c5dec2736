"""Scores of an upstream: in the order of the documents, whatever order they come in."""

import pytest
from fake_upstream import said
from remote_model import remote

from lowcloud.core.errors import BadRequest, EngineFailed, PromptTooLong, Unavailable, Unsupported
from lowcloud.core.requests import Rerank
from lowcloud.models.card import Task

pytestmark = pytest.mark.anyio
TWO = Rerank("r1", "what is tea", ("a", "bb" * 40))


def answer(*scores: object, **around: object) -> dict[str, object]:
    return {"results": [{"index": place, "relevance_score": score} for place, score in enumerate(scores)]} | around


async def test_scores_come_in_the_order_of_the_documents_with_what_the_upstream_counts():
    body = {"results": [{"index": 1, "relevance_score": 3}, {"index": 0, "relevance_score": -1.5}]}
    async with remote(said(body | {"usage": {"prompt_tokens": 9, "total_tokens": 9}})) as model:
        reranked = await model.reranker.rerank(TWO)
        assert (reranked.scores, reranked.prompt_tokens, reranked.weights) == ((-1.5, 3.0), 9, "remote_qwen3")
        assert (model.upstream.paths, model.reranker.card.task) == (["/v1/rerank"], Task.RERANK)
        assert model.upstream.bodies == [{"model": "qwen3", "query": "what is tea", "documents": ["a", "bb" * 40]}]
        assert model.upstream.headers[0]["Authorization"] == "Bearer sk-secret"


@pytest.mark.parametrize(
    ("usage", "tokens"),
    [({"total_tokens": 7}, 7), ({"prompt_tokens": 0, "total_tokens": 0}, 27), ({}, 27), (None, 27), ("?", 27)],
)
async def test_tokens_are_the_upstreams_total_or_an_estimate_with_the_query_for_each_document(usage, tokens):
    async with remote(said(answer(1.0, 2.0, usage=usage))) as model:
        assert (await model.reranker.rerank(TWO)).prompt_tokens == tokens


@pytest.mark.parametrize(
    ("asked", "param"),
    [
        (Rerank("r1", "a", ("b",), truncate=True), "truncate"),
        (Rerank("r1", "a", ("b",), document_tokens=5), "max_tokens_per_doc"),
    ],
)
async def test_what_the_format_has_no_words_for_is_refused(asked, param):
    async with remote() as model:
        with pytest.raises(Unsupported) as caught:
            await model.reranker.rerank(asked)
        assert (caught.value.param, model.upstream.bodies) == (param, [])


@pytest.mark.parametrize(
    ("body", "complaint"),
    [
        (answer(1.0), "gave 1 scores for 2 documents"),
        ({"results": [{"index": 0, "relevance_score": 1}] * 2}, "gave 2 scores for 2 documents"),
        (answer(1.0, 2.0, 3.0), "gave 3 scores for 2 documents"),
        ({"results": [{"index": [], "relevance_score": 1}, {}]}, "gave 2 scores for 2 documents"),
        ({"results": "?"}, "gave 0 scores for 2 documents"),
        (answer(1.0, None), "gave a score that is no number"),
        (answer(1.0, True), "gave a score that is no number"),
        (answer(1.0, 10**400), "gave a score that is no number"),
        (answer(1.0, "2"), "gave a score that is no number"),
        (b'{"results": [{"index": 0, "relevance_score": 1}, {"index": 1, "relevance_score": NaN}]}', "no number"),
        ({"error": {"message": "no"}}, "failed within its answer: no"),
        ([], "failed within its answer"),
    ],
)
async def test_an_answer_that_isnt_one_fails(body, complaint):
    async with remote(said(body)) as model:
        with pytest.raises(EngineFailed, match=complaint):
            await model.reranker.rerank(TWO)


@pytest.mark.parametrize(
    ("status", "body", "error"),
    [
        (400, {"error": {"message": "too many", "param": "documents"}}, BadRequest),
        (400, {"error": {"message": "too long", "type": "exceed_context_size_error"}}, PromptTooLong),
        (501, {"error": {"message": "This server does not support reranking"}}, Unavailable),
    ],
)
async def test_a_refusal_is_ours(status, body, error):
    async with remote(said(body, status)) as model:
        with pytest.raises(error):
            await model.reranker.rerank(TWO)
