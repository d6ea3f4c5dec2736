"""``cf-aig-gateway-id`` on our own routes: the same call, by way of a gateway."""

import anyio
import pytest
from usage_sums import Sums, UsageTold

from lowcloud.core.errors import EngineFailed, Overloaded
from lowcloud.core.principal import Permission, Principal
from lowcloud.http.auth import TokenAuth
from lowcloud.http.settings import HttpSettings
from lowcloud.models.catalogue import CHAT_STAND_IN, EMBEDDING_STAND_IN
from lowcloud.serving.limits import Allowance
from lowcloud.serving.usage import Ledger

pytestmark = pytest.mark.anyio
ACCOUNT = "a" * 32
BY = {"cf-aig-gateway-id": "g"}
CHAT = {"model": CHAT_STAND_IN, "messages": [{"role": "user", "content": "hello there"}]}
LONG = f"/client/v4/accounts/{ACCOUNT}/ai"
SHORT_ACCOUNT = "0" * 32  # of the short base, where nobody needs a token
NOON = 20_000 * 86_400 + 43_200.0


class Tokens:
    async def verify(self, token: str) -> Principal | None:
        return Principal(token, ACCOUNT, frozenset({Permission.WORKERS_AI_READ})) if token == "good" else None


@pytest.mark.parametrize("slash", ["", "/"])
@pytest.mark.parametrize(
    ("path", "body"),
    [
        (f"/run/{CHAT_STAND_IN}", {"prompt": "hello"}),
        (f"/run/{CHAT_STAND_IN.replace('@', '%40').replace('/', '%2F')}", {"prompt": "hello"}),
        ("/v1/chat/completions", CHAT),
        ("/v1/embeddings", {"model": EMBEDDING_STAND_IN, "input": "tea"}),
        ("/v1/messages", CHAT | {"max_tokens": 5}),
    ],
)
async def test_the_answer_is_the_same_and_one_log_says_so(desk, path, body, slash):
    plain = await desk.world.ask("POST", LONG + path, body)
    answer = await desk.world.ask("POST", LONG + path + slash, body, BY)
    assert (answer.status, answer.json.keys()) == (200, plain.json.keys()), answer.body
    assert answer.headers.keys() - plain.headers.keys() == {
        f"cf-aig-{name}" for name in ("log-id", "request-id", "event-id", "step")
    }
    (row,) = await desk.logged()
    assert (row.id, row.provider, row.success) == (answer.headers["cf-aig-log-id"], "workers-ai", True)
    assert row.tokens_in > 0


@pytest.mark.parametrize("path", ["/v1/chat/completions", f"/run/{CHAT_STAND_IN}"])
async def test_what_is_asked_of_a_gateway_without_naming_one_is_named_as_ignored(desk, path):
    asked = {"cf-aig-cache-ttl": "60", "cf-aig-collect-log": "true", "cf-aig-authorization": "Bearer x", "x-other": "1"}
    answer = await desk.world.ask("POST", LONG + path, CHAT | {"colour": "blue"}, asked)
    assert answer.status == 200
    assert answer.headers["lowcloud-ignored"].endswith("colour, cf-aig-cache-ttl, cf-aig-collect-log")
    assert await desk.logged() == ()


async def test_a_header_of_the_gateway_that_nobody_knows_is_named_as_ignored(desk):
    answer = await desk.world.ask("POST", LONG + "/v1/chat/completions", CHAT, BY | {"cf-aig-colour": "blue"})
    assert (answer.status, answer.headers["lowcloud-ignored"]) == (200, "cf-aig-colour")


async def test_the_short_base_has_the_gateways_of_its_own_account(desk):
    answer = await desk.world.ask("POST", "/v1/chat/completions", CHAT, {"cf-aig-gateway-id": "default"})
    assert answer.status == 200
    await desk.spool.move()
    (row,) = (await desk.logs.search(SHORT_ACCOUNT, "default")).rows
    assert row.path == "v1/chat/completions"


async def test_the_first_call_of_a_gateway_that_makes_itself_is_kept_for_the_second(desk):
    asked = {"cf-aig-gateway-id": "default", "cf-aig-cache-ttl": "60"}
    answers = [await desk.world.ask("POST", LONG + "/v1/chat/completions", CHAT, asked) for _ in range(2)]
    assert [answer.headers["cf-aig-cache-status"] for answer in answers] == ["MISS", "HIT"]


async def test_an_unknown_gateway_is_2001_in_the_envelope_and_default_makes_itself(desk):
    for path in (f"/run/{CHAT_STAND_IN}", "/v1/chat/completions", "/v1/messages"):
        answer = await desk.world.ask("POST", LONG + path, {"prompt": "x"}, {"cf-aig-gateway-id": "no"})
        assert (answer.status, answer.json["success"], answer.json["errors"][0]["code"]) == (400, False, 2001)
    assert desk.world.chat.requests == []
    for _ in range(2):
        named = {"cf-aig-gateway-id": "default"}
        assert (await desk.world.ask("POST", LONG + "/v1/chat/completions", CHAT, named)).status == 200
    assert (await desk.shelves.gateways.get(ACCOUNT, "default")).is_default


@pytest.mark.parametrize(
    ("method", "path"), [("GET", LONG + "/v1/models"), ("GET", "/v1/models"), ("GET", LONG + "/models/search")]
)
async def test_what_isnt_a_call_of_a_model_goes_its_own_way(desk, method, path):
    answer = await desk.world.ask(method, path, None, BY)
    assert answer.status == 200
    assert "cf-aig-log-id" not in answer.headers


