"""The native runs of embedding models: every family's inputs and outputs, its bounds, and what is refused."""

import json
import math
import struct
from collections.abc import Mapping
from typing import Any

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lowcloud.core.errors import BadRequest, EngineFailed
from lowcloud.core.messages import Text
from lowcloud.core.requests import Embed
from lowcloud.core.results import Embedded
from lowcloud.engines.scripted import ScriptedEmbedder, unit_vector
from lowcloud.http.workers_ai.embeddings import encoded
from lowcloud.http.workers_ai.embeddings_request import INSTRUCTION, VectorsAsked, vectors_asked
from lowcloud.http.workers_ai.model_schema import schemas, shape_of
from lowcloud.models.card import Task
from lowcloud.models.catalogue import packaged_cards

pytestmark = pytest.mark.anyio
RUN = "/client/v4/accounts/0123456789abcdef0123456789abcdef/ai/run"
CARDS = {card.id: card for card in packaged_cards()}
SMALL, BASE, LARGE = (f"@cf/baai/bge-{size}-en-v1.5" for size in ("small", "base", "large"))
M3 = "@cf/baai/bge-m3"
QWEN = "@cf/qwen/qwen3-embedding-0.6b"
GEMMA = "@cf/google/embeddinggemma-300m"
PLAMO = "@cf/pfnet/plamo-embedding-1b"
MINILM = "@local/all-minilm-l6-v2"
CONTEXTS = [{"text": "coal"}, {"text": "green tea"}, {"text": "tea"}]


@pytest.fixture
def run(world):
    """Runs a model on the stand-in: ``await run(model, text="tea")``."""

    async def ask(model: str, **inputs: object):
        return await world.ask("POST", f"{RUN}/{model}", inputs)

    return ask


def asked(model: str, **inputs: object) -> VectorsAsked:
    return vectors_asked(inputs, CARDS[model], "run")


def texts(model: str, **inputs: object) -> list[str]:
    """What the model is given."""
    return [item.text for item in asked(model, **inputs).embed.inputs if isinstance(item, Text)]


def padded(text: str, size: int, pooling: str = "mean") -> list[float]:
    return [*struct.unpack("<384f", unit_vector(text, 384, pooling)), *([0.0] * (size - 384))]


@pytest.mark.parametrize(
    ("model", "size", "pooling"),
    [
        (SMALL, 384, "mean"),
        (BASE, 768, "mean"),
        (LARGE, 1024, "mean"),
        (M3, 1024, "mean"),
        (QWEN, 1024, None),
        (GEMMA, 768, None),
        (PLAMO, 2048, None),
    ],
)
async def test_every_family_takes_texts_and_says_how_many_vectors_of_how_many_numbers(run, model, size, pooling):
    answer = await run(model, text=["I love matcha", "tea"])
    result = answer.json["result"]
    assert (result["shape"], result.get("pooling")) == ([2, size], pooling)
    assert result["data"] == [pytest.approx(padded("I love matcha", size)), pytest.approx(padded("tea", size))]
    assert result["usage"] == {"prompt_tokens": 4, "total_tokens": 4}
    assert set(result) == {"shape", "data", "usage", *(["pooling"] if pooling else [])}
    assert answer.headers["lowcloud-stand-in"] == MINILM


async def test_one_text_gives_one_vector(run):
    result = (await run(LARGE, text="tea")).json["result"]
    assert (result["shape"], len(result["data"])) == ([1, 1024], 1)
    assert math.isclose(math.hypot(*result["data"][0]), 1, rel_tol=1e-6)


async def test_bge_pools_as_it_is_told(run):
    mean, cls = await run(BASE, text="tea", pooling="mean"), await run(BASE, text="tea", pooling="cls")
    assert (mean.json["result"]["pooling"], cls.json["result"]["pooling"]) == ("mean", "cls")
    assert cls.json["result"]["data"][0] == pytest.approx(padded("tea", 768, "cls"))
    assert mean.json["result"]["data"] == (await run(BASE, text="tea")).json["result"]["data"]


