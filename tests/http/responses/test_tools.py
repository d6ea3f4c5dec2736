"""What ``tools`` and ``tool_choice`` ask for, with every choice of them, and tools that aren't run here."""

import pytest

from lowcloud.core.errors import BadRequest, Unsupported
from lowcloud.core.output import ANY_TEXT, Lark, Regex
from lowcloud.core.tools import NO_TOOLS, Tool, ToolPlan
from lowcloud.http.openai.chat_tools import MAX_TOOLS, NO_PARAMETERS
from lowcloud.http.responses.request import ResponseAsked, response_asked

SCHEMA = {"type": "object", "properties": {"a": {"type": "string"}}}
F = {"type": "function", "name": "f", "description": "d", "parameters": SCHEMA, "strict": True}
G = {"type": "function", "name": "g"}
SHELL = {"type": "custom", "name": "shell"}
SEARCH = {"type": "web_search"}
TOOLS = [F, G, SHELL]


def asked(*, ignores_tools: bool = False, **fields: object) -> ResponseAsked:
    return response_asked({"model": "m", "input": "hi"} | fields, "resp_1", ignores_tools=ignores_tools)


def plan(**fields: object) -> ToolPlan:
    return asked(**({"tools": TOOLS} | fields)).generate.tools


def names(of: ToolPlan) -> list[str]:
    return [tool.name for tool in of.tools]


def refusal(**fields: object) -> BadRequest:
    with pytest.raises(BadRequest) as raised:
        asked(**fields)
    return raised.value


def grammar(syntax: str, definition: str) -> dict[str, object]:
    return SHELL | {"description": "runs", "format": {"type": "grammar", "syntax": syntax, "definition": definition}}


def test_functions_and_custom_tools_become_tools():
    request = asked(tools=TOOLS)
    assert request.generate.prompt.tools == (
        Tool("f", "d", SCHEMA, is_strict=True, param="tools[0].parameters"),
        Tool("g", None, NO_PARAMETERS, param="tools[1].parameters"),
        Tool("shell", input=ANY_TEXT, param="tools[2].format"),
    )
    assert request.generate.tools == ToolPlan(request.generate.prompt.tools, "auto")
    assert (request.custom, request.ignored) == ({"shell"}, ())


def test_the_response_shows_tools_with_what_holds_for_them():
    head = asked(tools=[G, F, SHELL, {**grammar("regex", "a+"), "name": "re"}]).head
    assert head["tools"] == [
        {"type": "function", "name": "g", "description": None, "parameters": NO_PARAMETERS, "strict": False},
        F,
        {**SHELL, "format": {"type": "text"}},
        {**grammar("regex", "a+"), "name": "re"},
    ]
    assert head["tool_choice"] == "auto"


@pytest.mark.parametrize(
    ("syntax", "made"),
    [
        ("lark", Lark("start: /a/", "tools[0].format.definition")),
        ("regex", Regex("start: /a/", "tools[0].format.definition")),
    ],
)
def test_a_custom_tools_grammar_is_named_by_its_path(syntax, made):
    (tool,) = plan(tools=[grammar(syntax, "start: /a/")]).tools
    assert (tool.input, tool.param) == (made, "tools[0].format")


def test_what_nothing_reads_is_named():
    tool = {**F, "defer_loading": True, "async": False, "output_schema": {}, "allowed_callers": ["direct"]}
    assert asked(tools=[tool]).ignored == ("tools[].defer_loading", "tools[].output_schema")
    given = {**SHELL, "format": {"type": "text", "x": 1}}
    choice = {"type": "custom", "name": "shell", "y": 1}
    assert asked(tools=[given], tool_choice=choice).ignored == ("tools[].format.x", "tool_choice.y")
    named = {**grammar("lark", "start: /a/")["format"], "z": 1}
    allowed = {"type": "allowed_tools", "mode": "auto", "tools": [{"type": "custom", "name": "shell", "w": 1}], "v": 1}
    assert asked(tools=[{**SHELL, "format": named}], tool_choice=allowed).ignored == (
        "tools[].format.z",
        "tool_choice.v",
        "tool_choice.tools[].w",
    )


@pytest.mark.parametrize("choice", [None, "auto"])
def test_the_model_may_call_where_nothing_else_is_said(choice):
    made = plan(tool_choice=choice)
    assert (names(made), made.mode, made.at_most_one) == (["f", "g", "shell"], "auto", False)
    assert asked(tool_choice=choice).generate.tools == NO_TOOLS


def test_none_tells_the_model_of_no_tool():
    request = asked(tools=TOOLS, tool_choice="none")
    assert (request.generate.tools, request.generate.prompt.tools, request.custom) == (NO_TOOLS, (), frozenset())
    assert (request.head["tool_choice"], len(request.head["tools"])) == ("none", 3)


def test_required_asks_for_one_call_at_least():
    assert plan(tool_choice="required").mode == "required"


@pytest.mark.parametrize(("kind", "name"), [("function", "g"), ("custom", "shell")])
def test_a_named_tool_is_called_once(kind, name):
    request = asked(tools=TOOLS, tool_choice={"type": kind, "name": name})
    made = request.generate.tools
    assert (names(made), made.mode, made.at_most_one) == ([name], "required", True)
    assert len(request.generate.prompt.tools) == 3
    assert request.head["tool_choice"] == {"type": kind, "name": name}


