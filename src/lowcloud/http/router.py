"""Finds the route of a raw path, and answers with its handler.

Paths are matched before they are decoded, and each segment is decoded by itself: SDKs send a model id as
``@cf/meta/llama``, ``@cf%2Fmeta%2Fllama`` or ``%40cf/meta/llama``, and all three mean the same.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Protocol
from urllib.parse import parse_qsl, quote, unquote_to_bytes

from starlette.datastructures import Headers
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from lowcloud.core.errors import BadRequest, MethodNotAllowed, NotFound, UnknownAccount
from lowcloud.core.principal import ACCOUNT_ID, MAX_ACCOUNT_CHARS, Permission, Principal
from lowcloud.http.auth import RUNS_GATEWAYS, USES_MODELS, Auth, check
from lowcloud.http.body import check_media_type, read_body
from lowcloud.http.call import PRINCIPAL, Call, Handler, SocketHandler, Trace, Wire
from lowcloud.http.errors import Shape, openai
from lowcloud.http.openapi import Operation
from lowcloud.http.origin import is_from_here, is_preflight, preflight_headers
from lowcloud.http.settings import HttpSettings
from lowcloud.http.watch import while_connected

MAX_SHOWN_PATH = 200
WITH_BODY = ("POST", "PUT", "PATCH")
_GATEWAY_ACCOUNT = re.compile(rf"/v1/(?i:{ACCOUNT_ID.pattern})(/|$)")


@dataclass(frozen=True, slots=True)
class Route:
    """``template``: ``{name}`` stands for one segment, a last ``{name...}`` for all that are left, slashes included.

    An ``is_open`` route needs no token from this machine itself, any other one with a permission of ``any_of``; one
    that ``runs_models`` may be called by way of a gateway with a token for gateways alone. Errors have ``error_shape``.
    A POST, PUT or PATCH route gets its body, which is labelled as JSON unless the route ``takes_any_media``; a DELETE
    route that ``reads_body`` gets it too, whatever its label.
    """

    method: str
    template: str
    handler: Handler
    operation: Operation
    is_open: bool = False
    error_shape: Shape = openai
    any_of: frozenset[Permission] = USES_MODELS
    runs_models: bool = False
    takes_any_media: bool = False
    reads_body: bool = False


@dataclass(frozen=True, slots=True)
class SocketRoute:
    """A WebSocket at the path of other routes, whose errors before it is accepted are theirs."""

    template: str
    handler: SocketHandler
    any_of: frozenset[Permission] = USES_MODELS


@dataclass(frozen=True, slots=True)
class Found:
    """The routes of a path, by method, its WebSocket, and its decoded variables."""

    template: str
    routes: Mapping[str, Route]
    params: Mapping[str, str]
    socket: SocketRoute | None = None

    @property
    def error_shape(self) -> Shape:
        """Of a path's routes, which are of one format."""
        return next(iter(self.routes.values())).error_shape

    def allow(self) -> tuple[str, ...]:
        """The methods that the path takes."""
        return (*self.routes, *(("HEAD",) if "GET" in self.routes else ()), "OPTIONS")


class Table:
    """The routes, to be asked for a raw path. ``hint`` is what is said of a path that is none of them."""

    def __init__(self, routes: Sequence[Route], hint: str = "", sockets: Sequence[SocketRoute] = ()) -> None:
        self.routes = tuple(routes)
        self._sockets = {socket.template: socket for socket in sockets}
        self._hint = hint
        self._by_template: dict[str, dict[str, Route]] = {}
        for route in routes:
            self._by_template.setdefault(route.template, {})[route.method] = route
        self._patterns = [(template, template.split("/")[1:]) for template in self._by_template]

    def find(self, raw_path: str) -> Found:
        """The routes of a path. One slash at its end makes no difference. Raises NotFound, BadRequest."""
        segments = [_decoded(segment) for segment in raw_path.split("/")[1:]]
        if len(segments) > 1 and segments[-1] == "":
            segments.pop()
        for template, pattern in self._patterns:
            params = _match(pattern, segments)
            if params is not None:
                return Found(template, self._by_template[template], params, self._sockets.get(template))
        if _GATEWAY_ACCOUNT.match(raw_path):
            raise NotFound(
                "32 hex digits after /v1/ are an account of the AI Gateway, which this server doesn't have. "
                "The OpenAI base URL is /v1, or /client/v4/accounts/<account id>/ai/v1."
            )
        raise NotFound(f"No route for {raw_path[:MAX_SHOWN_PATH]}.{self._hint}")