@pytest.mark.parametrize("model", [SMALL, BASE, LARGE])
def test_bge_itself_pools_by_the_mean_where_nobody_says_how(model):
    assert (asked(model, text="tea").embed.pooling, CARDS[model].pooling) == (None, "mean")


async def test_m3_gives_contexts_their_scores_for_a_query_best_first(run):
    answer = await run(M3, query="tea", contexts=CONTEXTS)
    scores = answer.json["result"]["response"]
    query, *contexts = (padded(text, 384) for text in ("tea", "coal", "green tea", "tea"))
    cosines = [sum(a * b for a, b in zip(query, context, strict=True)) for context in contexts]
    assert scores[0] == {"id": 2, "score": pytest.approx(1.0)}
    assert [score["score"] for score in scores] == sorted((score["score"] for score in scores), reverse=True)
    assert {score["id"]: score["score"] for score in scores} == pytest.approx(dict(enumerate(cosines)))
    assert answer.json["result"]["usage"] == {"prompt_tokens": 5, "total_tokens": 5}
    assert set(answer.json["result"]) == {"response", "usage"}


async def test_m3_gives_contexts_without_a_query_their_vectors(run):
    result = (await run(M3, contexts=CONTEXTS)).json["result"]
    assert (result["shape"], result["pooling"]) == ([3, 1024], "mean")
    assert result["response"][1] == pytest.approx(padded("green tea", 1024))
    assert set(result) == {"response", "shape", "pooling", "usage"}


def test_qwens_queries_get_the_instruction_and_documents_do_not():
    given = texts(QWEN, queries="tea", documents=["a", "b"])
    assert given == [f"Instruct: {INSTRUCTION}\nQuery:tea", "a", "b"]
    assert INSTRUCTION == "Given a web search query, retrieve relevant passages that answer the query"
    assert texts(QWEN, queries=["q", "r"], instruction="Find a pun") == [
        "Instruct: Find a pun\nQuery:q",
        "Instruct: Find a pun\nQuery:r",
    ]
    assert texts(QWEN, text="a") == texts(QWEN, documents="a") == ["a"]


async def test_an_instruction_that_no_query_gets_is_named(run):
    answer = await run(QWEN, text="a", instruction="Find a pun")
    assert (answer.status, answer.headers["lowcloud-ignored"]) == (200, "instruction")
    assert "lowcloud-ignored" not in (await run(QWEN, queries="a", instruction="Find a pun")).headers


@pytest.mark.parametrize(
    ("model", "name", "cap"),
    [
        (SMALL, "text", 100),
        (BASE, "text", 100),
        (LARGE, "text", 100),
        (M3, "text", 100),
        (M3, "contexts", 100),
        (QWEN, "queries", 32),
        (QWEN, "documents", 32),
        (QWEN, "text", 32),
        (GEMMA, "text", 2048),
    ],
)
async def test_a_batch_over_the_models_cap_is_refused(run, model, name, cap):
    one = {"text": "a"} if name == "contexts" else "a"
    assert (await run(model, **{name: [one] * cap})).json["success"] is True
    answer = await run(model, **{name: [one] * (cap + 1)})
    assert (answer.status, answer.json["errors"][0]["code"]) == (400, 5006)
    assert (
        f"{name}: must have 1 to {cap} texts for this model; it has {cap + 1}." in answer.json["errors"][0]["message"]
    )


