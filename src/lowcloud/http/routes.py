"""The whole URL table, and the ASGI app that answers it."""

import secrets
from collections.abc import Callable
from dataclasses import dataclass, field
from importlib.metadata import version
from typing import Protocol

import structlog
from starlette.types import ASGIApp
from structlog.typing import FilteringBoundLogger

from lowcloud.core.ids import uuid4
from lowcloud.http.anthropic.messages import AnthropicMessages
from lowcloud.http.anthropic.routes import anthropic_routes
from lowcloud.http.auth import Auth
from lowcloud.http.binding.gate import BindingAuth, Gate
from lowcloud.http.binding.gateways import BindingGateways
from lowcloud.http.binding.player import Recorder, Replayer
from lowcloud.http.binding.routes import bare_routes, binding_routes
from lowcloud.http.binding.runs import BindingRuns
from lowcloud.http.clock import Clock, SystemClock
from lowcloud.http.docs_page import page
from lowcloud.http.edge import Edge, Inner, RequestMetrics, Surroundings
from lowcloud.http.encode import to_json
from lowcloud.http.gateway.build import Around, GatewayParts, gatewayed, management
from lowcloud.http.gateway.manage import Desk
from lowcloud.http.gateway.manage_routes import manage_routes
from lowcloud.http.generation import Answerer
from lowcloud.http.image_links import ImageFetcher, ImageLinks
from lowcloud.http.offload import Offload
from lowcloud.http.openai import schemas
from lowcloud.http.openai.chat import Chat
from lowcloud.http.openai.completions import Completions, CompletionTools
from lowcloud.http.openai.embeddings import Embeddings
from lowcloud.http.openai.models import Models
from lowcloud.http.openai.rerank import Reranking
from lowcloud.http.openai.routes import Handlers as OpenAIHandlers
from lowcloud.http.openai.routes import openai_routes
from lowcloud.http.openai.stored import Stored
from lowcloud.http.openai.tokens import TokenTexts
from lowcloud.http.openapi import About, Operation, document
from lowcloud.http.operations import METRICS_TYPE, Document, Operations
from lowcloud.http.responses.background import KIND as RESPONSE
from lowcloud.http.responses.background import Background
from lowcloud.http.responses.compact import Compaction
from lowcloud.http.responses.compact import Tools as CompactionTools
from lowcloud.http.responses.context import Contexts, Locks
from lowcloud.http.responses.conversations import Conversations
from lowcloud.http.responses.handlers import Responses
from lowcloud.http.responses.orders import Tools as ResponseTools
from lowcloud.http.responses.routes import compaction_routes, conversation_routes, response_routes
from lowcloud.http.responses.run import Maker
from lowcloud.http.responses.sealed import Sealer
from lowcloud.http.responses.socket import Sockets
from lowcloud.http.responses.unrun import Ignores, ignores_none
from lowcloud.http.router import Route, Router, SocketRoute, Table
from lowcloud.http.settings import HttpSettings
from lowcloud.http.sse import Pace
from lowcloud.http.workers_ai.batch import KIND, Batch
from lowcloud.http.workers_ai.catalogue import CatalogueSearch
from lowcloud.http.workers_ai.classify import ClassifyRunner
from lowcloud.http.workers_ai.embeddings import EmbeddingsRunner
from lowcloud.http.workers_ai.native import Native, TaskRunner
from lowcloud.http.workers_ai.rerank import RerankRunner
from lowcloud.http.workers_ai.routes import absent_routes, catalogue_routes, run_routes, token_routes
from lowcloud.http.workers_ai.run import Runs
from lowcloud.http.workers_ai.text import TextRunner
from lowcloud.http.workers_ai.text_response import ResponseRunner
from lowcloud.models.card import Task
from lowcloud.serving.jobs import JobRunner
from lowcloud.serving.service import Service
from lowcloud.storage.completions import CompletionStore
from lowcloud.storage.conversations import ConversationStore
from lowcloud.storage.responses import ResponseStore

BASES = ("/client/v4/accounts/{account_id}/ai/v1", "/v1")


class Metrics(RequestMetrics, Protocol):
    """What ``http`` needs of the metrics: a place to count requests, and their text."""

    def render(self) -> bytes:
        """The exposition text."""


@dataclass(frozen=True, slots=True)
class ResponseParts:
    """What responses and conversations need: where they are kept, their seeds, and the server's secret.

    ``ignores`` says of a model's and a token's id whether tools that aren't run here are left out for them.
    """

    store: ResponseStore
    conversations: ConversationStore
    locks: Locks
    secret: str
    ignores: Ignores = ignores_none
    new_seed: Callable[[], int] = lambda: secrets.randbits(63)


