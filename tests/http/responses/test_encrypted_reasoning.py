"""Reasoning that a client carries and can't read: ``include: ["reasoning.encrypted_content"]``."""

import pytest

from lowcloud.engines.scripted import Said
from lowcloud.http.responses.sealed import Sealer
from lowcloud.models.catalogue import CHAT_STAND_IN

pytestmark = pytest.mark.anyio
INCLUDE = {"include": ["reasoning.encrypted_content"]}
THOUGHT = Said("Four.", reasoning="Two and two")
GOING_ON = {"role": "user", "content": "And one more?"}


async def carried(desk):
    """The output of a response that isn't kept, as a client that drops what it may carries it."""
    output = (await desk.response(store=False, **INCLUDE))["output"]
    return [{name: value for name, value in item.items() if name != "content"} for item in output[:1]] + output[1:]


def tampered(sealed):
    """With another character in its middle."""
    place = len(sealed) // 2
    return sealed[:place] + ("A" if sealed[place] != "A" else "B") + sealed[place + 1 :]


def error_of(answer):
    return answer.status, answer.json["error"]["param"]


async def test_it_is_in_the_item_of_the_response_and_of_its_done_event_and_in_no_other(make_desk):
    async with make_desk(reply=THOUGHT) as desk:
        events = await desk.events(**INCLUDE)
        done = [event for event in events if event["type"] == "response.output_item.done"]
        sealed = done[0]["item"]["encrypted_content"]
        assert events[-1]["response"]["output"] == [event["item"] for event in done]
        assert sum(sealed in str(event) for event in events) == 2
        assert "Two and two" not in sealed
        assert (await desk.get(events[-1]["response"]["id"])).json == events[-1]["response"]
        again = await desk.get(events[-1]["response"]["id"], "?stream=true")
        assert again.body.count(sealed.encode()) == 2


async def test_it_is_nowhere_where_nobody_asked_for_it(make_desk):
    async with make_desk(reply=THOUGHT) as desk:
        assert "encrypted_content" not in str(await desk.events())


async def test_a_client_that_keeps_all_itself_carries_it_back_and_the_model_sees_the_reasoning(make_desk):
    async with make_desk(reply=THOUGHT) as desk:
        items = await carried(desk)
        assert "Two and two" not in str(items)
        await desk.response(input=[*items, GOING_ON], store=False)
        said, asked = desk.world.chat.requests[-1].prompt.messages
    assert (said.role, said.reasoning, said.text) == ("assistant", "Two and two", "Four.")
    assert asked.text == "And one more?"


async def test_one_that_goes_into_the_background_is_read_when_it_runs(make_desk):
    async with make_desk(reply=THOUGHT, runs=True) as desk:
        events = await desk.events(input=[*await carried(desk), GOING_ON], background=True, **INCLUDE)
        assert desk.world.chat.requests[-1].prompt.messages[0].reasoning == "Two and two"
        assert events[-1]["response"]["output"][0]["encrypted_content"]


@pytest.mark.parametrize("whose", ["tampered", "another account's", "another server's"])
async def test_what_this_server_did_not_make_for_the_account_is_refused_by_its_path(make_desk, whose):
    async with make_desk(reply=THOUGHT) as desk:
        (reasoning, said) = await carried(desk)
        match whose:
            case "tampered":
                reasoning["encrypted_content"] = tampered(reasoning["encrypted_content"])
            case "another account's":
                desk.account = "b" * 32
            case _:
                reasoning["encrypted_content"] = Sealer("a secret of another server").seal("x", desk.account)
        body = {"model": CHAT_STAND_IN, "input": [GOING_ON, reasoning, said, GOING_ON]}
        refused = (400, "input[1].encrypted_content")
        for more in ({}, {"stream": True}, {"background": True}, {"store": False}):
            assert error_of(await desk.answer(body | more)) == refused
        assert error_of(await desk.ask("POST", "/responses/compact", body)) == refused
        assert error_of(await desk.ask("POST", "/responses/input_tokens", body)) == refused
        assert len(desk.world.chat.requests) == 1


async def test_a_stored_chain_goes_on_when_the_secret_is_another_but_a_carried_item_does_not(make_desk):
    async with make_desk(reply=THOUGHT) as desk:
        first = await desk.response(**INCLUDE)
        items = await carried(desk)
        second = await desk.response(input=items)
    async with make_desk(reply=THOUGHT, secret="another-secret-of-some-letters") as desk:
        own = {"input": [{**GOING_ON, "id": "msg_own"}]}  # as this server counts its ids from the beginning
        await desk.response(previous_response_id=first["id"], store=False, **own)
        assert desk.world.chat.requests[-1].prompt.messages[1].reasoning == "Two and two"
        assert error_of(await desk.answer({"input": items})) == (400, "input[0].encrypted_content")
        refused = await desk.answer({"previous_response_id": second["id"], **own})
        assert error_of(refused) == (400, "previous_response_id[0].encrypted_content")
