"""What ``tools`` and ``functions`` ask for, with every choice of them."""

import pytest

from lowcloud.core.errors import BadRequest, Unsupported
from lowcloud.core.output import ANY_TEXT, Lark, Regex
from lowcloud.core.tools import NO_TOOLS, Tool, ToolPlan
from lowcloud.http.openai.chat_request import ChatAsked, chat_asked
from lowcloud.http.openai.chat_tools import MAX_TOOLS, NO_PARAMETERS

SCHEMA = {"type": "object", "properties": {"a": {"type": "string"}}}
F = {"type": "function", "function": {"name": "f", "description": "d", "parameters": SCHEMA, "strict": True}}
G = {"type": "function", "function": {"name": "get.the-weather_2"}}
SHELL = {"type": "custom", "custom": {"name": "shell"}}
TOOLS = [F, G, SHELL]


def asked(**fields: object) -> ChatAsked:
    return chat_asked({"model": "m", "messages": [{"role": "user", "content": "hi"}]} | fields, "id")


def plan(**fields: object) -> ToolPlan:
    return asked(tools=TOOLS, **fields).generate.tools


def shown(request: ChatAsked) -> list[str]:
    return [tool.name for tool in request.generate.prompt.tools]


def names(of: ToolPlan) -> list[str]:
    return [tool.name for tool in of.tools]


def refusal(**fields: object) -> BadRequest:
    with pytest.raises(BadRequest) as raised:
        asked(**fields)
    return raised.value


def grammar(syntax: str, definition: str) -> dict:
    form = {"type": "grammar", "grammar": {"syntax": syntax, "definition": definition}}
    return {"type": "custom", "custom": {"name": "shell", "description": "runs", "format": form}}


def test_functions_become_tools():
    request = asked(tools=TOOLS)
    assert request.generate.prompt.tools == (
        Tool("f", "d", SCHEMA, is_strict=True, param="tools[0].function.parameters"),
        Tool("get.the-weather_2", None, NO_PARAMETERS, param="tools[1].function.parameters"),
        Tool("shell", input=ANY_TEXT, param="tools[2].custom.format"),
    )
    assert request.generate.tools == ToolPlan(request.generate.prompt.tools, "auto")
    assert request.ignored == ()
    assert request.shape.custom == {"shell"}


@pytest.mark.parametrize(
    ("syntax", "input_format"),
    [
        ("lark", Lark("start: /a/", "tools[0].custom.format.grammar.definition")),
        ("regex", Regex("start: /a/", "tools[0].custom.format.grammar.definition")),
    ],
)
def test_a_custom_tools_input_may_have_a_grammar(syntax, input_format):
    (tool,) = asked(tools=[grammar(syntax, "start: /a/")]).generate.prompt.tools
    assert (tool.input, tool.parameters, tool.description) == (input_format, None, "runs")


def test_a_custom_tools_input_may_be_any_text():
    tool = {"type": "custom", "custom": {"name": "shell", "format": {"type": "text"}}}
    assert asked(tools=[tool]).generate.prompt.tools[0].input == ANY_TEXT


def test_with_none_the_model_is_not_told_of_the_tools():
    request = asked(tools=TOOLS, tool_choice="none")
    assert (shown(request), request.generate.tools) == ([], NO_TOOLS)


@pytest.mark.parametrize("mode", ["auto", "required"])
def test_any_tool_may_or_must_be_called(mode):
    of = plan(tool_choice=mode)
    assert (names(of), of.mode, of.at_most_one) == (["f", "get.the-weather_2", "shell"], mode, False)
    assert plan(tool_choice=mode, parallel_tool_calls=False).at_most_one
    assert asked(tools=TOOLS, tool_choice=mode).shape.is_forced == (mode == "required")


@pytest.mark.parametrize(
    ("choice", "name"),
    [
        ({"type": "function", "function": {"name": "f"}}, "f"),
        ({"type": "custom", "custom": {"name": "shell"}}, "shell"),
    ],
)
def test_a_named_tool_must_be_called_once_and_the_others_are_shown(choice, name):
    request = asked(tools=TOOLS, tool_choice=choice)
    of = request.generate.tools
    assert (names(of), of.mode, of.at_most_one) == ([name], "required", True)
    assert (len(shown(request)), request.shape.is_named) == (3, True)


@pytest.mark.parametrize("mode", ["auto", "required"])
def test_allowed_tools_narrow_what_may_be_called_and_not_what_is_shown(mode):
    allowed = [{"type": "custom", "custom": {"name": "shell"}}, {"type": "function", "function": {"name": "f"}}]
    choice = {"type": "allowed_tools", "allowed_tools": {"mode": mode, "tools": [*allowed, *allowed]}}
    request = asked(tools=TOOLS, tool_choice=choice)
    of = request.generate.tools
    assert (names(of), of.mode, of.at_most_one) == (["shell", "f"], mode, False)
    assert (len(shown(request)), request.shape.is_named) == (3, False)


def test_functions_are_the_older_form_with_one_call_at_most():
    functions = [{"name": "f", "parameters": SCHEMA}, {"name": "g"}]
    request = asked(functions=functions)
    assert request.generate.tools == ToolPlan(
        (
            Tool("f", None, SCHEMA, param="functions[0].parameters"),
            Tool("g", None, NO_PARAMETERS, param="functions[1].parameters"),
        ),
        "auto",
        at_most_one=True,
    )
    assert (request.shape.is_legacy, request.shape.is_named, shown(request)) == (True, False, ["f", "g"])
    named = asked(functions=functions, function_call={"name": "g"})
    assert (names(named.generate.tools), named.generate.tools.mode) == (["g"], "required")
    assert (named.shape.is_legacy, named.shape.is_named) == (True, True)
    assert asked(functions=functions, function_call="none").generate == asked().generate


