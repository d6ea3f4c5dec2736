"""What is written down of one call, whatever becomes of it."""

import asyncio
from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass, field, replace
from typing import TypeVar

import anyio
import pytest

from lowcloud.core.principal import Permission, Principal
from lowcloud.core.threads import LARGE_BYTES, Threads
from lowcloud.gateway import journal as module
from lowcloud.gateway.call import Asked, Call, Headers, Reply, Step
from lowcloud.gateway.config import GatewayConfig
from lowcloud.gateway.errors import NoReply
from lowcloud.gateway.journal import CLIENT_LEFT, Journal
from lowcloud.gateway.options import CustomCost, Options, merged
from lowcloud.gateway.prices import Price
from lowcloud.gateway.providers import PROVIDERS
from lowcloud.gateway.record import Record, unpacked
from lowcloud.gateway.usage import request_facts

T = TypeVar("T")
pytestmark = pytest.mark.anyio
WHO = Principal("t", "a" * 32, frozenset(Permission))
CALL = Call("openai", "POST", "chat/completions", "key=sk-secret&a=1", (("content-type", "text/x"),), b'{"model":"m"}')
ANSWER = b'{"model":"m-1","usage":{"prompt_tokens":10,"completion_tokens":5}}'
WHOLE: Headers = (("content-type", "application/json"), ("content-length", str(len(ANSWER))))
PRICES = {"openai": {"m": Price(1.0, 2.0)}}


@dataclass
class Spool:
    """Keeps what is appended."""

    records: list[Record] = field(default_factory=list)

    def append(self, record: Record, line: bytes) -> bool:
        assert list(unpacked(line)) == [record]
        self.records.append(replace(record))
        return True


class CountedThreads(Threads):
    """Says how much was done in threads."""

    n_run = 0

    async def run(self, work: Callable[[], T]) -> T:
        self.n_run += 1
        return await super().run(work)


class Desk:
    """A journal on a clock that a test sets, with what was settled."""

    def __init__(
        self, *, is_begun: bool = True, asked_by: Principal | None = WHO, call: Call = CALL, **options: object
    ) -> None:
        self.spool, self.now, self.settled, self.threads = Spool(), 5.0, [], CountedThreads(1, "test")
        asked = Asked("id", "a" * 32, "g", (Step(call),), Options(), "provider", asked_by, "curl/8")
        self.journal = Journal(asked, 1_800_000_000.0, lambda: self.now, PRICES, self.spool, self.threads)
        if is_begun:
            settled = merged(Options(**options), Options(), GatewayConfig("g"))
            provider = PROVIDERS["openai"]
            self.journal.begin(2, call, settled)
            self.journal.asks(request_facts(provider, call.path, call.body))

    def answered(self, *pieces: bytes | Exception, headers: Headers = WHOLE, status: int = 200, is_hit: bool = False):
        reply = Reply(status, headers, said(*pieces))
        self.journal.answered(reply, is_hit=is_hit, settle=self.settled.append)
        return self.journal.logged(reply)

    @property
    def record(self) -> Record:
        (record,) = self.spool.records
        return record


async def said(*pieces: bytes | Exception) -> AsyncGenerator[bytes, None]:
    for piece in pieces:
        if isinstance(piece, Exception):
            raise piece
        yield piece


async def read(body: AsyncGenerator[bytes, None]) -> bytes:
    return b"".join([piece async for piece in body])


async def test_every_field_is_filled_in():
    desk = Desk(metadata={"user": "ann"}, event_id="mine")
    body = desk.answered(ANSWER[:10], ANSWER[10:])
    desk.now += 1.5
    assert await read(body) == ANSWER
    assert desk.record == Record(
        id="id",
        account_id="a" * 32,
        gateway_id="g",
        created_at=1_800_000_000.0,
        provider="openai",
        model="m",
        model_type="text",
        request_type="chat",
        path=desk.record.path,
        status_code=200,
        success=True,
        duration_ms=1_500.0,
        step=2,
        tokens_in=10,
        tokens_out=5,
        cost=20e-6,
        metadata={"user": "ann"},
        event_id="mine",
        user_agent="curl/8",
        source="provider",
        authenticated=True,
        request_content_type="text/x",
        response_content_type="application/json",
        request_size=len(CALL.body),
        response_size=len(ANSWER),
        request=CALL.body,
        response=ANSWER,
    )
    assert desk.record.path.startswith("chat/completions?key=")
    assert "sk-secret" not in desk.record.path
    assert desk.settled == [20e-6]


@pytest.mark.parametrize("told", ["", "-1", "1.0", "٣", "9" * 5_000, "0" * 4_500 + "2"])
async def test_a_length_that_no_body_can_have_is_none(told):
    reply = Reply(200, (("content-length", told),), said(ANSWER))
    assert reply.length is None
    assert await read(Desk().answered(ANSWER, headers=reply.headers)) == ANSWER


