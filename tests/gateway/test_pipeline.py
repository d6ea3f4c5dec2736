"""A call's way: what comes before what, and what the caller and the log get to know."""

import json
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import anyio
import pytest
from spend_book import SpendBook

from lowcloud.core.errors import LowcloudError
from lowcloud.core.principal import Permission, Principal
from lowcloud.gateway.cache import Cache, Entry
from lowcloud.gateway.call import OURS, Asked, Call, Headers, Reply, Step, Target, begun
from lowcloud.gateway.config import GatewayConfig
from lowcloud.gateway.errors import (
    BadOption,
    GatewayUnauthorized,
    NoReply,
    NoSuchGateway,
    RateLimited,
    SpendLimitReached,
)
from lowcloud.gateway.flight import Flights
from lowcloud.gateway.limiter import MemoryLimiter
from lowcloud.gateway.options import Options
from lowcloud.gateway.pipeline import Account, Gateway, Tools
from lowcloud.gateway.prices import Price
from lowcloud.gateway.providers import PROVIDERS, Provider, moved
from lowcloud.gateway.record import Record
from lowcloud.gateway.settlements import Settlements
from lowcloud.gateway.spend import Filter, SpendRule
from lowcloud.gateway.spending import Spending
from lowcloud.gateway.spool import Spool

pytestmark = pytest.mark.anyio
ACCOUNT = "a" * 32
WHO = Principal("t", ACCOUNT, frozenset(Permission))
BODY = b'{"model":"gpt-4o","messages":[]}'
CALL = Call("openai", "POST", "chat/completions", "", (("content-type", "application/json"),), BODY)
ANSWER = b'{"model":"gpt-4o","usage":{"prompt_tokens":10,"completion_tokens":5}}'
JSON: Headers = (("content-type", "application/json"), ("content-length", str(len(ANSWER))))


async def pieces(*parts: bytes) -> AsyncGenerator[bytes, None]:
    for part in parts:
        yield part


@dataclass
class Upstream:
    """Answers with what is in ``script``, in turns, the last one again and again."""

    script: list[object] = field(default_factory=lambda: [200])
    sent: list[tuple[Call, Target, float | None]] = field(default_factory=list)
    gate: anyio.Event | None = None
    _turn: anyio.Event = field(default_factory=anyio.Event)

    async def asked(self, times: int) -> None:
        while len(self.sent) < times:
            self._turn = anyio.Event()
            await self._turn.wait()

    async def send(self, call: Call, target: Target, first_byte_s: float | None) -> Reply:
        self.sent.append((call, target, first_byte_s))
        self._turn.set()
        what = self.script.pop(0) if len(self.script) > 1 else self.script[0]
        if self.gate is not None:
            await self.gate.wait()
        if isinstance(what, Exception):
            raise what
        if isinstance(what, Reply):
            return what
        assert isinstance(what, int)
        return Reply(what, JSON, pieces(ANSWER))


@dataclass
class Directory:
    config: GatewayConfig
    kept: dict[tuple[str, str], str] = field(default_factory=dict)
    generation: int = 0

    async def find(self, _account_id: str, gateway_id: str) -> Account:
        if gateway_id != self.config.id:
            raise NoSuchGateway(gateway_id)
        return Account(self.config, self.generation)

    async def make_default(self, account_id: str) -> None: ...

    async def key(self, _account_id: str, _gateway_id: str, provider: str, alias: str | None) -> str | None:
        return self.kept.get((provider, alias or "default"))


class Entries:
    def __init__(self) -> None:
        self.kept: dict[str, Entry] = {}

    async def get(self, account_id: str, gateway_id: str, key: str) -> Entry | None:
        return self.kept.get(key)

    async def put(self, entry: Entry) -> None:
        self.kept[entry.key] = entry


class Logs:
    def __init__(self) -> None:
        self.records: list[Record] = []

    async def add(self, records) -> None:
        self.records += records

    def logs_lost(self, logs: int) -> None:
        raise AssertionError("a log was lost")


