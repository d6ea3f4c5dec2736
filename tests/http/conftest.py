"""A whole HTTP layer on scripted engines, an ASGI client that streams, and a clock that a test drives."""

import json
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from itertools import count
from typing import Any

import anyio
import anyio.lowlevel
import pytest
import structlog
from starlette.types import ASGIApp, Message
from structlog.testing import CapturingLogger
from structlog.typing import FilteringBoundLogger

from lowcloud.core.errors import ExpiredToken
from lowcloud.core.principal import Permission, Principal
from lowcloud.engines.scripted import Reply, Said, ScriptedEmbedder, ScriptedEngine, Stage
from lowcloud.http.auth import Auth, OpenAuth
from lowcloud.http.clock import Clock
from lowcloud.http.gateway.build import GatewayParts
from lowcloud.http.image_links import ImageFetcher
from lowcloud.http.routes import HttpParts, ResponseParts, build
from lowcloud.http.settings import HttpSettings
from lowcloud.models.catalogue import CHAT_STAND_IN, EMBEDDING_STAND_IN, Catalogue, packaged_cards
from lowcloud.serving.jobs import JobRunner
from lowcloud.serving.pool import Hosted, Pool, Served
from lowcloud.serving.service import Limits, Service
from lowcloud.serving.usage import Ledger
from lowcloud.storage.completions import CompletionStore

ACCOUNT = "0123456789abcdef0123456789abcdef"
LLAMA = "@cf/meta/llama-3.1-8b-instruct"
BGE = "@cf/baai/bge-large-en-v1.5"
CARDS = {card.id: card for card in packaged_cards()}


class FakeClock:
    """Time that passes only in ``advance``."""

    def __init__(self) -> None:
        self.now = 1000.0
        self._wakes: list[tuple[float, anyio.Event]] = []

    def monotonic(self) -> float:
        return self.now

    def wall(self) -> float:
        return 1_800_000_000.0

    async def sleep(self, seconds: float) -> None:
        event = anyio.Event()
        self._wakes.append((self.now + seconds, event))
        await event.wait()

    async def advance(self, seconds: float) -> None:
        """Let time pass, and let those who slept do what they then do."""
        self.now += seconds
        for wake in [wake for wake in self._wakes if wake[0] <= self.now]:
            self._wakes.remove(wake)
            wake[1].set()
        await anyio.wait_all_tasks_blocked()


class RecordingMetrics:
    """Metrics that keep what they were told."""

    def __init__(self) -> None:
        self.requests: list[tuple[str, str, int]] = []
        self._changed = anyio.Event()

    def request(self, route: str, method: str, status: int, seconds: float) -> None:
        self.requests.append((route, method, status))
        changed, self._changed = self._changed, anyio.Event()
        changed.set()

    async def recorded(self, requests: int = 1) -> None:
        """Return once so many requests have ended."""
        with anyio.fail_after(60):
            while len(self.requests) < requests:
                await self._changed.wait()

    def render(self) -> bytes:
        return b"# TYPE lowcloud_up gauge\nlowcloud_up 1\n"

    def ttft(self, model: str, seconds: float) -> None: ...
    def inter_token(self, model: str, seconds: float) -> None: ...
    def tokens(self, model: str, *, prompt: int, cached: int, completion: int) -> None: ...
    def queue(self, model: str, *, requests: int, tokens: int) -> None: ...


class Tokens:
    """A token store with three tokens, and one whose time is over."""

    async def verify(self, token: str) -> Principal | None:
        if token == "expired":
            raise ExpiredToken("Invalid API Token: it is expired or revoked.")
        known = {
            "good": Principal("t1", ACCOUNT, frozenset(Permission)),
            "reader": Principal("t2", ACCOUNT, frozenset({Permission.WORKERS_AI_READ})),
            "powerless": Principal("t3", ACCOUNT, frozenset()),
        }
        return known.get(token)


