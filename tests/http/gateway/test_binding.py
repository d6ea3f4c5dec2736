"""``env.AI.run`` with a gateway and ``env.AI.gateway(id)``: what the class behind ``env.AI`` asks for, and gets."""

import json
from dataclasses import replace

import anyio
import pytest
from worker_binding import ACCOUNT, BINDING, SETTINGS, Request, direct, envelope, proxy, said, sent, thrown

from lowcloud.core.errors import EngineFailed
from lowcloud.http.binding.player import empty, tape

pytestmark = pytest.mark.anyio
LLAMA = "@cf/meta/llama-3.1-8b-instruct"
SAY = {"prompt": "hello there"}
FORMS = pytest.mark.parametrize("form", [direct, envelope, proxy])
G = {"id": "g"}


@pytest.fixture
async def desk(make_desk):
    """A server that answers bindings, whose account has a gateway ``g``."""
    async with make_desk(settings=SETTINGS) as made:
        made.account = ACCOUNT
        await made.make_gateway()
        yield made


def run(inputs: object = SAY, gateway: object = G, form=direct, model: str = LLAMA, **options: object) -> Request:
    """``env.AI.run(model, inputs, {gateway, ...options})``."""
    headers = {"cf-consn-model-id": model, "cf-consn-sdk-version": "2.0.0", "content-type": "application/json"}
    body = {"inputs": inputs, "options": {**options, "gateway": gateway}}
    return form("POST", "/ai-gateway/run?version=3", body, headers)


def universal(*steps: object, gateway: str = "g", **headers: str) -> Request:
    """``env.AI.gateway(id).run(steps)``."""
    named = {f"cf-aig-{name.replace('_', '-')}": value for name, value in headers.items()}
    return direct("POST", f"/ai-gateway/universal/run/{gateway}", list(steps), named)


def ours(model: str = LLAMA, **query: object) -> dict[str, object]:
    return {"provider": "workers-ai", "endpoint": model, "headers": {}, "query": {**SAY, **query}}


@FORMS
async def test_a_run_through_a_gateway_is_the_bare_result_with_the_gateways_headers(desk, form):
    answer = await sent(desk.world, run(form=form))
    assert (answer.status, answer.headers["content-type"]) == (200, "application/json")
    assert (answer.json["response"], "result" in answer.json) == ("one two three", False)
    assert (answer.headers["cf-aig-step"], "cf-aig-cache-status" in answer.headers) == ("0", False)
    assert answer.headers["lowcloud-stand-in"] == "@local/smollm2-135m-instruct"
    (log,) = await desk.logged()
    assert (log.id, log.provider, log.model) == (answer.headers["cf-aig-log-id"], "workers-ai", LLAMA)
    assert (log.path, log.authentication, log.tokens_out > 0) == (f"run/{LLAMA}", True, True)
    body = await desk.logs.body(ACCOUNT, "g", log.id, "request")
    assert json.loads(body) == SAY


async def test_the_gateway_that_makes_itself_needs_no_making(desk):
    answer = await sent(desk.world, run(gateway={"id": "default"}))
    assert answer.status == 200
    assert len(await desk.logged("default")) == 1


async def test_a_stream_comes_through_event_by_event(desk):
    desk.world.chat.stage.hold("token:1")
    request = run({**SAY, "stream": True})
    exchange = desk.world.exchange(request.method, request.path, request.body, request.headers)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(exchange.run)
        begun = await exchange.until(lambda answer: answer.pieces)
        assert begun.headers["content-type"] == "text/event-stream"
        assert begun.events == ['{"response":"one"}']
        desk.world.chat.stage.open("token:1")
    assert exchange.answer.events[-1] == "[DONE]"
    assert [log.id for log in await desk.logged()] == [exchange.answer.headers["cf-aig-log-id"]]