@dataclass
class Bench:
    gateway: Gateway
    upstream: Upstream
    ours: Upstream
    directory: Directory
    logs: Logs
    spool: Spool
    spending: Spending
    spent: SpendBook
    slept: list[float]
    now: list[float]

    async def ask(self, *steps: Step, principal: Principal | None = WHO, **options: object) -> Reply:
        asked = Asked(
            f"id-{len(self.upstream.sent)}",
            ACCOUNT,
            "g",
            steps or (Step(CALL),),
            Options(**options),
            "provider",
            principal,
        )
        return await self.gateway.answer(asked)

    async def read(self, *steps: Step, **asked: object) -> tuple[Reply, bytes]:
        reply = await self.ask(*steps, **asked)
        return reply, b"".join([piece async for piece in reply.body])

    async def logged(self) -> list[Record]:
        await self.spool.move()
        return self.logs.records


@asynccontextmanager
async def bench(
    folder: Path,
    *script: object,
    is_open: bool = False,
    prices: dict | None = None,
    providers: Mapping[str, Provider] = PROVIDERS,
    **config: object,
) -> AsyncGenerator[Bench, None]:
    upstream, ours = Upstream(list(script) or [200]), Upstream()
    directory = Directory(replace(GatewayConfig("g"), **config))
    logs, spent, now, slept = Logs(), SpendBook(), [1_800_000_000.0], []
    spool = Spool(folder / "spool", logs, logs)
    spool.open()
    settlements = Settlements(folder / "spend")
    settlements.open()
    spending = Spending(spent, settlements)

    async def sleep(seconds: float) -> None:
        slept.append(seconds)
        now[0] += seconds

    tools = Tools(
        directory,
        upstream,
        ours,
        Cache(Entries()),
        MemoryLimiter(),
        spending,
        spool,
        prices if prices is not None else {"openai": {"gpt-4o": Price(2.5, 10.0)}},
        lambda: now[0],
        lambda: now[0],
        sleep,
        is_open,
        providers,
    )
    async with anyio.create_task_group() as tasks:
        made = Gateway(tools, Flights(tasks))
        yield Bench(made, upstream, ours, directory, logs, spool, spending, spent, slept, now)
        tasks.cancel_scope.cancel()


async def test_a_reply_passes_with_the_gateways_headers_and_one_log(tmp_path):
    async with bench(tmp_path) as desk:
        reply, body = await desk.read(metadata={"user": "x"})
        assert (reply.status, body) == (200, ANSWER)
        said = dict(reply.headers)
        assert said["cf-aig-log-id"] == said["cf-aig-request-id"] == said["cf-aig-event-id"] == "id-0"
        assert said["cf-aig-step"] == "0"
        assert "cf-aig-cache-status" not in said
        (record,) = await desk.logged()
        assert (record.provider, record.model, record.status_code, record.success) == ("openai", "gpt-4o", 200, True)
        assert (record.tokens_in, record.tokens_out, record.cost) == (10, 5, (10 * 2.5 + 5 * 10) / 1e6)
        assert (record.request, record.response, record.metadata) == (BODY, ANSWER, {"user": "x"})
        assert (record.request_size, record.response_size) == (len(BODY), len(ANSWER))


async def test_the_log_is_on_the_disk_before_the_last_byte_is_given(tmp_path):
    async with bench(tmp_path) as desk:
        reply = await desk.ask()
        async for _ in reply.body:
            assert desk.spool.find("id-0") is not None
        stream = Reply(200, (("content-type", "text/event-stream"),), pieces(b"data: a\n\n", b"data: b\n\n"))
        desk.upstream.script = [stream]
        reply = await desk.ask()
        seen = [desk.spool.find("id-1") async for _ in reply.body]
        assert seen == [None, None]
        assert desk.spool.find("id-1") is not None  # and only then does the stream end for the client


async def test_an_unknown_gateway_and_a_caller_whom_nobody_knows_are_refused_without_a_log(tmp_path):
    async with bench(tmp_path, authentication=True, is_open=True) as desk:
        with pytest.raises(GatewayUnauthorized):
            await desk.ask(principal=None)
        with pytest.raises(NoSuchGateway):
            await desk.gateway.answer(Asked("x", ACCOUNT, "other", (Step(CALL),), Options(), "provider", WHO))
        assert await desk.logged() == []


async def test_without_authentication_it_answers_everybody_only_where_it_may(tmp_path):
    async with bench(tmp_path / "open", is_open=True) as desk:
        assert (await desk.read(principal=None))[0].status == 200
        with pytest.raises(GatewayUnauthorized):
            await desk.ask(Step(CALL._replace(provider=OURS)), principal=None)
    async with bench(tmp_path / "closed", is_open=False) as desk:
        with pytest.raises(GatewayUnauthorized):
            await desk.ask(principal=None)