@dataclass
class Answer:
    """What a client got. ``pieces`` are the body's pieces as they were sent."""

    status: int
    headers: dict[str, str]
    pieces: list[bytes] = field(default_factory=list)

    @property
    def body(self) -> bytes:
        return b"".join(self.pieces)

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def events(self) -> list[str]:
        """The stream's events: data without its prefix, and comments as they are."""
        return [event.removeprefix("data: ") for event in self.body.decode().split("\n\n") if event]

    @property
    def chunks(self) -> list[Any]:
        return [json.loads(event) for event in self.events if event.startswith("{")]


class Exchange:
    """One request that is under way.

    ``stalled`` makes ``send`` wait, as for a client that takes nothing; ``breaks_after`` so many pieces it raises.
    """

    def __init__(self, app: ASGIApp, scope: Mapping[str, Any], body: Sequence[bytes]) -> None:
        self._app = app
        self._scope = dict(scope)
        self._body = list(body)
        self._left = anyio.Event()
        self._changed = anyio.Event()
        self.stalled = False
        self.is_body_whole = True
        self.breaks_after: int | None = None
        self.is_over = anyio.Event()
        self.answer: Answer | None = None

    async def run(self) -> None:
        await anyio.lowlevel.checkpoint()  # a server takes a request in a task of its own, so others have their turn
        try:
            await self._app(self._scope, self._receive, self._send)
        finally:
            self._turn(self.is_over)

    @property
    def unread(self) -> int:
        """Pieces of the body that the server didn't take."""
        return len(self._body)

    def leave(self) -> None:
        """Close the connection."""
        self._left.set()

    async def until(self, is_met: Callable[[Answer], bool]) -> Answer:
        """The answer so far, once it is as asked."""
        while self.answer is None or not is_met(self.answer):
            assert not self.is_over.is_set(), f"it ended as {self.answer}"
            await self._changed.wait()
        return self.answer

    def _turn(self, event: anyio.Event | None = None) -> None:
        if event is not None:
            event.set()
        changed, self._changed = self._changed, anyio.Event()
        changed.set()

    async def _receive(self) -> Message:
        if self._left.is_set() or not self._body:
            await self._left.wait()
            return {"type": "http.disconnect"}
        piece = self._body.pop(0)
        return {"type": "http.request", "body": piece, "more_body": bool(self._body) or not self.is_body_whole}

    async def _send(self, message: Message) -> None:
        if self.stalled:
            await anyio.sleep_forever()
        if self.answer is not None and len(self.answer.pieces) == self.breaks_after:
            raise OSError("the connection broke")
        if message["type"] == "http.response.start":
            headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in message["headers"]}
            self.answer = Answer(message["status"], headers)
        else:
            assert self.answer is not None
            if message.get("body"):
                self.answer.pieces.append(message["body"])
        self._turn()


@dataclass
class World:
    """One server, and what a test looks at."""

    app: ASGIApp
    service: Service
    chat: ScriptedEngine
    embedder: ScriptedEmbedder
    metrics: RecordingMetrics
    clock: FakeClock
    logs: CapturingLogger

    def exchange(
        self,
        method: str,
        path: str,
        body: object = None,
        headers: Mapping[str, str] | None = None,
        over: Mapping[str, Any] | None = None,
    ) -> Exchange:
        """A request that isn't sent yet. ``body``: pieces of bytes, bytes, or what becomes JSON. ``over``: what the
        scope says of the connection, such as its ``client``."""
        pieces = body if isinstance(body, list) and body and isinstance(body[0], bytes) else [_bytes(body)]
        merged = {"host": "127.0.0.1:8780", **(headers or {})}
        raw = [(name.lower().encode(), value.encode("latin-1")) for name, value in merged.items()]
        raw_path, _, query = path.partition("?")
        scope = {
            "type": "http",
            "method": method,
            "path": raw_path,
            "raw_path": raw_path.encode(),
            "query_string": query.encode(),
            "headers": raw,
            **(over or {}),
        }
        return Exchange(self.app, scope, pieces)

    async def ask(
        self,
        method: str,
        path: str,
        body: object = None,
        headers: Mapping[str, str] | None = None,
        over: Mapping[str, Any] | None = None,
    ) -> Answer:
        """The whole answer."""
        exchange = self.exchange(method, path, body, headers, over)
        with anyio.fail_after(30):
            await exchange.run()
        assert exchange.answer is not None
        return exchange.answer

    async def chat_completion(self, headers: Mapping[str, str] | None = None, **fields: object) -> Answer:
        """The whole answer to a chat completion that says hello."""
        return await self.ask("POST", "/v1/chat/completions", hello(**fields), headers)

    async def embeddings(self, headers: Mapping[str, str] | None = None, **fields: object) -> Answer:
        """The whole answer to an embeddings request."""
        return await self.ask("POST", "/v1/embeddings", {"model": EMBEDDING_STAND_IN, "input": "tea"} | fields, headers)


