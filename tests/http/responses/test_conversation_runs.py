"""Responses that go on a conversation: one at a time, each gains it what it was asked and what it answered."""

import threading
from base64 import b64encode

import anyio
import pytest
from sqlalchemy import func, select

from lowcloud.core.errors import EngineFailed
from lowcloud.engines.scripted import Stage
from lowcloud.models.catalogue import CHAT_STAND_IN
from lowcloud.storage.tables import responses

pytestmark = pytest.mark.anyio
LOCKED = (409, "conversation_locked", "conversation")


def echo(turn):
    """Says the whole prompt."""
    return turn.prompt


def error_of(answer):
    return answer.status, answer.json["error"]["code"], answer.json["error"]["param"]


def text(response):
    return response["output"][0]["content"][0]["text"]


async def conversation(desk, *words):
    """The id of a new one, in which the user has said the words."""
    answer = await desk.ask("POST", "/conversations", {"items": [{"role": "user", "content": each} for each in words]})
    return answer.json["id"]


async def said(desk, name):
    """All that was said in it, in order."""
    items = await desk.ask("GET", f"/conversations/{name}/items?order=asc")
    return [item["content"][0]["text"] for item in items.json["data"]]


async def test_a_conversation_gains_the_input_and_the_output_in_order(desk):
    name = await conversation(desk, "first")
    response = await desk.response(conversation=name, input="second")
    assert await said(desk, name) == ["first", "second", "one two three"]
    items = (await desk.ask("GET", f"/conversations/{name}/items?limit=1")).json["data"]
    assert items == response["output"]


async def test_a_response_names_its_conversation(desk):
    name = await conversation(desk)
    response = await desk.response(conversation={"id": name})
    assert response["conversation"] == {"id": name}
    assert (await desk.get(response["id"])).json == response
    assert (await desk.get((await desk.response())["id"])).json.get("conversation") is None


async def test_the_next_response_sees_all_but_the_instructions(make_desk):
    async with make_desk(reply=echo) as desk:
        name = await conversation(desk, "first")
        one = await desk.response(conversation=name, input="second", instructions="Be brief.")
        two = await desk.response(conversation=name, input="third")
        assert "Be brief." in text(one)
        rest = text(two).replace(text(one), "")
        assert "Be brief." not in rest
        assert rest.index("first") < rest.index("second") < rest.index("third")


async def test_what_a_stream_says_is_gained_before_its_last_event(desk):
    name = await conversation(desk)
    assert (await desk.events(conversation=name, input="hi"))[-1]["type"] == "response.completed"
    assert await said(desk, name) == ["hi", "one two three"]


async def test_an_incomplete_response_is_gained_too(desk):
    name = await conversation(desk)
    await desk.response(conversation=name, input="hi", max_output_tokens=2)
    assert await said(desk, name) == ["hi", "one two"]


async def test_a_conversation_can_go_on_without_any_input(desk):
    name = await conversation(desk, "first")
    assert (await desk.answer({"conversation": name, "input": []})).status == 200
    assert await said(desk, name) == ["first", "one two three"]


async def test_what_was_taken_out_is_seen_no_more(make_desk):
    async with make_desk(reply=echo) as desk:
        name = await conversation(desk, "a secret", "a question")
        items = (await desk.ask("GET", f"/conversations/{name}/items")).json["data"]
        await desk.ask("DELETE", f"/conversations/{name}/items/{items[1]['id']}")
        response = await desk.response(conversation=name, input="well?")
        assert "secret" not in text(response)
        assert "a question" in text(response)


async def test_a_second_response_at_once_is_a_409(make_desk):
    stage = Stage()
    stage.hold("token:1")
    async with make_desk(stage=stage) as desk, anyio.create_task_group() as tasks:
        name = await conversation(desk)
        tasks.start_soon(desk.answer, {"conversation": name, "input": "one"})
        await stage.reached("token:1")
        assert error_of(await desk.answer({"conversation": name})) == LOCKED
        assert error_of(await desk.answer({"conversation": name, "background": True})) == LOCKED
        stage.open("token:1")
    async with make_desk() as desk:
        assert await said(desk, name) == ["one", "one two three"]
        assert (await desk.answer({"conversation": name})).status == 200


async def test_other_conversations_go_on_meanwhile(make_desk):
    stage = Stage()
    stage.hold("token:1")
    async with make_desk(stage=stage) as desk, anyio.create_task_group() as tasks:
        for name in (await conversation(desk), await conversation(desk)):
            tasks.start_soon(desk.answer, {"conversation": name})
        await stage.reached("token:1", times=2)
        stage.open("token:1")


