"""The WebSocket of responses: one after another, going on from the last one, and every way in which it ends."""

import json
from pathlib import Path

import anyio
import llm_comply
import pytest
from asgi_socket import Socket, knocking, opened
from jsonschema import Draft202012Validator

from lowcloud.core.errors import EngineFailed
from lowcloud.engines.scripted import Said
from lowcloud.http.auth import TokenAuth
from lowcloud.http.responses.memory import MOST_LANES
from lowcloud.http.responses.socket import IDLE_S, MOST_WAITING, STOPPING, Inbox
from lowcloud.http.settings import HttpSettings
from lowcloud.http.socket_connection import DRAIN
from lowcloud.models.catalogue import CHAT_STAND_IN

pytestmark = pytest.mark.anyio
SPECIFICATION = json.loads((Path(llm_comply.__file__).parent / "specs" / "openresponses.json").read_text("utf-8"))
ERROR = Draft202012Validator({**SPECIFICATION, "$ref": "#/components/schemas/WebSocketErrorEvent"})
PATH = f"/client/v4/accounts/{'a' * 32}/ai/v1/responses"  # of the desk's account
SHORT = "/v1/responses"
ACCOUNT = "0123456789abcdef0123456789abcdef"
ASK = {"model": CHAT_STAND_IN, "input": "hello there"}
UNKEPT = {**ASK, "store": False}


def echo(turn):
    """Says the whole prompt."""
    return turn.prompt


def said(events):
    (item,) = events[-1]["response"]["output"]
    return item["content"][0]["text"]


def id_of(events):
    return events[-1]["response"]["id"]


def refused(event):
    """What an error event says, which must be one of the specification's."""
    ERROR.validate(event)
    return event["status"], event["error"]["code"], event["error"]["param"]


async def asked(socket, **fields):
    """The events of one response."""
    socket.ask(**{**ASK, **fields})
    return await socket.turn()


@pytest.fixture
async def socket(desk):
    async with opened(desk.world.app, PATH) as open_one:
        yield open_one


async def test_the_events_are_those_of_a_stream(desk, socket):
    events = await asked(socket)
    assert [event["sequence_number"] for event in events] == list(range(len(events)))
    assert [event["type"] for event in events] == [event["type"] for event in await desk.events()]
    assert (said(events), events[-1]["response"]["status"]) == ("one two three", "completed")


async def test_the_last_event_is_what_get_shows(desk, socket):
    events = await asked(socket)
    assert (await desk.get(id_of(events))).json == events[-1]["response"]


async def test_messages_that_come_while_a_response_runs_are_answered_one_after_another(socket):
    for name in ("first", "second", "third"):
        socket.ask(**ASK, metadata={"name": name})
    for name in ("first", "second", "third"):
        events = await socket.turn()
        assert {event["response"]["metadata"]["name"] for event in events if "response" in event} == {name}


async def test_a_response_that_isnt_stored_is_gone_on_from_by_its_connection_alone(make_desk):
    async with make_desk(reply=echo) as desk, opened(desk.world.app, PATH) as socket:
        first = await asked(socket, store=False, input="first")
        second = await asked(socket, store=False, input="second", previous_response_id=id_of(first))
        third = await asked(socket, store=False, input="third", previous_response_id=id_of(second))
        assert said(third).index("first") < said(third).index("second") < said(third).index("third")
        async with opened(desk.world.app, PATH) as other:
            (event,) = await asked(other, previous_response_id=id_of(third))
            assert refused(event) == (400, "previous_response_not_found", "previous_response_id")
        assert (await desk.get(id_of(third))).status == 404


async def test_one_that_goes_on_from_it_may_be_stored_with_all_that_it_saw(make_desk):
    async with make_desk(reply=echo) as desk, opened(desk.world.app, PATH) as socket:
        first = await asked(socket, store=False, input="first")
        second = await asked(socket, input="second", previous_response_id=id_of(first))
        assert (await desk.get(id_of(second))).json == second[-1]["response"]
        third = await desk.response(input="third", previous_response_id=id_of(second))
        assert "first" in third["output"][0]["content"][0]["text"]