async def test_a_hit_costs_neither_a_call_nor_a_place_in_the_limit(tmp_path):
    async with bench(tmp_path, cache_ttl_s=60, rate_limiting_limit=1, rate_limiting_interval_s=60) as desk:
        first, body = await desk.read()
        again, same = await desk.read()
        assert [dict(reply.headers)["cf-aig-cache-status"] for reply in (first, again)] == ["MISS", "HIT"]
        assert (body, same, len(desk.upstream.sent)) == (ANSWER, ANSWER, 1)
        with pytest.raises(RateLimited):
            await desk.ask(Step(CALL._replace(body=b'{"model":"other"}')))
        records = await desk.logged()
        assert [(each.cached, each.cost, each.status_code) for each in records][1:] == [
            (True, 0.0, 200),
            (False, None, 429),
        ]


async def test_another_credential_another_generation_and_skipping_miss(tmp_path):
    async with bench(tmp_path, cache_ttl_s=60) as desk:
        await desk.read()
        other = CALL._replace(headers=(*CALL.headers, ("authorization", "Bearer sk-other")))
        for steps, options in [((Step(other),), {}), ((), {"skips_cache": True})]:
            reply, _ = await desk.read(*steps, **options)
            assert dict(reply.headers).get("cf-aig-cache-status") != "HIT"
        desk.directory.generation += 1
        reply, _ = await desk.read()
        assert dict(reply.headers)["cf-aig-cache-status"] == "MISS"


@pytest.mark.parametrize("header", ["x-api-key", "api-key", "x-goog-api-key", "x-auth-token"])
@pytest.mark.parametrize("shared", [(), (("authorization", "Bearer same"),)])
@pytest.mark.parametrize("options", [{}, {"cache_key": "mine"}])
async def test_nobody_gets_what_another_key_was_answered_wherever_it_stands(tmp_path, header, shared, options):
    async with bench(tmp_path, cache_ttl_s=60) as desk:
        for who, status in [("alice", "MISS"), ("bob", "MISS"), ("alice", "HIT")]:
            own = CALL._replace(provider="deepseek", headers=(*CALL.headers, *shared, (header, who)))
            reply, _ = await desk.read(Step(own), **options)
            assert dict(reply.headers)["cf-aig-cache-status"] == status


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "PATCH", "DELETE"])
async def test_what_asks_how_something_stands_or_changes_it_is_never_answered_from_the_cache(tmp_path, method):
    async with bench(tmp_path, cache_ttl_s=60) as desk:
        for _ in range(2):
            reply, _ = await desk.read(Step(CALL._replace(method=method)))
            assert "cf-aig-cache-status" not in dict(reply.headers)
        assert len(desk.upstream.sent) == 2


async def test_a_stream_that_ended_with_an_error_is_not_kept(tmp_path):
    stream: Headers = (("content-type", "text/event-stream"),)
    failed = b'data: {"choices":[]}\n\ndata: {"error":{"message":"server exploded"}}\n\n'
    good = b'data: {"choices":[]}\n\ndata: [DONE]\n\n'
    script = [Reply(200, stream, pieces(body)) for body in (failed, good)]
    async with bench(tmp_path, *script, cache_ttl_s=60) as desk:
        got = [await desk.read() for _ in range(3)]
        assert [dict(reply.headers)["cf-aig-cache-status"] for reply, _ in got] == ["MISS", "MISS", "HIT"]
        assert [body for _, body in got] == [failed, good, good]


async def test_a_hit_says_what_our_models_said_of_their_answer(tmp_path):
    headers = (*JSON, ("lowcloud-ignored", "foo"), ("lowcloud-stand-in", "@local/m"), ("x-other", "1"))
    async with bench(tmp_path, Reply(200, headers, pieces(ANSWER)), cache_ttl_s=60) as desk:
        await desk.read()
        shown = dict((await desk.read())[0].headers)
        assert (shown["cf-aig-cache-status"], shown.get("x-other")) == ("HIT", None)
        assert (shown["lowcloud-ignored"], shown["lowcloud-stand-in"]) == ("foo", "@local/m")


async def test_two_who_ask_the_same_at_once_make_one_call(tmp_path):
    async with bench(tmp_path, cache_ttl_s=60) as desk:
        desk.upstream.gate = anyio.Event()
        got: list[tuple[Reply, bytes]] = []

        async def ask() -> None:
            got.append(await desk.read())

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(ask)
            tasks.start_soon(ask)
            await anyio.wait_all_tasks_blocked()
            desk.upstream.gate.set()
        assert [body for _, body in got] == [ANSWER, ANSWER]
        assert sorted(dict(reply.headers)["cf-aig-cache-status"] for reply, _ in got) == ["HIT", "MISS"]
        assert len(desk.upstream.sent) == 1


