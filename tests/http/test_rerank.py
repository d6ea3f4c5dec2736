"""POST rerank: what it takes of Jina's and of Cohere's form, and the one answer that the clients of both read."""

import anyio
import pytest

from lowcloud.core.requests import Rerank
from lowcloud.core.results import Reranked
from lowcloud.engines.scripted_scores import ScriptedReranker
from lowcloud.http.openai.rerank import Ranking, encoded
from lowcloud.http.openai.rerank_request import MAX_DOCUMENTS, REFUSED, rerank_asked
from lowcloud.models.catalogue import packaged_cards

pytestmark = pytest.mark.anyio
ACCOUNT = "/client/v4/accounts/0123456789abcdef0123456789abcdef/ai"
MODEL = "@cf/baai/bge-reranker-base"
CARD = next(card for card in packaged_cards() if card.id == MODEL)
DOCUMENTS = ["black coffee", "green tea", "a cup of tea"]


@pytest.fixture
async def reranker():
    return ScriptedReranker(CARD)


@pytest.fixture
async def ranked(make_world, reranker):
    """Asks for the ranking of three documents, at any path, with any other field."""
    async with make_world(also=[reranker]) as world:

        async def ask(path: str = "/v1/rerank", **fields: object):
            body = {"model": MODEL, "query": "green tea", "documents": DOCUMENTS} | fields
            return await world.ask("POST", path, body)

        yield ask


async def test_the_best_document_comes_first_with_its_place_its_score_and_its_text(ranked):
    answer = await ranked()
    body = Ranking.model_validate(answer.json)
    assert [(result.index, result.relevance_score) for result in body.results] == [(1, 1.0), (2, 0.5), (0, 0.0)]
    assert answer.json["results"][0]["document"] == {"text": "green tea"}
    assert (body.model, body.object, body.id) == (MODEL, "list", answer.json["id"])
    assert body.usage.prompt_tokens == body.usage.total_tokens == 3 * 2 + 2 + 2 + 4
    assert (body.meta.billed_units.search_units, body.meta.api_version.version) == (1, "2")
    assert answer.headers["cf-ai-neurons"] == "0.00"


@pytest.mark.parametrize(
    "path",
    [
        *("/v1/rerank", "/v1/reranking", "/v1/v1/rerank", "/v1/v2/rerank", "/v2/rerank"),
        *(f"{ACCOUNT}/v1/rerank", f"{ACCOUNT}/v1/reranking", f"{ACCOUNT}/v2/rerank"),
        *(f"{ACCOUNT}/v1/v1/rerank", f"{ACCOUNT}/v1/v2/rerank"),
    ],
)
async def test_every_path_that_clients_make_of_a_base_url_leads_to_it(ranked, path):
    assert len((await ranked(path)).json["results"]) == 3


@pytest.mark.parametrize(("top_n", "count"), [(1, 1), (3, 3), (99, 3), (None, 3)])
async def test_so_many_of_the_best_come_back(ranked, top_n, count):
    answer = await ranked(top_n=top_n)
    assert [result["index"] for result in answer.json["results"]] == [1, 2, 0][:count]
    assert answer.json["usage"]["total_tokens"] == 14


async def test_documents_come_back_unless_nobody_wants_them(ranked):
    assert all("document" in result for result in (await ranked(return_documents=True)).json["results"])
    assert not any("document" in result for result in (await ranked(return_documents=False)).json["results"])


async def test_objects_are_ranked_by_their_text_and_come_back_whole(ranked, reranker):
    documents = [{"text": "tea", "id": "7"}, "coffee"]
    answer = await ranked(documents=documents)
    assert reranker.requests[0].documents == ("tea", "coffee")
    assert [result["document"] for result in answer.json["results"]] == [documents[0], {"text": "coffee"}]


async def test_objects_are_ranked_by_the_members_that_are_named_in_that_order(ranked, reranker):
    documents = [{"title": "Tea", "text": "is green", "year": "1"}, {"title": "Coal"}, "plain"]
    await ranked(documents=documents, rank_fields=["text", "title"])
    await ranked(documents=documents[:2], rank_fields=["title"])
    assert reranker.requests[0].documents == ("text: is green\ntitle: Tea", "title: Coal", "plain")
    assert reranker.requests[1].documents == ("Tea", "Coal")


async def test_what_bounds_documents_reaches_the_model(ranked, reranker):
    answer = await ranked(max_tokens_per_doc=1, truncate=True)
    assert (reranker.requests[0].document_tokens, reranker.requests[0].truncate) == (1, True)
    assert answer.json["results"][0] == {
        "index": 1,
        "relevance_score": 0.5,
        "document": {"text": "green tea"},
    }


async def test_a_document_over_the_limit_is_a_400_with_the_counts(ranked):
    answer = await ranked(documents=["short", "word " * 511])
    assert (answer.status, answer.json["error"]["param"]) == (400, "documents[1]")
    assert answer.json["error"]["code"] == "context_length_exceeded"
    assert "514 tokens" in answer.json["error"]["message"]
    assert "512" in answer.json["error"]["message"]


