"""The schemas of runs: what they admit is what the runs take, and what runs give is as they say."""

from collections.abc import Mapping

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lowcloud.core.errors import BadRequest
from lowcloud.http.openai.chat_request import chat_asked
from lowcloud.http.responses.request import response_asked
from lowcloud.http.workers_ai.model_schema import Shape, schemas, shape_of
from lowcloud.http.workers_ai.text_request import classic_asked
from lowcloud.models.card import Defaults
from lowcloud.models.catalogue import packaged_cards

pytestmark = pytest.mark.anyio
AI = "/client/v4/accounts/0123456789abcdef0123456789abcdef/ai"
CARDS = {card.id: card for card in packaged_cards()}
GPT_OSS = "@cf/openai/gpt-oss-20b"
LLAMA = "@cf/meta/llama-3.2-3b-instruct"
GUARD = "@cf/meta/llama-guard-3-8b"
WHISPER = "@cf/openai/whisper"
LARGE = "@cf/baai/bge-large-en-v1.5"
HELLO = [{"role": "user", "content": "hello"}]


@pytest.mark.parametrize("shape", {shape_of(card): None for card in CARDS.values()}, ids=lambda shape: shape.name)
def test_every_shape_is_a_pair_of_json_schemas(shape: Shape):
    pair = schemas(shape)
    assert set(pair) == {"input", "output"}
    for schema in pair.values():
        jsonschema.Draft202012Validator.check_schema(schema)


INPUTS = {
    "@cf/meta/llama-3.2-3b-instruct": {"prompt": "tea"},
    GPT_OSS: {"messages": [{"role": "user", "content": "tea"}]},
    LARGE: {"text": ["tea"], "pooling": "cls"},
    "@cf/baai/bge-m3": {"query": "tea", "contexts": [{"text": "matcha"}]},
    "@cf/qwen/qwen3-embedding-0.6b": {"queries": "tea", "documents": ["matcha"]},
    "@cf/google/embeddinggemma-300m": {"text": "tea"},
    "@cf/huggingface/distilbert-sst-2-int8": {"text": "tea"},
    "@cf/meta/m2m100-1.2b": {"text": "tea", "target_lang": "fr"},
    "@cf/ai4bharat/indictrans2-en-indic-1B": {"text": ["tea"], "target_language": "tam_Taml"},
    "@cf/facebook/bart-large-cnn": {"input_text": "tea"},
    "@cf/facebook/detr-resnet-50": {"image": [137, 80]},
    "@cf/llava-hf/llava-1.5-7b-hf": {"image": [137], "prompt": "what is it"},
    "@cf/stabilityai/stable-diffusion-xl-base-1.0": {"prompt": "tea", "num_steps": 20},
    "@cf/black-forest-labs/flux-1-schnell": {"prompt": "tea", "steps": 4},
    WHISPER: {"audio": [1, 2]},
    "@cf/openai/whisper-large-v3-turbo": {"audio": "UklGRg==", "task": "translate"},
    "@cf/deepgram/flux": {"encoding": "linear16", "sample_rate": "16000"},
    "@cf/myshell-ai/melotts": {"prompt": "tea", "lang": "en"},
    "@cf/deepgram/aura-1": {"text": "tea", "speaker": "luna"},
    GUARD: {"messages": [{"role": "user", "content": "tea"}]},
    "@cf/cloudflare/clef": {
        "model": "clef",
        "state": {"tea": 1},
        "questions": {"hot": {"type": "noul", "instructions": "is it hot"}},
    },
}


@pytest.mark.parametrize("name", INPUTS)
def test_the_documented_inputs_fit_their_schemas_and_a_number_does_not(name: str):
    schema = schemas(shape_of(CARDS[name]))["input"]
    jsonschema.validate(INPUTS[name], schema)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(1, schema)