@pytest.mark.parametrize("has_head", [False, True])
@pytest.mark.parametrize(("attempts", "n_sent"), [(1, 1), (2, 2)])
async def test_who_joins_a_call_keeps_their_own_timeout(tmp_path, attempts, n_sent, has_head):
    gate = anyio.Event()

    async def late() -> AsyncGenerator[bytes, None]:
        yield b""
        await gate.wait()
        yield ANSWER

    script = [Reply(200, JSON, late()), 200] if has_head else [200]
    async with bench(tmp_path, *script, cache_ttl_s=60) as desk, anyio.create_task_group() as tasks:
        desk.upstream.gate = None if has_head else gate
        tasks.start_soon(desk.read)
        await anyio.wait_all_tasks_blocked()
        asked = {"request_timeout_ms": 1, "max_attempts": attempts, "retry_delay_ms": 0}
        if attempts == 1:
            with pytest.raises(NoReply):
                await desk.ask(**asked)
        else:
            tasks.start_soon(partial(desk.read, **asked))
            await desk.upstream.asked(2)
        assert len(desk.upstream.sent) == n_sent
        gate.set()


async def test_a_failure_is_the_leaders_and_who_joined_calls_for_themselves(tmp_path):
    async with bench(tmp_path, 500, 200, cache_ttl_s=60) as desk:
        desk.upstream.gate = anyio.Event()
        got: list[int] = []

        async def ask() -> None:
            got.append((await desk.read())[0].status)

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(ask)
            tasks.start_soon(ask)
            await anyio.wait_all_tasks_blocked()
            desk.upstream.gate.set()
        assert sorted(got) == [200, 500]
        assert len(desk.upstream.sent) == 2


async def test_what_may_pass_is_tried_again_and_the_limit_counts_it_once(tmp_path):
    no_reply = NoReply(kind="no_connection")
    async with bench(tmp_path, 500, no_reply, 200, rate_limiting_limit=1, rate_limiting_interval_s=60) as desk:
        options = {"max_attempts": 3, "retry_delay_ms": 100, "backoff": "exponential", "request_timeout_ms": 250}
        reply, _ = await desk.read(**options)
        assert reply.status == 200
        assert desk.slept == [0.1, 0.2]
        assert [first_byte_s for *_, first_byte_s in desk.upstream.sent] == [0.25, 0.25, 600.0]


async def test_what_wont_pass_isnt_tried_again(tmp_path):
    async with bench(tmp_path, 400) as desk:
        reply, _ = await desk.read(max_attempts=5)
        assert (reply.status, len(desk.upstream.sent)) == (400, 1)


async def test_the_next_step_comes_where_one_fails_and_says_which_it_was(tmp_path):
    async with bench(tmp_path, NoReply(kind="timeout"), 401, 200) as desk:
        steps = [Step(CALL._replace(path=path)) for path in ("one", "two", "three")]
        reply, _ = await desk.read(*steps)
        assert dict(reply.headers)["cf-aig-step"] == "2"
        (record,) = await desk.logged()
        assert (record.step, record.path) == (2, "three")


async def test_where_no_step_is_left_the_last_reply_is_the_answer(tmp_path):
    async with bench(tmp_path, 500, 503) as desk:
        reply, _ = await desk.read(Step(CALL), Step(CALL))
        assert (reply.status, dict(reply.headers)["cf-aig-step"]) == (503, "1")
    async with bench(tmp_path / "none", NoReply(kind="timeout")) as desk:
        with pytest.raises(NoReply):
            await desk.read(Step(CALL), Step(CALL))
        (record,) = await desk.logged()
        assert (record.status_code, record.success) == (400, False)


async def test_a_step_that_cant_be_done_makes_the_next_one_due(tmp_path):
    rule = SpendRule("r", limit=0.0, window_s=60, provider=Filter(frozenset({"openai"})))
    good = Step(CALL._replace(provider="groq"))
    for number, call in enumerate([CALL._replace(provider="nope"), CALL._replace(provider="groq", path="../x"), CALL]):
        async with bench(tmp_path / str(number), spend_limits=(rule,)) as desk:
            reply, _ = await desk.read(Step(call), good)
            assert (reply.status, dict(reply.headers)["cf-aig-step"]) == (200, "1")
            assert [sent.provider for sent, _, _ in desk.upstream.sent] == ["groq"]
            (record,) = await desk.logged()
            assert (record.provider, record.step) == ("groq", 1)


