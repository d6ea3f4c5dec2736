"""Custom tools of responses over HTTP: what bounds their input reaches the engine, and what can't is refused."""

import pytest

from lowcloud.core.output import ANY_TEXT, Lark, Regex
from lowcloud.engines.local.bounds import bounds_of
from lowcloud.engines.scripted import Said, SaidCall, ScriptedEngine
from lowcloud.text.dialects import registry

pytestmark = pytest.mark.anyio
PATH = "tools[0].format.definition"
SUM = 'start: NUMBER "+" NUMBER\nNUMBER: /[0-9]+/'


class Bounding(ScriptedEngine):
    """One that refuses what the local engine can't bound an answer to."""

    def check(self, request):
        super().check(request)
        bounds_of(request, registry.DIALECTS[0], {}, is_thinking=False, may_think=False)


def custom(syntax=None, definition=""):
    tool = {"type": "custom", "name": "add", "description": "Adds."}
    grammar = {"type": "grammar", "syntax": syntax, "definition": definition}
    return tool if syntax is None else {**tool, "format": grammar}


@pytest.mark.parametrize(
    ("tool", "bound"),
    [
        (custom("lark", SUM), Lark(SUM, PATH)),
        (custom("regex", r"\d+\+\d+"), Regex(r"\d+\+\d+", PATH)),
        (custom(), ANY_TEXT),
    ],
    ids=["lark", "regex", "text"],
)
@pytest.mark.parametrize(
    "choice", ["auto", "required", {"type": "custom", "name": "add"}], ids=["auto", "all", "named"]
)
async def test_the_engine_gets_what_the_input_must_be_and_its_text_is_the_items(make_desk, tool, bound, choice):
    async with make_desk(reply=Said(calls=(SaidCall("add", "1+1"),)), engine=Bounding) as desk:
        response = await desk.response(tools=[tool], tool_choice=choice)
        plan = desk.world.chat.requests[0].tools
    (made,) = plan.tools
    assert (made.name, made.input) == ("add", bound)
    assert plan.mode == ("auto" if choice == "auto" else "required")
    (call,) = response["output"]
    assert (call["type"], call["name"], call["input"]) == ("custom_tool_call", "add", "1+1")
    assert response["tools"] == [{"format": {"type": "text"}, **tool}]


async def test_the_input_is_streamed_as_text_and_what_came_of_the_call_goes_in_again(make_desk):
    async with make_desk(reply=Said(calls=(SaidCall("add", "1+1"),))) as desk:
        events = await desk.events(tools=[custom("lark", SUM)])
        deltas = [event["delta"] for event in events if event["type"] == "response.custom_tool_call_input.delta"]
        (call,) = events[-1]["response"]["output"]
        output = {"type": "custom_tool_call_output", "call_id": call["call_id"], "output": "2"}
        await desk.response(input=[call, output], tools=[custom("lark", SUM)])
        asked, found = desk.world.chat.requests[-1].prompt.messages
    assert "".join(deltas) == "1+1"
    assert (asked.calls[0].arguments, asked.calls[0].is_custom) == ("1+1", True)
    assert (found.role, found.text, found.name) == ("tool", "2", "add")


@pytest.mark.parametrize(
    ("syntax", "definition"),
    [
        ("lark", "start: b"),
        ("lark", "begin: /a/"),
        ("lark", "start: /(/"),
        ("lark", ""),
        ("regex", ""),
    ],
)
@pytest.mark.parametrize("how", [{}, {"stream": True}, {"background": True}], ids=["whole", "stream", "background"])
async def test_a_grammar_that_cant_be_is_refused_by_its_path(make_desk, syntax, definition, how):
    async with make_desk(engine=Bounding) as desk:
        answer = await desk.answer({"tools": [custom(syntax, definition)], **how})
    assert (answer.status, answer.json["error"]["param"]) == (400, PATH)


async def test_an_unknown_syntax_is_refused_by_its_path(make_desk):
    async with make_desk() as desk:
        answer = await desk.answer({"tools": [custom("gbnf", "root ::= 1")]})
    assert (answer.status, answer.json["error"]["param"]) == (400, "tools[0].format.syntax")