async def test_a_stored_response_of_anywhere_is_gone_on_from(make_desk):
    async with make_desk(reply=echo) as desk, opened(desk.world.app, PATH) as socket:
        stored = await desk.response(input="first")
        second = await asked(socket, store=False, input="second", previous_response_id=stored["id"])
        assert "first" in said(await asked(socket, store=False, input="x", previous_response_id=id_of(second)))


async def test_only_the_last_response_is_remembered(socket):
    first = await asked(socket, store=False)
    await asked(socket, store=False)
    (event,) = await asked(socket, previous_response_id=id_of(first))
    assert refused(event)[1] == "previous_response_not_found"


async def test_a_stored_response_takes_the_place_of_one_that_isnt(socket):
    first = await asked(socket, store=False)
    await asked(socket)
    assert (await asked(socket, previous_response_id=id_of(first)))[0]["type"] == "error"


@pytest.mark.parametrize(
    "wrong", [{"temperature": 9}, {"model": "@cf/no/such"}, {"stream": True}, {"stream_id": 7}, {"type": "x"}]
)
async def test_a_continuation_that_fails_evicts_what_it_goes_on_from(socket, wrong):
    first = await asked(socket, store=False)
    (event,) = await asked(socket, previous_response_id=id_of(first), **wrong)
    assert event["type"] == "error"
    (event,) = await asked(socket, previous_response_id=id_of(first))
    assert refused(event) == (400, "previous_response_not_found", "previous_response_id")


async def test_so_does_one_that_fails_after_it_has_begun(desk, socket):
    first = await asked(socket, store=False)
    desk.world.chat.stage.fail("token:1", EngineFailed("The engine broke."))
    failed = await asked(socket, store=False, previous_response_id=id_of(first))
    assert failed[-1]["type"] == "response.failed"
    desk.world.chat.stage.fail("token:1", None)
    for response_id in (id_of(first), id_of(failed)):
        assert (await asked(socket, previous_response_id=response_id))[0]["type"] == "error"


async def test_another_ones_failure_evicts_nothing(socket):
    first = await asked(socket, store=False)
    assert (await asked(socket, temperature=9))[0]["type"] == "error"
    assert (await asked(socket, previous_response_id=id_of(first)))[-1]["type"] == "response.completed"


async def test_a_stored_response_can_still_be_gone_on_from_where_that_has_failed(socket):
    first = await asked(socket)
    assert (await asked(socket, previous_response_id=id_of(first), temperature=9))[0]["type"] == "error"
    assert (await asked(socket, previous_response_id=id_of(first)))[-1]["type"] == "response.completed"


async def test_lanes_are_echoed_and_each_has_its_last_response(socket):
    one = await asked(socket, store=False, stream_id="one")
    other = await asked(socket, store=False, stream_id="other")
    assert {event["stream_id"] for event in one} == {"one"}
    for lane, last in (("one", one), ("other", other), ("new", one)):
        events = await asked(socket, store=False, stream_id=lane, previous_response_id=id_of(last))
        assert events[-1]["type"] == ("response.completed" if lane != "new" else "error")
        assert events[-1]["stream_id"] == lane


async def test_there_are_only_so_many_lanes(socket):
    first = await asked(socket, store=False, stream_id="0")
    for lane in range(1, MOST_LANES + 1):
        await asked(socket, store=False, stream_id=str(lane))
    assert (await asked(socket, previous_response_id=id_of(first)))[0]["type"] == "error"


async def test_what_is_too_much_isnt_remembered(make_desk):
    settings = HttpSettings(any_account=True, max_body_bytes=200)
    async with make_desk(reply="word " * 400, settings=settings) as desk, opened(desk.world.app, PATH) as socket:
        first = await asked(socket, store=False)
        assert (await asked(socket, previous_response_id=id_of(first)))[0]["type"] == "error"


async def test_without_output_a_response_is_there_to_go_on_from(make_desk):
    async with make_desk(reply=echo) as desk, opened(desk.world.app, PATH) as socket:
        events = await asked(socket, store=False, input="first", generate=False)
        assert [event["type"].removeprefix("response.") for event in events] == ["created", "in_progress", "completed"]
        response = events[-1]["response"]
        assert (response["output"], response["usage"]["output_tokens"]) == ([], 0)
        assert response["usage"]["input_tokens"] > 0
        assert desk.world.chat.finished == []
        assert "first" in said(await asked(socket, input="second", previous_response_id=response["id"]))


