"""A service on scripted engines, built as the application builds one on real ones."""

from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, aclosing, asynccontextmanager
from dataclasses import dataclass, field

import pytest
from caller import CALLER
from told_clock import Clock

from lowcloud.core.events import Event
from lowcloud.core.messages import Message, Messages
from lowcloud.core.requests import Generate
from lowcloud.engines.scripted import ScriptedEmbedder, ScriptedEngine, ScriptedRuntime, Stage
from lowcloud.engines.scripted_scores import ScriptedClassifier, ScriptedReranker
from lowcloud.models.catalogue import CHAT_STAND_IN, EMBEDDING_STAND_IN, Catalogue, packaged_cards
from lowcloud.serving.pool import Hosted, Pool
from lowcloud.serving.service import Limits, Service
from lowcloud.serving.usage import Ledger


class RecordingMeter:
    """A ``Meter`` that keeps what it was told."""

    def __init__(self) -> None:
        self.ttfts: list[tuple[str, float]] = []
        self.inter_tokens: list[tuple[str, float]] = []
        self.counted: list[tuple[str, int, int, int]] = []
        self.queues: list[tuple[str, int, int]] = []

    def ttft(self, model: str, seconds: float) -> None:
        self.ttfts.append((model, seconds))

    def inter_token(self, model: str, seconds: float) -> None:
        self.inter_tokens.append((model, seconds))

    def tokens(self, model: str, *, prompt: int, cached: int, completion: int) -> None:
        self.counted.append((model, prompt, cached, completion))

    def queue(self, model: str, *, requests: int, tokens: int) -> None:
        self.queues.append((model, requests, tokens))


@dataclass
class Rig:
    """Everything of one server that a test looks at."""

    service: Service
    pool: Pool
    chat: ScriptedEngine
    embedder: ScriptedEmbedder
    reranker: ScriptedReranker
    classifier: ScriptedClassifier
    runtime: ScriptedRuntime
    meter: RecordingMeter
    clock: Clock
    events: list[Event] = field(default_factory=list)

    async def ask(self, request: Generate, model_id: str = CHAT_STAND_IN) -> list[Event]:
        """The events of a generation, also kept in ``events`` as they come."""
        async with aclosing(self.service.generate(model_id, request, CALLER)) as events:
            async for event in events:
                self.events.append(event)
        return self.events


MakeRig = Callable[..., AbstractAsyncContextManager[Rig]]
CARDS = {card.id: card for card in packaged_cards()}
RERANKER = "@cf/baai/bge-reranker-base"
CLASSIFIER = "@cf/huggingface/distilbert-sst-2-int8"


@pytest.fixture
def rig() -> MakeRig:
    """Builds a rig: ``async with rig(limits=..., stand_ins=True) as r``; ``scores``: with two that score."""

    @asynccontextmanager
    async def make(
        *,
        reply: str = "one two three",
        limits: Limits | None = None,
        load_wait_s: float = 30.0,
        mapping: Mapping[str, str] | None = None,
        stand_ins: bool = True,
        matryoshka: tuple[int, ...] = (),
        preload: tuple[str, ...] = (),
        swapped: bool = False,
        scores: bool = False,
        ledger: Ledger | None = None,
    ) -> AsyncGenerator[Rig, None]:
        clock, meter = Clock(), RecordingMeter()
        chat = ScriptedEngine(CARDS[CHAT_STAND_IN], reply, stage=Stage())
        runtime = ScriptedRuntime()
        embedding = CARDS[EMBEDDING_STAND_IN].model_copy(update={"matryoshka": matryoshka})
        embedder = ScriptedEmbedder(embedding)
        reranker, classifier = ScriptedReranker(CARDS[RERANKER]), ScriptedClassifier(CARDS[CLASSIFIER])
        local = [chat.card, embedding, *([reranker.card, classifier.card] if scores else [])]
        catalogue = Catalogue(CARDS.values(), local, mapping=mapping, stand_ins=stand_ins)
        hosted = {chat.card.id: lambda: Hosted(chat, runtime), embedding.id: lambda: Hosted(embedder)}
        if swapped:
            hosted = {chat.card.id: hosted[embedding.id], embedding.id: hosted[chat.card.id]}
        if scores:
            hosted |= {RERANKER: lambda: Hosted(reranker), CLASSIFIER: lambda: Hosted(classifier)}
        async with Pool(hosted, load_wait_s=load_wait_s, preload=preload) as pool:
            service = Service(catalogue, pool, meter, limits=limits, ledger=ledger, clock=clock)
            yield Rig(service, pool, chat, embedder, reranker, classifier, runtime, meter, clock)

    return make


@pytest.fixture
def hello() -> Generate:
    return Generate("hello", Messages((Message("user", "hello there"),)))
