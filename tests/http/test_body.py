import json

import anyio
import pytest

from lowcloud.http.settings import HttpSettings

pytestmark = pytest.mark.anyio
CHAT = "/v1/chat/completions"
SMALL = HttpSettings(any_account=True, max_body_bytes=1000, discard_bytes=5000)


@pytest.mark.parametrize(
    "media_type",
    [
        "application/json",
        "Application/JSON; charset=UTF-8",
        'application/json;charset="utf-8"',
        "application/x+json",
        "",
    ],
)
async def test_json_is_read_whether_or_not_it_says_so(world, media_type):
    assert (await world.chat_completion({"content-type": media_type})).status == 200


@pytest.mark.parametrize(
    "headers",
    [
        {"content-type": "text/plain"},
        {"content-type": "application/x-www-form-urlencoded"},
        {"content-type": "multipart/form-data; boundary=x"},
        {"content-type": "text/x+json"},
        {"content-type": "application/json; charset=latin-1"},
        {"content-encoding": "gzip"},
    ],
)
async def test_what_is_not_json_in_utf8_is_a_415(world, headers):
    answer = await world.chat_completion(headers)
    assert (answer.status, answer.json["error"]["code"]) == (415, "unsupported_media_type")


@pytest.mark.parametrize("path", ["chat/completions", "completions", "embeddings", "rerank", "tokenize", "messages"])
async def test_where_there_is_no_body_the_error_says_so(world, path):
    answer = await world.ask("POST", f"/v1/{path}")
    assert answer.status == 400
    assert answer.json["error"]["message"] == "Request is missing headers or body: body"


async def test_a_body_may_come_in_pieces(world, make_world):
    body = json.dumps({"model": "@local/smollm2-135m-instruct", "messages": [{"role": "user", "content": "é"}]})
    pieces = [bytes([byte]) for byte in body.encode()]
    assert (await world.ask("POST", CHAT, pieces)).status == 200


async def test_a_body_that_is_too_large_is_a_413_once_it_is_read_and_the_connection_ends(make_world):
    async with make_world(settings=SMALL) as world:
        exchange = world.exchange("POST", CHAT, [b"x" * 600] * 3)
        await exchange.run()
        assert (exchange.answer.status, exchange.answer.headers["connection"]) == (413, "close")
        assert "server.max_body_bytes" in exchange.answer.json["error"]["message"]
        assert exchange.unread == 0


async def test_no_more_than_discard_bytes_of_it_is_read(make_world):
    async with make_world(settings=SMALL) as world:
        exchange = world.exchange("POST", CHAT, [b"x" * 1000] * 20)
        await exchange.run()
        assert exchange.answer.status == 413
        assert exchange.unread == 14


async def test_a_client_that_waits_for_leave_to_send_too_much_gets_none(make_world):
    async with make_world(settings=SMALL) as world:
        headers = {"content-length": "2000", "expect": "100-continue"}
        exchange = world.exchange("POST", CHAT, [b"x" * 1000] * 2, headers)
        await exchange.run()
        assert (exchange.answer.status, exchange.unread) == (413, 2)


async def test_an_announced_length_is_enough_to_refuse_a_body(make_world):
    async with make_world(settings=SMALL) as world:
        assert (await world.ask("POST", CHAT, b"{}", {"content-length": "2000"})).status == 413
        assert (await world.ask("POST", CHAT, b"{}", {"content-length": "nonsense"})).status == 400


async def test_a_body_of_exactly_the_bound_is_read(make_world):
    async with make_world(settings=SMALL) as world:
        assert (await world.ask("POST", CHAT, b" " * 1000)).status == 400
        assert (await world.ask("POST", CHAT, b" " * 1001)).status == 413


async def test_a_body_that_does_not_come_is_a_408(make_world):
    async with make_world(settings=HttpSettings(any_account=True, body_timeout_s=0.01)) as world:
        exchange = world.exchange("POST", CHAT, [b"{"])
        exchange.is_body_whole = False
        with anyio.fail_after(5):
            await exchange.run()
    assert (exchange.answer.status, exchange.answer.headers["connection"]) == (408, "close")


async def test_a_client_that_leaves_within_its_body_is_noted_and_nothing_else(world):
    exchange = world.exchange("POST", CHAT, [b"{"])
    exchange.is_body_whole = False
    exchange.leave()
    await exchange.run()
    assert exchange.answer is None
    assert world.metrics.requests == [(CHAT, "POST", 499)]


async def test_a_conversation_of_100_000_messages_is_answered_and_disturbs_nobody(make_world):
    turns = [{"role": "user", "content": f"turn {number}"} for number in range(100_000)]
    body = json.dumps({"model": "@local/smollm2-135m-instruct", "messages": turns}).encode()
    others = 0
    async with make_world() as world, anyio.create_task_group() as group:
        large = world.exchange("POST", CHAT, body)
        group.start_soon(large.run)
        while not large.is_over.is_set():
            assert (await world.chat_completion()).status == 200
            others += 1
    assert (large.answer.status, large.answer.json["error"]["code"]) == (400, "context_length_exceeded")
    assert others > 10


async def test_a_body_of_50_megabytes_is_a_413(world):
    answer = await world.ask("POST", CHAT, [b"x" * 1_000_000] * 50)
    assert answer.status == 413
