"""The composition root: from settings to every object, and the life of a server. Only this file knows all layers."""

import gc
import hashlib
import hmac
import json
import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Literal, TypeAlias

import anyio
import uvloop

from lowcloud.core.principal import DEV_ACCOUNT, Permission, Principal
from lowcloud.host_gateway import HostedGateway
from lowcloud.host_models import host_local, host_remote
from lowcloud.http.auth import Auth, OpenAuth, TokenAuth
from lowcloud.http.binding.player import empty
from lowcloud.http.binding.player import tape as read_tape
from lowcloud.http.binding.tape import Tape
from lowcloud.http.clock import SystemClock
from lowcloud.http.image_links import ImageFetcher
from lowcloud.http.responses.context import Locks
from lowcloud.http.responses.upkeep import keep_up
from lowcloud.http.routes import HttpParts, ResponseParts, build
from lowcloud.http.server import UNIX, Listener, Stop, listen, listen_at, serve
from lowcloud.http.settings import BindingSettings, HttpSettings
from lowcloud.inventory import RemoteModel, models_here, remote_models
from lowcloud.models.catalogue import Catalogue, packaged_cards
from lowcloud.models.store import LocalModel
from lowcloud.serving.admission import Bounds
from lowcloud.serving.jobs import JobRunner, RunnerLimits
from lowcloud.serving.limits import Allowance, rates
from lowcloud.serving.pool import Hosted, Pool
from lowcloud.serving.service import Limits, Service
from lowcloud.serving.usage import Ledger
from lowcloud.settings import Jobs, Server, Settings, SettingsError, Storage, is_loopback
from lowcloud.storage.completions import CompletionStore, Keep
from lowcloud.storage.conversations import ConversationStore, KeepConversations
from lowcloud.storage.database import Database, open_database
from lowcloud.storage.folder import claim
from lowcloud.storage.jobs import JobLimits, JobStore
from lowcloud.storage.responses import KeepResponses, ResponseStore
from lowcloud.storage.secret_files import binding_secret, server_secret
from lowcloud.storage.tokens import TokenStore
from lowcloud.storage.usage import UsageStore
from lowcloud.telemetry import logs
from lowcloud.telemetry.metrics import Metrics

Mode: TypeAlias = Literal["dev", "serve"]
EVERY_ADDRESS = ("0.0.0.0", "::")  # noqa: S104 - compared, not bound
Announce: TypeAlias = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class OneToken:
    """The token of one run of ``dev`` off loopback: printed at its start, kept as a hash, gone with the process."""

    digest: bytes

    async def verify(self, token: str) -> Principal | None:
        """The principal of that token."""
        if hmac.compare_digest(_digest(token), self.digest):
            return Principal("dev", DEV_ACCOUNT, frozenset(Permission))
        return None


def run(settings: Settings, mode: Mode, announce: Announce) -> int:
    """Serve until SIGINT or SIGTERM; the exit status. ``announce`` gets what to tell the person who started it.

    Raises SettingsError, FolderInUseError, DatabaseUnusable, OSError before it listens.
    """
    logs.configure(settings.logs.level, settings.logs.format, dev=mode == "dev")
    with claim(settings.storage.data_dir) as folder:
        found = models_here(settings)
        remote = remote_models(settings)
        catalogue = _catalogue(settings, mode, found.models, remote)
        allowance = _allowance(settings)
        with open_database(settings.storage.url(), migrate=settings.storage.migrate_at_start) as database:
            auth = _auth(settings, mode, announce, database)
            binding = _binding(settings, mode, folder.path)
            for_bindings = _listener_for_bindings(settings)
            listener = listen(settings.server.host, settings.server.port)
            binding = replace(binding, url=url_for_others(listener.url, settings.server))
            folder.announce(listener.url)
            for line in reached_as(settings.server):
                announce(line)
            for line in greeting(listener.url, catalogue, found.problems, wants_token=isinstance(auth, TokenAuth)):
                announce(line)
            for own in for_bindings:
                announce(f"The env.AI of Workers is answered at {own.url} too.")
            completions = CompletionStore(database, _keep(settings.storage))
            usage = UsageStore(database, settings.storage.usage_days)
            jobs = JobStore(database, _job_limits(settings.jobs))
            responses = _responses(settings, database, folder.path)
            gateway = HostedGateway(settings, database, folder.path, catalogue, is_open=isinstance(auth, OpenAuth))
            parts = Parts(
                mode,
                catalogue,
                found.models,
                remote,
                auth,
                completions,
                usage,
                allowance,
                jobs,
                responses,
                gateway,
                binding,
            )
            uvloop.run(_serve(settings, parts, [listener, *for_bindings]))
    return 0