@pytest.mark.parametrize(
    ("model", "inputs", "param"),
    [
        (SMALL, {}, "text"),
        (SMALL, {"text": None}, "text"),
        (SMALL, {"text": 5}, "text"),
        (SMALL, {"text": ""}, "text"),
        (SMALL, {"text": []}, "text"),
        (SMALL, {"text": ["a", ""]}, "text[1]"),
        (SMALL, {"text": ["a", ["b"]]}, "text[1]"),
        (SMALL, {"text": "a", "pooling": "max"}, "pooling"),
        (SMALL, {"text": "a", "truncate_inputs": "maybe"}, "truncate_inputs"),
        (SMALL, {"requests": [{"text": "a"}]}, "requests"),
        (GEMMA, {"text": {"text": "a"}}, "text"),
        (M3, {}, "text"),
        (M3, {"query": "a"}, "contexts"),
        (M3, {"query": "a", "contexts": []}, "contexts"),
        (M3, {"query": "", "contexts": CONTEXTS}, "query"),
        (M3, {"query": 5, "contexts": CONTEXTS}, "query"),
        (M3, {"contexts": ["a"]}, "contexts[0]"),
        (M3, {"contexts": [{"text": "a"}, {}]}, "contexts[1].text"),
        (M3, {"contexts": [{"text": ""}]}, "contexts[0].text"),
        (M3, {"contexts": "a"}, "contexts"),
        (M3, {"text": "a", "contexts": CONTEXTS}, "text"),
        (QWEN, {}, "queries"),
        (QWEN, {"queries": []}, "queries"),
        (QWEN, {"queries": ["a", 1]}, "queries[1]"),
        (QWEN, {"text": "a", "documents": "b"}, "text"),
        (QWEN, {"queries": "a", "instruction": 5}, "instruction"),
    ],
)
def test_wrong_inputs_are_refused_by_name(model: str, inputs: Mapping[str, Any], param: str):
    with pytest.raises(BadRequest) as refused:
        asked(model, **inputs)
    assert refused.value.param == param
    assert param.partition("[")[0] in str(refused.value)


@pytest.mark.parametrize("model", [SMALL, M3, QWEN, GEMMA])
async def test_a_text_over_the_limit_is_refused_by_its_own_name_or_cut_where_that_is_asked(run, model):
    name = "documents" if model == QWEN else "text"
    long = {name: ["short", "word " * 257]}
    answer = await run(model, **long)
    assert (answer.status, answer.json["errors"][0]["code"]) == (400, 5021)
    assert f"{name}[1] has 258 tokens; this model takes at most 256." in answer.json["errors"][0]["message"]
    cut = await run(model, **long, truncate_inputs=True)
    assert cut.json["result"]["usage"]["prompt_tokens"] == 1 + 256


async def test_a_context_over_the_limit_is_called_what_it_is(run):
    answer = await run(M3, query="a", contexts=[{"text": "b"}, {"text": "word " * 257}])
    assert "contexts[1].text has 258 tokens" in answer.json["errors"][0]["message"]


async def test_booleans_may_be_words_and_null_asks_for_nothing(run):
    answer = await run(M3, text="word " * 257, truncate_inputs="true", query=None, contexts=None)
    assert answer.json["result"]["usage"]["prompt_tokens"] == 256


async def test_what_nothing_reads_is_named(run):
    bge = await run(SMALL, text="a", foo=1, query="b")
    assert bge.headers["lowcloud-ignored"] == "foo, query"
    contexts = [{"text": "a", "external_reference": "x"}, {"text": "b", "external_reference": "y"}]
    m3 = await run(M3, contexts=contexts, bar=1)
    assert m3.headers["lowcloud-ignored"] == "bar, contexts[].external_reference"


async def test_local_models_of_no_family_take_texts_and_pooling(run):
    answer = await run(MINILM, text="tea", pooling="cls")
    assert (answer.json["result"]["shape"], answer.json["result"]["pooling"]) == ([1, 384], "cls")
    assert "lowcloud-stand-in" not in answer.headers


async def test_a_model_that_is_here_answers_with_its_own_pooling_and_its_cost(make_world):
    async with make_world(also=[ScriptedEmbedder(CARDS[LARGE])]) as world:
        answer = await world.ask("POST", f"{RUN}/{LARGE}", {"text": "tea " * 500})
    assert answer.json["result"]["pooling"] == "mean"
    assert answer.headers["cf-ai-neurons"] == f"{501 * 18582 / 1e6:.2f}"


