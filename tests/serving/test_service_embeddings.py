"""The service's embeddings: size, order, stand-ins, limits and what is counted."""

import math
import struct

import anyio
import pytest
from caller import CALLER

from lowcloud.core.errors import BadRequest, Overloaded, RequestTimeout
from lowcloud.core.messages import Text, Tokens
from lowcloud.core.requests import Embed
from lowcloud.models.catalogue import CHAT_STAND_IN, EMBEDDING_STAND_IN
from lowcloud.serving.admission import Bounds
from lowcloud.serving.service import Limits

pytestmark = pytest.mark.anyio
LARGE = "@cf/baai/bge-large-en-v1.5"
QWEN = "@cf/qwen/qwen3-embedding-0.6b"


def ask(*texts: str, dimensions: int | None = None) -> Embed:
    return Embed("e", tuple(Text(text) for text in texts), dimensions)


async def test_a_model_answers_with_its_own_vectors_in_the_order_of_the_inputs(rig):
    async with rig() as r:
        both = await r.service.embed(EMBEDDING_STAND_IN, ask("a b", "c"), CALLER)
        alone = await r.service.embed(EMBEDDING_STAND_IN, ask("c"), CALLER)
    assert [len(vector) for vector in both.vectors] == [4 * 384] * 2
    assert both.vectors[1] == alone.vectors[0]
    assert (both.prompt_tokens, both.stand_in) == (3, None)
    assert r.meter.counted == [(EMBEDDING_STAND_IN, 3, 0, 0), (EMBEDDING_STAND_IN, 1, 0, 0)]


async def test_a_stand_in_has_the_asked_for_models_size_and_is_marked(rig):
    async with rig() as r:
        embedded = await r.service.embed(LARGE, ask("I love matcha"), CALLER)
        own = await r.service.embed(EMBEDDING_STAND_IN, ask("I love matcha"), CALLER)
    assert embedded.vectors[0] == own.vectors[0] + bytes(4 * (1024 - 384))
    assert embedded.stand_in == EMBEDDING_STAND_IN


async def test_a_mapped_model_answers_with_its_own_size_and_unmarked(rig):
    async with rig(mapping={LARGE: EMBEDDING_STAND_IN}) as r:
        embedded = await r.service.embed(LARGE, ask("a"), CALLER)
    assert (len(embedded.vectors[0]), embedded.stand_in) == (4 * 384, None)


async def test_dimensions_cut_a_matryoshka_model_to_a_unit_vector(rig):
    async with rig(matryoshka=(128,)) as r:
        cut = await r.service.embed(EMBEDDING_STAND_IN, ask("a", dimensions=128), CALLER)
        same = await r.service.embed(EMBEDDING_STAND_IN, ask("a", dimensions=384), CALLER)
    numbers = struct.unpack("<128f", cut.vectors[0])
    assert math.isclose(math.fsum(number * number for number in numbers), 1, abs_tol=1e-5)
    assert len(same.vectors[0]) == 4 * 384


async def test_dimensions_pad_a_stand_in_to_a_size_the_asked_for_model_has(rig):
    async with rig() as r:
        embedded = await r.service.embed(QWEN, ask("a", dimensions=512), CALLER)
        with pytest.raises(BadRequest, match="can't be cut to 128"):
            await r.service.embed(QWEN, ask("a", dimensions=128), CALLER)
    assert len(embedded.vectors[0]) == 4 * 512
    assert [request.dimensions for request in r.embedder.requests] == [None]


async def test_dimensions_a_model_does_not_have_are_refused_before_anything_runs(rig):
    async with rig() as r:
        with pytest.raises(BadRequest) as refused:
            await r.service.embed(EMBEDDING_STAND_IN, ask("a", dimensions=256), CALLER)
    assert refused.value.param == "dimensions"
    assert (r.embedder.requests, r.meter.queues) == ([], [])


async def test_an_input_over_a_stand_ins_limit_names_the_stand_in(rig):
    async with rig() as r:
        long = ask(" ".join("x" * 257))
        with pytest.raises(BadRequest, match=f"257.*256.*{LARGE} is answered here by the stand-in") as refused:
            await r.service.embed(LARGE, long, CALLER)
        with pytest.raises(BadRequest) as own:
            await r.service.embed(EMBEDDING_STAND_IN, long, CALLER)
    assert refused.value.param == own.value.param == "input[0]"
    assert "stand-in" not in str(own.value)
    assert r.meter.queues[-1] == (EMBEDDING_STAND_IN, 0, 0)


async def test_a_chat_model_does_not_embed(rig):
    async with rig() as r:
        with pytest.raises(BadRequest, match="Text Generation, not Text Embeddings") as refused:
            await r.service.embed(CHAT_STAND_IN, ask("a"), CALLER)
    assert refused.value.param == "model"


async def test_embeddings_wait_in_a_bounded_queue(rig):
    async with rig(limits=Limits(Bounds(requests=1, tokens=100))) as r:
        r.embedder.stage.hold("embed")
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(r.service.embed, LARGE, Embed("e", (Text("12345678"), Tokens((1, 2)))), CALLER)
            await r.embedder.stage.reached("embed")
            assert r.meter.queues[-1] == (EMBEDDING_STAND_IN, 1, 5)
            with pytest.raises(Overloaded):
                await r.service.embed(LARGE, ask("b"), CALLER)
            r.embedder.stage.open("embed")
    assert r.meter.queues[-1] == (EMBEDDING_STAND_IN, 0, 0)


async def test_a_client_that_leaves_cancels_its_embedding(rig):
    async with rig() as r:
        r.embedder.stage.hold("embed")
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(r.service.embed, LARGE, ask("a"), CALLER)
            await r.embedder.stage.reached("embed")
            tasks.cancel_scope.cancel()
        assert r.embedder.cancelled == ["e"]
        assert r.meter.queues[-1] == (EMBEDDING_STAND_IN, 0, 0)


async def test_the_deadline_ends_an_embedding(rig):
    async with rig(limits=Limits(request_deadline_s=0.02)) as r:
        await r.pool.engine(EMBEDDING_STAND_IN)  # built in a thread, which may take longer than that
        r.embedder.stage.hold("embed")
        with pytest.raises(RequestTimeout):
            await r.service.embed(LARGE, ask("a"), CALLER)
        assert r.embedder.cancelled == ["e"]
