import pytest

from lowcloud.http.openai import schemas

pytestmark = pytest.mark.anyio
LLAMA = "@cf/meta/llama-3.1-8b-instruct"
BGE = "@cf/baai/bge-large-en-v1.5"


async def test_the_list_holds_exactly_what_would_answer(world):
    listed = schemas.ModelList.model_validate((await world.ask("GET", "/v1/models")).json)
    ids = [model.id for model in listed.data]
    assert ids == [answer.card.id for answer in world.service.models()]
    assert {"@local/smollm2-135m-instruct", "@local/all-minilm-l6-v2", LLAMA, BGE} <= set(ids)
    assert not any("guard" in model_id or "rerank" in model_id for model_id in ids)


async def test_a_model_says_who_answers_and_with_which_limits_and_defaults(world):
    model = schemas.Model.model_validate((await world.ask("GET", f"/v1/models/{LLAMA}")).json)
    assert (model.id, model.lowcloud.answered_by, model.lowcloud.stand_in) == (
        LLAMA,
        "@local/smollm2-135m-instruct",
        True,
    )
    assert (model.lowcloud.context_window, model.lowcloud.task) == (8192, "Text Generation")
    assert (model.lowcloud.defaults.temperature, model.lowcloud.defaults.max_tokens) == (0.2, 512)


async def test_an_embedding_stand_in_has_the_dimensions_of_the_model_asked_for(world):
    details = (await world.ask("GET", f"/v1/models/{BGE}")).json["lowcloud"]
    assert (details["dimensions"], details["max_input_tokens"]) == (1024, 256)


async def test_an_unknown_model_is_a_404_with_near_names(world):
    answer = await world.ask("GET", "/v1/models/@cf/meta/llama-3.1-8b")
    assert (answer.status, answer.json["error"]["code"]) == (404, "model_not_found")
    assert LLAMA in answer.json["error"]["message"]