def test_members_that_nobody_reads_are_named():
    tool = {"type": "function", "cache_control": {}, "function": {"name": "f", "returns": {}, "strict": None}}
    assert asked(tools=[tool, tool | {"function": {"name": "g"}}]).ignored == (
        "tools[].cache_control",
        "tools[].function.returns",
    )
    assert asked(functions=[{"name": "f", "returns": {}}]).ignored == ("functions[].returns",)
    form = {"type": "grammar", "grammar": {"syntax": "regex", "definition": "a", "zeta": 1}, "zeta": 1}
    custom = {"type": "custom", "custom": {"name": "c", "format": form, "strict": True}}
    assert asked(tools=[custom], tool_choice={"type": "custom", "custom": {"name": "c"}, "zeta": 1}).ignored == (
        "tools[].custom.strict",
        "tools[].custom.format.zeta",
        "tools[].custom.format.grammar.zeta",
        "tool_choice.zeta",
    )


@pytest.mark.parametrize("name", ["", "a b", "é", "<|im_end|>", "a\n", "x" * 65, None, 1])
def test_a_tools_name_is_letters_digits_and_three_signs(name):
    function = {"type": "function", "function": {"name": name}}
    assert refusal(tools=[F, function]).param == "tools[1].function.name"
    assert refusal(tools=[{"type": "custom", "custom": {"name": name}}]).param == "tools[0].custom.name"
    assert refusal(functions=[{"name": name}]).param == "functions[0].name"


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"tools": [F, F]}, "tools[1]"),
        ({"tools": [{"type": "custom", "custom": {"name": "f"}}, F]}, "tools[1]"),
        ({"functions": 0}, "functions"),
        ({"functions": ""}, "functions"),
        ({"functions": [{"name": "f"}, {"name": "f"}]}, "functions[1]"),
        ({"tools": [F] * (MAX_TOOLS + 1)}, "tools"),
        ({"tools": [F], "functions": [{"name": "g"}]}, "functions"),
        ({"tools": ["x"]}, "tools[0]"),
        ({"tools": [{}]}, "tools[0].type"),
        ({"tools": [{"type": "function"}]}, "tools[0].function"),
        (
            {"tools": [{"type": "function", "function": {"name": "f", "parameters": []}}]},
            "tools[0].function.parameters",
        ),
        ({"tools": [{"type": "function", "function": {"name": "f", "strict": 1}}]}, "tools[0].function.strict"),
        (
            {"tools": [{"type": "custom", "custom": {"name": "f", "format": {"type": "x"}}}]},
            "tools[0].custom.format.type",
        ),
        (
            {"tools": [{"type": "custom", "custom": {"name": "f", "format": {"type": "grammar"}}}]},
            "tools[0].custom.format",
        ),
        ({"tools": [grammar("peg", "a")]}, "tools[0].custom.format.grammar.syntax"),
        ({"tools": [grammar("lark", "")]}, "tools[0].custom.format.grammar.definition"),
        ({"tools": TOOLS, "tool_choice": "any"}, "tool_choice"),
        ({"tools": TOOLS, "tool_choice": {"type": "function"}}, "tool_choice.function"),
        ({"tools": TOOLS, "tool_choice": {"type": "function", "function": {"name": "no"}}}, "tool_choice"),
        ({"tools": TOOLS, "tool_choice": {"type": "function", "function": {"name": "shell"}}}, "tool_choice"),
        ({"tools": TOOLS, "tool_choice": {"type": "custom", "custom": {"name": "f"}}}, "tool_choice"),
        ({"tools": TOOLS, "tool_choice": {"type": "allowed_tools"}}, "tool_choice.allowed_tools"),
        ({"tools": TOOLS, "function_call": {"name": "f"}}, "function_call"),
        ({"functions": [{"name": "f"}], "tool_choice": "auto"}, "tool_choice"),
        ({"functions": [{"name": "f"}], "function_call": {"name": "g"}}, "function_call"),
        ({"functions": [{"name": "f"}], "function_call": "required"}, "function_call"),
        ({"functions": [{"name": "f"}], "function_call": 5}, "function_call"),
    ],
)
def test_a_wrong_tool_or_choice_is_refused_with_its_path(fields, param):
    assert refusal(**fields).param == param


@pytest.mark.parametrize(
    ("allowed", "param"),
    [
        ({"mode": "none", "tools": [F]}, "mode"),
        ({"mode": "auto", "tools": []}, "tools"),
        ({"mode": "auto", "tools": "x"}, "tools"),
        ({"mode": "auto"}, "tools"),
        ({"mode": "auto", "tools": [F, {"type": "function", "function": {"name": "no"}}]}, "tools[1]"),
        ({"mode": "auto", "tools": [{"type": "function", "function": {}}]}, "tools[0].function.name"),
    ],
)
def test_wrong_allowed_tools_are_refused_with_their_path(allowed, param):
    choice = {"type": "allowed_tools", "allowed_tools": allowed}
    assert refusal(tools=TOOLS, tool_choice=choice).param == f"tool_choice.allowed_tools.{param}"


def test_a_kind_of_tool_that_is_not_done_is_refused_by_name():
    error = refusal(tools=[{"type": "web_search"}])
    assert (error.param, type(error)) == ("tools[0].type", Unsupported)