async def test_without_output_there_need_be_no_input_and_it_can_be_stored(desk, socket):
    events = await asked(socket, input=[], generate=False, instructions=None)
    assert (await desk.get(id_of(events))).json == events[-1]["response"]
    assert said(await asked(socket, previous_response_id=id_of(events))) == "one two three"


async def test_what_a_model_cant_do_is_refused_without_output_too(socket):
    image = {"type": "input_image", "image_url": "data:image/png;base64,AAAA"}
    (event,) = await asked(socket, generate=False, input=[{"role": "user", "content": [image]}])
    assert refused(event) == (400, "unsupported_parameter", "input[0].content[0].image_url")


@pytest.mark.parametrize("name", ["stream", "stream_options", "background"])
async def test_what_must_not_be_sent_is_refused_by_name(socket, name):
    (event,) = await asked(socket, **{name: {} if name == "stream_options" else False})
    assert refused(event) == (400, "unsupported_parameter", name)
    assert (await asked(socket, **{name: None}))[-1]["type"] == "response.completed"


@pytest.mark.parametrize("kind", ["response.steer", "response.cancel", None, 7])
async def test_other_events_are_refused_by_name(socket, kind):
    (event,) = await asked(socket, type=kind)
    assert refused(event) == (400, "unsupported_parameter", "type")
    assert str(kind) in event["error"]["message"] or not isinstance(kind, str)


@pytest.mark.parametrize("text", ["", "{", "[]", '{"a":NaN}', '"\\ud800"', '{"type":"response.create"}'])
async def test_what_is_no_request_gets_an_error_and_the_connection_goes_on(socket, text):
    socket.say(text)
    assert refused(await socket.event())[0] == 400
    assert said(await asked(socket)) == "one two three"


@pytest.mark.parametrize(("name", "value"), [("generate", "no"), ("stream_id", ""), ("stream_id", "x" * 257)])
async def test_wrong_values_of_what_a_socket_alone_has_are_named(socket, name, value):
    (event,) = await asked(socket, **{name: value})
    assert refused(event)[::2] == (400, name)


async def test_a_binary_message_gets_an_error_and_the_connection_goes_on(socket):
    socket.put({"type": "websocket.receive", "bytes": json.dumps({"type": "response.create", **ASK}).encode()})
    assert "binary" in (await socket.event())["error"]["message"]
    assert said(await asked(socket)) == "one two three"


async def test_a_message_that_is_too_large_gets_an_error(make_desk):
    settings = HttpSettings(any_account=True, max_body_bytes=1000)
    async with make_desk(settings=settings) as desk, opened(desk.world.app, PATH) as socket:
        (event,) = await asked(socket, input="x" * 1000)
        assert refused(event) == (413, "request_too_large", None)


async def test_so_many_messages_wait_and_no_more(desk, socket):
    desk.world.chat.stage.hold("token:0")
    socket.ask(**ASK)
    await desk.world.chat.stage.reached("token:0")
    for _ in range(MOST_WAITING + 1):
        socket.ask(**ASK)
    events = [await socket.event() for _ in range(3)]
    assert refused(events[-1])[:2] == (429, "rate_limit_exceeded")
    desk.world.chat.stage.open("token:0")
    for _ in range(MOST_WAITING + 1):
        assert (await socket.turn())[-1]["type"] == "response.completed"


async def test_what_waits_is_bounded_in_bytes_too(make_desk):
    settings = HttpSettings(any_account=True, max_body_bytes=1000)
    async with make_desk(settings=settings) as desk, opened(desk.world.app, PATH) as socket:
        desk.world.chat.stage.hold("token:0")
        socket.ask(**ASK)
        await desk.world.chat.stage.reached("token:0")
        for _ in range(2):
            socket.ask(**ASK, metadata={"long": "x" * 500})
        assert refused([await socket.event() for _ in range(3)][-1])[0] == 429
        desk.world.chat.stage.open("token:0")


async def test_what_is_ignored_and_a_default_is_said_by_the_first_event(socket):
    events = await asked(socket, whatever=1)
    assert events[0]["headers"]["lowcloud-ignored"] == "whatever"
    assert all("headers" not in event for event in events[1:])


