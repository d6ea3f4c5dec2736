"""Our own routes as an upstream: what comes of them, and of those who leave."""

from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager

import anyio
import pytest
from starlette.types import Receive, Scope, Send
from structlog.testing import CapturingLogger

from lowcloud.core.errors import Overloaded
from lowcloud.core.principal import Permission, Principal
from lowcloud.gateway.call import Call, Target
from lowcloud.gateway.errors import NoReply
from lowcloud.http.call import PRINCIPAL, Trace
from lowcloud.http.clock import SystemClock
from lowcloud.http.gateway.own_models import OwnModels, path_of
from lowcloud.http.sse import WriteTimeout
from lowcloud.http.watch import ClientLeft

pytestmark = pytest.mark.anyio
ACCOUNT = "a" * 32
WHO = Principal("t", ACCOUNT, frozenset(Permission))
CALL = Call("workers-ai", "POST", "v1/chat/completions", "a=b", (), b"body")
TARGET = Target("", (("content-type", "a/b"),), False, ACCOUNT, WHO)
Route = Callable[[Scope, Receive, Send], Awaitable[None]]


@asynccontextmanager
async def upstream(route: Route) -> AsyncGenerator[OwnModels, None]:
    async def inner(_trace: Trace, scope: Scope, receive: Receive, send: Send) -> None:
        await route(scope, receive, send)

    with anyio.fail_after(20):
        async with anyio.create_task_group() as tasks:
            yield OwnModels(inner, tasks, SystemClock(), lambda: "id", CapturingLogger())
            tasks.cancel_scope.cancel()


async def begin(send: Send, *pieces: bytes) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": [(b"a", b"b")]})
    for piece in pieces:
        await send({"type": "http.response.body", "body": piece, "more_body": True})


def raising(error: Exception, *pieces: bytes, begins: bool = True) -> Route:
    async def route(_scope: Scope, _receive: Receive, send: Send) -> None:
        if begins:
            await begin(send, *pieces)
        raise error

    return route


async def test_a_route_gets_the_call_and_who_calls_and_its_pieces_come_as_it_sends_them():
    seen = {}
    sent: list[bytes] = []

    async def route(scope: Scope, receive: Receive, send: Send) -> None:
        seen.update(scope, body=await receive())
        await begin(send)
        for piece in (b"one", b"two", b"three"):
            await send({"type": "http.response.body", "body": piece, "more_body": True})
            sent.append(piece)
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    async with upstream(route) as own:
        reply = await own.send(CALL, TARGET, None)
        assert (reply.status, reply.headers) == (200, (("a", "b"),))
        assert await anext(reply.body) == b"one"
        await anyio.wait_all_tasks_blocked()
        assert sent == [b"one"]  # no more is held than is taken
        assert [piece async for piece in reply.body] == [b"two", b"three"]
    assert (seen["path"], seen["query_string"], seen[PRINCIPAL]) == (
        f"/client/v4/accounts/{ACCOUNT}/ai/v1/chat/completions",
        b"a=b",
        WHO,
    )
    assert seen["body"] == {"type": "http.request", "body": b"body", "more_body": False}


@pytest.mark.parametrize("n_read", [0, 1])
async def test_who_leaves_ends_the_route_however_little_they_read(n_read):
    left = anyio.Event()

    async def route(_scope: Scope, _receive: Receive, send: Send) -> None:
        try:
            await begin(send, b"one", b"two", b"three")
        finally:
            left.set()

    async with upstream(route) as own:
        reply = await own.send(CALL, TARGET, None)
        for _ in range(n_read):
            await anext(reply.body)
        await reply.body.aclose()
        await left.wait()


async def test_a_route_that_listens_hears_that_its_reader_left():
    heard = anyio.Event()

    async def route(_scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await begin(send)
        with anyio.CancelScope(shield=True):
            assert (await receive())["type"] == "http.disconnect"
        heard.set()

    async with upstream(route) as own:
        reply = await own.send(CALL, TARGET, None)
        await reply.body.aclose()
        await heard.wait()


async def test_a_head_that_doesnt_come_in_time_is_no_reply_and_ends_the_route():
    left = anyio.Event()

    async def route(*_: object) -> None:
        try:
            await anyio.sleep_forever()
        finally:
            left.set()

    async with upstream(route) as own:
        with pytest.raises(NoReply) as raised:
            await own.send(CALL, TARGET, 0.01)
        assert raised.value.kind == "timeout"
        await left.wait()


@pytest.mark.parametrize(
    ("error", "status"), [(Overloaded("full", retry_after_s=1), 429), (RuntimeError("a bug"), 500)]
)
async def test_an_error_before_the_head_is_a_reply(error, status):
    async with upstream(raising(error, begins=False)) as own:
        reply = await own.send(CALL, TARGET, None)
        assert (reply.status, b"a bug" in b"".join([piece async for piece in reply.body])) == (status, False)


@pytest.mark.parametrize("error", [Overloaded("full"), RuntimeError("a bug"), WriteTimeout(), ClientLeft()])
async def test_an_error_after_the_head_breaks_the_reply_off(error):
    async with upstream(raising(error, b"half")) as own:
        reply = await own.send(CALL, TARGET, None)
        assert await anext(reply.body) == b"half"
        with pytest.raises(NoReply):
            await anext(reply.body)


async def test_a_route_that_ends_without_a_head_is_no_reply():
    async with upstream(raising(ClientLeft(), begins=False)) as own:
        with pytest.raises(NoReply):
            await own.send(CALL, TARGET, None)


@pytest.mark.parametrize(
    ("path", "own"),
    [
        ("@cf/meta/llama", "run/@cf/meta/llama"),
        ("/run/@cf/meta/llama/", "run/@cf/meta/llama"),
        ("v1/models", "v1/models"),
        ("../tokens", "run/../tokens"),
    ],
)
def test_a_path_of_the_provider_is_one_of_ours(path, own):
    assert path_of(path, ACCOUNT) == f"/client/v4/accounts/{ACCOUNT}/ai/{own}"
