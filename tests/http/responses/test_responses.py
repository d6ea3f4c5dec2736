"""Responses over HTTP: made, kept, shown, gone on from, followed, cancelled, deleted."""

import json
from pathlib import Path

import anyio
import llm_comply
import pytest
from jsonschema import Draft202012Validator

from lowcloud.core.errors import EngineFailed
from lowcloud.engines.scripted import Said, SaidCall, Stage

pytestmark = pytest.mark.anyio
SPECIFICATION = json.loads((Path(llm_comply.__file__).parent / "specs" / "openresponses.json").read_text("utf-8"))
RESPONSE = Draft202012Validator({**SPECIFICATION, "$ref": "#/components/schemas/ResponseResource"})
TOOL = {"type": "function", "name": "look", "parameters": {"type": "object", "properties": {}}}


def echo(turn):
    """Says the whole prompt."""
    return turn.prompt


def texts(response):
    return [part["text"] for item in response["output"] for part in item.get("content", [])]


def error_of(answer):
    return answer.status, answer.json["error"]["code"], answer.json["error"]["param"]


async def test_a_response_has_every_member_that_the_specification_requires(desk):
    response = await desk.response()
    RESPONSE.validate(response)
    assert texts(response) == ["one two three"]
    assert response["status"] == "completed"
    assert response["tools"] == []
    assert (response["truncation"], response["service_tier"], response["metadata"]) == ("disabled", "default", {})
    assert (response["temperature"], response["top_p"]) == (0.2, 0.9)


async def test_what_get_shows_is_what_create_answered(desk):
    response = await desk.response(metadata={"a": "b"}, instructions="Be brief.")
    answer = await desk.get(response["id"])
    assert (answer.status, answer.json) == (200, response)


async def test_the_last_event_of_a_stream_is_what_get_shows(desk):
    events = await desk.events()
    assert [event["type"].removeprefix("response.") for event in events] == [
        "created",
        "in_progress",
        "output_item.added",
        "content_part.added",
        *["output_text.delta"] * 3,
        "output_text.done",
        "content_part.done",
        "output_item.done",
        "completed",
    ]
    assert (await desk.get(events[-1]["response"]["id"])).json == events[-1]["response"]


async def test_the_events_of_one_that_was_kept_come_again_from_any_number(desk):
    events = await desk.events()
    response_id = events[-1]["response"]["id"]
    again = await desk.get(response_id, "?stream=true")
    assert again.body.decode().count("event: ") == len(events)
    for number in (0, 5, len(events) - 1, len(events) + 7):
        rest = await desk.get(response_id, f"?stream=true&starting_after={number}")
        assert rest.body.decode().count("event: ") == max(0, len(events) - number - 1)


async def test_one_that_isnt_stored_is_nowhere(desk):
    response = await desk.response(store=False)
    assert error_of(await desk.get(response["id"])) == (404, "not_found", "response_id")


async def test_another_accounts_response_is_as_one_that_never_was(desk):
    response = await desk.response()
    desk.account = "b" * 32
    for method, path in [("GET", ""), ("DELETE", ""), ("POST", "/cancel"), ("GET", "/input_items")]:
        foreign = await desk.ask(method, f"/responses/{response['id']}{path}")
        never = await desk.ask(method, f"/responses/resp_never{path}")
        assert (foreign.status, never.status) == (404, 404)
        assert foreign.json["error"]["message"].replace(response["id"], "resp_never") == never.json["error"]["message"]
    going_on = await desk.answer({"previous_response_id": response["id"]})
    assert error_of(going_on) == (400, "previous_response_not_found", "previous_response_id")


async def test_a_chain_sees_all_that_came_before_but_the_instructions(make_desk):
    async with make_desk(reply=echo) as desk:
        first = await desk.response(input="first", instructions="Be brief.")
        second = await desk.response(input="second", previous_response_id=first["id"])
        assert "Be brief." in texts(first)[0]
        (said,) = texts(second)
        assert "Be brief." not in said.replace(texts(first)[0], "")
        assert said.index("first") < said.index("second")
        assert second["previous_response_id"] == first["id"]


async def test_deleting_a_response_breaks_no_chain_that_went_on_from_it(make_desk):
    async with make_desk(reply=echo) as desk:
        first = await desk.response(input="first")
        second = await desk.response(input="second", previous_response_id=first["id"])
        deleted = await desk.ask("DELETE", f"/responses/{first['id']}")
        assert deleted.json == {"id": first["id"], "object": "response", "deleted": True}
        assert (await desk.get(first["id"])).status == 404
        while await desk.store.clear():
            pass
        third = await desk.response(input="third", previous_response_id=second["id"])
        assert "first" in texts(third)[0]


