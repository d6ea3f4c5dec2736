"""One HTTP request on its way through the server: what is logged of it, and what a handler gets to see."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Send

from lowcloud.core.principal import DEV_ACCOUNT, Principal
from lowcloud.core.requests import Caller
from lowcloud.http.errors import Shape, openai

Outcome: TypeAlias = Literal["done", "client_left", "write_timeout", "failed", "broken"]


@dataclass(slots=True)
class Trace:
    """What the edge records of a request; filled in as it becomes known. ``route`` is the template, never the path;
    ``completion_id`` is the id that the answer's body carries; ``query`` is raw.

    ``error_shape`` is that of the route's format. ``failed``: a stream that ended with an error event; ``broken``: an
    answer that stopped without one.
    """

    id: str
    method: str
    path: str
    started: float
    query: str = ""
    route: str = "unmatched"
    account_id: str | None = None
    token_id: str | None = None
    model: str | None = None
    completion_id: str | None = None
    status: int | None = None
    outcome: Outcome = "done"
    error_shape: Shape = openai


@dataclass(frozen=True, slots=True)
class Call:
    """A request that is routed and authenticated, its body read.

    ``params`` holds the decoded variables of the path, ``query`` those behind it; of two of a name the last.
    """

    trace: Trace
    headers: Headers
    params: Mapping[str, str]
    principal: Principal | None
    body: bytes
    query: Mapping[str, str] = field(default_factory=dict)

    @property
    def caller(self) -> Caller:
        """Whose account what this call runs is counted on; an open route's own account is that of ``dev``."""
        return Caller(self.principal.account_id if self.principal else DEV_ACCOUNT)


# In the scope of a request that comes from within this process: its principal, who needn't be authenticated again.
PRINCIPAL = "lowcloud.principal"

Handler: TypeAlias = Callable[[Call], Awaitable[ASGIApp]]
# Asks again who calls: a token may be withdrawn while a connection lasts. Raises as ``Auth.principal`` does.
Admit: TypeAlias = Callable[[], Awaitable[Principal]]


@dataclass(frozen=True, slots=True)
class Wire:
    """A WebSocket that isn't accepted yet: ASGI's two ends of it. ``send`` raises ClientLeft."""

    receive: Receive
    send: Send


SocketHandler: TypeAlias = Callable[[Call, Admit, Wire], Awaitable[None]]