async def test_a_stream_passes_and_is_kept_and_played_again(desk):
    asked = CHAT | {"stream": True}
    headers = BY | {"cf-aig-cache-ttl": "60"}
    first, again = [await desk.world.ask("POST", LONG + "/v1/chat/completions", asked, headers) for _ in range(2)]
    assert [each.headers["cf-aig-cache-status"] for each in (first, again)] == ["MISS", "HIT"]
    assert first.body == again.body
    assert (first.headers["content-type"], len(desk.world.chat.requests)) == (again.headers["content-type"], 1)
    assert first.events[-1] == "[DONE]"
    kept, hit = sorted(await desk.logged(), key=lambda row: row.cached)
    assert (kept.cached, hit.cached, hit.cost) == (False, True, 0.0)


async def test_a_call_is_counted_once_and_a_hit_not_at_all(make_desk):
    told = UsageTold()
    ledger = Ledger(Sums(), told, Allowance(None, {}), lambda: NOON)
    async with make_desk(ledger=ledger) as desk:
        await desk.make_gateway()
        for headers in ({}, BY, BY | {"cf-aig-cache-ttl": "60"}, BY | {"cf-aig-cache-ttl": "60"}):
            assert (await desk.world.ask("POST", LONG + "/v1/chat/completions", CHAT, headers)).status == 200
        assert len(told.runs) == 3
        assert len(desk.world.metrics.requests) == 4


async def test_it_isnt_gatewayed_twice(desk):
    """By the gateway's own URL, with the header as well."""
    answer = await desk.ask("POST", "/g/workers-ai/v1/chat/completions", CHAT, BY)
    assert answer.status == 200
    assert len(await desk.logged()) == 1


async def test_who_calls_is_asked_once_and_is_who_the_model_runs_for(make_desk):
    async with make_desk(auth=TokenAuth(Tokens()), settings=HttpSettings(), is_open=False) as desk:
        await desk.make_gateway(authentication=True)
        path = LONG + "/v1/chat/completions"
        assert (await desk.world.ask("POST", path, CHAT, BY)).status == 401
        answer = await desk.world.ask("POST", path, CHAT, BY | {"authorization": "Bearer good"})
        assert answer.status == 200
        (row,) = await desk.logged()
        assert row.authentication


async def test_a_refusal_of_ours_passes_in_its_own_shape_and_the_gateways_in_the_routes(desk):
    answer = await desk.world.ask("POST", LONG + "/v1/chat/completions", CHAT | {"temperature": 9}, BY)
    assert (answer.status, answer.json["error"]["param"]) == (400, "temperature")
    assert (await desk.logged())[0].status_code == 400
    bad = BY | {"cf-aig-cache-ttl": "soon"}
    refused = await desk.world.ask("POST", LONG + "/v1/chat/completions", CHAT, bad)
    assert (refused.status, refused.json["error"]["param"], refused.json["errors"][0]["code"]) == (
        400,
        "cf-aig-cache-ttl",
        7001,
    )
    limited = await desk.world.ask("POST", LONG + "/v1/messages", CHAT | {"max_tokens": 5}, bad)
    assert limited.json["type"] == "error"  # as Anthropic's SDKs read it


async def test_a_model_that_is_busy_is_a_reply_like_any_other(desk):
    desk.world.chat.stage.fail("prepare", Overloaded("full", retry_after_s=3))
    answer = await desk.world.ask("POST", LONG + "/v1/chat/completions", CHAT, BY)
    assert (answer.status, answer.headers["retry-after"]) == (429, "3")
    assert "cf-aig-log-id" in answer.headers
    (row,) = await desk.logged()
    assert (row.status_code, row.success) == (429, False)


async def test_a_model_that_fails_within_a_stream_ends_it_with_its_error(desk):
    desk.world.chat.stage.fail("token:1", EngineFailed("it broke"))
    answer = await desk.world.ask("POST", LONG + "/v1/chat/completions", CHAT | {"stream": True}, BY)
    assert "it broke" in answer.events[-1]
    assert len(await desk.logged()) == 1


async def test_a_bug_within_our_own_routes_is_told_by_its_id_alone_and_never_ends_a_reply_well(desk):
    desk.world.chat.stage.fail("prepare", RuntimeError("secret"))
    answer = await desk.world.ask("POST", LONG + "/v1/chat/completions", CHAT, BY)
    assert (answer.status, b"secret" in answer.body) == (500, False)
    assert len(await desk.logged()) == 1


@pytest.mark.parametrize("point", ["start", "token:1"])
async def test_a_client_that_leaves_ends_the_models_work(desk, point):
    desk.world.chat.stage.hold(point)
    exchange = desk.world.exchange("POST", LONG + "/v1/chat/completions", CHAT | {"stream": True}, BY)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(exchange.run)
        await desk.world.chat.stage.reached(point)
        exchange.leave()
    with anyio.fail_after(10):
        while not desk.world.chat.cancelled:
            await anyio.lowlevel.checkpoint()
    (row,) = await desk.logged()
    assert row.status_code == (499 if point == "start" else 200)


async def test_a_model_that_doesnt_begin_in_time_is_given_up(desk):
    desk.world.chat.stage.hold("start")
    late = BY | {"cf-aig-request-timeout": "50"}
    answer = await desk.world.ask("POST", LONG + "/v1/chat/completions", CHAT, late)
    assert (answer.status, answer.json["errors"][0]["code"]) == (400, 2005)
    await anyio.wait_all_tasks_blocked()
    assert len(desk.world.chat.cancelled) == 1
