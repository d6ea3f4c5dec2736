"""Anthropic's messages, folded from what a model said."""

import pytest

from lowcloud.engines.scripted import Said, SaidCall

pytestmark = pytest.mark.anyio
TOOL = {"name": "weather", "input_schema": {"type": "object"}}


async def said(world, **fields):
    body = {"model": "@local/smollm2-135m-instruct", "max_tokens": 99, "messages": [{"role": "user", "content": "hi"}]}
    return await world.ask("POST", "/v1/messages", body | fields)


async def test_the_input_of_a_call_is_the_very_json_that_the_model_wrote(make_world):
    arguments = r'{"city":"\ud800","x":1e999}'
    async with make_world(reply=Said("Let me look.", calls=(SaidCall("weather", arguments),))) as world:
        answer = await said(world, tools=[TOOL])
    assert answer.status == 200
    text, call = answer.json["content"]
    assert (text["text"], call["type"], call["name"]) == ("Let me look.", "tool_use", "weather")
    assert b'"input":' + arguments.encode() in answer.body


async def test_a_message_without_calls_has_its_text_and_its_end(make_world):
    async with make_world(reply="Not by U+2028: \u2028") as world:
        answer = await said(world)
    assert [block["text"] for block in answer.json["content"]] == ["Not by U+2028: \u2028"]
    assert (answer.json["stop_reason"], "\u2028".encode() in answer.body) == ("end_turn", False)