@dataclass(frozen=True, slots=True)
class Parts:
    """What is made before the event loop starts."""

    mode: Mode
    catalogue: Catalogue
    models: tuple[LocalModel, ...]
    remote: tuple[RemoteModel, ...]
    auth: Auth
    completions: CompletionStore
    usage: UsageStore
    allowance: Allowance
    jobs: JobStore
    responses: ResponseParts
    gateway: HostedGateway
    binding: BindingSettings


async def _serve(settings: Settings, parts: Parts, listeners: Sequence[Listener]) -> None:
    metrics = Metrics()
    hosted: Mapping[str, Callable[[], Hosted]] = {
        **{model.id: partial(host_local, settings, model, metrics) for model in parts.models},
        **{model.id: partial(host_remote, model) for model in parts.remote},
    }
    preload = [model_id for model_id, model in settings.models.items() if model.preload]
    ledger = Ledger(parts.usage, metrics, parts.allowance)
    jobs = JobRunner(parts.jobs, _runner_limits(settings.jobs), meter=metrics)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(ledger.run)
        async with (
            Pool(hosted, load_wait_s=settings.serving.load_wait_s, preload=preload) as pool,
            parts.gateway.running(metrics) as gateway,
        ):
            service = Service(parts.catalogue, pool, metrics, limits=_limits(settings), ledger=ledger)
            http = HttpParts(
                service,
                parts.auth,
                metrics,
                _http(settings, parts.mode, parts.binding),
                completions=parts.completions,
                images=_images(settings.server),
                jobs=jobs,
                responses=parts.responses,
                gateway=gateway,
            )
            app = build(http)
            tasks.start_soon(keep_up, parts.responses.store, parts.responses.locks)
            tasks.start_soon(jobs.run)
            gc.freeze()  # what is loaded stays: looking at it again and again took a sixth of a gateway's call
            await serve(app, listeners, _stop(settings, service, jobs), settings.server.max_body_bytes)
            jobs.stop()
        tasks.cancel_scope.cancel()


def _stop(settings: Settings, service: Service, jobs: JobRunner) -> Stop:
    """What is queued is given back at the first signal: a later start goes on with it."""

    def drain() -> None:
        jobs.stop()
        service.stop_accepting()

    return Stop(settings.server.shutdown_grace_s, drain=drain, cut=service.cut)


def _catalogue(settings: Settings, mode: Mode, local: Sequence[LocalModel], remote: Sequence[RemoteModel]) -> Catalogue:
    stand_ins = settings.serving.stand_ins == "always" or (settings.serving.stand_ins == "auto" and mode == "dev")
    try:
        return Catalogue(
            packaged_cards(),
            [*(model.card for model in local), *(model.card for model in remote)],
            mapping=settings.map,
            remote=[model.id for model in remote],
            stand_ins=stand_ins,
        )
    except ValueError as error:
        raise SettingsError(str(error)) from error


def _keep(storage: Storage) -> Keep:
    return Keep(storage.stored_completions, storage.stored_bytes, storage.stored_days)


def _auth(settings: Settings, mode: Mode, announce: Announce, database: Database) -> Auth:
    loopback = is_loopback(settings.server.host)
    if loopback and (mode == "dev" or settings.server.insecure_loopback):
        return OpenAuth(TokenStore(database))
    if mode == "dev":
        token = "lowcloud_" + secrets.token_urlsafe(32)
        announce(f"Other machines reach this address, so every request needs this token: {token}")
        return TokenAuth(OneToken(_digest(token)), any_account=True)
    return TokenAuth(TokenStore(database))


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).digest()


def _limits(settings: Settings) -> Limits:
    serving = settings.serving
    queue = Bounds(serving.max_queued_requests, serving.max_queued_tokens)
    return Limits(queue, serving.request_deadline_s, settings.jobs.deadline_s)


def _job_limits(jobs: Jobs) -> JobLimits:
    return JobLimits(jobs.account_requests, jobs.account_bytes)


def _runner_limits(jobs: Jobs) -> RunnerLimits:
    return RunnerLimits(jobs.concurrency, jobs.lease_s, kept_s=3_600.0 * jobs.kept_hours)


def _responses(settings: Settings, database: Database, data_dir: Path) -> ResponseParts:
    """A run that has read items finds them until it is over, so they stay for as long as one may take."""
    own = settings.responses
    longest_s = max(settings.serving.request_deadline_s, settings.jobs.deadline_s)
    keep = KeepResponses(own.kept_days, own.account_bytes, grace_s=2 * longest_s)
    conversations = ConversationStore(database, KeepConversations(own.conversation_items, own.account_bytes))
    models = {name for name, model in settings.models.items() if model.ignore_unsupported_tools}

    def ignores(model: str, token_id: str) -> bool:
        return own.ignore_unsupported_tools or model in models or token_id in own.tokens_that_ignore

    locks = Locks(conversations, SystemClock())
    return ResponseParts(ResponseStore(database, keep), conversations, locks, server_secret(data_dir), ignores)