async def test_a_worker_that_leaves_frees_the_sequence_behind_a_gateway_too(desk):
    desk.world.chat.stage.hold("token:1")
    request = run({**SAY, "stream": True})
    exchange = desk.world.exchange(request.method, request.path, request.body, request.headers)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(exchange.run)
        await desk.world.chat.stage.reached("token:1")
        exchange.leave()
        with anyio.fail_after(5):
            await exchange.is_over.wait()
    await anyio.wait_all_tasks_blocked()
    assert (len(desk.world.chat.cancelled), desk.world.chat.running) == (1, [])


async def test_every_option_of_the_gateway_counts(desk):
    asked = {"cacheTtl": 60, "metadata": {"who": "me"}, "eventId": "e-1", "requestTimeoutMs": 60_000, "x": 1}
    asked["retries"] = {"maxAttempts": 2, "retryDelayMs": 1, "backoff": "linear"}
    first = await sent(desk.world, run(gateway={**G, **asked}))
    again = await sent(desk.world, run(gateway={**G, **asked}))
    skipped = await sent(desk.world, run(gateway={**G, **asked, "skipCache": True}))
    unlogged = await sent(desk.world, run(gateway={**G, "collectLog": False}))
    statuses = [each.headers.get("cf-aig-cache-status") for each in (first, again, skipped, unlogged)]
    assert statuses == ["MISS", "HIT", None, None]
    assert (again.json, again.headers["content-type"]) == (first.json, "application/json")
    assert first.headers["lowcloud-ignored"] == "options.gateway.x"
    assert first.headers["cf-aig-event-id"] == "e-1"
    logs = await desk.logged()
    assert ([json.loads(log.metadata) for log in logs], len(desk.world.chat.requests)) == ([{"who": "me"}] * 3, 3)


async def test_what_was_kept_for_the_rest_api_is_no_answer_for_a_binding(desk):
    keeps = {**G, "cacheTtl": 60, "cacheKey": "same"}
    native = f"/client/v4/accounts/{ACCOUNT}/ai/run/{LLAMA}"
    first = await desk.world.ask("POST", native, {**SAY, "options": {"gateway": keeps}})
    bound = await sent(desk.world, run(gateway=keeps))
    again = await desk.world.ask("POST", native, {**SAY, "options": {"gateway": keeps}})
    assert [each.headers["cf-aig-cache-status"] for each in (first, bound, again)] == ["MISS", "MISS", "HIT"]
    assert again.json["result"] == first.json["result"]
    assert bound.json["response"] == "one two three"


async def test_a_header_names_a_gateway_too_and_the_options_win(desk):
    headers = {"cf-consn-model-id": LLAMA, "cf-aig-gateway-id": "g"}
    by_header = await sent(desk.world, direct("POST", "/run?version=2", {"inputs": SAY}, headers))
    body = {"inputs": SAY, "options": {"gateway": {"id": "default"}}}
    by_both = await sent(desk.world, direct("POST", "/run?version=3", body, headers))
    assert (by_header.json["response"], by_both.json["response"]) == ("one two three",) * 2
    assert [len(await desk.logged(gateway_id)) for gateway_id in ("g", "default")] == [1, 1]


async def test_a_run_that_names_no_gateway_has_no_log(desk):
    answer = await sent(desk.world, run(gateway=None))
    assert (answer.status, "cf-aig-log-id" in answer.headers, await desk.logged()) == (200, False, ())


@pytest.mark.parametrize(
    ("gateway", "name", "message"),
    [
        ({"id": "nobody"}, "AiGatewayError", "2001: There is no gateway nobody. Please configure AI Gateway."),
        ({}, "AiError", "5006: Error: options.gateway.id: must be a string."),
        ({"id": 7}, "AiError", "5006: Error: options.gateway.id: must be a string."),
        ("g", "AiError", "5006: Error: options.gateway: must be an object."),
        ({**G, "cacheTtl": 1}, "AiGatewayError", "7001: options.gateway.cacheTtl: "),
        ({**G, "retries": 3}, "AiGatewayError", "7001: options.gateway.retries: an object is needed."),
    ],
)
async def test_what_is_wrong_with_a_gateway_is_thrown(desk, gateway, name, message):
    answer = await sent(desk.world, run(gateway=gateway))
    assert (answer.status, thrown(answer)[0]) == (400, name)
    assert thrown(answer)[1].startswith(message)