async def test_the_input_items_are_all_that_it_saw_the_newest_first(desk):
    first = await desk.response(input="first")
    second = await desk.response(input="second", previous_response_id=first["id"])
    page = (await desk.ask("GET", f"/responses/{second['id']}/input_items?limit=2")).json
    assert [item["content"][0]["text"] for item in page["data"]] == ["second", "one two three"]
    assert (page["object"], page["has_more"], page["first_id"]) == ("list", True, page["data"][0]["id"])
    rest = (await desk.ask("GET", f"/responses/{second['id']}/input_items?after={page['last_id']}")).json
    assert [item["content"][0]["text"] for item in rest["data"]] == ["first"]
    assert rest["has_more"] is False
    ascending = (await desk.ask("GET", f"/responses/{second['id']}/input_items?order=asc")).json
    assert [item["role"] for item in ascending["data"]] == ["user", "assistant", "user"]
    unknown = await desk.ask("GET", f"/responses/{second['id']}/input_items?after=msg_no")
    assert error_of(unknown)[::2] == (400, "after")


async def test_include_adds_nothing_to_what_is_kept_and_an_unknown_one_is_named(desk):
    response = await desk.response()
    for path in ("", "/input_items"):
        plain = await desk.get(response["id"], path)
        assert (await desk.get(response["id"], f"{path}?include[]=file_search_call.results")).json == plain.json
        unknown = await desk.get(response["id"], f"{path}?include[]=nothing")
        assert error_of(unknown)[::2] == (400, "include")
        both = await desk.get(response["id"], f"{path}?include[]=nothing&include[]=file_search_call.results")
        assert error_of(both)[::2] == (400, "include")


async def test_an_item_can_be_named_instead_of_sent(make_desk):
    async with make_desk(reply=echo) as desk:
        first = await desk.response(input="remember me")
        item = (await desk.ask("GET", f"/responses/{first['id']}/input_items")).json["data"][0]
        second = await desk.response(input=[{"type": "item_reference", "id": item["id"]}])
        assert "remember me" in texts(second)[0]
        refused = await desk.answer({"input": [{"type": "item_reference", "id": "msg_no"}]})
        assert error_of(refused)[::2] == (400, "input[0].id")


async def test_items_are_told_apart_by_their_whole_ids(make_desk):
    long = "msg_" + 1_000 * "x"
    async with make_desk(reply=echo) as desk:
        given = [{"id": long + end, "role": "user", "content": f"say {end}"} for end in ("one", "two")]
        first = await desk.response(input=given)
        page = await desk.ask("GET", f"/responses/{first['id']}/input_items?order=asc&after={long}one")
        assert [item["id"] for item in page.json["data"]] == [f"{long}two"]
        for end in ("one", "two"):
            second = await desk.response(input=[{"type": "item_reference", "id": long + end}])
            assert f"say {end}" in texts(second)[0]
        name = (await desk.ask("POST", "/conversations", {"items": given})).json["id"]
        item = await desk.ask("GET", f"/conversations/{name}/items/{long}one")
        assert item.json["id"] == f"{long}one"


async def test_calls_have_ids_of_ours_and_their_results_go_in_again(make_desk):
    calls = (SaidCall("look", '{"at": "x"}'),)
    async with make_desk(reply=lambda turn: "seen" if "found it" in turn.prompt else Said(calls=calls)) as desk:
        first = await desk.response(tools=[TOOL])
        (call,) = first["output"]
        assert (call["type"], call["name"], call["arguments"]) == ("function_call", "look", '{"at": "x"}')
        output = {"type": "function_call_output", "call_id": call["call_id"], "output": "found it"}
        second = await desk.response(tools=[TOOL], input=[output], previous_response_id=first["id"])
        assert texts(second) == ["seen"]
        again = await desk.response(tools=[TOOL], input=[*first["output"], output])
        assert texts(again) == ["seen"]


async def test_a_failure_before_the_first_byte_is_a_status_and_nothing_is_kept(make_desk):
    stage = Stage()
    stage.fail("start", EngineFailed("The engine died."))
    async with make_desk(stage=stage) as desk:
        assert (await desk.answer({})).status == 500
        assert (await desk.answer({"stream": True})).status == 500


async def test_a_failure_within_a_stream_is_its_last_event_and_what_is_kept(make_desk):
    stage = Stage()
    stage.fail("token:1", EngineFailed("The engine died."))
    async with make_desk(stage=stage) as desk:
        events = await desk.events()
        last = events[-1]
        assert last["type"] == "response.failed"
        assert last["response"]["error"] == {"code": "server_error", "message": "The engine died."}
        assert (await desk.get(last["response"]["id"])).json == last["response"]


async def test_one_that_the_length_cut_is_incomplete(desk):
    response = await desk.response(max_output_tokens=2)
    assert (response["status"], response["incomplete_details"]) == ("incomplete", {"reason": "max_output_tokens"})