async def test_a_bug_is_an_error_without_internals_and_the_connection_goes_on(desk, socket):
    desk.world.chat.stage.fail("prepare", ZeroDivisionError("secret detail"))
    (event,) = await asked(socket)
    assert refused(event)[:2] == (500, "internal_error")
    assert "secret" not in event["error"]["message"]
    desk.world.chat.stage.fail("prepare", None)
    assert said(await asked(socket)) == "one two three"


async def test_a_failure_after_the_first_event_is_a_response_that_has_failed(desk, socket):
    desk.world.chat.stage.fail("token:1", EngineFailed("The engine broke."))
    events = await asked(socket)
    assert events[-1]["response"]["error"] == {"code": "server_error", "message": "The engine broke."}
    assert (await desk.get(id_of(events))).json["status"] == "failed"


async def test_a_client_that_leaves_frees_its_sequence_before_the_next_step(desk):
    async with opened(desk.world.app, PATH) as socket:
        desk.world.chat.stage.hold("token:1")
        socket.ask(**ASK)
        await desk.world.chat.stage.reached("token:1")
    assert (desk.world.chat.running, len(desk.world.chat.cancelled)) == ([], 1)
    lines = [call.kwargs for call in desk.world.logs.calls if call.kwargs.get("event") in ("response", "request")]
    assert [(line["outcome"], line["status"]) for line in lines] == [("client_left", 200), ("client_left", 499)]


async def test_so_does_one_whose_connection_breaks(desk):
    async with opened(desk.world.app, PATH) as socket:
        desk.world.chat.stage.hold("token:1")
        socket.ask(**ASK)
        await desk.world.chat.stage.reached("token:1")
        socket.is_broken = True
        desk.world.chat.stage.open("token:1")
        await socket.is_over.wait()
    assert len(desk.world.chat.cancelled) == 1


async def test_a_client_that_takes_nothing_is_given_up(make_desk):
    settings = HttpSettings(any_account=True, write_timeout_s=0.01)
    async with make_desk(settings=settings) as desk, opened(desk.world.app, PATH) as socket:
        socket.stalled = True
        socket.ask(**ASK)
        with anyio.fail_after(5):
            await socket.is_over.wait()
        assert len(desk.world.chat.cancelled) == 1
        assert [call.kwargs["outcome"] for call in desk.world.logs.calls] == ["write_timeout"] * 2


async def test_a_server_that_stops_lets_a_response_end_and_goes_away(desk, socket):
    desk.world.chat.stage.hold("token:1")
    socket.ask(**ASK)
    await desk.world.chat.stage.reached("token:1")
    socket.put({"type": DRAIN})
    socket.ask(**ASK)  # too late
    await anyio.wait_all_tasks_blocked()
    desk.world.chat.stage.open("token:1")
    assert (await socket.turn())[-1]["type"] == "response.completed"
    assert (await socket.message())["code"] == 1001
    await socket.is_over.wait()


async def test_a_connection_may_rest_for_so_long(desk, socket):
    await desk.world.clock.advance(IDLE_S - 1)
    assert said(await asked(socket)) == "one two three"
    await anyio.wait_all_tasks_blocked()
    await desk.world.clock.advance(IDLE_S - 1)
    assert not socket.is_over.is_set()
    await desk.world.clock.advance(1)
    message = await socket.message()
    assert (message["type"], message["code"]) == ("websocket.close", 1000)


async def test_a_conversation_is_locked_while_a_response_runs_and_free_after_it(desk, socket):
    made = (await desk.ask("POST", "/conversations", {})).json["id"]
    for _ in range(2):
        assert (await asked(socket, conversation=made))[-1]["type"] == "response.completed"
    assert (await asked(socket, conversation=made, generate=False, input="x"))[-1]["type"] == "response.completed"
    (event,) = await asked(socket, conversation=made, store=False)
    assert refused(event)[::2] == (400, "conversation")
    desk.world.chat.stage.hold("token:1")
    socket.ask(**ASK, conversation=made)
    await desk.world.chat.stage.reached("token:1", times=3)
    assert (await desk.answer({"conversation": made})).status == 409
    desk.world.chat.stage.open("token:1")
    await socket.turn()


