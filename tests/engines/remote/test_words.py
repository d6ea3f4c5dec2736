"""Tools for an upstream whose own calls aren't relied on: told in words, forced by a schema, read from the text."""

import json

import pytest
from fake_upstream import chunk, events, spoken, streamed
from remote_model import asked, remote

from lowcloud.core.errors import EngineFailed, Unsupported
from lowcloud.core.events import Finished, ReasoningDelta, TextDelta, ToolCallDelta
from lowcloud.core.messages import Message, Messages, ToolCall
from lowcloud.core.output import Choice, Lark, Regex
from lowcloud.core.tools import Tool, ToolPlan

pytestmark = pytest.mark.anyio

WEATHER = Tool("weather", parameters={"type": "object", "properties": {"city": {"type": "string"}}})
CALL = '{"name": "weather", "arguments": {"city": "Rome"}}'
MARKED = f"<tool_call>\n{CALL}\n</tool_call>"


def plan(mode: str, *tools: Tool, at_most_one: bool = False) -> ToolPlan:
    return ToolPlan(tools or (WEATHER,), mode, at_most_one)


def calls_of(events_) -> list[tuple]:
    """Each call as (id, name, arguments, is complete)."""
    deltas = [event for event in events_ if isinstance(event, ToolCallDelta)]
    found = []
    for number in sorted({delta.call for delta in deltas}):
        own = [delta for delta in deltas if delta.call == number]
        arguments = "".join(delta.arguments for delta in own)
        found.append((own[0].id, own[0].name, arguments, own[-1].is_complete))
    return found


def text_of(events_) -> str:
    return "".join(event.text for event in events_ if isinstance(event, TextDelta))


async def test_a_required_call_is_the_whole_answer_bound_by_a_schema():
    pieces = [CALL[at : at + 5] for at in range(0, len(CALL), 5)]
    async with remote(streamed(spoken(pieces)), tooling="words") as model:
        answer = await model.generate(tools=plan("required", WEATHER, Tool("now")))
        assert calls_of(answer) == [("call_new", "weather", '{"city": "Rome"}', True)]
        assert text_of(answer) == ""
        assert Finished(0, "tool_calls") in answer
        body = model.upstream.bodies[0]
        assert "tools" not in body
        assert "tool_choice" not in body
        first, second = body["response_format"]["json_schema"]["schema"]["anyOf"]
        assert first["properties"] == {"name": {"const": "weather"}, "arguments": WEATHER.parameters}
        assert second["properties"] == {"name": {"const": "now"}, "arguments": {"type": "object"}}
        assert body["messages"][0]["role"] == "system"
        assert '"weather"' in body["messages"][0]["content"]


async def test_where_a_call_may_come_text_and_calls_are_told_apart():
    async with remote(streamed(spoken(["Let me ", "see. <tool", MARKED[5:]])), tooling="words") as model:
        answer = await model.generate(tools=plan("auto"))
        assert text_of(answer) == "Let me see."
        assert calls_of(answer) == [("call_new", "weather", '{"city": "Rome"}', True)]
        assert "response_format" not in model.upstream.bodies[0]


async def test_reasoning_in_the_text_is_none_of_it():
    async with remote(streamed(spoken(["<think>Hm</th", "ink>", "Sunny"])), tooling="words") as model:
        answer = await model.generate(tools=plan("auto"))
        assert text_of(answer) == "Sunny"
        assert "".join(event.text for event in answer if isinstance(event, ReasoningDelta)) == "Hm"


async def test_text_without_a_call_is_text():
    async with remote(streamed(spoken(["Sunny <b"])), tooling="words") as model:
        answer = await model.generate(tools=plan("auto"))
        assert (text_of(answer), calls_of(answer), answer[-2]) == ("Sunny <b", [], Finished(0, "stop"))


async def test_without_tools_a_mark_is_text_and_log_probabilities_stay():
    spoken_ = chunk({"content": MARKED}, "stop")
    spoken_["choices"][0]["logprobs"] = {"content": [{"token": MARKED, "logprob": -1.0}]}
    async with remote(streamed(events(spoken_)), tooling="words") as model:
        answer = await model.generate(tools=plan("none"), top_logprobs=0)
        assert text_of(answer) == MARKED
        assert [len(event.logprobs) for event in answer if isinstance(event, TextDelta)] == [1]


async def test_calls_and_results_of_earlier_turns_are_told_in_words():
    turns = (
        Message("user", "Hi"),
        Message("assistant", "", calls=(ToolCall("c1", "weather", '{"city": "Rome"}'),)),
        Message("tool", "sunny", call_id="c1"),
    )
    async with remote(streamed(spoken(["ok"])), tooling="words") as model:
        await model.generate(prompt=Messages(turns))
        sent = model.upstream.bodies[0]["messages"]
    assert [message["role"] for message in sent] == ["user", "assistant", "user"]
    assert json.loads(sent[1]["content"].removeprefix("<tool_call>").removesuffix("</tool_call>")) == json.loads(CALL)
    assert sent[2]["content"] == "Result of weather:\nsunny"


async def test_a_second_call_is_dropped_where_only_one_may_be_made():
    async with remote(streamed(spoken([MARKED, MARKED])), tooling="words") as model:
        assert len(calls_of(await model.generate(tools=plan("auto", at_most_one=True)))) == 1
        assert len(calls_of(await model.generate(tools=plan("auto")))) == 2


async def test_a_call_that_the_length_cuts_has_no_end():
    cut = events(chunk({"content": CALL[:-5]}), chunk({}, "length"))
    async with remote(streamed(cut), tooling="words") as model:
        answer = await model.generate(tools=plan("required"))
        assert [call[3] for call in calls_of(answer)] == [False]
        assert Finished(0, "length") in answer


async def test_of_a_call_that_the_length_cuts_nothing_is_text():
    for end in range(len("<tool_call>")):
        cut = events(chunk({"content": "Hi" + "<tool_call>"[:end]}), chunk({}, "length"))
        async with remote(streamed(cut), tooling="words") as model:
            answer = await model.generate(tools=plan("auto"))
            assert "".join(event.text for event in answer if isinstance(event, TextDelta)) == "Hi"


async def test_no_call_where_one_is_required_is_a_failure():
    async with remote(streamed(spoken(["Sunny"])), tooling="words") as model:
        with pytest.raises(EngineFailed, match="called no tool, though one was required"):
            await model.generate(tools=plan("required"))


@pytest.mark.parametrize(
    ("fields", "param"), [({"top_logprobs": 1}, "logprobs"), ({"output": Choice(("a",))}, "guided_choice")]
)
async def test_what_cant_go_with_tools_in_words_is_refused_by_name(fields, param):
    async with remote(tooling="words", is_guided=True) as model:
        with pytest.raises(Unsupported) as caught:
            model.engine.check(asked(tools=plan("auto"), **fields))
        assert caught.value.param == param
        model.engine.check(asked(tools=plan("none"), **fields))


@pytest.mark.parametrize(
    ("form", "mode"),
    [(Lark("start: /a/", "here"), "required"), (Lark("start: /a/", "here"), "auto"), (Regex("a", "here"), "auto")],
)
async def test_a_grammar_that_no_schema_says_is_refused_by_name(form, mode):
    async with remote(tooling="words") as model:
        with pytest.raises(Unsupported, match="can't be bound to a tool's grammar") as caught:
            model.engine.check(asked(tools=plan(mode, Tool("f", input=form))))
        assert caught.value.param == "here"
        model.engine.check(asked(tools=plan("required", Tool("f", input=Regex("a")))))
