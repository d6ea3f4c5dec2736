"""``truncation`` over HTTP: what goes where a conversation is over the model's context."""

from base64 import b64encode

import pytest
from tiny_pictures import PICTURE
from usage_sums import Sums, UsageTold

from lowcloud.engines.scripted import Said, SaidCall, ScriptedEngine
from lowcloud.models.card import Task
from lowcloud.serving.limits import Allowance
from lowcloud.serving.usage import Ledger

pytestmark = pytest.mark.anyio
WINDOW, DEFAULT = 8192, 512  # of the stand-in's card
TOOL = {"type": "function", "name": "look", "parameters": {"type": "object", "properties": {}}}


def user(text):
    return {"role": "user", "content": text}


def long(name, n_words=3000):
    return f"{name} " + "word " * (n_words - 1)


def texts(desk):
    """The first word of each message that the model was shown last."""
    return [message.text.split()[0] for message in desk.world.chat.requests[-1].prompt.messages if message.text]


def error_of(answer):
    return answer.status, answer.json["error"]["code"], answer.json["error"]["param"]


async def test_disabled_is_the_default_and_refuses_with_both_counts(desk):
    for fields in ({}, {"truncation": "disabled"}, {"stream": True}):
        answer = await desk.answer({"input": long("a", WINDOW + 100), **fields})
        assert error_of(answer) == (400, "context_length_exceeded", "input")
        message = answer.json["error"]["message"]
        assert str(WINDOW) in message
        assert "8294" in message  # the scripted template adds two words


async def test_auto_leaves_out_as_few_of_the_oldest_of_a_chain_as_can_be(desk):
    first = await desk.response(input=long("first"))
    second = await desk.response(input=long("second"), previous_response_id=first["id"])
    third = {"input": long("third"), "previous_response_id": second["id"]}
    assert error_of(await desk.answer(third)) == (400, "context_length_exceeded", "input")
    response = await desk.response(**third, truncation="auto", instructions="Be brief.")
    assert texts(desk) == ["Be", "one", "second", "one", "third"]
    assert response["truncation"] == "auto"
    seen = (await desk.ask("GET", f"/responses/{response['id']}/input_items?order=asc")).json["data"]
    assert [item["content"][0]["text"].split()[0] for item in seen] == ["first", "one", "second", "one", "third"]


async def test_auto_changes_nothing_where_all_of_it_fits(desk):
    await desk.response(input=[user("first"), user("second")], truncation="auto")
    assert texts(desk) == ["first", "second"]
    assert len(desk.world.chat.requests) == 1


async def test_auto_keeps_rules_and_the_newest_question_and_no_half_of_a_call(make_desk):
    async with make_desk(reply=Said(calls=(SaidCall("look"),))) as desk:
        items = [
            {"role": "system", "content": "System."},
            user(long("old")),
            {"role": "developer", "content": "Developer."},
            {"type": "function_call", "call_id": "c1", "name": "look", "arguments": "{}"},
            user(long("middle")),
            {"type": "function_call_output", "call_id": "c1", "output": long("found")},
            user(long("new")),
        ]
        await desk.response(input=items, truncation="auto", tools=[TOOL])
        assert texts(desk) == ["System.", "Developer.", "middle", "new"]
        assert not any(message.calls for message in desk.world.chat.requests[-1].prompt.messages)


async def test_auto_leaves_room_for_the_tokens_that_are_asked_for(desk):
    items = [user(long("old", 1000)), user(long("new", 1000))]
    await desk.response(input=items, truncation="auto", max_output_tokens=7000)
    assert texts(desk) == ["new"]


async def test_auto_leaves_room_for_the_bound_that_holds_where_none_is_asked_for(make_desk):
    async with make_desk(reply="word " * 600) as desk:
        items = [user(long("old", 990)), user(long("new", WINDOW - 1000))]
        assert (await desk.answer({"input": items})).json["usage"]["output_tokens"] < 10
        assert (await desk.response(input=items, truncation="auto"))["usage"]["output_tokens"] == DEFAULT
        assert texts(desk) == ["new"]
        assert len(desk.world.chat.requests) == 2


async def test_an_answer_that_cant_have_that_much_has_what_the_rest_leaves(make_desk):
    async with make_desk(reply="word " * 600) as desk:
        items = [user(long("old", 1000)), user(long("new", WINDOW - 100))]
        response = await desk.response(input=items, truncation="auto")
        assert (response["status"], texts(desk)) == ("incomplete", ["new"])
        assert 90 < response["usage"]["output_tokens"] < 100


async def test_auto_refuses_an_output_that_came_last_and_is_too_long(desk):
    items = [
        user("What did it say?"),
        {"type": "function_call", "call_id": "c1", "name": "look", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "c1", "output": long("found", WINDOW)},
    ]
    answer = await desk.answer({"input": items, "truncation": "auto"})
    assert error_of(answer) == (400, "context_length_exceeded", "input")
    assert str(WINDOW) in answer.json["error"]["message"]
    await desk.response(
        input=[user(long("old", WINDOW)), *items[:2], {**items[2], "output": "found"}], truncation="auto"
    )
    assert texts(desk) == ["What", "found"]


@pytest.mark.parametrize(
    ("fields", "param"), [({}, "input"), ({"max_output_tokens": 10_000, "input": "new"}, "max_output_tokens")]
)
async def test_what_is_too_long_without_any_of_them_is_refused_as_ever(desk, fields, param):
    body = {"input": [user("old"), user(long("new", WINDOW))], "truncation": "auto"} | fields
    assert error_of(await desk.answer(body)) == (400, "context_length_exceeded", param)


async def test_in_the_background_it_is_cut_too(desk):
    events = await desk.events(input=[user(long("old", WINDOW)), user("new")], truncation="auto", background=True)
    assert events[-1]["type"] == "response.completed"
    assert texts(desk) == ["new"]


class Seeing(ScriptedEngine):
    """One that counts no image, as the local one that sees."""

    async def count(self, prompt):
        assert not any(message.images for message in prompt.messages)
        return await super().count(prompt)


async def test_images_are_no_hindrance(make_desk):
    async with make_desk(engine=Seeing, sees=True) as desk:
        url = f"data:image/png;base64,{b64encode(PICTURE).decode()}"
        look = {"role": "user", "content": [{"type": "input_image", "image_url": url}]}
        await desk.response(input=[look, user(long("old", WINDOW)), look, user("new")], truncation="auto")
        messages = desk.world.chat.requests[-1].prompt.messages
    assert [(message.text, len(message.images)) for message in messages] == [("", 1), ("new", 0)]


async def test_a_request_that_is_cut_counts_as_one(make_desk):
    items = [user(long("old", WINDOW)), user("new")]
    allowance = Allowance(requests_per_minute={Task.TEXT_GENERATION: 1})
    async with make_desk(ledger=Ledger(Sums(), UsageTold(), allowance, lambda: 1e9)) as desk:
        await desk.response(input=items, truncation="auto")
        assert (await desk.answer({})).status == 429
