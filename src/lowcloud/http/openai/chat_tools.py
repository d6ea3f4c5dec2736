"""Tools of the chat format: which the model is told of, which it may call, and whether it must."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, SkipValidation, model_validator

from lowcloud.core.errors import BadRequest, Unsupported
from lowcloud.core.output import ANY_TEXT, AnyText, Lark, Regex
from lowcloud.core.tools import NO_TOOLS, Tool, ToolPlan
from lowcloud.http.openai.parameters import note_unread
from lowcloud.http.validation import validated

# OpenAI's, and the dot, which tools of MCP servers have in their names.
ToolName = Annotated[str, Field(pattern=r"^[a-zA-Z0-9_.-]{1,64}$")]
MAX_TOOLS = 128
# "Omitting parameters defines a function with an empty parameter list." Source: OpenAI's specification.
NO_PARAMETERS: Mapping[str, object] = {"type": "object", "properties": {}, "additionalProperties": False}
_KINDS = ("function", "custom")


class _Part(BaseModel):
    model_config = ConfigDict(strict=True)


class FunctionDefinition(_Part):
    """A function. ``parameters`` is a JSON schema; without ``strict`` what can't be enforced of it is left out."""

    name: ToolName
    description: str | None = None
    parameters: dict[str, object] | None = None
    strict: bool | None = None


class Grammar(_Part):
    """What a custom tool's input must be."""

    syntax: Literal["lark", "regex"]
    definition: str = Field(min_length=1)


class CustomFormat(_Part):
    """Any text, or what a grammar allows."""

    type: Literal["text", "grammar"]
    grammar: Grammar | None = None

    @model_validator(mode="after")
    def _a_grammar_is_there(self) -> "CustomFormat":
        if self.type == "grammar" and self.grammar is None:
            raise ValueError("needs a member grammar")
        return self


class CustomDefinition(_Part):
    """A tool whose one argument is a text."""

    name: ToolName
    description: str | None = None
    format: CustomFormat | None = None


class FunctionTool(_Part):
    type: Literal["function"]
    function: FunctionDefinition


class CustomTool(_Part):
    type: Literal["custom"]
    custom: CustomDefinition


class Named(_Part):
    name: str


class NamedFunction(_Part):
    type: Literal["function"]
    function: Named


class NamedCustom(_Part):
    type: Literal["custom"]
    custom: Named


class AllowedTools(_Part):
    mode: Literal["auto", "required"]
    tools: Annotated[list[NamedFunction | NamedCustom], SkipValidation]


class AllowedChoice(_Part):
    type: Literal["allowed_tools"]
    allowed_tools: AllowedTools


ToolChoice = Literal["none", "auto", "required"] | NamedFunction | NamedCustom | AllowedChoice
FunctionChoice = Literal["none", "auto"] | Named


@dataclass(frozen=True, slots=True)
class ToolsAsked:
    """``shown`` are the tools that the model is told of. ``is_named``: the caller chose the one that must be called.

    ``is_legacy``: they came as ``functions``, and the answer is a ``function_call``.
    """

    shown: tuple[Tool, ...] = ()
    plan: ToolPlan = NO_TOOLS
    is_named: bool = False
    is_legacy: bool = False

    def custom(self) -> frozenset[str]:
        """The names of the custom tools."""
        return frozenset(tool.name for tool in self.shown if tool.input is not None)


def tools_asked(raw: Mapping[str, object], unread: dict[str, None]) -> ToolsAsked:
    """What ``tools`` and ``functions`` ask for, with their choices; ``unread`` gets the members that nothing reads.

    Raises BadRequest and Unsupported with the path.
    """
    has_functions = raw.get("functions") not in (None, [])
    if raw.get("tools") and has_functions:
        raise BadRequest("functions: only allowed without tools, which replace them.", param="functions")
    if has_functions:
        return _legacy(raw, unread)
    if raw.get("function_call") not in (None, "none", "auto"):
        raise BadRequest("function_call: only allowed with functions.", param="function_call")
    tools = _tools(raw.get("tools"), unread)
    choice = raw.get("tool_choice")
    if not tools:
        if choice not in (None, "none", "auto"):
            raise BadRequest("tool_choice: only allowed with tools.", param="tool_choice")
        return ToolsAsked()
    note_unread(choice, {"type", "function", "custom", "allowed_tools"}, "tool_choice", unread)
    return _chosen(tools, "auto" if choice is None else choice, raw.get("parallel_tool_calls") is False)


def _chosen(tools: tuple[Tool, ...], choice: object, at_most_one: bool) -> ToolsAsked:
    match choice:
        case "none":
            return ToolsAsked()
        case "auto" | "required":
            return ToolsAsked(tools, ToolPlan(tools, choice, at_most_one))
        case {"type": "allowed_tools"}:
            allowed = validated(AllowedChoice, choice, "tool_choice").allowed_tools
            path = "tool_choice.allowed_tools.tools"
            choices = listed(allowed.tools, path)
            if not choices:
                raise BadRequest(f"{path}: must name at least one tool.", param=path)
            callable_tools = [_one_of(tools, item, f"{path}[{index}]") for index, item in enumerate(choices)]
            return ToolsAsked(tools, ToolPlan(once(callable_tools), allowed.mode, at_most_one))
        case {"type": "function" | "custom"}:
            return ToolsAsked(tools, forced(_one_of(tools, choice, "tool_choice")), is_named=True)
    raise BadRequest(
        'tool_choice: must be "none", "auto", "required", or an object of type function, custom or allowed_tools.',
        param="tool_choice",
    )


