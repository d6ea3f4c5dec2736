"""The whole HTTP layer on scripted engines, served by uvicorn on a loopback port, for the official SDKs as clients."""

import asyncio
import queue
import socket
import tempfile
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TypeVar

import anyio
import structlog
import uvicorn

from lowcloud.core.errors import ExpiredToken
from lowcloud.core.principal import Permission, Principal
from lowcloud.engines.scripted import ScriptedEmbedder, ScriptedEngine
from lowcloud.engines.scripted_reply import Reply, Said
from lowcloud.engines.scripted_scores import ScriptedReranker
from lowcloud.host_gateway import HostedGateway
from lowcloud.http.auth import OpenAuth, TokenAuth
from lowcloud.http.clock import SystemClock
from lowcloud.http.connection import Connection
from lowcloud.http.gateway.build import GatewayParts
from lowcloud.http.responses.context import Locks
from lowcloud.http.responses.upkeep import keep_up
from lowcloud.http.routes import HttpParts, ResponseParts, build
from lowcloud.http.settings import BindingSettings, HttpSettings
from lowcloud.http.socket_connection import SocketConnection
from lowcloud.models.catalogue import CHAT_STAND_IN, EMBEDDING_STAND_IN, Catalogue, packaged_cards
from lowcloud.serving.jobs import JobRunner, RunnerLimits
from lowcloud.serving.pool import Hosted, Pool
from lowcloud.serving.service import Limits, Service
from lowcloud.serving.usage import Ledger
from lowcloud.settings import Gateway, Settings
from lowcloud.storage.completions import CompletionStore
from lowcloud.storage.conversations import ConversationStore
from lowcloud.storage.database import Database, open_database
from lowcloud.storage.jobs import JobLimits, JobStore
from lowcloud.storage.responses import ResponseStore

ACCOUNT = "0123456789abcdef0123456789abcdef"
LLAMA = "@cf/meta/llama-3.1-8b-instruct"
BGE = "@cf/baai/bge-large-en-v1.5"
RERANKER = "@cf/baai/bge-reranker-base"
CARDS = {card.id: card for card in packaged_cards()}
HELLO = [{"role": "user", "content": "Make some robot noises"}]


class SilentMetrics:
    """Metrics that nobody reads."""

    def request(self, route: str, method: str, status: int, seconds: float) -> None: ...
    def ttft(self, model: str, seconds: float) -> None: ...
    def inter_token(self, model: str, seconds: float) -> None: ...
    def tokens(self, model: str, *, prompt: int, cached: int, completion: int) -> None: ...
    def queue(self, model: str, *, requests: int, tokens: int) -> None: ...
    def logs_lost(self, logs: int) -> None: ...
    def render(self) -> bytes:
        return b""


class OneToken:
    """A token store that knows ``sk-good``; ``sk-powerless``, which may do nothing; and ``sk-expired``."""

    async def verify(self, token: str) -> Principal | None:
        if token == "sk-expired":
            raise ExpiredToken("Invalid API Token: it is expired or revoked.")
        permissions = {"sk-good": frozenset(Permission), "sk-powerless": frozenset[Permission]()}
        return Principal(token, ACCOUNT, permissions[token]) if token in permissions else None


@dataclass(frozen=True)
class Kept:
    """Where gateways and their logs are."""

    database: Database
    folder: Path
    settings: Gateway = field(default_factory=Gateway)


@dataclass(frozen=True)
class Bounded:
    """What bounds a server, where it isn't the usual."""

    settings: HttpSettings = field(default_factory=HttpSettings)
    limits: Limits | None = None
    ledger: Ledger | None = None


C = TypeVar("C", bound=AbstractContextManager)


@dataclass
class Served:
    """A server that listens, and the chat model behind it, which says ``reply``, or what that says to the turn."""

    url: str
    chat: ScriptedEngine
    reply: str | Said | Reply = "beep boop whirr"
    outcomes: "queue.SimpleQueue[str | None]" = field(default_factory=queue.SimpleQueue)
    completions: CompletionStore | None = None
    database: Database | None = None
    gateways: Kept | None = None
    reranker: ScriptedReranker | None = None
    binding: BindingSettings = field(default_factory=BindingSettings)
    bounded: Bounded = field(default_factory=Bounded)
    loop: asyncio.AbstractEventLoop | None = None
    clients: ExitStack = field(default_factory=ExitStack)

    def owned(self, client: C) -> C:
        """A client that is closed with the server: a socket left open is a warning in whichever test runs then."""
        return self.clients.enter_context(client)

    def soon(self, work: Callable[[], None]) -> None:
        """Do something where the model runs, whose stage is no other thread's."""
        assert self.loop is not None
        self.loop.call_soon_threadsafe(work)

    @property
    def base(self) -> str:
        return f"{self.url}/client/v4/accounts/{ACCOUNT}/ai/v1"