async def test_a_hundred_large_vectors_come_whole(run):
    result = (await run(LARGE, text=[f"text {number}" for number in range(100)])).json["result"]
    assert (result["shape"], [len(vector) for vector in result["data"]]) == ([100, 1024], [1024] * 100)


def test_pooling_that_nobody_knows_is_not_shown():
    shown = VectorsAsked(Embed("r", (Text("a"),)), "vectors", shows_pooling=True, ignored=())
    vector = struct.pack("<2f", 0.6, 0.8)
    assert b"pooling" not in encoded(shown, Embedded((vector,), 1, "remote"))
    assert b'"pooling":"cls"' in encoded(shown, Embedded((vector,), 1, "w", pooling="cls"))


@pytest.mark.parametrize("shape", ["vectors", "contexts", "scores"])
def test_a_vector_that_is_no_numbers_is_never_sent(shape):
    wanted = VectorsAsked(Embed("r", (Text("a"),)), shape, shows_pooling=False, ignored=())
    with pytest.raises(EngineFailed):
        encoded(wanted, Embedded((struct.pack("<2f", 1.0, math.nan),) * 2, 1, "w"))


def test_numbers_are_exact():
    wanted = VectorsAsked(Embed("r", (Text("a"),)), "vectors", shows_pooling=False, ignored=())
    values = (0.1, -1e-30, 1 / 3, 0.0, 1.0)
    vector = struct.pack("<5f", *values)
    (shown,) = json.loads(encoded(wanted, Embedded((vector,), 1, "w")))["data"]
    assert struct.pack("<5f", *shown) == vector


@pytest.mark.parametrize(
    ("model", "inputs"),
    [
        (LARGE, {"text": ["a"], "pooling": "cls"}),
        (M3, {"text": "a", "truncate_inputs": True}),
        (M3, {"contexts": CONTEXTS}),
        (M3, {"query": "tea", "contexts": CONTEXTS}),
        (QWEN, {"queries": "a", "documents": ["b"], "instruction": "Find a pun"}),
        (GEMMA, {"text": "a"}),
    ],
)
async def test_what_goes_in_and_comes_out_is_what_the_models_schema_says(run, model, inputs):
    schema = schemas(shape_of(CARDS[model]))
    jsonschema.validate(inputs, schema["input"])
    jsonschema.validate((await run(model, **inputs)).json["result"], schema["output"])


VALUES = st.sampled_from(
    ["a", "", ["a"], ["a", "b"], [], ["a", ""], ["a", 1], 5, True, {"text": "a"}, [{"text": "a"}], "cls"]
)
NAMES = ("text", "pooling", "queries", "documents", "instruction", "query", "other")
ADMITTING = {
    model: jsonschema.Draft202012Validator(schemas(shape_of(CARDS[model]))["input"]) for model in (LARGE, QWEN, GEMMA)
}


@given(st.sampled_from([LARGE, QWEN, GEMMA]), st.dictionaries(st.sampled_from(NAMES), VALUES, max_size=3))
def test_what_the_schema_does_not_admit_is_refused_and_nothing_else(model, inputs):
    if model == QWEN and "text" in inputs and "documents" in inputs:
        inputs = {name: value for name, value in inputs.items() if name != "text"}
    try:
        asked(model, **inputs)
    except BadRequest:
        assert not ADMITTING[model].is_valid(inputs)
    else:
        assert ADMITTING[model].is_valid(inputs)


def test_every_embedding_card_of_the_catalogue_has_a_reader():
    cards = [card for card in CARDS.values() if card.task == Task.TEXT_EMBEDDINGS]
    assert len(cards) > 6
    assert all(vectors_asked({"text": "a"}, card, "run").embed.inputs == (Text("a"),) for card in cards)
