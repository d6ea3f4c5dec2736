"""The outermost layer: an id for every request, Host and Origin, the error boundary, the log line, the metrics."""

from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from typing import Protocol, TypeAlias

import anyio
import structlog
from starlette.datastructures import Headers
from starlette.types import Message, Receive, Scope, Send
from structlog.typing import FilteringBoundLogger

from lowcloud.core.errors import InternalError, LowcloudError
from lowcloud.http import errors
from lowcloud.http.binding.gate import Gate
from lowcloud.http.call import Trace
from lowcloud.http.clock import Clock
from lowcloud.http.link import Link, link_of
from lowcloud.http.origin import check_host, check_origin, cors_headers
from lowcloud.http.router import raw_path
from lowcloud.http.settings import HttpSettings
from lowcloud.http.sse import WriteTimeout
from lowcloud.http.watch import ClientLeft

PIECE_BYTES = 65_536
CLIENT_LEFT_STATUS = 499
ACCEPTED_STATUS = 101
INTERNAL_ERROR = 1011  # why a WebSocket is closed
_HEADS = ("http.response.start", "websocket.http.response.start", "websocket.accept")
Inner: TypeAlias = Callable[[Trace, Scope, Receive, Send], Awaitable[None]]


class RequestMetrics(Protocol):
    """Counts requests. ``route`` is a template, ``method`` whatever the client sent."""

    def request(self, route: str, method: str, status: int, seconds: float) -> None: ...


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What the edge needs of the world. ``new_id`` makes the ids of requests; ``logger`` writes one line a request."""

    metrics: RequestMetrics
    clock: Clock
    new_id: Callable[[], str]
    logger: FilteringBoundLogger


class Edge:
    """An ASGI app around ``inner``, which may raise any error before its answer has begun.

    What the bindings of Workers ask goes through ``gate`` instead, which has its own rules on who is let in.
    """

    def __init__(self, inner: Inner, gate: Gate, settings: HttpSettings, surroundings: Surroundings) -> None:
        self._inner = inner
        self._gate = gate
        self._settings = settings
        self._around = surroundings

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            raise RuntimeError(f"no {scope['type']} here")
        started = self._around.clock.monotonic()
        query = scope.get("query_string", b"").decode("latin-1")
        trace = Trace(self._around.new_id(), scope.get("method", "GET"), raw_path(scope), started, query)
        bound = structlog.contextvars.bind_contextvars(request_id=trace.id)
        try:
            await self._observe(trace, scope, receive, send)
        finally:
            structlog.contextvars.reset_contextvars(**bound)

    async def _observe(self, trace: Trace, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            reply = _Reply(send, trace, link_of(scope), self._settings.write_timeout_s)
            await self._answer(trace, scope, receive, reply)
        except ClientLeft:
            trace.outcome = "client_left"
        except WriteTimeout:
            trace.outcome = "write_timeout"
        except anyio.get_cancelled_exc_class():
            trace.outcome = "broken"  # the server stops, and its grace is over
            raise
        finally:
            self._record(trace)

    async def _answer(self, trace: Trace, scope: Scope, receive: Receive, reply: "_Reply") -> None:
        headers = Headers(scope=scope)
        try:
            if (request := self._gate.presented(scope)) is not None:
                await self._gate.answer(request, trace, scope, receive, reply.send)
                return
            check_host(headers, self._settings)
            reply.headers += cors_headers(check_origin(headers, self._settings))
            await self._inner(trace, scope, receive, reply.send)
        except (ClientLeft, WriteTimeout):
            raise
        except LowcloudError as error:
            await self._fail(error, trace, scope, receive, reply)
        except Exception:  # the outermost loop: whatever it is, the traceback goes to the log and nowhere else
            self._around.logger.exception("a request failed", route=trace.route)
            await self._fail(internal_error(trace.id), trace, scope, receive, reply)

    async def _fail(self, error: LowcloudError, trace: Trace, scope: Scope, receive: Receive, reply: "_Reply") -> None:
        if trace.status is not None:  # too late for a status; the server closes the connection
            trace.outcome = "broken"
            if scope["type"] == "websocket":
                await reply.send({"type": "websocket.close", "code": INTERNAL_ERROR})
            return
        await errors.response(error, trace.id, trace.error_shape)(scope, receive, reply.send)

    def _record(self, trace: Trace) -> None:
        seconds = self._around.clock.monotonic() - trace.started
        status = CLIENT_LEFT_STATUS if trace.outcome == "client_left" else trace.status or 500
        self._around.metrics.request(trace.route, trace.method, status, seconds)
        self._around.logger.info(
            "request",
            method=trace.method[:20],
            path=trace.path[:500],
            route=trace.route,
            status=status,
            outcome=trace.outcome,
            ms=round(seconds * 1000, 1),
            account=trace.account_id,
            token_id=trace.token_id,
            model=trace.model,
            completion_id=trace.completion_id,
        )


def internal_error(request_id: str) -> InternalError:
    """What a caller learns of a bug of ours."""
    return InternalError(f"Internal server error. The server's log has the details under the request id {request_id}.")


class _Reply:
    """One request's ``send``: adds the headers that every answer has, and bounds the wait of each write.

    Raises WriteTimeout; of a WebSocket ClientLeft.
    """

    def __init__(self, send: Send, trace: Trace, link: Link | None, bound_s: float) -> None:
        self._send = send
        self._trace = trace
        self._link, self._bound_s = link, bound_s
        request_id = trace.id.encode()
        self.headers = [
            (b"x-request-id", request_id),
            (b"cf-ai-req-id", request_id),
            (b"x-content-type-options", b"nosniff"),
        ]

    async def send(self, message: Message) -> None:
        if message.get("more_body", False):
            await self._bounded(message)
        elif message["type"] in _HEADS:
            self._trace.status = message.get("status", ACCEPTED_STATUS)
            await self._bounded({**message, "headers": self._with_own(message.get("headers", ()))})
        elif message["type"].startswith("websocket.") or not message.get("body"):
            await self._bounded(message)
        else:
            await self._send_last(message["body"])

    def _with_own(self, given: Iterable[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
        """What a provider says of its own request stands; two values of a name would be none."""
        headers = list(given)
        names = {name for name, _ in headers} - {b"vary"}
        return [*headers, *(each for each in self.headers if each[0] not in names)]

    async def _send_last(self, body: bytes) -> None:
        """A whole body goes out in pieces, so that a slow client is told from one that takes nothing."""
        pieces = memoryview(body) if self._trace.method != "HEAD" else memoryview(b"")
        for start in range(0, max(1, len(pieces)), PIECE_BYTES):
            end = start + PIECE_BYTES
            piece = {"body": bytes(pieces[start:end]), "more_body": end < len(pieces)}
            await self._bounded({"type": "http.response.body", **piece})

    async def _bounded(self, message: Message) -> None:
        if self._link is not None and not self._link.is_blocked:
            await self._send(message)
            return
        try:
            with anyio.fail_after(self._bound_s):
                await self._send(message)
        except TimeoutError:
            raise WriteTimeout from None
        except OSError:
            if message["type"].startswith("websocket."):
                raise ClientLeft from None
            raise