def _allowance(settings: Settings) -> Allowance:
    try:
        return Allowance(settings.limits.neurons_per_day, rates(settings.limits.requests_per_minute))
    except ValueError as error:
        raise SettingsError(f"limits.requests_per_minute.{error}") from error


def _images(server: Server) -> ImageFetcher | None:
    """What fetches images, if anything does. The HTTP client is imported here, as above."""
    if not server.image_urls:
        return None
    from lowcloud.http.image_fetcher import FetchBounds, WebImages  # noqa: PLC0415

    return WebImages(FetchBounds(ports=server.image_url_ports, max_bytes=server.max_body_bytes))


def _binding(settings: Settings, mode: Mode, data_dir: Path) -> BindingSettings:
    binding = settings.binding
    if not binding.is_on(dev=mode == "dev"):
        return BindingSettings()
    own = binding.listen.removeprefix(UNIX) if binding.listen.startswith(UNIX) else _port(binding.listen)
    if own == settings.server.port:
        raise SettingsError("binding.listen: must be another port than server.port")
    tape = _tape(binding.replay) if binding.replay else None
    if binding.record:
        empty(binding.record)
    return BindingSettings(binding_secret(data_dir), binding.account or DEV_ACCOUNT, own, binding.record, tape)


def _tape(folder: Path) -> Tape:
    try:
        return read_tape(folder)
    except ValueError as error:
        raise SettingsError(f"binding.replay: {folder}: {error}") from error


def _port(address: str) -> int | None:
    return int(address.rpartition(":")[2]) if address else None


def _listener_for_bindings(settings: Settings) -> list[Listener]:
    address = settings.binding.listen
    try:
        return [listen_at(address)] if address else []
    except OSError as error:
        raise SettingsError(f"binding.listen: {address}: {error.strerror or error}") from error


def _http(settings: Settings, mode: Mode, binding: BindingSettings) -> HttpSettings:
    server = settings.server
    return HttpSettings(
        allowed_hosts=(*server.allowed_hosts, server.host),
        cors_origins=server.cors_origins,
        any_account=mode == "dev",
        accept_token_ids=settings.embeddings.accept_token_ids,
        max_body_bytes=server.max_body_bytes,
        discard_bytes=server.discard_bytes,
        body_timeout_s=server.body_timeout_s,
        heartbeat_s=server.heartbeat_s,
        write_timeout_s=server.write_timeout_s,
        binding=binding,
    )


def reached_as(server: Server) -> list[str]:
    """Off loopback: as what other machines may call it. Nobody types ``0.0.0.0``, so their name for it must be set."""
    if is_loopback(server.host) or "*" in server.allowed_hosts:
        return []
    is_every_address = server.host in EVERY_ADDRESS
    names = server.allowed_hosts if is_every_address else (server.host, *server.allowed_hosts)
    if not names:
        return [
            "Name in server.allowed_hosts the names and addresses that other machines call it by "
            "(LOWCLOUD_SERVER__ALLOWED_HOSTS=ai.example.com,192.0.2.7); any other Host gets a 403."
        ]
    return [f"Other machines may call it {', '.join(names)}; any other Host gets a 403 (server.allowed_hosts)."]


def url_for_others(url: str, server: Server) -> str:
    """Where who comes by a listener of their own finds the server itself: nobody can connect to every address."""
    if server.host not in EVERY_ADDRESS:
        return url
    name = next((name for name in server.allowed_hosts if name != "*"), "127.0.0.1")
    return f"http://{f'[{name}]' if ':' in name and not name.startswith('[') else name}:{url.rpartition(':')[2]}"


def greeting(url: str, catalogue: Catalogue, problems: tuple[str, ...], *, wants_token: bool) -> list[str]:
    """Where it listens, which models are here, what is missing, and a line to paste, with TOKEN for a token."""
    answers = catalogue.answerable()
    here = [answer.card.id for answer in answers if answer.card.id == answer.by.id]
    others = len(answers) - len(here)
    lines = [f"Lowcloud listens on {url}", f"Models here: {', '.join(here) or 'none'}"]
    if others:
        lines.append(f"They also answer for {others} other ids (GET {url}/v1/models lists them).")
    lines += [f"Not here: {problem}" for problem in problems]
    chat = next((answer for answer in answers if answer.by.task == "Text Generation"), None)
    if chat is not None:
        body = {"model": chat.card.id, "messages": [{"role": "user", "content": "Make some robot noises"}]}
        headers = ["Content-Type: application/json", *(["Authorization: Bearer TOKEN"] if wants_token else [])]
        flags = " ".join(f"-H '{header}'" for header in headers)
        lines.append(f"Try: curl {url}/v1/chat/completions {flags} -d '{json.dumps(body)}'")
    return lines