@pytest.mark.parametrize(
    ("value", "param"),
    [
        ([], "documents"),
        (None, "documents"),
        (123, "documents"),
        ("tea", "documents"),
        ({"text": "tea"}, "documents"),
        (["a", 1], "documents[1]"),
        (["a", None], "documents[1]"),
        (["a", ["b"]], "documents[1]"),
        ([{"title": "a"}], "documents[0]"),
        ([{"image": "https://a/b.png"}], "documents[0]"),
        ([{"text": None}], "documents[0]"),
        ([{"text": 5}], "documents[0].text"),
        (["a"] * (MAX_DOCUMENTS + 1), "documents"),
    ],
)
async def test_wrong_documents_are_refused_by_their_place(ranked, value, param):
    answer = await ranked(documents=value)
    assert (answer.status, answer.json["error"]["param"]) == (400, param)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("query", ""),
        ("query", None),
        ("query", ["a"]),
        ("query", {"text": "a"}),
        ("top_n", 0),
        ("top_n", -1),
        ("top_n", "2"),
        ("top_n", 2**31),
        ("return_documents", "yes"),
        ("rank_fields", []),
        ("max_tokens_per_doc", 0),
        ("max_chunks_per_doc", 0),
        ("truncate", 1),
        ("model", None),
    ],
)
async def test_wrong_types_and_values_are_refused_by_name(ranked, name, value):
    answer = await ranked(**{name: value})
    assert (answer.status, answer.json["error"]["param"]) == (400, name)


@pytest.mark.parametrize("name", REFUSED)
async def test_what_is_not_done_is_refused_by_name(ranked, name):
    answer = await ranked(**{name: "x"})
    assert (answer.json["error"]["param"], answer.json["error"]["code"]) == (name, "unsupported_parameter")


async def test_what_asks_for_nothing_is_let_in(ranked):
    answer = await ranked(relevant_spans={"mode": "disabled"}, raw_scores=False, max_chunks_per_doc=10, priority=0)
    assert (answer.status, "lowcloud-ignored" in answer.headers) == (200, False)


async def test_what_is_ignored_is_named(ranked):
    answer = await ranked(user="me", priority=3, foo=1, options={"bar": 1})
    assert answer.headers["lowcloud-ignored"] == "user, priority, foo, options.bar"


async def test_an_empty_document_is_one_that_has_nothing_to_do_with_the_query(ranked):
    answer = await ranked(documents=["", "tea"])
    assert [(each["index"], each["relevance_score"]) for each in answer.json["results"]] == [(1, 0.5), (0, 0.0)]


async def test_a_model_that_does_not_rerank_is_a_400_and_one_without_weights_a_404(ranked, world):
    answer = await ranked(model="@local/all-minilm-l6-v2")
    assert (answer.status, answer.json["error"]["param"]) == (400, "model")
    body = {"model": MODEL, "query": "a", "documents": ["b"]}
    assert (await world.ask("POST", "/v1/rerank", body)).json["error"]["code"] == "model_not_found"


async def test_what_would_have_to_wait_is_refused_where_that_is_asked(make_world, reranker):
    async with make_world(also=[reranker]) as world:
        reranker.stage.hold("rerank")
        body = {"model": MODEL, "query": "a", "documents": ["b"]}
        exchange = world.exchange("POST", "/v1/rerank", body)
        async with anyio.create_task_group() as group:
            group.start_soon(exchange.run)
            await reranker.stage.reached("rerank")
            busy = await world.ask("POST", "/v1/rerank", body | {"options": {"rejectIfBusy": True}})
            reranker.stage.open("rerank")
        assert (busy.status, exchange.answer and exchange.answer.status) == (429, 200)


async def test_a_client_that_leaves_is_cancelled(make_world, reranker):
    async with make_world(also=[reranker]) as world:
        reranker.stage.hold("rerank")
        exchange = world.exchange("POST", "/v1/rerank", {"model": MODEL, "query": "a", "documents": ["b"]})
        async with anyio.create_task_group() as group:
            group.start_soon(exchange.run)
            await reranker.stage.reached("rerank")
            exchange.leave()
            with anyio.fail_after(5):
                await exchange.is_over.wait()
        assert len(reranker.cancelled) == 1


async def test_2048_documents_are_ranked_at_once(ranked):
    documents = [f"tea number {number} of very many in this long list" for number in range(MAX_DOCUMENTS)]
    answer = await ranked(query="2047", documents=documents)
    results = answer.json["results"]
    assert (len(results), results[0]["index"], results[1]["index"]) == (2048, 2047, 0)
    assert answer.json["meta"]["billed_units"]["search_units"] == 21


def test_scores_are_as_the_model_gives_them():
    asked = rerank_asked({"model": "m", "query": "q", "documents": ["a", "b"], "return_documents": False}, "id")
    assert asked.rerank == Rerank("id", "q", ("a", "b"))
    body = Ranking.model_validate_json(encoded(asked, Reranked((-11.25, 1e-9), 2, "w")))
    assert [(result.index, result.relevance_score) for result in body.results] == [(1, 1e-9), (0, -11.25)]