@pytest.mark.parametrize("mode", ["auto", "required"])
def test_allowed_tools_are_those_that_may_be_called(mode):
    named = [{"type": "custom", "name": "shell"}, {"type": "function", "name": "f"}]
    choice = {"type": "allowed_tools", "mode": mode, "tools": named}
    request = asked(tools=TOOLS, tool_choice={**choice, "tools": [*named, named[0]]})
    assert (names(request.generate.tools), request.generate.tools.mode) == (["shell", "f"], mode)
    assert len(request.generate.prompt.tools) == 3
    assert request.head["tool_choice"] == {**choice, "tools": [*named, named[0]]}


@pytest.mark.parametrize("fields", [{"parallel_tool_calls": False}, {"max_tool_calls": 1}])
def test_a_second_call_can_be_forbidden(fields):
    assert plan(**fields).at_most_one
    assert not plan(parallel_tool_calls=True, max_tool_calls=2).at_most_one


@pytest.mark.parametrize(
    "kind",
    ["web_search", "file_search", "code_interpreter", "computer", "image_generation", "mcp", "shell", "namespace"],
)
def test_a_tool_that_is_not_run_here_is_refused_by_name(kind):
    error = refusal(tools=[F, {"type": kind}])
    assert isinstance(error, Unsupported)
    assert (error.param, kind in str(error)) == ("tools[1].type", True)


@pytest.mark.parametrize(
    "by", [{"ignores_tools": True}, {"lowcloud": {"ignore_unsupported_tools": True}}], ids=["header", "body"]
)
def test_or_left_out_where_the_caller_says_so(by):
    request = asked(tools=[SEARCH, F, {"type": "mcp"}], **by)
    assert names(request.generate.tools) == ["f"]
    assert request.generate.tools.tools[0].param == "tools[1].parameters"
    assert request.head["tools"] == [F]
    assert request.ignored == ("tools[].web_search", "tools[].mcp")
    assert asked(tools=[SEARCH], **by).generate.tools == NO_TOOLS


def test_allowed_tools_that_are_not_run_here_are_left_out_beside_others():
    choice = {"type": "allowed_tools", "mode": "required", "tools": [SEARCH, {"type": "function", "name": "f"}]}
    request = asked(tools=[SEARCH, F], tool_choice=choice, ignores_tools=True)
    assert names(request.generate.tools) == ["f"]
    assert request.head["tool_choice"] == {**choice, "tools": choice["tools"][1:]}
    assert request.ignored == ("tools[].web_search", "tool_choice.tools[].web_search")


@pytest.mark.parametrize(
    ("tools", "choice", "param"),
    [
        ([SEARCH, F], {"type": "web_search"}, "tool_choice.type"),
        ([SEARCH, F], {"type": "mcp", "server_label": "x"}, "tool_choice.type"),
        ([SEARCH, F], {"type": "allowed_tools", "mode": "auto", "tools": [SEARCH]}, "tool_choice.tools"),
        ([SEARCH], "required", "tool_choice"),
    ],
)
def test_a_tool_that_is_not_run_here_and_is_forced_stays_a_refusal(tools, choice, param):
    assert refusal(tools=tools, tool_choice=choice, ignores_tools=True).param == param


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"tools": "f"}, "tools"),
        ({"tools": [F] * (MAX_TOOLS + 1)}, "tools"),
        ({"tools": ["f"]}, "tools[0]"),
        ({"tools": [{"name": "f"}]}, "tools[0].type"),
        ({"tools": [{**G, "type": 1}]}, "tools[0].type"),
        ({"tools": [{"type": "function", "function": {"name": "f"}}]}, "tools[0].name"),
        ({"tools": [{**F, "name": "f g"}]}, "tools[0].name"),
        ({"tools": [F, {**F, "parameters": []}]}, "tools[1].parameters"),
        ({"tools": [F, F]}, "tools[1]"),
        ({"tools": [{**F, "allowed_callers": ["programmatic"]}]}, "tools[0].allowed_callers"),
        ({"tools": [{**SHELL, "allowed_callers": []}]}, "tools[0].allowed_callers"),
        ({"tools": [{**SHELL, "format": {"type": "grammar"}}]}, "tools[0].format.syntax"),
        ({"tools": [{**SHELL, "format": {"type": "lark"}}]}, "tools[0].format.type"),
        ({"tools": [{**SHELL, "format": "text"}]}, "tools[0].format"),
        ({"tool_choice": "required"}, "tool_choice"),
        ({"tool_choice": "any"}, "tool_choice"),
        ({"tool_choice": {}}, "tool_choice"),
        ({"tools": TOOLS, "tool_choice": {"type": "function"}}, "tool_choice.name"),
        ({"tools": TOOLS, "tool_choice": {"type": "function", "name": "shell"}}, "tool_choice"),
        ({"tools": TOOLS, "tool_choice": {"type": "allowed_tools", "tools": []}}, "tool_choice.tools"),
        ({"tools": TOOLS, "tool_choice": {"type": "allowed_tools", "tools": 1}}, "tool_choice.tools"),
        ({"tools": TOOLS, "tool_choice": {"type": "allowed_tools", "tools": [1]}}, "tool_choice.tools[0]"),
        ({"tools": TOOLS, "tool_choice": {"type": "allowed_tools", "tools": [SEARCH]}}, "tool_choice.tools[0].type"),
        (
            {"tools": TOOLS, "tool_choice": {"type": "allowed_tools", "tools": [{"type": "function", "name": "x"}]}},
            "tool_choice.tools[0]",
        ),
        ({"tools": TOOLS, "tool_choice": {"type": "allowed_tools", "mode": "none", "tools": []}}, "tool_choice.mode"),
    ],
)
def test_what_is_wrong_is_refused_with_its_path(fields, param):
    assert refusal(**fields).param == param