async def test_a_limit_of_the_gateway_is_a_429_of_the_class(desk):
    await desk.make_gateway("small", rate_limiting_limit=1, rate_limiting_interval=60)
    assert (await sent(desk.world, run(gateway={"id": "small"}))).status == 200
    answer = await sent(desk.world, run(gateway={"id": "small"}))
    assert (answer.status, thrown(answer)) == (429, ("AiGatewayError", "2003: Rate limited"))


async def test_what_the_model_refuses_is_thrown_as_without_a_gateway(desk):
    answer = await sent(desk.world, run({**SAY, "top_k": 99}))
    assert thrown(answer) == ("AiError", "5006: Error: top_k: Input should be less than or equal to 50.")
    desk.world.chat.stage.fail("prepare", EngineFailed("it broke"))
    answer = await sent(desk.world, run())
    assert (answer.status, thrown(answer)) == (500, ("AiError", "8005: it broke"))
    assert {log.status_code for log in await desk.logged()} == {500, 400}


async def test_universal_steps_are_tried_in_order_and_answer_in_their_own_form(desk):
    answer = await sent(desk.world, universal(ours("@cf/nobody/nothing"), ours(), cache_ttl="60", event_id="e"))
    assert (answer.status, answer.headers["cf-aig-step"], answer.headers["cf-aig-event-id"]) == (200, "1", "e")
    assert (answer.json["result"]["response"], answer.headers["cf-aig-cache-status"]) == ("one two three", "MISS")
    other = {"provider": "openai", "endpoint": "chat/completions", "query": {"model": "gpt-4o"}}
    answer = await sent(desk.world, universal({**other, "headers": {"Authorization": "Bearer k"}}))
    assert (answer.status, answer.json["model"]) == (200, "gpt-4o")
    (call, target) = desk.upstream.sent[-1]
    assert (target.url, call.header("authorization")) == ("https://api.openai.com/v1/chat/completions", "Bearer k")
    assert call.header("lowcloud-binding-secret") is None


@pytest.mark.parametrize(
    ("request_", "code"),
    [
        (universal(ours(), gateway="nobody"), 2001),
        (universal({**ours(), "provider": "nobody"}), 2008),
        (universal(), 5006),
        (universal(ours(), cache_ttl="1"), 7001),
        (universal(ours(), session_id="1"), 7001),
    ],
)
async def test_what_is_wrong_with_steps_is_answered_as_the_gateway_does(desk, request_, code):
    answer = await sent(desk.world, request_)
    assert (answer.status, answer.json["internalCode"], answer.json["success"]) == (400, code, False)


async def test_a_log_is_there_at_once_and_takes_what_is_said_of_it(desk):
    answer = await sent(desk.world, run(gateway={**G, "metadata": {"who": "me", "n": 1}}))
    path = f"/ai-gateway/gateways/g/logs/{answer.headers['cf-aig-log-id']}"
    log = (await sent(desk.world, direct("GET", path))).json["result"]
    assert (log["metadata"], log["provider"], log["status_code"]) == ({"who": "me", "n": 1}, "workers-ai", 200)
    assert (log["created_at"], log["feedback"]) == ("2027-01-15T08:00:00.000Z", None)
    patch = {"feedback": 1, "score": 0.5, "metadata": {"who": "you"}}
    assert (await sent(desk.world, direct("PATCH", path, patch))).status == 200
    await sent(desk.world, direct("PATCH", path, {"feedback": None}))
    log = (await sent(desk.world, direct("GET", path))).json["result"]
    assert (log["feedback"], log["score"], log["metadata"]) == (None, 0.5, {"who": "you"})


