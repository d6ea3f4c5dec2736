import anyio
import pytest
from asgi_socket import knocking

from lowcloud.http.settings import HttpSettings

pytestmark = pytest.mark.anyio
HELLO = {"model": "@local/smollm2-135m-instruct", "messages": [{"role": "user", "content": "hello"}]}


async def test_every_reply_has_its_request_id_under_both_names(world):
    for path in ("/healthz", "/nope"):
        answer = await world.ask("GET", path)
        assert answer.headers["x-request-id"] == answer.headers["cf-ai-req-id"]
    assert answer.headers["x-request-id"] == "id-2"


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:1", "127.0.0.1", "127.0.0.1:8780", "[::1]", "[::1]:80"])
async def test_hosts_of_the_loopback_are_let_in(world, host):
    assert (await world.ask("GET", "/healthz", headers={"host": host})).status == 200


@pytest.mark.parametrize(
    "host", ["evil.example", "localhost.evil.example", "127.0.0.2", "", "localhost:1@evil.example", "[::2]", "::1"]
)
async def test_other_hosts_are_a_403_that_names_the_setting(world, host):
    answer = await world.ask("GET", "/healthz", headers={"host": host})
    assert answer.status == 403
    assert "server.allowed_hosts" in answer.json["error"]["message"]


async def test_allowed_hosts_are_let_in(make_world):
    async with make_world(settings=HttpSettings(allowed_hosts=("AI.example",))) as world:
        assert (await world.ask("GET", "/healthz", headers={"host": "ai.EXAMPLE:443"})).status == 200
        assert (await world.ask("GET", "/healthz", headers={"host": "other.example"})).status == 403
    async with make_world(settings=HttpSettings(allowed_hosts=("*",))) as world:
        assert (await world.ask("GET", "/healthz", headers={"host": "other.example"})).status == 200


@pytest.mark.parametrize("entry", ["fd00::1", "[fd00::1]", "FD00:0::0001", "fd00::1%eth0"])
async def test_an_ipv6_address_is_let_in_however_it_is_spelt(make_world, entry):
    async with make_world(settings=HttpSettings(allowed_hosts=(entry,))) as world:
        for host in ("[fd00::1]:8780", "[FD00:0:0:0:0:0:0:1]"):
            assert (await world.ask("GET", "/healthz", headers={"host": host})).status == 200
        for host in ("[fd00::2]", "fd00::1", "[fd00:::1]", "[]"):
            assert (await world.ask("GET", "/healthz", headers={"host": host})).status == 403


@pytest.mark.parametrize("origin", ["http://localhost:3000", "https://127.0.0.1", "http://[::1]:5173"])
async def test_loopback_origins_are_let_in_and_told_so(world, origin):
    answer = await world.ask("GET", "/v1/models/nope", headers={"origin": origin})
    assert answer.status == 404
    assert (answer.headers["access-control-allow-origin"], answer.headers["vary"]) == (origin, "origin")
    exposed = answer.headers["access-control-expose-headers"].split(", ")
    assert {"x-request-id", "lowcloud-ignored", "lowcloud-loosened", "lowcloud-stand-in"} <= set(exposed)


@pytest.mark.parametrize(
    "origin", ["null", "https://evil.example", "http://localhost.evil.example", "http://localhost:3000/x", "file://"]
)
async def test_other_origins_are_a_403_that_names_the_setting(world, origin):
    answer = await world.ask("POST", "/v1/chat/completions", {}, headers={"origin": origin})
    assert answer.status == 403
    assert "server.cors_origins" in answer.json["error"]["message"]
    assert "access-control-allow-origin" not in answer.headers


async def test_cors_origins_are_let_in_and_a_star_lets_in_all_but_null(make_world):
    async with make_world(settings=HttpSettings(cors_origins=("https://app.example/", "null"))) as world:
        assert (await world.ask("GET", "/healthz", headers={"origin": "https://app.example"})).status == 200
        assert (await world.ask("GET", "/healthz", headers={"origin": "null"})).status == 200
    async with make_world(settings=HttpSettings(cors_origins=("*",))) as world:
        assert (await world.ask("GET", "/healthz", headers={"origin": "https://any.example"})).status == 200
        assert (await world.ask("GET", "/healthz", headers={"origin": "null"})).status == 403


