"""The gateway's objects, around the routes."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from anyio.abc import TaskGroup
from starlette.types import Receive, Scope, Send
from structlog.typing import FilteringBoundLogger

from lowcloud.core.ids import new_uuid7
from lowcloud.gateway.cache import Cache
from lowcloud.gateway.call import Upstream
from lowcloud.gateway.flight import Flights
from lowcloud.gateway.limiter import Limiter
from lowcloud.gateway.pipeline import Directory, Gateway, Tools
from lowcloud.gateway.prices import Prices
from lowcloud.gateway.providers import PROVIDERS, Provider
from lowcloud.gateway.spending import Spending
from lowcloud.gateway.spool import Spool
from lowcloud.http.auth import Auth
from lowcloud.http.call import Trace
from lowcloud.http.clock import Clock
from lowcloud.http.edge import Inner
from lowcloud.http.gateway.door import Door
from lowcloud.http.gateway.logs import Logs
from lowcloud.http.gateway.manage import Desk, Kept
from lowcloud.http.gateway.own_models import OwnModels, in_form
from lowcloud.http.gateway.rest import ByGateway
from lowcloud.http.offload import Offload
from lowcloud.http.router import Router, Table
from lowcloud.http.settings import HttpSettings
from lowcloud.storage.gateway_logs import LogStore


@dataclass(frozen=True, slots=True)
class GatewayParts:
    """What the gateway is built from. ``tasks`` carry its calls. ``is_open``: see ``pipeline.Tools``. There is a
    management API where there is what is ``kept``."""

    directory: Directory
    upstream: Upstream
    cache: Cache
    limiter: Limiter
    spending: Spending
    spool: Spool
    logs: LogStore
    prices: Prices
    tasks: TaskGroup
    is_open: bool = False
    kept: Kept | None = None
    providers: Mapping[str, Provider] = field(default_factory=lambda: PROVIDERS)


@dataclass(frozen=True, slots=True)
class Around:
    """What the HTTP layer has for all."""

    auth: Auth
    settings: HttpSettings
    clock: Clock
    new_id: Callable[[], str]
    logger: FilteringBoundLogger


@dataclass(frozen=True, slots=True)
class Gatewayed:
    """``inner`` is the routes, with the gateway's URLs beside them and the gateway's header on them; the rest is for
    those who come to the gateway by another way."""

    inner: Inner
    by_gateway: ByGateway
    directory: Directory
    logs: Logs


def management(parts: GatewayParts | None, clock: Clock, offload: Offload) -> Desk | None:
    """What the management API's handlers work with; None: there is no such API."""
    if parts is None or parts.kept is None:
        return None
    stores = (parts.kept, parts.logs, parts.spool, parts.cache, parts.spending)
    return Desk(*stores, clock.wall, lambda: new_uuid7(clock.wall), offload)


def gatewayed(parts: GatewayParts, paths: Table, bare: Table, around: Around) -> Gatewayed:
    """``paths`` are the routes, ``bare`` those for runs whose result has no envelope."""
    clock = around.clock
    routes = in_form(*(Router(table, around.auth, around.settings) for table in (paths, bare)))
    own = OwnModels(routes, parts.tasks, clock, around.new_id, around.logger)
    tools = Tools(
        parts.directory,
        parts.upstream,
        own,
        parts.cache,
        parts.limiter,
        parts.spending,
        parts.spool,
        parts.prices,
        clock.wall,
        clock.monotonic,
        clock.sleep,
        parts.is_open,
        parts.providers,
    )
    gateway = Gateway(tools, Flights(parts.tasks))

    def new_id() -> str:
        return new_uuid7(clock.wall)

    offload = Offload()
    door = Door(gateway, parts.directory, around.auth, around.settings, offload, new_id)
    by_gateway = ByGateway(gateway, around.auth, offload, new_id)
    router = Router(paths, around.auth, around.settings, by_gateway)

    async def answer(trace: Trace, scope: Scope, receive: Receive, send: Send) -> None:
        inner = door if door.takes(trace.path) else router
        await inner(trace, scope, receive, send)

    return Gatewayed(answer, by_gateway, parts.directory, Logs(parts.logs, parts.spool))