async def test_reasoning_is_remembered_as_it_was_said(make_desk):
    async with make_desk(reply=Said("yes", reasoning="because")) as desk, opened(desk.world.app, PATH) as socket:
        first = await asked(socket, store=False, include=["reasoning.encrypted_content"])
        assert [item["type"] for item in first[-1]["response"]["output"]] == ["reasoning", "message"]
        again = await asked(socket, store=False, previous_response_id=id_of(first))
        assert again[-1]["type"] == "response.completed"


async def test_a_connection_has_a_line_in_the_log_and_each_response_one(desk):
    async with opened(desk.world.app, PATH) as socket:
        events = await asked(socket)
        await asked(socket, temperature=9)
    lines = [(call.kwargs["event"], call.kwargs) for call in desk.world.logs.calls]
    assert [name for name, _ in lines] == ["response", "response", "request"]
    assert (lines[0][1]["completion_id"], lines[0][1]["model"]) == (id_of(events), CHAT_STAND_IN)
    assert [line["status"] for _, line in lines] == [200, 400, 101]
    assert {line["request_id"] for _, line in lines} == {lines[0][1]["request_id"]}
    assert desk.world.metrics.requests[-1][1:] == ("GET", 101)


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 401),
        ({"authorization": "Bearer bad"}, 401),
        ({"authorization": "Bearer powerless"}, 403),
        ({"authorization": "Bearer good", "origin": "https://evil.example"}, 403),
        ({"authorization": "Bearer good", "host": "evil.example"}, 403),
    ],
)
async def test_who_isnt_let_in_gets_the_usual_answer(make_desk, tokens, headers, status):
    async with make_desk(auth=TokenAuth(tokens)) as desk, knocking(desk.world.app, SHORT, headers) as socket:
        answer = await socket.refusal()
        assert answer[0] == status
        assert answer[1]["error"]["message"] == answer[1]["errors"][0]["message"]


@pytest.mark.parametrize(
    ("path", "status"),
    [("/v1/responses/resp_1", 404), ("/v1/models", 404), ("/nowhere", 404), ("/v1/chat/completions", 404)],
)
async def test_no_other_path_has_a_socket(desk, path, status):
    async with knocking(desk.world.app, path) as socket:
        assert (await socket.refusal())[0] == status


async def test_another_accounts_path_is_a_403(make_desk, tokens):
    bearer = {"authorization": "Bearer good"}
    settings = HttpSettings()
    async with make_desk(auth=TokenAuth(tokens), settings=settings) as desk:
        foreign = f"/client/v4/accounts/{'b' * 32}/ai/v1/responses"
        async with knocking(desk.world.app, foreign, bearer) as socket:
            assert (await socket.refusal())[0] == 403
        async with opened(desk.world.app, f"/client/v4/accounts/{ACCOUNT}/ai/v1/responses", bearer) as socket:
            assert said(await asked(socket)) == "one two three"


class Withdrawn:
    """Tokens of which one is known until it is withdrawn."""

    def __init__(self, tokens) -> None:
        self.tokens, self.is_known = tokens, True

    async def verify(self, token):
        return await self.tokens.verify(token) if self.is_known else None


async def test_a_token_that_is_withdrawn_gets_no_more_responses(make_desk, tokens):
    known = Withdrawn(tokens)
    bearer = {"authorization": "Bearer good"}
    async with make_desk(auth=TokenAuth(known)) as desk, opened(desk.world.app, SHORT, bearer) as socket:
        assert said(await asked(socket)) == "one two three"
        known.is_known = False
        (event,) = await asked(socket)
        assert refused(event)[0] == 401


async def test_a_client_that_leaves_before_it_is_let_in_is_no_error(desk):
    async with knocking(desk.world.app, PATH) as socket:
        await socket.message()
    assert desk.world.logs.calls[-1].kwargs["outcome"] == "done"


async def test_one_that_leaves_in_the_midst_of_its_handshake_is_no_error_either(desk):
    socket = Socket(desk.world.app, PATH, {})
    socket.leave()
    await socket.run()
    assert desk.world.logs.calls[-1].kwargs["outcome"] == "client_left"


async def test_what_comes_behind_the_end_is_dropped():
    inbox = Inbox(100)
    inbox.end(STOPPING)
    inbox.put(b"late")
    assert await inbox.next() == STOPPING
