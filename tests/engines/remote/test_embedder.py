"""Embeddings of an upstream: unit vectors in the order of the inputs, whatever form they come in."""

import base64
import math
import struct

import pytest
from fake_upstream import said
from hypothesis import given
from hypothesis import strategies as st
from remote_model import UPSTREAM, remote

from lowcloud.core.errors import BadRequest, EngineFailed, Unsupported
from lowcloud.core.messages import Text, Tokens
from lowcloud.core.requests import Embed
from lowcloud.engines.remote.embedder import vectors_of
from lowcloud.models.card import Card, Task

pytestmark = pytest.mark.anyio
TWO = Embed("r1", (Text("a"), Text("bb" * 40)))


def floats(*numbers: float) -> bytes:
    return struct.pack(f"<{len(numbers)}f", *numbers)


def answer(*vectors: object, **around: object) -> dict[str, object]:
    return {"data": [{"index": place, "embedding": vector} for place, vector in enumerate(vectors)]} | around


async def test_vectors_come_as_base64_or_as_numbers_in_any_order_and_become_unit_vectors():
    encoded = base64.b64encode(floats(0.6, 0.8)).decode()
    body = {"data": [{"index": 1, "embedding": [3, 4.0]}, {"index": 0, "embedding": encoded}]}
    async with remote(said(body | {"usage": {"prompt_tokens": 5}})) as model:
        embedded = await model.embedder.embed(TWO)
        assert embedded.vectors == (floats(0.6, 0.8), floats(0.6, 0.8))
        assert (embedded.prompt_tokens, embedded.weights) == (5, "remote_qwen3")
        assert model.upstream.paths == ["/v1/embeddings"]
        assert model.upstream.bodies == [{"model": "qwen3", "input": ["a", "bb" * 40], "encoding_format": "base64"}]


async def test_tokens_that_arent_counted_are_estimated():
    async with remote(said(answer([1.0], [1.0]))) as model:
        assert (await model.embedder.embed(TWO)).prompt_tokens == 1 + 20


async def test_token_ids_are_sent_as_they_are():
    async with remote(said(answer([1.0]))) as model:
        await model.embedder.embed(Embed("r1", (Tokens((1, 2)),)))
        assert model.upstream.bodies[0]["input"] == [[1, 2]]
        with pytest.raises(BadRequest, match="can't be mixed"):
            await model.embedder.embed(Embed("r1", (Tokens((1, 2)), Text("a"))))


@pytest.mark.parametrize("field", ["pooling", "truncate"])
async def test_what_the_format_has_no_words_for_is_refused(field):
    async with remote() as model:
        with pytest.raises(Unsupported) as caught:
            await model.embedder.embed(Embed("r1", (Text("a"),), **{field: "cls" if field == "pooling" else True}))
        assert caught.value.param == field


@pytest.mark.parametrize(
    ("body", "complaint"),
    [
        (answer([1.0]), "gave 1 vectors for 2 inputs"),
        ({"data": [{"index": 0, "embedding": [1]}] * 2}, "gave 2 vectors for 2 inputs"),
        (answer([1.0], [1.0, 0.0]), "gave vectors of 1, 2 dimensions"),
        (answer([1.0], [0.0]), "gave a vector without a direction"),
        (answer([1.0], "?"), "gave a vector that is none"),
        (answer([1.0], "AAA="), "gave a vector that is none"),
        (answer([1.0], ["x"]), "gave a vector that is none"),
        (answer([1.0], None), "gave a vector that is none"),
        ({"error": {"message": "no"}}, "failed within its answer: no"),
        ({}, "gave 0 vectors for 2 inputs"),
        ([], "failed within its answer"),
    ],
)
async def test_an_answer_that_isnt_one_fails(body, complaint):
    async with remote(said(body)) as model:
        with pytest.raises(EngineFailed, match=complaint):
            await model.embedder.embed(TWO)


async def test_vectors_of_another_size_than_the_cards_fail():
    card = Card(id=UPSTREAM.id, task=Task.TEXT_EMBEDDINGS, owned_by="remote", dimensions=3)
    async with remote(said(answer([1.0, 0.0], [0.0, 1.0])), card) as model:
        with pytest.raises(EngineFailed, match="gave vectors of 2 dimensions"):
            await model.embedder.embed(TWO)


@given(
    st.lists(st.floats(-1e6, 1e6, width=32), min_size=1, max_size=50).filter(lambda v: any(abs(x) > 1e-3 for x in v))
)
def test_every_vector_becomes_a_unit_vector_of_its_direction(numbers):
    (vector,) = vectors_of(answer(numbers), 1, None, UPSTREAM)
    unit = struct.unpack(f"<{len(numbers)}f", vector)
    assert math.hypot(*unit) == pytest.approx(1, abs=1e-5)
    norm = math.hypot(*numbers)
    assert unit == pytest.approx([number / norm for number in numbers], abs=1e-5)
