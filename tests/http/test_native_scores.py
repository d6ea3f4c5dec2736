"""The native runs of rerankers and classifiers."""

from functools import partial

import pytest
from caller import CALLER

from lowcloud.core.errors import BadRequest
from lowcloud.core.requests import Classify, Rerank
from lowcloud.engines.scripted_scores import ScriptedClassifier, ScriptedReranker
from lowcloud.http.call import Trace
from lowcloud.http.offload import Offload
from lowcloud.http.workers_ai.classify import ClassifyRunner
from lowcloud.http.workers_ai.embeddings import EmbeddingsRunner
from lowcloud.http.workers_ai.native import Run
from lowcloud.http.workers_ai.rerank import RerankRunner
from lowcloud.models.catalogue import Answer, packaged_cards

pytestmark = pytest.mark.anyio
RUN = "/client/v4/accounts/0123456789abcdef0123456789abcdef/ai/run"
CARDS = {card.id: card for card in packaged_cards()}
RERANKER = "@cf/baai/bge-reranker-base"
CLASSIFIER = "@cf/huggingface/distilbert-sst-2-int8"
CONTEXTS = [{"text": "black coffee"}, {"text": "green tea"}, {"text": "a cup of tea"}]


@pytest.fixture
async def reranker():
    return ScriptedReranker(CARDS[RERANKER])


@pytest.fixture
async def classifier():
    return ScriptedClassifier(CARDS[CLASSIFIER])


@pytest.fixture
async def run(make_world, reranker, classifier):
    async with make_world(also=[reranker, classifier]) as world:

        async def ask(model: str, **inputs: object):
            return await world.ask("POST", f"{RUN}/{model}", inputs)

        yield ask


async def test_contexts_come_back_as_their_places_and_scores_best_first(run, reranker):
    answer = await run(RERANKER, query="green tea", contexts=CONTEXTS)
    assert answer.json["result"] == {
        "response": [{"id": 1, "score": 1.0}, {"id": 2, "score": 0.5}, {"id": 0, "score": 0.0}],
        "usage": {"prompt_tokens": 14, "total_tokens": 14},
    }
    names = tuple(f"contexts[{place}].text" for place in range(3))
    documents = ("black coffee", "green tea", "a cup of tea")
    assert reranker.requests == [Rerank(reranker.requests[0].id, "green tea", documents, names=names)]
    assert answer.headers["cf-ai-neurons"] == "0.00"


@pytest.mark.parametrize("top_k", [2, "2"])
async def test_so_many_of_the_best_come_back(run, top_k):
    answer = await run(RERANKER, query="green tea", contexts=CONTEXTS, top_k=top_k)
    assert [scored["id"] for scored in answer.json["result"]["response"]] == [1, 2]
    all_of_them = await run(RERANKER, query="green tea", contexts=CONTEXTS, top_k=99)
    assert len(all_of_them.json["result"]["response"]) == 3


@pytest.mark.parametrize(
    ("inputs", "name"),
    [
        ({"contexts": CONTEXTS}, "query"),
        ({"query": "", "contexts": CONTEXTS}, "query"),
        ({"query": ["a"], "contexts": CONTEXTS}, "query"),
        ({"query": "a"}, "contexts"),
        ({"query": "a", "contexts": []}, "contexts"),
        ({"query": "a", "contexts": "b"}, "contexts"),
        ({"query": "a", "contexts": ["b"]}, "contexts[0]"),
        ({"query": "a", "contexts": [{"text": "b"}, {"text": ""}]}, "contexts[1].text"),
        ({"query": "a", "contexts": [{"text": "b"}, {}]}, "contexts[1].text"),
        ({"query": "a", "contexts": [{"text": "b"}] * 2049}, "contexts"),
        ({"query": "a", "contexts": CONTEXTS, "top_k": 0}, "top_k"),
        ({"query": "a", "contexts": CONTEXTS, "top_k": "many"}, "top_k"),
    ],
)
async def test_wrong_inputs_of_a_reranker_are_refused_by_name(run, inputs, name):
    answer = await run(RERANKER, **inputs)
    assert (answer.status, answer.json["errors"][0]["code"], answer.json["success"]) == (400, 5006, False)
    assert name in answer.json["errors"][0]["message"]


