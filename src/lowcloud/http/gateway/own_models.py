"""Our own models as an upstream of the gateway: our routes, called in this process, whole replies and streams alike."""

from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import Any, TypeAlias

import anyio
from anyio.abc import TaskGroup
from starlette.datastructures import Headers
from starlette.types import Message, Receive, Scope, Send

from lowcloud.core.errors import LowcloudError
from lowcloud.gateway.call import Call, Reply, Target, begun
from lowcloud.gateway.errors import NoReply
from lowcloud.http import errors
from lowcloud.http.call import PRINCIPAL, Trace
from lowcloud.http.clock import Clock
from lowcloud.http.edge import internal_error
from lowcloud.http.sse import WriteTimeout
from lowcloud.http.watch import ClientLeft

Inner: TypeAlias = Callable[[Trace, Scope, Receive, Send], Awaitable[None]]
BARE = "application/vnd.lowcloud.bare"  # the media type that asks for a run's result without its envelope
BASE = "/client/v4/accounts/{account_id}/ai"


def in_form(enveloped: Inner, bare: Inner) -> Inner:
    """The routes that a call of ours goes to: ``bare`` has the runs of those who want ``BARE``.

    By a header, since replies are kept by what is accepted: one form is never played for the other.
    """

    async def answer(trace: Trace, scope: Scope, receive: Receive, send: Send) -> None:
        inner = bare if Headers(scope=scope).get("accept") == BARE else enveloped
        await inner(trace, scope, receive, send)

    return answer


class OwnModels:
    """Calls ``inner``, the router, as the principal of the target. ``tasks`` run the calls."""

    def __init__(self, inner: Inner, tasks: TaskGroup, clock: Clock, new_id: Callable[[], str], log: Any) -> None:
        self._inner, self._tasks = inner, tasks
        self._clock, self._new_id, self._log = clock, new_id, log

    async def send(self, call: Call, target: Target, first_byte_s: float | None) -> Reply:
        """The reply, once its head is there. Raises NoReply where that isn't in time."""
        path = path_of(call.path, target.account_id)
        trace = Trace(self._new_id(), call.method, path, self._clock.monotonic())
        exchange = _Exchange(call, target, path)
        self._tasks.start_soon(self._run, exchange, trace)
        try:
            with anyio.fail_after(first_byte_s):
                return await exchange.reply()
        except TimeoutError:
            raise NoReply(kind="timeout") from None

    async def _run(self, exchange: "_Exchange", trace: Trace) -> None:
        try:
            with exchange.scope:
                await self._answer(exchange, trace)
        finally:
            exchange.end()

    async def _answer(self, exchange: "_Exchange", trace: Trace) -> None:
        try:
            await self._inner(trace, exchange.asgi, exchange.receive, exchange.send)
        except (ClientLeft, WriteTimeout):
            exchange.is_broken = True
        except LowcloudError as error:
            await exchange.fail(error, trace)
        except Exception:  # the outermost loop of this call
            self._log.exception("a call of the gateway failed", route=trace.route)
            await exchange.fail(internal_error(trace.id), trace)


def path_of(path: str, account_id: str) -> str:
    """Our own path for one of the provider's: a model, ``run`` with or without a model, or ``v1/`` and an endpoint."""
    base = BASE.replace("{account_id}", account_id)
    path = path.strip("/")
    return f"{base}/{path}" if f"{path}/".startswith(("run/", "v1/")) else f"{base}/run/{path}"


class _Exchange:
    """One request and what comes of it, piece by piece: no more is held than the reader takes."""

    def __init__(self, call: Call, target: Target, path: str) -> None:
        self.scope = anyio.CancelScope()
        headers = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in target.headers]
        headers.append((b"host", b"localhost"))
        self.asgi: Scope = {
            "type": "http",
            "method": call.method,
            "path": path,
            "raw_path": path.encode("latin-1"),
            "query_string": call.query.encode("latin-1"),
            "headers": headers,
            PRINCIPAL: target.principal,
        }
        self._body: bytes | None = call.body
        self._sending, self._receiving = anyio.create_memory_object_stream[bytes](0)
        self._head: tuple[int, tuple[tuple[str, str], ...]] | None = None
        self._changed = anyio.Event()
        self._left = anyio.Event()
        self.is_broken = False  # it stopped within its answer

    async def receive(self) -> Message:
        """The body; then, once the reader is gone, that."""
        if self._body is not None:
            body, self._body = self._body, None
            return {"type": "http.request", "body": body, "more_body": False}
        await self._left.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = tuple((name.decode("latin-1"), value.decode("latin-1")) for name, value in message["headers"])
            self._head = (message["status"], headers)
            self._changed.set()
        elif message.get("body"):
            try:
                await self._sending.send(message["body"])
            except anyio.BrokenResourceError:
                self._left.set()

    async def fail(self, error: LowcloudError, trace: Trace) -> None:
        """Answer with an error; an answer that has begun breaks off."""
        self.is_broken = self._head is not None
        if not self.is_broken:
            await errors.response(error, trace.id, trace.error_shape)(self.asgi, self.receive, self.send)

    def end(self) -> None:
        """No more comes."""
        self._sending.close()
        self._changed.set()

    async def reply(self) -> Reply:
        """Once its head is there."""
        try:
            await self._changed.wait()
        except BaseException:
            self._leave()
            raise
        if self._head is None:
            self._leave()
            raise NoReply(kind="no_connection")
        return Reply(*self._head, await begun(self._pieces()))

    async def _pieces(self) -> AsyncGenerator[bytes, None]:
        """First an empty piece. Raises NoReply where the answer breaks off."""
        try:
            yield b""
            async for piece in self._receiving:
                yield piece
            if self.is_broken:
                raise NoReply(kind="no_connection")
        finally:
            self._leave()

    def _leave(self) -> None:
        self._receiving.close()
        self._left.set()
        self.scope.cancel()
