"""The scripted reranker and classifier: deterministic, counted in words, bounded by their cards."""

import anyio
import pytest

from lowcloud.core.errors import PromptTooLong
from lowcloud.core.requests import Classify, Rerank
from lowcloud.core.results import best_first
from lowcloud.engines.scripted_scores import ScriptedClassifier, ScriptedReranker
from lowcloud.models.card import Card, Task

pytestmark = pytest.mark.anyio
RERANKER = Card(id="reranker", task=Task.RERANK, owned_by="me", max_input_tokens=6)
CLASSIFIER = Card(id="classifier", task=Task.TEXT_CLASSIFICATION, owned_by="me", max_input_tokens=4)


async def test_a_score_is_the_share_of_the_querys_words_in_the_documents_order():
    reranked = await ScriptedReranker(RERANKER).rerank(Rerank("r", "Green tea", ("Tea!", "green, tea", "", "coal")))
    assert reranked.scores == (0.5, 1.0, 0.0, 0.0)
    assert (reranked.prompt_tokens, reranked.weights) == (3 + 4 + 2 + 3, "scripted")


async def test_a_document_is_cut_to_the_tokens_that_the_caller_gives_it():
    reranked = await ScriptedReranker(RERANKER).rerank(Rerank("r", "tea", ("a b tea", "tea a b"), document_tokens=2))
    assert (reranked.scores, reranked.prompt_tokens) == ((0.0, 1.0), 6)


async def test_a_document_over_the_limit_with_its_query_is_refused_by_name_or_cut_where_that_is_asked():
    reranker = ScriptedReranker(RERANKER)
    long = ("a", "a b c d e tea")
    with pytest.raises(PromptTooLong, match=r"documents\[1\], with the query, has 7 tokens; .* at most 6") as refused:
        await reranker.rerank(Rerank("r", "tea", long))
    assert refused.value.param == "documents[1]"
    with pytest.raises(PromptTooLong, match=r"contexts\[1\].text, with the query"):
        await reranker.rerank(Rerank("r", "tea", long, names=("contexts[0].text", "contexts[1].text")))
    cut = await reranker.rerank(Rerank("r", "tea", long, truncate=True))
    assert (cut.scores, cut.prompt_tokens) == ((0.0, 0.0), 2 + 6)


async def test_a_query_that_leaves_no_place_for_documents_is_refused_even_where_documents_may_be_cut():
    with pytest.raises(PromptTooLong) as refused:
        await ScriptedReranker(RERANKER).rerank(Rerank("r", "a b c d e f", ("a",), truncate=True))
    assert refused.value.param == "query"


async def test_a_text_is_labelled_by_its_words():
    classified = await ScriptedClassifier(CLASSIFIER).classify(Classify("r", ("I love tea", "I hate it", "so")))
    positive = [{label.name: label.score for label in labels}["POSITIVE"] for labels in classified.labels]
    assert [[label.name for label in labels] for labels in classified.labels] == [["NEGATIVE", "POSITIVE"]] * 3
    assert all(sum(label.score for label in labels) == pytest.approx(1) for labels in classified.labels)
    assert (positive[0] > 0.9, positive[1] < 0.1, positive[2]) == (True, True, 0.5)
    assert classified.prompt_tokens == 7


async def test_a_text_over_the_limit_is_refused_by_name_or_cut_where_that_is_asked():
    classifier = ScriptedClassifier(CLASSIFIER)
    with pytest.raises(PromptTooLong, match="has 5 tokens") as refused:
        await classifier.classify(Classify("r", ("a b c d e",)))
    assert refused.value.param == "input[0]"
    with pytest.raises(PromptTooLong, match=r"^text has"):
        await classifier.classify(Classify("r", ("a b c d e",), names=("text",)))
    assert (await classifier.classify(Classify("r", ("a b c d e",), truncate=True))).prompt_tokens == 4


@pytest.mark.parametrize("point", ["rerank", "classify"])
async def test_what_is_given_up_is_recorded(point):
    reranker, classifier = ScriptedReranker(RERANKER), ScriptedClassifier(CLASSIFIER)
    engine = reranker if point == "rerank" else classifier
    engine.stage.hold(point)
    async with anyio.create_task_group() as tasks:
        if point == "rerank":
            tasks.start_soon(reranker.rerank, Rerank("r", "a", ("b",)))
        else:
            tasks.start_soon(classifier.classify, Classify("r", ("a",)))
        await engine.stage.reached(point)
        tasks.cancel_scope.cancel()
    assert (engine.cancelled, [request.id for request in engine.requests]) == (["r"], ["r"])
    assert engine.card in (RERANKER, CLASSIFIER)


def test_the_best_come_first_and_of_equal_ones_the_first():
    assert best_first([0.5, 2.0, -1.0, 0.5]) == [(1, 2.0), (0, 0.5), (3, 0.5), (2, -1.0)]
    assert best_first([0.5, 2.0, -1.0], 2) == [(1, 2.0), (0, 0.5)]
    assert best_first([0.5], 9) == [(0, 0.5)]
