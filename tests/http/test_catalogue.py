"""The catalogue: which models it lists, in which form, and what it says of each."""

import re
from collections.abc import Mapping
from datetime import date
from decimal import Decimal
from pathlib import Path

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lowcloud.core.errors import BadRequest
from lowcloud.http.auth import TokenAuth
from lowcloud.http.settings import HttpSettings
from lowcloud.http.workers_ai import schemas
from lowcloud.http.workers_ai.card_fields import marketplace_fields, native_fields
from lowcloud.http.workers_ai.catalogue_query import MAX_PER_PAGE, PageQuery, SearchQuery, asked, found, page_of
from lowcloud.http.workers_ai.tasks import all_tasks, task_fields
from lowcloud.models.card import Card, Task
from lowcloud.models.catalogue import CHAT_STAND_IN, EMBEDDING_STAND_IN, Catalogue, Listing, packaged_cards

pytestmark = pytest.mark.anyio
AI = "/client/v4/accounts/0123456789abcdef0123456789abcdef/ai"
CARDS = {card.id: card for card in packaged_cards()}
BUNDLED = [CARDS[CHAT_STAND_IN], CARDS[EMBEDDING_STAND_IN]]
TODAY = date(2026, 11, 26)
GPT_OSS = "@cf/openai/gpt-oss-20b"
RETIRED = "@cf/meta/llama-3.1-8b-instruct"
GUARD = "@cf/meta/llama-guard-3-8b"
RERANKER = "@cf/baai/bge-reranker-base"
WHISPER = "@cf/openai/whisper"
LARGE = "@cf/baai/bge-large-en-v1.5"
VALUES = {"here", "upstream", "absent", "true"}


async def search(world, query: str = "per_page=1000") -> schemas.CatalogueModels:
    answer = await world.ask("GET", f"{AI}/models/search?{query}")
    assert answer.status == 200, answer.json
    return schemas.CatalogueModels.model_validate(answer.json)


async def names(world, query: str) -> list[str]:
    return [model.name for model in (await search(world, f"per_page=1000&{query}")).result]


async def properties(world, name: str) -> Mapping[str, object]:
    (model,) = [model for model in (await search(world, f"search={name}")).result if model.name == name]
    return {each.property_id: each.value for each in model.properties}


