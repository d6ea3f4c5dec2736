"""A remote model in front of a fake upstream."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace

import anyio
from fake_upstream import FakeUpstream, Handler, fake_upstream

from lowcloud.core.events import Event
from lowcloud.core.messages import Message, Messages
from lowcloud.core.requests import Generate
from lowcloud.engines.remote.embedder import RemoteEmbedder
from lowcloud.engines.remote.engine import RemoteEngine
from lowcloud.engines.remote.reranker import RemoteReranker
from lowcloud.engines.remote.runtime import RemoteRuntime
from lowcloud.engines.remote.upstream import Upstream
from lowcloud.models.card import Card, Defaults, Task

HELLO = Messages((Message("user", "Make some robot noises"),))
UPSTREAM = Upstream("@remote/qwen", "http://127.0.0.1:9/v1", "qwen3", token="sk-secret")


def asked(**fields: object) -> Generate:
    """A request that says hello."""
    return Generate("r1", **{"prompt": HELLO} | fields)


def chat_card(**defaults: object) -> Card:
    return Card(id=UPSTREAM.id, task=Task.TEXT_GENERATION, owned_by="remote", defaults=Defaults(**defaults))


@dataclass
class Remote:
    """A chat model, an embedding model, a reranker, and the upstream behind them."""

    upstream: FakeUpstream
    runtime: RemoteRuntime
    engine: RemoteEngine
    embedder: RemoteEmbedder
    reranker: RemoteReranker

    async def generate(self, **fields: object) -> list[Event]:
        """All events of one request."""
        request = asked(**fields)
        self.engine.check(request)
        return [event async for event in self.engine.generate(await self.engine.prepare(request))]


@asynccontextmanager
async def remote(answer: Handler | None = None, card: Card | None = None, **fields: object) -> AsyncGenerator[Remote]:
    """``fields`` are the ``Upstream``'s."""
    async with fake_upstream(answer) as upstream, anyio.create_task_group() as tasks:
        runtime = RemoteRuntime(replace(UPSTREAM, **{"url": upstream.url} | fields))
        tasks.start_soon(runtime.run)
        await runtime.ready()
        vectors = Card(id=UPSTREAM.id, task=Task.TEXT_EMBEDDINGS, owned_by="remote")
        engine = RemoteEngine(card or chat_card(), runtime, lambda: "call_new")
        scores = Card(id=UPSTREAM.id, task=Task.RERANK, owned_by="remote")
        embedder, reranker = RemoteEmbedder(card or vectors, runtime), RemoteReranker(scores, runtime)
        yield Remote(upstream, runtime, engine, embedder, reranker)
        tasks.cancel_scope.cancel()