@dataclass(frozen=True, slots=True)
class HttpParts:
    """What the HTTP layer is built from. ``new_id`` makes ids that nobody guesses; tests give their own and a clock.

    Without ``completions`` no chat completion is stored, and there are no routes for them; without ``images`` none is
    fetched; without ``jobs`` nothing is queued to be run later. Those who run the kinds of jobs are added to it. There
    are responses where there are ``responses`` and ``jobs``.
    """

    service: Service
    auth: Auth
    metrics: Metrics
    settings: HttpSettings = field(default_factory=HttpSettings)
    clock: Clock = field(default_factory=SystemClock)
    new_id: Callable[[], str] = uuid4
    logger: FilteringBoundLogger = field(default_factory=lambda: structlog.get_logger("lowcloud.http").bind())
    completions: CompletionStore | None = None
    images: ImageFetcher | None = None
    jobs: JobRunner | None = None
    responses: ResponseParts | None = None
    gateway: GatewayParts | None = None


@dataclass(frozen=True, slots=True)
class Handlers:
    """One object a format."""

    openai: OpenAIHandlers
    messages: AnthropicMessages
    catalogue: CatalogueSearch
    runs: Runs
    binding_runs: BindingRuns
    operations: Operations
    responses: Responses | None = None
    conversations: Conversations | None = None
    compaction: Compaction | None = None
    sockets: Sockets | None = None
    management: Desk | None = None


def build(parts: HttpParts) -> ASGIApp:
    """The app. It has no lifespan: who owns the parts starts and ends them."""
    handlers = _handlers(parts)
    routes = table(handlers)

    def describe() -> tuple[bytes, str]:
        described = document(routes, About("Lowcloud", version("lowcloud"), schemas.ErrorEnvelope))
        return to_json(described), page(described)

    every = (*routes, *_described(Document(describe, Offload())))
    # bound here: a logger that isn't makes itself anew for every line
    surroundings = Surroundings(parts.metrics, parts.clock, parts.new_id, parts.logger.bind())
    paths = Table(every, sockets=_sockets(handlers.sockets))
    router: Inner = Router(paths, parts.auth, parts.settings)
    gateways: BindingGateways | None = None
    if parts.gateway is not None:
        around = Around(parts.auth, parts.settings, parts.clock, parts.new_id, parts.logger)
        made = gatewayed(parts.gateway, paths, Table(bare_routes(handlers.binding_runs)), around)
        binding = parts.settings.binding
        router = made.inner
        gateways = BindingGateways(handlers.binding_runs, made, Offload(), binding.url, binding.own_listener)
    return Edge(router, _gate(handlers, gateways, parts.settings), parts.settings, surroundings)


def _gate(on: Handlers, gateways: BindingGateways | None, settings: HttpSettings) -> Gate:
    """What Workers' bindings ask has a table of its own, and an own answer to who calls."""
    routes = binding_routes(on.binding_runs, on.catalogue, gateways)
    paths = Table(routes, " It is none of those that a Worker's env.AI has.")
    binding = settings.binding
    router = Router(paths, BindingAuth(binding.account_id), settings)
    if binding.replay is not None:
        return Gate(Replayer(router, binding.replay, settings), binding)
    return Gate(Recorder(router, binding.record, settings) if binding.record else router, binding)


def table(on: Handlers) -> tuple[Route, ...]:
    """Every route but those that show this table."""
    return (
        *openai_routes(on.openai, BASES),
        *(compaction_routes(on.compaction, BASES) if on.compaction else ()),
        *(response_routes(on.responses, BASES) if on.responses else ()),
        *(conversation_routes(on.conversations, BASES) if on.conversations else ()),
        *anthropic_routes(on.messages, BASES),
        *run_routes(on.runs),
        *catalogue_routes(on.catalogue),
        *absent_routes(),
        *token_routes(),
        *(manage_routes(on.management) if on.management else ()),
        Route("GET", "/healthz", on.operations.health, HEALTH, is_open=True),
        Route("GET", "/readyz", on.operations.ready, READY, is_open=True),
        Route("GET", "/metrics", on.operations.metrics, METRICS, is_open=True),
    )


def _sockets(on: Sockets | None) -> list[SocketRoute]:
    return [SocketRoute(base + "/responses", on.open) for base in BASES] if on else []


def _described(shown: Document) -> tuple[Route, ...]:
    return (
        Route("GET", "/openapi.json", shown.openapi, OPENAPI, is_open=True),
        Route("GET", "/docs", shown.docs, DOCS, is_open=True),
    )