async def test_a_client_that_leaves_frees_its_sequence_and_nothing_is_kept(make_desk):
    stage = Stage()
    stage.hold("token:1")
    async with make_desk(stage=stage) as desk, anyio.create_task_group() as tasks:
        exchange = desk.exchange(stream=True)
        tasks.start_soon(exchange.run)
        answer = await exchange.until(lambda answer: b"output_text.delta" in answer.body)
        exchange.leave()
        await exchange.is_over.wait()
        response_id = answer.body.decode().split('"id":"')[1].split('"')[0]
        assert (await desk.get(response_id)).status == 404


async def followed(desk, response_id, query="?stream=true"):
    """The events that one who follows it gets."""
    answer = await desk.get(response_id, query)
    return desk.events_of(answer)


async def test_in_the_background_it_is_queued_then_done(desk):
    response = await desk.response(background=True)
    assert (response["status"], response["output"], response["background"]) == ("queued", [], True)
    events = [*(await followed(desk, response["id"]))]
    assert [event["type"] for event in events[:3]] == ["response.created", "response.queued", "response.in_progress"]
    assert events[-1]["type"] == "response.completed"
    assert (await desk.get(response["id"])).json == events[-1]["response"]
    assert (await followed(desk, response["id"])) == events


async def test_two_who_follow_one_in_the_background_see_the_same_events(make_desk):
    stage = Stage()
    stage.hold("token:1")
    async with make_desk(stage=stage, runs=True) as desk:
        response = await desk.response(background=True)
        seen = []

        async def follow(query):
            seen.append(await followed(desk, response["id"], query))

        async with anyio.create_task_group() as tasks:
            await stage.reached("token:1")
            tasks.start_soon(follow, "?stream=true")
            tasks.start_soon(follow, "?stream=true&starting_after=2")
            await anyio.wait_all_tasks_blocked()
            stage.open("token:1")
        one, other = sorted(seen, key=len)
        assert one == other[3:]


@pytest.mark.parametrize("background", [False, True])
async def test_the_bound_that_the_card_sets_is_shown_from_the_first_event_on(desk, background):
    for asked, shown in (({}, 512), ({"max_output_tokens": 9}, 9)):
        events = await desk.events(background=background, **asked)
        assert {event["response"]["max_output_tokens"] for event in events if "response" in event} == {shown}
        assert (await desk.get(events[0]["response"]["id"])).json["max_output_tokens"] == shown


async def test_no_item_of_the_input_has_the_id_of_one_before_it(desk):
    first = await desk.response(input=[{"role": "user", "content": "one", "id": "m1"}])
    before = {"previous_response_id": first["id"]}
    twice = [{"role": "user", "content": "two"}, {"role": "user", "content": "one again", "id": "m1"}]
    for item in (twice[1], {"type": "item_reference", "id": "m1"}, first["output"][0]):
        body = {"input": [twice[0], item], **before}
        for more in ({}, {"stream": True}, {"background": True}, {"store": False}):
            assert error_of(await desk.answer(body | more)) == (400, "invalid_request", "input[1].id")
        for path in ("compact", "input_tokens"):
            answer = await desk.ask("POST", f"/responses/{path}", {"model": first["model"], **body})
            assert error_of(answer) == (400, "invalid_request", "input[1].id")
    assert len(desk.world.chat.requests) == 1


async def test_one_in_the_background_can_be_cancelled_and_again(make_desk):
    stage = Stage()
    stage.hold("token:1")
    async with make_desk(stage=stage, runs=True) as desk:
        response = await desk.response(background=True)
        await stage.reached("token:1")
        cancelled = await desk.ask("POST", f"/responses/{response['id']}/cancel")
        assert (cancelled.status, cancelled.json["status"]) == (200, "cancelled")
        again = await desk.ask("POST", f"/responses/{response['id']}/cancel")
        assert again.json == cancelled.json == (await desk.get(response["id"])).json
        events = await followed(desk, response["id"])
        assert events[-1]["response"] == cancelled.json


async def test_one_that_nobody_runs_yet_can_be_cancelled(make_desk):
    async with make_desk() as desk:
        response = await desk.response(background=True)
        cancelled = await desk.ask("POST", f"/responses/{response['id']}/cancel")
        assert cancelled.json["status"] == "cancelled"


async def test_only_what_is_in_the_background_can_be_cancelled(desk):
    response = await desk.response()
    assert (await desk.ask("POST", f"/responses/{response['id']}/cancel")).status == 400


async def test_a_stream_of_one_in_the_background_is_created_by_the_same_request(desk):
    events = await desk.events(background=True)
    assert events[0]["response"]["status"] == "queued"
    assert events[-1]["type"] == "response.completed"


async def test_the_tokens_of_the_input_are_counted_by_the_models_own_template(desk):
    answer = await desk.ask("POST", "/responses/input_tokens", {"model": "@local/smollm2-135m-instruct", "input": "hi"})
    whole = await desk.response(input="hi")
    assert answer.json == {"object": "response.input_tokens", "input_tokens": whole["usage"]["input_tokens"]}