async def test_one_in_the_background_has_the_conversation_until_it_is_over(make_desk):
    stage = Stage()
    stage.hold("token:1")
    async with make_desk(stage=stage, runs=True) as desk:
        name = await conversation(desk)
        response = await desk.response(conversation=name, input="hi", background=True)
        assert error_of(await desk.answer({"conversation": name})) == LOCKED
        await stage.reached("token:1")
        assert error_of(await desk.answer({"conversation": name})) == LOCKED
        stage.open("token:1")
        assert (await desk.get(response["id"], "?stream=true")).body.endswith(b"data: [DONE]\n\n")
        assert await said(desk, name) == ["hi", "one two three"]
        assert (await desk.answer({"conversation": name})).status == 200


@pytest.mark.parametrize("runs", [False, True], ids=["queued", "running"])
@pytest.mark.parametrize("ending", ["cancel", "delete"])
async def test_one_in_the_background_that_is_ended_leaves_the_conversation_as_it_was(make_desk, runs, ending):
    stage = Stage()
    stage.hold("token:1")
    async with make_desk(stage=stage, runs=runs) as desk:
        name = await conversation(desk, "first")
        response = await desk.response(conversation=name, background=True)
        if runs:
            await stage.reached("token:1")
        path = f"/responses/{response['id']}"
        ended = await desk.ask(*(("POST", f"{path}/cancel") if ending == "cancel" else ("DELETE", path)))
        assert ended.status == 200
        assert await said(desk, name) == ["first"]
        assert (await desk.answer({"conversation": name, "background": True})).status == 200


@pytest.mark.parametrize("how", [{}, {"stream": True}], ids=["whole", "stream"])
@pytest.mark.parametrize("point", ["prepare", "start", "token:1"])
async def test_a_failure_leaves_the_conversation_as_it_was(make_desk, how, point):
    stage = Stage()
    async with make_desk(stage=stage) as desk:
        name = await conversation(desk, "first")
        stage.fail(point, EngineFailed("The engine died."))
        answer = await desk.answer({"conversation": name, **how})
        assert answer.status == 500 or b"response.failed" in answer.body
        stage.fail(point, None)
        assert await said(desk, name) == ["first"]
        assert (await desk.answer({"conversation": name})).status == 200


async def test_a_request_that_is_refused_leaves_no_lock(desk):
    name = await conversation(desk)
    for wrong in ({"model": "@cf/no/such"}, {"input": [{"type": "item_reference", "id": "msg_no"}]}):
        assert (await desk.answer({"conversation": name, **wrong})).status in (400, 404)
    assert (await desk.answer({"conversation": name})).status == 200


async def test_a_client_that_left_leaves_the_conversation_as_it_was(make_desk):
    stage = Stage()
    stage.hold("token:1")
    async with make_desk(stage=stage) as desk, anyio.create_task_group() as tasks:
        name = await conversation(desk, "first")
        for stream in (False, True):
            exchange = desk.exchange(conversation=name, stream=stream)
            tasks.start_soon(exchange.run)
            await stage.reached("token:1", times=1 + stream)
            exchange.leave()
            await exchange.is_over.wait()
            assert await said(desk, name) == ["first"]
        stage.open("token:1")
        assert (await desk.answer({"conversation": name})).status == 200


class Gate:
    """A write that holds up all that are committed with it, and those behind it."""

    def __init__(self):
        self.is_reached, self.is_open = threading.Event(), threading.Event()

    def work(self, _connection):
        self.is_reached.set()
        self.is_open.wait(20)

    async def reached(self):
        await anyio.to_thread.run_sync(self.is_reached.wait, 20)


async def left_while_it_writes(exchange, database):
    """The request's client leaves while the first of its writes is made."""
    async with anyio.create_task_group() as tasks:
        before, beside = Gate(), Gate()
        tasks.start_soon(database.writer.put, before.work)
        await before.reached()
        tasks.start_soon(exchange.run)
        await anyio.wait_all_tasks_blocked()
        tasks.start_soon(database.writer.put, beside.work)
        await anyio.wait_all_tasks_blocked()
        before.is_open.set()
        await beside.reached()
        exchange.leave()
        await anyio.wait_all_tasks_blocked()
        beside.is_open.set()
        await exchange.is_over.wait()


async def test_a_client_that_leaves_while_the_lock_is_written_leaves_none(desk, database):
    name = await conversation(desk)
    await left_while_it_writes(desk.exchange(conversation=name, background=True), database)
    assert (await desk.answer({"conversation": name})).status == 200


async def test_a_client_that_leaves_while_its_response_is_queued_leaves_nothing(desk, database):
    await left_while_it_writes(desk.exchange(background=True), database)
    kept = select(func.count()).select_from(responses)
    assert await database.run(lambda connection: connection.execute(kept).scalar_one()) == 0