def once(tools: Sequence[Tool]) -> tuple[Tool, ...]:
    """Each of them once, at its first place."""
    return tuple({tool.name: tool for tool in tools}.values())


def forced(tool: Tool) -> ToolPlan:
    """Exactly one call, of this tool."""
    return ToolPlan((tool,), "required", at_most_one=True)


def _one_of(tools: Sequence[Tool], choice: object, path: str) -> Tool:
    """The tool that ``choice`` names, which must be of its kind."""
    kind = choice.get("type") if isinstance(choice, dict) else None
    if kind == "custom":
        name = validated(NamedCustom, choice, path).custom.name
    else:
        name, kind = validated(NamedFunction, choice, path).function.name, "function"
    return found(tools, kind, name, path)


def found(tools: Sequence[Tool], kind: str, name: str, path: str) -> Tool:
    """The tool of ``kind``, function or custom, that is called ``name``. Raises BadRequest."""
    for tool in tools:
        if tool.name == name and (tool.input is not None) == (kind == "custom"):
            return tool
    raise BadRequest(f"{path}: the request has no {kind} tool {name[:64]}.", param=path)


def _tools(value: object, unread: dict[str, None]) -> tuple[Tool, ...]:
    if value is None:
        return ()
    items = listed(value, "tools")
    return distinct([_tool(item, f"tools[{index}]", unread) for index, item in enumerate(items)], "tools")


def _tool(value: Any, path: str, unread: dict[str, None]) -> Tool:
    kind = value.get("type") if isinstance(value, dict) else None
    if isinstance(kind, str) and kind not in _KINDS:
        raise Unsupported(f"{path}: tools of type {kind[:64]} are not supported here.", param=f"{path}.type")
    if kind == "custom":
        custom = validated(CustomTool, value, path).custom
        note_unread(value, CustomTool.model_fields, path, unread)
        _note_custom(value["custom"], f"{path}.custom", unread)
        format_path = f"{path}.custom.format.grammar.definition"
        return Tool(
            custom.name, custom.description, input=_input(custom.format, format_path), param=f"{path}.custom.format"
        )
    function = validated(FunctionTool, value, path).function
    note_unread(value, FunctionTool.model_fields, path, unread)
    note_unread(value["function"], FunctionDefinition.model_fields, f"{path}.function", unread)
    return function_tool(function, f"{path}.function")


def _note_custom(value: Mapping[str, Any], path: str, unread: dict[str, None]) -> None:
    note_unread(value, CustomDefinition.model_fields, path, unread)
    if value.get("format") is not None:
        note_unread(value["format"], CustomFormat.model_fields, f"{path}.format", unread)
        note_unread(value["format"].get("grammar"), Grammar.model_fields, f"{path}.format.grammar", unread)


def function_tool(function: FunctionDefinition, path: str) -> Tool:
    """A function that is defined at ``path``."""
    parameters = NO_PARAMETERS if function.parameters is None else function.parameters
    return Tool(function.name, function.description, parameters, bool(function.strict), param=f"{path}.parameters")


def _input(asked: CustomFormat | None, path: str) -> AnyText | Regex | Lark:
    return ANY_TEXT if asked is None or asked.grammar is None else grammar_asked(asked.grammar, path)


def grammar_asked(grammar: Grammar, path: str) -> Regex | Lark:
    """What the input of a custom tool must be; ``path`` is the definition's."""
    return (Lark if grammar.syntax == "lark" else Regex)(grammar.definition, path)


def _legacy(raw: Mapping[str, object], unread: dict[str, None]) -> ToolsAsked:
    """``functions`` and ``function_call``: one call at most."""
    if raw.get("tool_choice") is not None:
        raise BadRequest("tool_choice: only allowed with tools.", param="tool_choice")
    items = listed(raw["functions"], "functions")
    paths = [f"functions[{index}]" for index in range(len(items))]
    defined = [validated(FunctionDefinition, item, path) for item, path in zip(items, paths, strict=True)]
    for item, path in zip(items, paths, strict=True):
        note_unread(item, FunctionDefinition.model_fields, path, unread)
    tools = distinct(
        [function_tool(function, path) for function, path in zip(defined, paths, strict=True)], "functions"
    )
    match raw.get("function_call"):
        case "none":
            return ToolsAsked()
        case None | "auto":
            return ToolsAsked(tools, ToolPlan(tools, "auto", at_most_one=True), is_legacy=True)
        case {"name": str() as name}:
            choice = {"type": "function", "function": {"name": name}}
            return ToolsAsked(tools, forced(_one_of(tools, choice, "function_call")), is_named=True, is_legacy=True)
    raise BadRequest('function_call: must be "none", "auto" or {"name": ...}.', param="function_call")


def listed(value: object, path: str) -> list[object]:
    """``value``, a list of tools or of their names. Raises BadRequest."""
    if not isinstance(value, list):
        raise BadRequest(f"{path}: must be a list.", param=path)
    if len(value) > MAX_TOOLS:
        raise BadRequest(f"{path}: at most {MAX_TOOLS}; these are {len(value)}.", param=path)
    return value


def distinct(tools: Sequence[Tool], path: str) -> tuple[Tool, ...]:
    """The tools of the list at ``path``. Raises BadRequest where two have the same name."""
    names: set[str] = set()
    for index, tool in enumerate(tools):
        if tool.name in names:
            param = f"{path}[{index}]"
            raise BadRequest(f"{param}: there is another tool of the name {tool.name}.", param=param)
        names.add(tool.name)
    return tuple(tools)