NUMBERS = (-3, -2, -0.1, 0, 0.5, 1, 2, 2.1, 5, 5.1, 50, 51, 100, 101, 9_999_999_999, 10**10, None, True, "high")
OPTIONS = ("temperature", "top_p", "top_k", "seed", "max_tokens", "frequency_penalty", "presence_penalty", "stream")
options = st.dictionaries(st.sampled_from(OPTIONS), st.sampled_from(NUMBERS), max_size=3)
prompts = st.sampled_from(
    [{"prompt": "tea"}, {"prompt": ""}, {"prompt": None}, {"messages": HELLO}, {"messages": 1}, {}]
)


ADMITTING = {name: jsonschema.Draft202012Validator(schemas(Shape(name))["input"]) for name in ("classic", "chat")}


def is_admitted(shape: str, inputs: Mapping[str, object]) -> bool:
    return ADMITTING[shape].is_valid(inputs)


def is_taken(read, inputs: Mapping[str, object]) -> bool:
    try:
        read(inputs)
    except BadRequest:
        return False
    return True


@given(prompts, options)
def test_what_the_classic_schema_admits_is_what_the_run_takes(prompt, asked):
    def read(inputs):
        return classic_asked(inputs, LLAMA, "id", Defaults())

    assert is_admitted("classic", prompt | asked) == is_taken(read, prompt | asked)


@given(options)
def test_what_the_chat_schema_admits_is_what_the_run_takes(asked):
    def read(inputs):
        return chat_asked({**inputs, "model": GPT_OSS}, "id")

    inputs = {"messages": HELLO} | asked
    assert is_admitted("chat", inputs) == is_taken(read, inputs)


@pytest.mark.parametrize(("shape", "more"), [("classic", []), ("chat", ["input"])])
def test_a_text_model_takes_a_prompt_or_messages_and_not_both(shape: str, more: list[str]):
    branches = schemas(Shape(shape))["input"]["oneOf"]
    assert [branch["required"] for branch in branches] == [[name] for name in ("prompt", "messages", *more)]
    assert [branch["title"] for branch in branches] == [name.capitalize() for name in ("prompt", "messages", *more)]
    assert is_admitted(shape, {"prompt": "tea"})
    assert not is_admitted(shape, {"prompt": "tea", "messages": HELLO})


@given(options)
def test_what_the_chat_schema_admits_as_a_response_is_what_the_run_takes(asked):
    def read(inputs):
        return response_asked({**inputs, "model": GPT_OSS}, "id", ignores_tools=False)

    inputs = {"input": "tea"} | asked
    inputs.pop("max_tokens", None)  # max_output_tokens there
    assert is_admitted("chat", inputs) == is_taken(read, inputs)


def test_of_a_response_that_is_run_natively_nothing_can_be_kept():
    (branch,) = [one for one in schemas(Shape("chat"))["input"]["oneOf"] if one["title"] == "Input"]
    assert not {"store", "previous_response_id", "conversation", "background"} & branch["properties"].keys()
    assert not is_admitted("chat", {"input": None})
    assert is_admitted("chat", {"input": [{"role": "user", "content": "tea"}]})


@pytest.mark.parametrize("name", [LLAMA, GPT_OSS])
@pytest.mark.parametrize("inputs", [{"prompt": "hello"}, {"messages": HELLO}], ids=["prompt", "messages"])
async def test_what_a_text_model_gives_is_as_its_schema_says(world, name: str, inputs: Mapping[str, object]):
    answer = await world.ask("POST", f"{AI}/run/{name}", inputs)
    assert answer.status == 200, answer.json
    jsonschema.validate(answer.json["result"], schemas(shape_of(CARDS[name]))["output"])


@pytest.mark.parametrize(("name", "most"), [(LARGE, 100), ("@cf/qwen/qwen3-embedding-0.6b", 32)])
def test_an_embedding_models_schema_bounds_the_texts_of_a_request(name: str, most: int):
    admitting = jsonschema.Draft202012Validator(schemas(shape_of(CARDS[name]))["input"])
    assert admitting.is_valid({"text": ["tea"] * most})
    assert not admitting.is_valid({"text": ["tea"] * (most + 1)})