async def test_a_limit_of_calls_that_is_reached_is_no_reason_for_another_step(tmp_path):
    async with bench(tmp_path, rate_limiting_limit=1, rate_limiting_interval_s=60) as desk:
        await desk.read()
        with pytest.raises(RateLimited):
            await desk.ask(Step(CALL), Step(CALL))
        assert len(desk.upstream.sent) == 1


@pytest.mark.parametrize(
    ("call", "status"), [(CALL._replace(provider="nope"), 400), (CALL._replace(path="../x"), 400), (CALL, 429)]
)
async def test_an_error_of_our_own_names_its_log_and_the_callers_event(tmp_path, call, status):
    async with bench(tmp_path, rate_limiting_limit=1, rate_limiting_interval_s=60) as desk:
        await desk.read()
        with pytest.raises(LowcloudError) as refused:
            await desk.ask(Step(call), event_id="order-42")
        *_, record = await desk.logged()
        assert (record.status_code, record.event_id, record.provider) == (status, "order-42", call.provider)
        assert refused.value.headers == {
            "cf-aig-log-id": record.id,
            "cf-aig-request-id": record.id,
            "cf-aig-event-id": "order-42",
        }


async def test_the_callers_bound_is_for_the_first_byte_of_the_body_too(tmp_path):
    async def late() -> AsyncGenerator[bytes, None]:
        yield b""
        await anyio.sleep_forever()

    script = [Reply(200, JSON, late()), Reply(200, JSON, pieces(b"", ANSWER)), Reply(204, (), pieces())]
    async with bench(tmp_path, *script) as desk:
        reply, body = await desk.read(request_timeout_ms=1, max_attempts=2, retry_delay_ms=0)
        assert (reply.status, body, len(desk.upstream.sent)) == (200, ANSWER, 2)
    async with bench(tmp_path / "alone", *[Reply(200, JSON, late()), script[2]]) as desk:
        with pytest.raises(NoReply):
            await desk.ask(request_timeout_ms=1)
        reply, body = await desk.read(request_timeout_ms=60_000)
        assert (reply.status, body) == (204, b"")


async def test_a_key_that_a_call_names_and_nobody_keeps_is_an_error(tmp_path):
    async with bench(tmp_path) as desk:
        with pytest.raises(BadOption) as refused:
            await desk.ask(byok_alias="third")
        assert refused.value.param == "cf-aig-byok-alias"
        assert desk.upstream.sent == []


async def test_a_kept_key_goes_in_where_the_client_sends_none(tmp_path):
    async with bench(tmp_path) as desk:
        desk.directory.kept = {("openai", "default"): "sk-kept", ("openai", "second"): "sk-second"}
        await desk.read()
        await desk.read(byok_alias="second")
        own = CALL._replace(headers=(*CALL.headers, ("authorization", "Bearer sk-own")))
        await desk.read(Step(own))
        keys = [dict(target.headers)["authorization"] for _, target, _ in desk.upstream.sent]
        assert keys == ["Bearer sk-kept", "Bearer sk-second", "Bearer sk-own"]


async def test_our_own_models_are_called_as_who_calls(tmp_path):
    async with bench(tmp_path) as desk:
        await desk.read(Step(CALL._replace(provider=OURS, path="v1/chat/completions")))
        ((_, target, _),) = desk.ours.sent
        assert (target.principal, target.account_id) == (WHO, ACCOUNT)


async def test_a_spend_limit_is_overshot_by_no_more_than_is_under_way_and_outlives_a_restart(tmp_path):
    rule = SpendRule("r", limit=0.0001, window_s=3600)
    async with bench(tmp_path, spend_limits=(rule,)) as desk:
        await desk.read()
        await desk.read()
        with pytest.raises(SpendLimitReached) as refused:
            await desk.ask()
        assert refused.value.spent >= 0.0001
        await desk.spending.save()
        kept = desk.spent
    async with bench(tmp_path, spend_limits=(rule,)) as desk:
        desk.spent.kept = kept.kept
        with pytest.raises(SpendLimitReached):
            await desk.ask()