@pytest.mark.parametrize("n_pieces", [1, 2, len(ANSWER)])
async def test_it_is_written_before_the_last_byte_of_a_reply_whose_length_is_known(n_pieces):
    desk = Desk()
    step = -(-len(ANSWER) // n_pieces)
    left = len(ANSWER)
    async for piece in desk.answered(*(ANSWER[at : at + step] for at in range(0, len(ANSWER), step))):
        left -= len(piece)
        assert len(desk.spool.records) == (left == 0)
    assert len(desk.spool.records) == 1


async def test_it_is_written_before_a_stream_ends():
    desk = Desk()
    body = desk.answered(b"data: a\n\n", headers=(("content-length", "x"),))
    assert [await anext(body), await anext(body)] == [b"", b"data: a\n\n"]
    assert desk.spool.records == []
    assert await anext(body, None) is None
    assert desk.record.success


async def test_a_reply_that_breaks_off_is_no_success_but_what_came_is_paid_for():
    desk = Desk(custom_cost=CustomCost(total_cost=0.25))
    with pytest.raises(NoReply):
        await read(desk.answered(ANSWER[:20], NoReply(kind="no_connection")))
    assert (desk.record.success, desk.record.status_code, desk.record.response) == (False, 200, ANSWER[:20])
    assert (desk.record.cost, desk.record.custom_cost, desk.settled) == (0.25, True, [0.25])


@pytest.mark.parametrize("n_read", [1, 2])
async def test_a_client_that_leaves_has_its_log_and_pays_for_what_came(n_read):
    desk = Desk(custom_cost=CustomCost(total_cost=0.25))
    body = desk.answered(ANSWER[:20], ANSWER[20:])
    for _ in range(n_read):
        await anext(body)
    await body.aclose()
    assert (desk.record.success, desk.record.status_code, desk.settled) == (True, 200, [0.25])


async def test_an_error_of_the_provider_costs_nothing():
    desk = Desk()
    await read(desk.answered(ANSWER, status=500))
    assert (desk.record.success, desk.record.cost, desk.record.tokens_in, desk.settled) == (False, None, 0, [0.0])


async def test_a_hit_costs_nothing_and_has_its_tokens():
    desk = Desk()
    await read(desk.answered(ANSWER, is_hit=True))
    assert (desk.record.cached, desk.record.cost, desk.record.tokens_in) == (True, 0.0, 10)


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (NoReply(kind="timeout"), 400),
        (RuntimeError("a bug"), 500),
        (anyio.EndOfStream(), 500),
        (asyncio.CancelledError(), CLIENT_LEFT),
        (GeneratorExit(), CLIENT_LEFT),
    ],
)
async def test_a_call_without_a_reply_is_logged_with_its_errors_status(error, status):
    desk = Desk(asked_by=None)
    await desk.journal.failed(error)
    await desk.journal.end()
    assert (desk.record.status_code, desk.record.success, desk.record.authenticated) == (status, False, False)
    assert desk.record.cost is None


async def test_where_no_step_began_there_is_nothing_to_log():
    desk = Desk(is_begun=False)
    assert desk.journal.event_id == "id"
    await desk.journal.failed(NoReply(kind="timeout"))
    assert desk.spool.records == []


@pytest.mark.parametrize(
    ("options", "logs", "bodies"),
    [({"collect_log": False}, 0, 0), ({"collect_log_payload": False}, 1, 0), ({"zdr": True}, 1, 0), ({}, 1, 2)],
)
async def test_only_what_may_be_kept_is_kept(options, logs, bodies):
    desk = Desk(**options)
    await read(desk.answered(ANSWER))
    assert len(desk.spool.records) == logs
    assert sum(body is not None for each in desk.spool.records for body in (each.request, each.response)) == bodies
    assert desk.settled == [20e-6]


async def test_of_long_bodies_the_beginning_is_kept_and_the_size_is_told(monkeypatch):
    monkeypatch.setattr(module, "BODY_BYTES", 10)
    desk = Desk()
    await read(desk.answered(b"123456", b"789012", b"345", headers=()))
    assert (desk.record.response, desk.record.request) == (b"1234567890", CALL.body[:10])
    assert (desk.record.response_size, desk.record.request_size) == (15, len(CALL.body))


SECRET = b"sk-proj-abcdefghijklmnopqrstuvwx"


async def test_neither_body_keeps_its_secrets():
    desk = Desk(call=CALL._replace(body=b'{"model":"m","api_key":"' + SECRET + b'"}'))
    await read(desk.answered(b'{"text":"' + SECRET + b'"}', headers=()))
    assert desk.record.request == b'{"model":"m","api_key":"[redacted]"}'
    assert desk.record.response == b'{"text":"[redacted]"}'


async def test_large_bodies_are_written_in_a_thread_and_before_the_last_byte_all_the_same():
    large = b"x" * LARGE_BYTES
    desk = Desk()
    body = desk.answered(large, b"y", headers=(("content-length", str(len(large) + 1)),))
    await anext(body)
    assert [await anext(body), len(desk.spool.records)] == [large, 0]
    assert [await anext(body), len(desk.spool.records), desk.threads.n_run] == [b"y", 1, 1]
    assert await anext(body, None) is None
    assert desk.record.response == large + b"y"


async def test_small_bodies_are_written_at_once():
    desk = Desk()
    await read(desk.answered(ANSWER))
    assert desk.threads.n_run == 0


async def test_a_client_that_leaves_a_large_answer_has_its_log_too():
    desk = Desk()
    body = desk.answered(b"x" * LARGE_BYTES, b"y", headers=())
    assert [len(await anext(body)), len(await anext(body))] == [0, LARGE_BYTES]
    with anyio.CancelScope() as scope:
        scope.cancel()
        await body.aclose()
    assert (desk.record.response, desk.threads.n_run) == (b"x" * LARGE_BYTES, 1)