def hello(**fields: object) -> dict[str, object]:
    """A body that says hello."""
    return {"model": CHAT_STAND_IN, "messages": [{"role": "user", "content": "hello there"}]} | fields


def _bytes(body: object) -> bytes:
    if body is None:
        return b""
    return body if isinstance(body, bytes) else json.dumps(body).encode()


def logger_on(logs: CapturingLogger) -> FilteringBoundLogger:
    """A logger that keeps its lines as dicts, with what is bound to their context."""
    bound = structlog.make_filtering_bound_logger(0)
    return structlog.wrap_logger(logs, wrapper_class=bound, processors=[structlog.contextvars.merge_contextvars])


MakeWorld = Callable[..., AbstractAsyncContextManager[World]]


@pytest.fixture
def make_world() -> MakeWorld:
    """Builds a world: ``async with make_world(reply="...") as world``."""

    @asynccontextmanager
    async def make(
        *,
        reply: Reply | str | Said = "one two three",
        settings: HttpSettings | None = None,
        auth: Auth | None = None,
        limits: Limits | None = None,
        stage: Stage | None = None,
        cached_tokens: int = 0,
        loosened: tuple[str, ...] = (),
        engine: type[ScriptedEngine] = ScriptedEngine,
        completions: CompletionStore | None = None,
        clock: Clock | None = None,
        images: ImageFetcher | None = None,
        sees: bool = False,
        also: Sequence[Served] = (),
        ledger: Ledger | None = None,
        jobs: JobRunner | None = None,
        responses: ResponseParts | None = None,
        gateway: GatewayParts | None = None,
    ) -> AsyncGenerator[World, None]:
        card = CARDS[CHAT_STAND_IN].model_copy(update={"vision": sees})
        chat = engine(card, reply, stage=stage, cached_tokens=cached_tokens, loosened=loosened)
        embedder = ScriptedEmbedder(CARDS[EMBEDDING_STAND_IN], stage=stage)
        catalogue = Catalogue(CARDS.values(), [one.card for one in (chat, embedder, *also)], stand_ins=True)
        metrics, logs, ids = RecordingMetrics(), CapturingLogger(), count(1)
        clock = clock or FakeClock()
        hosted = {one.card.id: partial(Hosted, one) for one in (chat, embedder, *also)}
        async with Pool(hosted, load_wait_s=30.0) as pool:
            service = Service(catalogue, pool, metrics, limits=limits, ledger=ledger)
            parts = HttpParts(
                service,
                auth or OpenAuth(),
                metrics,
                settings or HttpSettings(any_account=True),
                clock,
                lambda: f"id-{next(ids)}",
                logger_on(logs),
                completions,
                images,
                jobs,
                responses,
                gateway,
            )
            yield World(build(parts), service, chat, embedder, metrics, clock, logs)

    return make


@pytest.fixture
async def world(make_world: MakeWorld) -> AsyncGenerator[World, None]:
    """The usual world: ``dev``, a chat model that says "one two three"."""
    async with make_world() as made:
        yield made


@pytest.fixture
def tokens() -> Tokens:
    """A token store: ``good``, ``reader`` (may read) and ``powerless``, all of one account."""
    return Tokens()