def _match(pattern: Sequence[str], segments: Sequence[str]) -> dict[str, str] | None:
    params: dict[str, str] = {}
    for place, part in enumerate(pattern):
        if part.endswith("...}"):
            rest = "/".join(segments[place:]).removesuffix("/")
            return {**params, part[1:-4]: rest} if rest else None
        if place >= len(segments):
            return None
        if part.startswith("{"):
            params[part[1:-1]] = segments[place]
        elif part != segments[place]:
            return None
    return params if len(pattern) == len(segments) and all(params.values()) else None


def _decoded(segment: str) -> str:
    try:
        return unquote_to_bytes(segment).decode("utf-8")
    except UnicodeDecodeError:
        raise BadRequest(f"The path is not valid UTF-8 at {segment[:MAX_SHOWN_PATH]}.") from None


def raw_path(scope: Scope) -> str:
    """The path as the client sent it."""
    raw: bytes | None = scope.get("raw_path")
    return raw.decode("latin-1") if raw else quote(scope["path"], safe="/@:~!$&'()*+,;=")


class Detour(Protocol):
    """A way around a route's own handler."""

    async def reply(self, template: str, call: Call, handler: Handler) -> ASGIApp:
        """What is answered to a call of the route, by its ``handler`` or otherwise."""


class Router:
    """Routes a request, authenticates it, reads its body, and sends what its handler answers, or the ``detour``."""

    def __init__(self, table: Table, auth: Auth, settings: HttpSettings, detour: Detour | None = None) -> None:
        self._table, self._detour = table, detour
        self._auth = auth
        self._settings = settings

    async def __call__(self, trace: Trace, scope: Scope, receive: Receive, send: Send) -> None:
        """Raises LowcloudError before the answer has begun, ClientLeft, WriteTimeout."""
        found = self._table.find(trace.path)
        trace.route = found.template
        trace.error_shape = found.error_shape
        if scope["type"] == "websocket":
            await self._open(found, trace, scope, Wire(receive, send))
        else:
            await self._answer(found, trace, scope, receive, send)

    async def _open(self, found: Found, trace: Trace, scope: Scope, wire: Wire) -> None:
        if found.socket is None:
            raise NotFound(f"No WebSocket at {trace.path[:MAX_SHOWN_PATH]}.")
        headers = Headers(scope=scope)
        account_id = self._account(trace.path, found)
        admit = partial(self._auth.principal, headers, account_id, found.socket.any_of)
        principal = await admit()
        trace.account_id, trace.token_id = principal.account_id, principal.token_id
        await found.socket.handler(Call(trace, headers, found.params, principal, b"", _query(scope)), admit, wire)

    async def _answer(self, found: Found, trace: Trace, scope: Scope, receive: Receive, send: Send) -> None:
        headers = Headers(scope=scope)
        account_id = self._account(trace.path, found)
        route = found.routes.get("GET" if trace.method == "HEAD" else trace.method)
        if route is None:
            await _methods(trace.method, headers, found)(scope, receive, send)
            return
        principal: Principal | None = scope.get(PRINCIPAL)
        if principal is not None:  # it comes by way of a gateway, which a token for gateways may run models through
            check(principal, route.any_of | RUNS_GATEWAYS if route.runs_models else route.any_of)
        elif not (route.is_open and is_from_here(scope, headers)):
            principal = await self._auth.principal(headers, account_id, route.any_of)
            trace.account_id, trace.token_id = principal.account_id, principal.token_id
        body = b""
        if route.method in WITH_BODY and not route.takes_any_media:
            check_media_type(headers)
        if route.method in WITH_BODY or route.reads_body:
            body = await read_body(scope, receive, self._settings)
        call = Call(trace, headers, found.params, principal, body, _query(scope))

        async def answer() -> None:
            if self._detour is None:
                reply = await route.handler(call)
            else:
                reply = await self._detour.reply(found.template, call, route.handler)
            await reply(scope, receive, send)

        await while_connected(scope, receive, answer)

    def _account(self, path: str, found: Found) -> str | None:
        account_id = found.params.get("account_id")
        if account_id is None or (self._settings.any_account and len(account_id) <= MAX_ACCOUNT_CHARS):
            return account_id
        if not ACCOUNT_ID.fullmatch(account_id.lower()):
            raise UnknownAccount(path[:MAX_SHOWN_PATH])
        return account_id.lower()


def _query(scope: Scope) -> dict[str, str]:
    return dict(parse_qsl(scope.get("query_string", b"").decode("latin-1"), keep_blank_values=True))


def _methods(method: str, headers: Headers, found: Found) -> Response:
    """OPTIONS, which every path answers. Raises MethodNotAllowed for the rest."""
    if method != "OPTIONS":
        raise MethodNotAllowed(method[:20], found.allow())
    if is_preflight(method, headers):
        return Response(None, 204, preflight_headers(headers, found.allow()))
    return Response(None, 204, {"allow": ", ".join(found.allow())})
