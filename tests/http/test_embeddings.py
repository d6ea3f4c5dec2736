import base64
import math
import struct

import anyio
import pytest

from lowcloud.core.errors import EngineFailed
from lowcloud.core.messages import Text, Tokens
from lowcloud.core.requests import Embed
from lowcloud.core.results import Embedded
from lowcloud.http.openai import schemas
from lowcloud.http.openai.embeddings import encoded
from lowcloud.http.openai.embeddings_request import HINTS, REFUSED, EmbeddingsAsked
from lowcloud.http.settings import HttpSettings

pytestmark = pytest.mark.anyio
MINILM = "@local/all-minilm-l6-v2"
BGE = "@cf/baai/bge-large-en-v1.5"


def floats(text: str) -> tuple[float, ...]:
    data = base64.b64decode(text)
    return struct.unpack(f"<{len(data) // 4}f", data)


async def test_a_text_gives_one_unit_vector_and_its_usage(world):
    answer = await world.embeddings(input="I love matcha")
    body = schemas.EmbeddingList.model_validate(answer.json)
    vector = body.data[0].embedding
    assert (len(body.data), len(vector), body.model) == (1, 384, MINILM)
    assert math.isclose(math.fsum(number * number for number in vector), 1, rel_tol=1e-6)
    assert body.usage.prompt_tokens == body.usage.total_tokens == 3


async def test_the_order_of_the_inputs_is_kept(world):
    texts = [f"text {number}" for number in range(50)]
    together = await world.embeddings(input=texts)
    assert [each["index"] for each in together.json["data"]] == list(range(50))
    alone = await world.embeddings(input=texts[31])
    assert together.json["data"][31]["embedding"] == alone.json["data"][0]["embedding"]


async def test_base64_is_the_same_vector_as_little_endian_float32(world):
    as_numbers = (await world.embeddings()).json["data"][0]["embedding"]
    answer = await world.embeddings(encoding_format="base64")
    as_text = answer.json["data"][0]["embedding"]
    schemas.EmbeddingList.model_validate(answer.json)
    assert floats(as_text) == struct.unpack("<384f", struct.pack("<384f", *as_numbers))


async def test_a_stand_in_has_the_dimension_of_the_model_asked_for_and_says_so(world):
    answer = await world.embeddings(model=BGE)
    vector = answer.json["data"][0]["embedding"]
    assert (len(vector), answer.json["model"], set(vector[384:])) == (1024, BGE, {0})
    assert answer.headers["lowcloud-stand-in"] == MINILM
    assert answer.json["system_fingerprint"] == "fp_scripted"


async def test_dimensions_that_the_model_does_not_have_are_a_400(world):
    answer = await world.embeddings(dimensions=100)
    assert (answer.status, answer.json["error"]["param"]) == (400, "dimensions")
    assert len((await world.embeddings(dimensions=384)).json["data"][0]["embedding"]) == 384


@pytest.mark.parametrize(
    ("value", "param"),
    [
        ("", "input"),
        ([], "input"),
        ([""], "input[0]"),
        (["a", ""], "input[1]"),
        (["a", 1], "input[1]"),
        (["a", None], "input[1]"),
        (["a", []], "input[1]"),
        ([[]], "input[0]"),
        (5, "input"),
        (None, "input"),
        ({"text": "a"}, "input"),
        ([True], "input[0]"),
        (["a"] * 2049, "input"),
    ],
)
async def test_a_wrong_input_is_refused_by_its_index(world, value, param):
    answer = await world.embeddings(input=value)
    assert (answer.status, answer.json["error"]["param"]) == (400, param)


async def test_a_missing_input_is_named(world):
    answer = await world.ask("POST", "/v1/embeddings", {"model": MINILM})
    assert "Missing required parameter: input" in answer.json["error"]["message"]


async def test_2048_inputs_are_answered_and_disturb_nobody(world):
    others = 0
    large = world.exchange("POST", "/v1/embeddings", {"model": MINILM, "input": ["tea"] * 2048})
    async with anyio.create_task_group() as group:
        group.start_soon(large.run)
        while not large.is_over.is_set():
            assert (await world.ask("GET", "/healthz")).status == 200
            others += 1
    assert len(large.answer.json["data"]) == 2048
    assert others > 10