@pytest.mark.parametrize(
    ("patch", "words"), [({"feedback": 2}, "feedback: "), ({"score": "x"}, "score: "), ([], "must be a JSON object")]
)
async def test_a_patch_that_is_wrong_is_refused_by_its_field(desk, patch, words):
    answer = await sent(desk.world, direct("PATCH", "/ai-gateway/gateways/g/logs/1", patch))
    assert answer.status == 400
    assert words in said(answer)


@pytest.mark.parametrize("method", ["GET", "PATCH"])
@pytest.mark.parametrize("gateway", ["g", "nobody"])
async def test_a_log_that_is_not_there_is_a_404(desk, method, gateway):
    path = f"/ai-gateway/gateways/{gateway}/logs/1"
    answer = await sent(desk.world, direct(method, path, {"score": 1} if method == "PATCH" else None))
    assert (answer.status, said(answer)) == (404, "Log Not Found")


@pytest.mark.parametrize(
    ("server", "base"),
    [
        (("127.0.0.1", 8787), "http://127.0.0.1:8787"),
        (("::1", 8787), "http://[::1]:8787"),
        (("/run/lowcloud.sock", None), "http://here:1"),
        (("10.0.0.2", 8781), "http://here:1"),
    ],
)
async def test_a_url_is_that_by_which_the_worker_came(make_desk, server, base):
    settings = replace(SETTINGS, binding=replace(BINDING, own_listener=8781, url="http://here:1"))
    async with make_desk(settings=settings) as desk:
        desk.account = ACCOUNT
        await desk.make_gateway()
        for provider, rest in (("openai", "openai"), ("universal", ""), ("compat", "compat")):
            request = direct("GET", f"/ai-gateway/gateways/g/url/{provider}")
            answer = await sent(desk.world, request, {"server": server, "client": ("127.0.0.1", 1)})
            assert answer.json["result"] == {"url": f"{base}/v1/{ACCOUNT}/g/{rest}"}


@pytest.mark.parametrize(("path", "code"), [("g/url/nobody", 2008), ("nobody/url/openai", 2001)])
async def test_there_is_no_url_for_what_is_not_there(desk, path, code):
    answer = await sent(desk.world, direct("GET", f"/ai-gateway/gateways/{path}"))
    assert (answer.status, answer.json["errors"][0]["code"]) == (400, code)


async def test_a_run_that_was_left_cannot_be_gone_on_with(desk):
    answer = await sent(desk.world, direct("GET", "/ai-gateway/gateways/g/run/1/resume?from=0"))
    assert (answer.status, said(answer)[:30]) == (404, "gateway: a run that was left i")


async def test_calls_of_gateways_are_recorded_and_answered_without_them(make_desk, tmp_path):
    empty(tmp_path)
    asked = [run(), universal(ours("@cf/a/b"), ours()), universal(ours())]
    async with make_desk(settings=replace(SETTINGS, binding=replace(BINDING, record=tmp_path))) as desk:
        desk.account = ACCOUNT
        await desk.make_gateway()
        first = [await sent(desk.world, each) for each in asked]
        got = direct("GET", f"/ai-gateway/gateways/g/logs/{first[0].headers['cf-aig-log-id']}")
        first.append(await sent(desk.world, got))
    async with make_desk(settings=replace(SETTINGS, binding=replace(BINDING, replay=tape(tmp_path)))) as desk:
        again = [await sent(desk.world, each) for each in (*asked, got)]
        assert desk.world.chat.requests == []
        missed = await sent(desk.world, universal(ours(max_tokens=1)))
    assert [(each.status, each.body) for each in again] == [(each.status, each.body) for each in first]
    assert [each.headers.get("cf-aig-log-id") for each in again] == [
        each.headers.get("cf-aig-log-id") for each in first
    ]
    assert (missed.status, said(missed)[:35]) == (404, "replay: this call was not recorded:")