async def test_a_preflight_is_answered_without_a_token(make_world):
    asked = {
        "origin": "http://localhost:3000",
        "access-control-request-method": "POST",
        "access-control-request-headers": "authorization, content-type, x-stainless-os",
        "access-control-request-private-network": "true",
    }
    async with make_world() as world:
        answer = await world.ask("OPTIONS", "/v1/chat/completions", headers=asked)
    assert (answer.status, answer.body) == (204, b"")
    assert answer.headers["access-control-allow-origin"] == "http://localhost:3000"
    assert answer.headers["access-control-allow-headers"] == "authorization, content-type, x-stainless-os"
    assert answer.headers["access-control-allow-methods"] == "POST, OPTIONS"
    assert answer.headers["access-control-allow-private-network"] == "true"


async def test_a_preflight_from_elsewhere_is_a_403(world):
    asked = {"origin": "https://evil.example", "access-control-request-method": "POST"}
    assert (await world.ask("OPTIONS", "/v1/chat/completions", headers=asked)).status == 403


async def test_a_preflight_never_repeats_a_header_that_is_none(world):
    asked = {
        "origin": "http://localhost",
        "access-control-request-method": "GET",
        "access-control-request-headers": "x;y",
    }
    answer = await world.ask("OPTIONS", "/v1/models", headers=asked)
    assert "access-control-allow-headers" not in answer.headers


async def test_a_bug_is_a_500_without_internals_and_its_traceback_is_in_the_log(world):
    world.chat.stage.fail("prepare", ZeroDivisionError("secret detail"))
    answer = await world.chat_completion()
    assert (answer.status, answer.json["error"]["code"]) == (500, "internal_error")
    assert "secret" not in answer.body.decode()
    assert answer.headers["x-request-id"] in answer.json["error"]["message"]
    logged = [call for call in world.logs.calls if call.method_name == "error"]
    assert logged[0].kwargs["request_id"] == answer.headers["x-request-id"]
    assert logged[0].kwargs["exc_info"]


async def test_a_websocket_at_a_path_that_has_none_gets_the_usual_answer(world):
    async with knocking(world.app, "/v1/models") as socket:
        status, body = await socket.refusal()
    assert (status, body["error"]["code"], body["success"]) == (404, "not_found", False)
    assert world.metrics.requests == [("/v1/models", "GET", 404)]


async def test_there_is_no_lifespan(world):
    with pytest.raises(RuntimeError, match="lifespan"):
        await world.app({"type": "lifespan"}, None, None)


async def test_a_client_that_takes_nothing_of_a_whole_answer_is_given_up(make_world):
    async with make_world(settings=HttpSettings(write_timeout_s=0.01)) as world:
        exchange = world.exchange("GET", "/v1/models")
        exchange.stalled = True
        with anyio.fail_after(5):
            await exchange.run()
    assert exchange.answer is None


async def test_a_large_answer_goes_out_in_pieces(world):
    answer = await world.embeddings(input=["tea"] * 64)
    assert len(answer.pieces) > 1
    assert max(map(len, answer.pieces)) <= 65_536
    assert int(answer.headers["content-length"]) == len(answer.body)


async def test_a_connection_that_breaks_within_a_stream_is_noted_and_leaves_nothing_running(world):
    exchange = world.exchange("POST", "/v1/chat/completions", HELLO | {"stream": True})
    exchange.breaks_after = 2
    await exchange.run()
    assert (exchange.answer.status, len(world.chat.cancelled), world.chat.running) == (200, 1, [])
    assert world.logs.calls[-1].kwargs["outcome"] == "broken"


async def test_a_request_that_the_server_cancels_is_noted_and_leaves_nothing_running(world):
    world.chat.stage.hold("token:1")
    exchange = world.exchange("POST", "/v1/chat/completions", HELLO | {"stream": True})
    async with anyio.create_task_group() as group:
        group.start_soon(exchange.run)
        await world.chat.stage.reached("token:1")
        group.cancel_scope.cancel()
    assert (len(world.chat.cancelled), world.chat.running) == (1, [])
    assert world.logs.calls[-1].kwargs["outcome"] == "broken"