@pytest.mark.parametrize("value", [[1, 2], [[1, 2]], [["a"], [1]], ["a", [1, 2]]])
async def test_token_ids_are_refused_with_the_way_out(world, value):
    answer = await world.embeddings(input=value)
    assert answer.status == 400
    if value != [["a"], [1]]:
        assert "check_embedding_ctx_length=False" in answer.json["error"]["message"]


async def test_token_ids_are_taken_with_the_header_or_the_setting(world, make_world):
    answer = await world.embeddings({"lowcloud-accept-token-ids": "true"}, input=[[1, 2], [3]])
    assert (answer.status, len(answer.json["data"])) == (200, 2)
    assert world.embedder.requests[-1].inputs == (Tokens((1, 2)), Tokens((3,)))
    async with make_world(settings=HttpSettings(any_account=True, accept_token_ids=True)) as accepting:
        assert (await accepting.embeddings(input=[1, 2, 3])).status == 200
        assert accepting.embedder.requests[-1].inputs == (Tokens((1, 2, 3)),)


@pytest.mark.parametrize(
    ("value", "param"),
    [([1, -1], "input[1]"), ([1, 2**31], "input[1]"), ([[1, "a"]], "input[0][1]"), ([1, True], "input[1]")],
)
async def test_a_wrong_token_id_is_refused_by_its_index(world, value, param):
    answer = await world.embeddings({"lowcloud-accept-token-ids": "true"}, input=value)
    assert (answer.status, answer.json["error"]["param"]) == (400, param)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("encoding_format", "int8"),
        ("dimensions", 0),
        ("dimensions", "384"),
        ("user", 5),
        ("pooling", "max"),
        ("truncate", "yes"),
        ("model", None),
    ],
)
async def test_wrong_types_and_values_are_refused_by_name(world, name, value):
    answer = await world.embeddings(**{name: value})
    assert (answer.status, answer.json["error"]["param"]) == (400, name)


@pytest.mark.parametrize("name", REFUSED)
async def test_what_is_not_done_is_refused_by_name(world, name):
    answer = await world.embeddings(**{name: "x"})
    assert (answer.json["error"]["param"], answer.json["error"]["code"]) == (name, "unsupported_parameter")


async def test_what_is_ignored_is_named(world):
    answer = await world.embeddings(user="me", foo=1)
    assert (answer.headers["lowcloud-ignored"], set(HINTS)) == ("user, foo", {"user"})


async def test_pooling_and_truncation_reach_the_embedder(world):
    await world.embeddings(input=["word " * 600], pooling="cls", truncate=True)
    request = world.embedder.requests[-1]
    assert (request.pooling, request.truncate, request.inputs) == ("cls", True, (Text("word " * 600),))


async def test_an_input_over_the_limit_is_a_400_with_the_counts(world):
    answer = await world.embeddings(input=["short", "word " * 600])
    assert (answer.status, answer.json["error"]["param"]) == (400, "input[1]")
    assert "256" in answer.json["error"]["message"]


async def test_a_client_that_leaves_is_cancelled(world):
    world.embedder.stage.hold("embed")
    exchange = world.exchange("POST", "/v1/embeddings", {"model": MINILM, "input": "tea"})
    async with anyio.create_task_group() as group:
        group.start_soon(exchange.run)
        await world.embedder.stage.reached("embed")
        exchange.leave()
        with anyio.fail_after(5):
            await exchange.is_over.wait()
    assert len(world.embedder.cancelled) == 1


@pytest.mark.parametrize("is_base64", [True, False])
async def test_a_vector_that_is_no_numbers_is_never_sent(is_base64):
    asked = EmbeddingsAsked("m", Embed("id", (Text("a"),)), is_base64, ())
    with pytest.raises(EngineFailed):
        encoded(asked, Embedded((struct.pack("<2f", 1.0, math.nan),), 1, "w"))


async def test_numbers_are_exact(world):
    values = (0.1, -1e-30, 1 / 3, 0.0, 1.0)
    asked = EmbeddingsAsked("m", Embed("id", (Text("a"),)), is_base64=False, ignored=())
    vector = struct.pack("<5f", *values)
    body = schemas.EmbeddingList.model_validate_json(encoded(asked, Embedded((vector,), 1, "w")))
    assert struct.pack("<5f", *body.data[0].embedding) == vector