def _handlers(parts: HttpParts) -> Handlers:
    offload = Offload()
    pace = Pace(parts.settings.heartbeat_s, parts.settings.write_timeout_s)
    links = ImageLinks(parts.service, parts.images)
    answerer = Answerer(parts.service, links, pace, parts.clock, parts.logger)

    def new_id(prefix: str) -> Callable[[], str]:
        return lambda: prefix + parts.new_id().replace("-", "")

    runners: dict[Task, TaskRunner] = {
        Task.TEXT_GENERATION: TextRunner(
            answerer, offload, parts.clock, new_id(""), _native_responses(parts, answerer, offload, new_id("resp_"))
        ),
        Task.TEXT_EMBEDDINGS: EmbeddingsRunner(parts.service, offload),
        Task.RERANK: RerankRunner(parts.service, offload),
        Task.TEXT_CLASSIFICATION: ClassifyRunner(parts.service, offload),
    }
    native = Native(parts.service, runners)
    ignores = parts.responses.ignores if parts.responses else ignores_none
    runs = Runs(native, offload, _batch(parts, native, offload), ignores)
    tools = _response_tools(parts, answerer, offload, new_id("resp_"))
    openai = OpenAIHandlers(
        Chat(answerer, offload, parts.clock, new_id("chatcmpl-"), parts.completions),
        Completions(parts.service, CompletionTools(answerer, offload, parts.clock, new_id("cmpl-"))),
        TokenTexts(parts.service, links, offload),
        Embeddings(parts.service, offload, parts.new_id, accept_token_ids=parts.settings.accept_token_ids),
        Reranking(parts.service, offload, parts.new_id),
        Models(parts.service),
        Stored(parts.completions, offload) if parts.completions else None,
    )
    return Handlers(
        openai,
        AnthropicMessages(parts.service, answerer, links, offload, new_id("msg_")),
        CatalogueSearch(parts.service, offload, parts.clock),
        runs,
        BindingRuns(runs, offload),
        Operations(parts.service, parts.metrics.render, None if parts.gateway is None else parts.gateway.spool),
        Responses(tools) if tools else None,
        _conversations(parts, offload, new_id("conv_")),
        _compaction(parts, answerer, offload, new_id("resp_")),
        sockets=Sockets(tools, parts.settings.max_body_bytes, parts.logger) if tools else None,
        management=management(parts.gateway, parts.clock, offload),
    )


def _response_tools(
    parts: HttpParts, answerer: Answerer, offload: Offload, new_id: Callable[[], str]
) -> ResponseTools | None:
    own, jobs = parts.responses, parts.jobs
    if own is None or jobs is None:
        return None
    maker = _maker(parts, own, answerer)
    background = Background(maker, own.store, jobs, offload, parts.clock, own.new_seed)
    jobs.add(RESPONSE, background)
    contexts = Contexts(own.store, own.locks)
    return ResponseTools(maker, contexts, own.store, background, answerer, offload, parts.clock, new_id, own.ignores)


def _conversations(parts: HttpParts, offload: Offload, new_id: Callable[[], str]) -> Conversations | None:
    own = parts.responses
    if own is None or parts.jobs is None:
        return None
    contexts = Contexts(own.store, own.locks)
    return Conversations(own.conversations, contexts, Sealer(own.secret), offload, parts.clock, new_id)


def _compaction(parts: HttpParts, answerer: Answerer, offload: Offload, new_id: Callable[[], str]) -> Compaction | None:
    own = parts.responses
    if own is None or parts.jobs is None:
        return None
    contexts, sealer = Contexts(own.store, own.locks), Sealer(own.secret)
    maker = _maker(parts, own, answerer)
    return Compaction(CompactionTools(parts.service, maker, contexts, answerer, sealer, offload, new_id))


def _native_responses(
    parts: HttpParts, answerer: Answerer, offload: Offload, new_id: Callable[[], str]
) -> ResponseRunner | None:
    own = parts.responses
    return None if own is None else ResponseRunner(_maker(parts, own, answerer), answerer, offload, new_id)


def _maker(parts: HttpParts, own: ResponseParts, answerer: Answerer) -> Maker:
    return Maker(parts.service, answerer, parts.clock, Sealer(own.secret), parts.logger)


def _batch(parts: HttpParts, native: Native, offload: Offload) -> Batch | None:
    if parts.jobs is None:
        return None
    batch = Batch(native, parts.jobs, offload, parts.clock, parts.new_id)
    parts.jobs.add(KIND, batch)
    return batch


HEALTH = Operation("health", "The process answers.", "operations", answer=schemas.Health)
READY = Operation(
    "ready", "The server and its preloaded models can answer.", "operations", answer=schemas.Readiness, errors=(503,)
)
METRICS = Operation("metrics", "Prometheus metrics.", "operations", media_type=METRICS_TYPE)
OPENAPI = Operation("openapi", "This API as an OpenAPI 3.1 document.", "operations")
DOCS = Operation("docs", "This API as a page.", "operations", media_type="text/html")