async def test_a_response_that_isnt_stored_has_no_conversation(desk):
    name = await conversation(desk)
    for background in (False, True):
        refused = await desk.answer({"conversation": name, "store": False, "background": background})
        assert refused.status == 400
    assert error_of(await desk.answer({"conversation": name, "store": False}))[::2] == (400, "conversation")


async def test_an_input_has_no_item_of_the_conversation_and_leaves_it_free(desk):
    name = await conversation(desk)
    mine = {"input": [{"role": "user", "content": "hello", "id": "msg_mine"}], "conversation": name}
    await desk.response(**mine)
    assert error_of(await desk.answer(mine)) == (400, "invalid_request", "input[0].id")
    assert (await desk.answer({"conversation": name})).status == 200


async def test_an_image_that_cant_be_seen_is_named_by_the_field_that_it_came_with(desk):
    url = f"data:image/png;base64,{b64encode(b'png').decode()}"
    look = {"role": "user", "content": [{"type": "input_image", "image_url": url}]}
    made = (await desk.ask("POST", "/conversations", {"items": [look]})).json["id"]
    for background in (False, True):
        refused = await desk.answer({"conversation": made, "background": background})
        assert error_of(refused)[::2] == (400, "conversation")
    assert error_of(await desk.answer({"input": [look]}))[::2] == (400, "input[0].content[0].image_url")


async def test_an_unknown_conversation_is_a_404_as_is_another_accounts(desk):
    name = await conversation(desk)
    assert error_of(await desk.answer({"conversation": "conv_never"})) == (404, "not_found", "conversation")
    desk.account = "b" * 32
    assert error_of(await desk.answer({"conversation": name})) == (404, "not_found", "conversation")


async def test_a_conversation_and_an_earlier_response_are_not_both_gone_on_from(desk):
    name = await conversation(desk)
    response = await desk.response()
    both = await desk.answer({"conversation": name, "previous_response_id": response["id"]})
    assert error_of(both)[::2] == (400, "previous_response_id")


@pytest.mark.parametrize("how", [{}, {"stream": True}, {"background": True}], ids=["whole", "stream", "background"])
async def test_a_response_whose_conversation_is_deleted_meanwhile_is_kept(make_desk, how):
    stage = Stage()
    stage.hold("token:1")
    async with make_desk(stage=stage, runs=True) as desk, anyio.create_task_group() as tasks:
        name = await conversation(desk, "first")
        exchange = desk.exchange(conversation=name, **how)
        tasks.start_soon(exchange.run)
        await stage.reached("token:1")
        assert (await desk.ask("DELETE", f"/conversations/{name}")).status == 200
        stage.open("token:1")
        await exchange.is_over.wait()
        response_id = "resp_" + exchange.answer.body.decode().split('"resp_')[1].split('"')[0]
        await desk.get(response_id, "?stream=true")  # ends with the response
        response = (await desk.get(response_id)).json
        assert (response["status"], text(response)) == ("completed", "one two three")
        assert (await desk.ask("GET", f"/conversations/{name}")).status == 404


async def test_the_items_of_a_response_outlive_the_conversation(make_desk):
    async with make_desk(reply=echo) as desk:
        name = await conversation(desk, "first")
        one = await desk.response(conversation=name, input="second")
        await desk.ask("DELETE", f"/conversations/{name}")
        while await desk.store.clear():
            pass
        seen = (await desk.ask("GET", f"/responses/{one['id']}/input_items?order=asc")).json["data"]
        assert [item["content"][0]["text"] for item in seen] == ["first", "second"]
        two = await desk.response(previous_response_id=one["id"], input="third")
        assert "first" in text(two)
        assert (await desk.get(one["id"])).json == one


async def test_the_items_of_a_conversation_outlive_its_responses(make_desk):
    async with make_desk() as desk:
        name = await conversation(desk)
        response = await desk.response(conversation=name, input="hi")
        await desk.ask("DELETE", f"/responses/{response['id']}")
        assert await said(desk, name) == ["hi", "one two three"]


async def test_the_tokens_of_a_conversation_are_counted_while_it_is_locked(make_desk):
    stage = Stage()
    stage.hold("token:1")
    async with make_desk(stage=stage) as desk, anyio.create_task_group() as tasks:
        name = await conversation(desk, "first")
        exchange = desk.exchange(conversation=name, input="second")
        tasks.start_soon(exchange.run)
        await stage.reached("token:1")
        body = {"model": CHAT_STAND_IN, "conversation": name, "input": "second"}
        counted = await desk.ask("POST", "/responses/input_tokens", body)
        stage.open("token:1")
        await exchange.is_over.wait()
        assert counted.json["input_tokens"] == exchange.answer.json["usage"]["input_tokens"]