def _serve(served: Served, listening: socket.socket, started: queue.SimpleQueue, *, is_open: bool) -> None:
    """Run the whole HTTP layer until it is told to stop. Each request's outcome goes into ``served.outcomes``."""
    chat = served.chat

    def note(_logger: object, _method: str, event: dict) -> str:
        served.outcomes.put(event.get("outcome"))
        raise structlog.DropEvent

    async def run() -> None:
        served.loop = asyncio.get_running_loop()
        embedder = ScriptedEmbedder(CARDS[EMBEDDING_STAND_IN])
        metrics = SilentMetrics()
        engines = (chat, embedder, *([served.reranker] if served.reranker else []))
        catalogue = Catalogue(CARDS.values(), [engine.card for engine in engines], stand_ins=True)
        hosted = {engine.card.id: partial(Hosted, engine) for engine in engines}
        jobs, responses = _kept_on(served.database) if served.database else (None, None)
        async with (
            Pool(hosted, load_wait_s=10) as pool,
            anyio.create_task_group() as tasks,
            _gateway(served.gateways, catalogue, metrics) as gateway,
        ):
            service = Service(catalogue, pool, metrics, limits=served.bounded.limits, ledger=served.bounded.ledger)
            auth = OpenAuth() if is_open else TokenAuth(OneToken())
            logger = structlog.wrap_logger(structlog.PrintLogger(), processors=[note])
            settings = replace(served.bounded.settings, any_account=is_open, binding=served.binding)
            parts = HttpParts(service, auth, metrics, settings, logger=logger, completions=served.completions)
            app = build(replace(parts, jobs=jobs, responses=responses, gateway=gateway))
            if jobs is not None and responses is not None:
                tasks.start_soon(jobs.run)
                tasks.start_soon(keep_up, responses.store, responses.locks)
            silent = {"lifespan": "off", "access_log": False, "log_config": None}
            server = uvicorn.Server(uvicorn.Config(app, **silent, http=Connection, ws=SocketConnection))
            started.put(server)
            await server.serve(sockets=[listening])
            tasks.cancel_scope.cancel()

    asyncio.run(run())


@asynccontextmanager
async def _gateway(
    kept: Kept | None, catalogue: Catalogue, metrics: SilentMetrics
) -> AsyncIterator[GatewayParts | None]:
    if kept is None:
        yield None
        return
    settings = Settings(gateway=kept.settings)
    async with HostedGateway(settings, kept.database, kept.folder, catalogue, is_open=False).running(metrics) as parts:
        yield parts


def _kept_on(database: Database) -> tuple[JobRunner, ResponseParts]:
    conversations = ConversationStore(database)
    locks = Locks(conversations, SystemClock())
    jobs = JobRunner(JobStore(database, JobLimits()), RunnerLimits())
    return jobs, ResponseParts(ResponseStore(database), conversations, locks, "a-secret-of-twenty-letters")


@contextmanager
def _new_database() -> Iterator[Kept]:
    with (
        tempfile.TemporaryDirectory(prefix="lowcloud-scripted-") as folder,
        open_database(f"sqlite:///{folder}/lowcloud.db") as database,
    ):
        yield Kept(database, Path(folder))


@contextmanager
def scripted_server(
    *,
    is_open: bool,
    completions: CompletionStore | None = None,
    sees_images: bool = False,
    reranks: bool = False,
    binding: BindingSettings | None = None,
    bounded: Bounded | None = None,
    port: int = 0,
    responses: bool = False,
    gateways: Gateway | None = None,
) -> Iterator[Served]:
    """``dev`` where it is open; else ``serve``, which wants a token. ``completions`` keeps those that are stored;
    ``reranks``: with a model that does; ``binding``: with an answer to the bindings of Workers; ``responses``: with
    responses, conversations and batches, on a database of its own; ``gateways``: so set, with the AI Gateway."""
    card = CARDS[CHAT_STAND_IN].model_copy(update={"vision": sees_images})
    chat = ScriptedEngine(card, lambda turn: served.reply(turn) if callable(served.reply) else served.reply)
    listening = socket.create_server(("127.0.0.1", port))
    served = Served(f"http://127.0.0.1:{listening.getsockname()[1]}", chat, completions=completions)
    served.binding = binding or served.binding
    served.bounded = bounded or served.bounded
    served.reranker = ScriptedReranker(CARDS[RERANKER]) if reranks else None
    stack = ExitStack()
    served.database = stack.enter_context(_new_database()).database if responses else None
    served.gateways = replace(stack.enter_context(_new_database()), settings=gateways) if gateways else None
    started: queue.SimpleQueue[uvicorn.Server] = queue.SimpleQueue()
    thread = threading.Thread(target=_serve, args=(served, listening, started), kwargs={"is_open": is_open})
    thread.start()
    server = started.get(timeout=20)
    try:
        yield served
    finally:
        served.clients.close()
        server.should_exit = True
        thread.join(20)
        listening.close()
        stack.close()