async def test_bodies_are_left_out_of_the_log_where_they_are_to_be(tmp_path):
    async with bench(tmp_path) as desk:
        await desk.read(collect_log_payload=False)
        await desk.read(zdr=True)
        await desk.read(collect_log=False)
        records = await desk.logged()
        assert [(each.request, each.response) for each in records] == [(None, None), (None, None)]


async def test_a_client_that_leaves_ends_the_call_and_is_logged(tmp_path):
    closed = anyio.Event()

    async def endless() -> AsyncGenerator[bytes, None]:
        try:
            while True:
                yield b"data: x\n\n"
        finally:
            closed.set()

    async with bench(tmp_path) as desk:
        desk.upstream.script = [Reply(200, (("content-type", "text/event-stream"),), endless())]
        reply = await desk.ask()
        await anext(reply.body)
        await reply.body.aclose()
        assert closed.is_set()
        (record,) = await desk.logged()
        assert record.response == b"data: x\n\n"


async def test_secrets_of_a_body_are_not_in_the_log(tmp_path):
    async with bench(tmp_path) as desk:
        secret = "sk-" + "a1B2" * 12
        body = json.dumps({"model": "gpt-4o", "input": f"my key is {secret}"}).encode()
        await desk.read(Step(CALL._replace(body=body)))
        (path,) = list((tmp_path / "spool").iterdir())
        assert secret not in path.read_text()


async def test_a_reply_that_nobody_begins_to_read_is_closed_paid_for_and_logged(tmp_path):
    closed = []

    async def body() -> AsyncGenerator[bytes, None]:
        try:
            yield b""
            yield ANSWER
        finally:
            closed.append(True)

    async with bench(tmp_path, Reply(200, JSON, await begun(body()))) as desk:
        reply = await desk.ask()
        await reply.body.aclose()
        assert closed == [True]
        (record,) = await desk.logged()
        assert (record.status_code, record.response_size) == (200, 0)


@pytest.mark.parametrize("who", ["leader", "all", "nobody"])
async def test_a_shared_call_is_paid_for_whoever_leaves(tmp_path, who):
    rule = SpendRule("r", limit=0.0001, window_s=3600)
    stream = Reply(200, (("content-type", "application/json"),), pieces(ANSWER[:20], ANSWER[20:]))
    async with bench(tmp_path, stream, cache_ttl_s=60, spend_limits=(rule,)) as desk:
        leader, follower = await desk.ask(), await desk.ask()
        for reply in {"leader": [leader], "all": [leader, follower], "nobody": []}[who]:
            await reply.body.aclose()
        if who != "all":
            assert b"".join([piece async for piece in follower.body]) == ANSWER
        await anyio.wait_all_tasks_blocked()
        amounts = desk.spending._ledgers[ACCOUNT, "g"]["r", "all"]
        assert amounts.held == ()
        spent = sum(amount for _, amount in amounts.entries)
        assert spent == (pytest.approx(75e-6) if who != "all" else pytest.approx(spent))
        await leader.body.aclose()
        assert len(await desk.logged()) == 2


async def test_a_provider_that_the_operator_moved_may_be_anywhere(tmp_path):
    async with bench(tmp_path, providers=moved({"openai": "http://127.0.0.1:1/v1"})) as desk:
        await desk.read()
        ((_, target, _),) = desk.upstream.sent
        assert (target.url, target.is_checked) == ("http://127.0.0.1:1/v1/chat/completions", False)


async def test_a_model_without_a_price_and_a_body_that_is_no_json_hold_nothing(tmp_path):
    rule = SpendRule("r", limit=0.0001, window_s=3600)
    async with bench(tmp_path, spend_limits=(rule,), prices={}) as desk:
        for body in (BODY, b"\xff", b"[" * 100_000):
            reply, _ = await desk.read(Step(CALL._replace(body=body)))
            assert reply.status == 200
        amounts = desk.spending._ledgers[ACCOUNT, "g"]["r", "all"]
        assert (amounts.held, amounts.entries) == ((), ())


async def test_a_reply_that_cant_be_kept_is_answered_and_asked_for_again(tmp_path):
    video = [Reply(200, (("content-type", "video/mp4"),), pieces(b"x")) for _ in range(2)]
    async with bench(tmp_path, *video, cache_ttl_s=60) as desk:
        assert [dict((await desk.read())[0].headers)["cf-aig-cache-status"] for _ in video] == ["MISS"] * 2