async def test_the_answer_is_the_v4_envelope_with_the_page_that_it_is(world):
    answer = await world.ask("GET", f"{AI}/models/search?per_page=3&page=2")
    body = answer.json
    assert (body["success"], body["errors"], body["messages"]) == (True, [], [])
    info = body["result_info"]
    assert (info["page"], info["per_page"], info["count"]) == (2, 3, 3)
    assert info["total_pages"] == -(-info["total_count"] // 3)
    assert answer.headers["content-type"] == "application/json"


async def test_every_model_is_listed_once_but_those_that_the_service_has_retired(world):
    listed = await names(world, "")
    assert len(listed) == len(set(listed))
    current = {card.id for card in CARDS.values() if card.deprecated is None}
    assert set(listed) == current
    assert {CHAT_STAND_IN, EMBEDDING_STAND_IN, GPT_OSS, GUARD, WHISPER} <= set(listed)


async def test_retired_models_are_listed_on_request_with_their_date(world):
    assert RETIRED in await names(world, "include_deprecated=true")
    (model,) = (await search(world, f"include_deprecated=true&search={RETIRED}-awq")).result
    assert {"property_id": "planned_deprecation_date", "value": "2026-05-30"} in [
        each.model_dump() for each in model.properties
    ]


def test_a_retired_model_that_answers_here_by_itself_or_by_a_mapping_is_listed_and_by_a_stand_in_is_not():
    query = SearchQuery(search=RETIRED)
    own = Catalogue(CARDS.values(), [*BUNDLED, CARDS[RETIRED]], stand_ins=True)
    mapped = Catalogue(CARDS.values(), BUNDLED, mapping={RETIRED: CHAT_STAND_IN})
    stood_in = Catalogue(CARDS.values(), BUNDLED, stand_ins=True)
    shown = [{each.card.id for each in found(it.listings(), query, TODAY)} for it in (own, mapped, stood_in)]
    assert [RETIRED in names for names in shown] == [True, True, False]


@pytest.mark.parametrize(("today", "is_listed"), [(date(2026, 5, 29), True), (date(2026, 5, 30), False)])
def test_a_model_is_retired_from_its_date_on(today: date, is_listed: bool):
    catalogue = Catalogue(CARDS.values(), [])
    listed = {each.card.id for each in found(catalogue.listings(), SearchQuery(), today)}
    assert (RETIRED in listed) is is_listed


async def test_a_model_has_a_stable_uuid_its_task_and_the_day_it_came(world):
    (first,) = (await search(world, f"search={GPT_OSS}")).result
    (again,) = (await search(world, f"search={GPT_OSS}")).result
    assert first.id == again.id == "d63996b4-e679-5f66-9a07-e55badf71fd6"
    assert (first.source, first.tags, first.created_at) == (1, [], "2025-08-05 00:00:00.000")
    assert (first.task.id, first.task.name) == ("c329a1f9-323d-4e91-b2aa-582dd4188d34", "Text Generation")


async def test_a_model_whose_day_is_unknown_has_none(world):
    answer = await world.ask("GET", f"{AI}/models/search?search={CHAT_STAND_IN}")
    assert "created_at" not in answer.json["result"][0]


async def test_properties_are_text_but_for_prices_and_efforts(world):
    shown = await properties(world, GPT_OSS)
    assert shown["context_window"] == "128000"
    assert [shown[name] for name in ("async_queue", "function_calling", "reasoning")] == ["true"] * 3
    assert "lora" not in shown
    assert [each.model_dump() for each in shown["price"]] == [
        {"unit": "per M input tokens", "price": 0.2, "currency": "USD"},
        {"unit": "per M output tokens", "price": 0.3, "currency": "USD"},
    ]
    assert shown["reasoning_effort"].model_dump(exclude_none=True) == {
        "supported_efforts": ["high", "medium", "low"],
        "default_effort": "medium",
        "mandatory": True,
        "default_enabled": True,
    }


def test_the_documented_properties_are_those_that_cards_have():
    catalogue = Catalogue(CARDS.values(), BUNDLED, stand_ins=True)
    shown = [native_fields(listing)["properties"] for listing in catalogue.listings()]
    names = {each["property_id"] for one in shown for each in one}
    page = (Path(__file__).parents[2] / "docs" / "api" / "native.md").read_text("utf-8")
    part = page.partition("**Properties.**")[2].partition("**Retired")[0]
    assert {word for word in re.findall(r"`([a-z]+(?:_[a-z]+)*)`", part) if word not in VALUES} == names


async def test_what_the_service_says_of_its_own_deployment_is_said_as_it_says_it(world):
    kimi = await properties(world, "@cf/moonshotai/kimi-k2.7-code")
    assert kimi["require_workers_paid"] == "true"
    assert kimi["reasoning_effort"].model_dump(exclude_none=True) == {"mandatory": True, "default_enabled": True}
    nova = await properties(world, "@cf/deepgram/nova-3")
    assert (nova["realtime"], nova["partner"], nova["terms"]) == ("true", "true", "https://deepgram.com/terms")
    assert [each.unit for each in nova["price"]] == ["per audio minute", "per audio minute (websocket)"]
    bge = await properties(world, LARGE)
    assert (bge["max_input_tokens"], bge["output_dimensions"]) == ("512", "1024")
    assert bge["info"] == "https://huggingface.co/BAAI/bge-large-en-v1.5"


async def test_a_model_says_who_would_answer_and_with_which_limits(world):
    stood_in = await properties(world, LARGE)
    assert stood_in["lowcloud_answered_by"] == EMBEDDING_STAND_IN
    assert (stood_in["lowcloud_available"], stood_in["lowcloud_stand_in"]) == ("true", "true")
    assert (stood_in["lowcloud_weights"], stood_in["lowcloud_max_input_tokens"]) == ("absent", "256")
    here = await properties(world, CHAT_STAND_IN)
    assert (here["lowcloud_weights"], here["lowcloud_available"]) == ("here", "true")
    assert (here["lowcloud_answered_by"], here["lowcloud_stand_in"]) == (CHAT_STAND_IN, "false")
    assert "lowcloud_context_window" not in here


@pytest.mark.parametrize(
    ("name", "why"),
    [
        (WHISPER, "no engine here does Automatic Speech Recognition yet"),
        (GUARD, "no engine here does Moderation yet"),
        (RERANKER, "has no stand-in"),
        ("@cf/facebook/detr-resnet-50", "no engine here does Object Detection yet"),
        ("@cf/cloudflare/clef", "no engine here does Decision yet"),
    ],
)
async def test_a_model_that_nobody_answers_for_is_marked_and_says_why(world, name: str, why: str):
    shown = await properties(world, name)
    assert (shown["lowcloud_available"], shown["lowcloud_weights"]) == ("false", "absent")
    assert why in shown["lowcloud_unavailable_because"]
    assert "lowcloud_answered_by" not in shown


async def test_tasks_are_the_services_own(world):
    tasks = {model.name: model.task.name for model in (await search(world)).result}
    assert (tasks[RERANKER], tasks[GUARD]) == ("Text Classification", "Text Generation")
    assert tasks["@cf/cloudflare/clef"] == "Text Generation"
    assert tasks["@cf/pipecat-ai/smart-turn-v2"] == "Voice Activity Detection"


@pytest.mark.parametrize(
    ("query", "some"),
    [
        ("search=WHISPER", WHISPER),
        ("search=transcribes", WHISPER),
        ("author=Meta", GUARD),
        ("author=huggingfacetb", CHAT_STAND_IN),
        ("task=text+embeddings", LARGE),
        ("task=Automatic%20Speech%20Recognition", WHISPER),
        ("source=1", GPT_OSS),
        ("author=&task=&search=&format=", GPT_OSS),
    ],
)
async def test_a_query_narrows_the_list_in_any_case(world, query: str, some: str):
    assert some in await names(world, query)


@pytest.mark.parametrize("name", list(SearchQuery.model_fields))
async def test_a_parameter_without_a_value_asks_for_nothing(world, name: str):
    assert await names(world, f"{name}=&per_page=") == await names(world, "")


async def test_filters_add_up(world):
    assert await names(world, "author=meta&task=Translation") == ["@cf/meta/m2m100-1.2b"]
    assert all("/meta/" in name for name in await names(world, "author=meta"))
    assert await names(world, "author=meta&search=whisper") == []


@pytest.mark.parametrize("query", ["search=no+such", "author=nobody", "task=Poetry", "source=2"])
async def test_a_query_that_nothing_meets_has_an_empty_page(world, query: str):
    found_nothing = await search(world, query)
    assert (found_nothing.result, found_nothing.result_info.total_pages) == ([], 0)


async def test_models_in_beta_are_left_out_on_request(world):
    assert "@cf/openai/whisper-tiny-en" in await names(world, "hide_experimental=false")
    assert "@cf/openai/whisper-tiny-en" not in await names(world, "hide_experimental=true")


async def test_pages_of_fifty_hold_every_model_once_and_end_with_a_short_one(world):
    whole = await names(world, "")
    pages = [(await search(world, f"per_page=50&page={page}")).result for page in range(1, len(whole) // 50 + 2)]
    assert [model.name for page in pages for model in page] == whole
    assert [len(page) for page in pages] == [50, len(whole) - 50]


async def test_past_the_last_page_there_is_an_empty_one(world):
    past = await search(world, "page=1000")
    assert (past.result, past.result_info.count, past.result_info.page) == ([], 0, 1000)


@pytest.mark.parametrize(
    ("query", "name"),
    [
        ("page=0", "page"),
        ("page=-1", "page"),
        ("page=two", "page"),
        ("page=1.5", "page"),
        ("per_page=0", "per_page"),
        ("per_page=1001", "per_page"),
        ("source=cloudflare", "source"),
        ("hide_experimental=perhaps", "hide_experimental"),
        ("include_deprecated=2", "include_deprecated"),
        ("format=csv", "format"),
    ],
)
async def test_a_bad_parameter_is_a_400_that_names_it(world, query: str, name: str):
    answer = await world.ask("GET", f"{AI}/models/search?{query}")
    (error,) = schemas.NativeErrors.model_validate(answer.json).errors
    assert (answer.status, error.code) == (400, 5006)
    assert f"Bad input: Error: {name}: " in error.message


async def test_parameters_that_nobody_reads_are_named(world):
    answer = await world.ask("GET", f"{AI}/models/search?colour=red&page=1")
    assert (answer.status, answer.headers["lowcloud-ignored"]) == (200, "colour")
    answer = await world.ask("GET", f"{AI}/tasks/search?search=x")
    assert answer.headers["lowcloud-ignored"] == "search"


async def test_a_marketplace_gets_its_own_form_under_both_names(world):
    answer = await world.ask("GET", f"{AI}/models/search?format=openrouter&per_page=1000&page=1")
    listed = schemas.MarketplaceModels.model_validate(answer.json)
    assert listed.data == listed.result
    models = {model.id: model for model in listed.data}
    assert WHISPER not in models
    model = models["@cf/qwen/qwen3.8-27b"]
    assert (model.name, model.created, model.hugging_face_id) == ("qwen3.8-27b", 1786924800, "Qwen/Qwen3.8-27B")
    assert (model.input_modalities, model.output_modalities) == (["text", "image"], ["text"])
    assert model.pricing.model_dump() == {
        "prompt": "0.00000045",
        "completion": "0.0000032",
        "input_cache_read": "0.00000005",
    }
    assert {"tools", "reasoning"} <= set(model.supported_features)
    assert {"temperature", "seed", "top_k"} <= set(model.supported_sampling_parameters)


async def test_a_marketplaces_context_is_that_of_the_weights_that_answer(world):
    answer = await world.ask("GET", f"{AI}/models/search?format=openrouter&search={GPT_OSS}")
    (model,) = answer.json["data"]
    assert (model["context_length"], model["max_output_length"]) == (8192, 8192)


async def test_local_models_cost_nothing_in_a_marketplace(world):
    answer = await world.ask("GET", f"{AI}/models/search?format=openrouter&search={CHAT_STAND_IN}")
    assert answer.json["data"][0]["pricing"] == {"prompt": "0", "completion": "0"}


async def test_a_marketplaces_pages_count_its_own_models(world):
    answer = await world.ask("GET", f"{AI}/models/search?format=openrouter&per_page=2")
    info = answer.json["result_info"]
    assert info["count"] == len(answer.json["data"]) == 2
    assert info["total_count"] < (await search(world)).result_info.total_count


async def test_authors_are_everybody_who_made_a_model(world):
    listed = schemas.CatalogueAuthors.model_validate((await world.ask("GET", f"{AI}/authors/search")).json)
    authors = [author.name for author in listed.result]
    assert authors == sorted({card.owned_by for card in CARDS.values()}, key=str.casefold)
    assert (listed.result_info.total_count, listed.result_info.total_pages) == (len(authors), 1)


async def test_every_author_and_every_task_finds_models(world):
    authors = (await world.ask("GET", f"{AI}/authors/search")).json["result"]
    tasks = (await world.ask("GET", f"{AI}/tasks/search")).json["result"]
    for name in (f"author={author['name']}" for author in authors):
        assert await names(world, f"include_deprecated=true&{name}"), name
    for name in (f"task={task['name'].replace(' ', '+')}" for task in tasks):
        assert await names(world, f"include_deprecated=true&{name}"), name


async def test_tasks_have_the_services_ids(world):
    listed = schemas.CatalogueTasks.model_validate((await world.ask("GET", f"{AI}/tasks/search")).json)
    ids = {task.name: task.id for task in listed.result}
    assert len(set(ids.values())) == len(ids) == 12
    assert ids["Text Embeddings"] == "0137cdcf-162a-4108-94f2-1ca59e8c65ee"
    assert ids["Automatic Speech Recognition"] == "dfce1c48-2a81-462e-a7fd-de97ce985207"


def test_every_task_is_one_of_the_services():
    assert all(task_fields(task) in all_tasks() for task in Task)


async def test_a_models_schema_is_what_its_run_takes_and_gives(world):
    answer = await world.ask("GET", f"{AI}/models/schema?model={RERANKER}")
    result = schemas.ModelSchema.model_validate(answer.json).result
    good = {"query": "tea", "contexts": [{"text": "matcha"}], "top_k": 1}
    jsonschema.validate(good, result.input)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({"query": "tea"}, result.input)
    usage = {"prompt_tokens": 3, "total_tokens": 3}
    jsonschema.validate({"response": [{"id": 0, "score": 0.5}], "usage": usage}, result.output)


async def test_a_schema_is_made_once_for_all_models_that_share_it(world):
    first = await world.ask("GET", f"{AI}/models/schema?model={LARGE}")
    other = await world.ask("GET", f"{AI}/models/schema?model=@cf/baai/bge-small-en-v1.5")
    assert first.body == other.body


@pytest.mark.parametrize("name", [WHISPER, GUARD, RETIRED, "@cf/cloudflare/clef"])
async def test_a_model_that_nobody_answers_for_has_a_schema_too(world, name: str):
    assert (await world.ask("GET", f"{AI}/models/schema?model={name}")).status == 200


async def test_an_unknown_models_schema_is_the_native_error(world):
    answer = await world.ask("GET", f"{AI}/models/schema?model=@cf/openai/gpt-oss-21b")
    (error,) = answer.json["errors"]
    assert (answer.status, error["code"], answer.json["result"]) == (400, 5007, {})
    assert GPT_OSS in error["message"]


@pytest.mark.parametrize("query", ["", "?model=", "?models=x"])
async def test_a_schema_needs_a_model(world, query: str):
    answer = await world.ask("GET", f"{AI}/models/schema{query}")
    assert answer.status == 400
    assert "model" in answer.json["errors"][0]["message"]


async def test_the_catalogue_wants_a_token_that_may_use_models(make_world, tokens):
    async with make_world(auth=TokenAuth(tokens), settings=HttpSettings()) as world:
        for path in ("models/search", f"models/schema?model={WHISPER}", "authors/search", "tasks/search"):
            assert (await world.ask("GET", f"{AI}/{path}")).status == 401
            for token, status in (("reader", 200), ("powerless", 403)):
                headers = {"authorization": f"Bearer {token}"}
                assert (await world.ask("GET", f"{AI}/{path}", headers=headers)).status == status


async def test_the_catalogue_is_read_only_and_its_405_is_the_native_error(world):
    answer = await world.ask("POST", f"{AI}/models/search", {})
    refused = schemas.NativeErrors.model_validate(answer.json)
    assert (answer.status, refused.errors[0].code, refused.result) == (405, 7001, None)


@given(st.lists(st.integers(), max_size=60), st.integers(1, 70), st.integers(1, 9))
def test_pages_hold_everything_once_in_order(items, per_page, past):
    first = page_of(items, PageQuery(per_page=per_page))
    pages = first.info()["total_pages"]
    walked = [page_of(items, PageQuery(page=page, per_page=per_page)) for page in range(1, pages + 1)]
    assert [item for page in walked for item in page.items] == items
    assert sum(page.info()["count"] for page in walked) == first.info()["total_count"] == len(items)
    assert page_of(items, PageQuery(page=pages + past, per_page=per_page)).items == []


@given(st.dictionaries(st.sampled_from([*SearchQuery.model_fields, "other"]), st.text(max_size=6)))
def test_any_query_is_read_or_refused_by_name(query):
    try:
        read, ignored = asked(SearchQuery, query)
    except BadRequest as error:
        assert error.param in query
    else:
        assert ignored == [name for name in query if name == "other"]
        assert 1 <= read.per_page <= MAX_PER_PAGE


@given(st.floats(0, 1e5))
def test_a_tokens_price_is_the_millions_share_without_an_exponent(usd):
    price = [{"unit": "per M input tokens", "price": usd}]
    card = Card.model_validate({"id": "a", "task": Task.TEXT_GENERATION, "owned_by": "me", "price": price})
    shown = marketplace_fields(Listing(card.model_copy(update={"context_window": 9}), "absent", None))
    assert shown is not None
    text = shown["pricing"]["prompt"]
    assert "e" not in text.lower()
    assert Decimal(text) == Decimal(repr(usd)) / 1_000_000