async def test_a_context_over_the_limit_is_called_what_it_is_or_cut_where_that_is_asked(run):
    inputs = {"query": "tea", "contexts": [{"text": "tea"}, {"text": "word " * 511 + "tea"}]}
    refused = await run(RERANKER, **inputs)
    assert (refused.status, refused.json["errors"][0]["code"]) == (400, 5021)
    assert "contexts[1].text, with the query, has 513 tokens" in refused.json["errors"][0]["message"]
    cut = await run(RERANKER, **inputs, truncate_inputs=True)
    assert cut.json["result"]["response"] == [{"id": 0, "score": 1.0}, {"id": 1, "score": 0.0}]


async def test_what_nothing_reads_is_named(run):
    contexts = [{"text": "a", "id": 1}, {"text": "b", "id": 2}]
    ranked = await run(RERANKER, query="a", contexts=contexts, foo=1)
    labelled = await run(CLASSIFIER, text="a", bar=None, baz=2)
    assert ranked.headers["lowcloud-ignored"] == "foo, contexts[].id"
    assert labelled.headers["lowcloud-ignored"] == "baz"


async def test_a_text_gets_every_label_with_its_probability(run, classifier):
    answer = await run(CLASSIFIER, text="I love tea")
    negative, positive = answer.json["result"]
    assert (negative["label"], positive["label"]) == ("NEGATIVE", "POSITIVE")
    assert negative["score"] + positive["score"] == pytest.approx(1)
    assert positive["score"] > 0.9
    assert classifier.requests == [Classify(classifier.requests[0].id, ("I love tea",), names=("text",))]


@pytest.mark.parametrize("text", [None, "", 5, ["a"], {"text": "a"}])
async def test_a_wrong_text_is_refused_by_name(run, text):
    answer = await run(CLASSIFIER, text=text)
    assert (answer.status, answer.json["errors"][0]["code"]) == (400, 5006)
    assert "text" in answer.json["errors"][0]["message"]


async def test_a_text_over_the_limit_is_refused_by_name_or_cut_where_that_is_asked(run, classifier):
    refused = await run(CLASSIFIER, text="word " * 600)
    assert "text has 601 tokens" in refused.json["errors"][0]["message"]
    assert (await run(CLASSIFIER, text="word " * 600, truncate_inputs=True)).status == 200


@pytest.mark.parametrize(
    ("runner", "model", "good", "bad"),
    [
        (EmbeddingsRunner, "@cf/baai/bge-m3", {"text": "a"}, {"query": "a"}),
        (RerankRunner, RERANKER, {"query": "a", "contexts": CONTEXTS}, {"query": "a"}),
        (ClassifyRunner, CLASSIFIER, {"text": "a"}, {"text": ["a"]}),
    ],
)
async def test_what_is_to_run_later_is_checked_without_the_model(runner, model, good, bad):
    answer = Answer(CARDS[model], CARDS[model], stand_in=False)
    trace = Trace("run", "POST", "/", 0.0)
    checks = partial(runner(service=None, offload=Offload()).check, is_whole=True)
    await checks(Run(answer, good, 0, CALLER, trace))
    with pytest.raises(BadRequest):
        await checks(Run(answer, bad, 0, CALLER, trace))


async def test_without_weights_each_is_a_model_that_is_not_here(world):
    for model in (RERANKER, CLASSIFIER):
        answer = await world.ask("POST", f"{RUN}/{model}", {"text": "a"})
        assert (answer.status, answer.json["errors"][0]["code"]) == (400, 5007)
        assert "has no stand-in" in answer.json["errors"][0]["message"]
