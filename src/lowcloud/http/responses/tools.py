"""Tools of the Responses format: those that the model may call, their choice, and those that aren't run here."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, SkipValidation

from lowcloud.core.errors import BadRequest, Unsupported
from lowcloud.core.output import ANY_TEXT, AnyText, Lark, Regex
from lowcloud.core.tools import NO_TOOLS, Tool, ToolPlan
from lowcloud.http.openai.chat_tools import (
    NO_PARAMETERS,
    FunctionDefinition,
    Grammar,
    ToolName,
    distinct,
    forced,
    found,
    function_tool,
    grammar_asked,
    listed,
    once,
)
from lowcloud.http.openai.parameters import note_unread
from lowcloud.http.validation import validated

_KINDS = ("function", "custom")
_SHOWN_CHARS = 64


class _Part(BaseModel):
    model_config = ConfigDict(strict=True)


class FunctionTool(FunctionDefinition):
    """A function; ``allowed_callers`` has to hold ``direct``."""

    type: Literal["function"]
    allowed_callers: list[Literal["direct", "programmatic"]] | None = None


class TextFormat(_Part):
    type: Literal["text"]


class GrammarFormat(Grammar):
    type: Literal["grammar"]


class CustomTool(_Part):
    """A tool whose one argument is a text: any, or what a grammar allows."""

    type: Literal["custom"]
    name: ToolName
    description: str | None = None
    format: Annotated[TextFormat | GrammarFormat | None, SkipValidation] = None
    allowed_callers: list[Literal["direct", "programmatic"]] | None = None


class NamedTool(_Part):
    """A tool of the request."""

    type: Literal["function", "custom"]
    name: str


class AllowedTools(_Part):
    """The model is told of all tools, and may call these."""

    type: Literal["allowed_tools"]
    mode: Literal["auto", "required"] = "auto"
    tools: Annotated[list[NamedTool], SkipValidation]


ToolChoice = Literal["none", "auto", "required"] | NamedTool | AllowedTools


@dataclass(frozen=True, slots=True)
class ToolsAsked:
    """``tools`` and ``choice`` as the response shows them; ``told`` are those that the model is told of."""

    tools: tuple[Mapping[str, object], ...] = ()
    choice: object = "auto"
    told: tuple[Tool, ...] = ()
    plan: ToolPlan = NO_TOOLS

    def custom(self) -> frozenset[str]:
        """The names of the custom tools."""
        return frozenset(tool.name for tool in self.told if tool.input is not None)


@dataclass(frozen=True, slots=True)
class _Choosing:
    """What a choice is read against."""

    tools: tuple[Tool, ...]
    at_most_one: bool
    ignores_tools: bool


def tools_asked(
    raw: Mapping[str, object], *, at_most_one: bool, ignores_tools: bool, unread: dict[str, None]
) -> ToolsAsked:
    """What ``tools`` and ``tool_choice`` ask for; ``unread`` gets what nothing reads.

    A type that isn't run here is refused, or with ``ignores_tools`` left out, unless the choice asks for it alone.
    Raises BadRequest and Unsupported with the path.
    """
    given = raw.get("tools")
    shown: list[Mapping[str, object]] = []
    tools: list[Tool] = []
    for index, value in enumerate([] if given is None else listed(given, "tools")):
        path = f"tools[{index}]"
        kind = _foreign(value)
        if kind is None:
            tool, as_shown = _tool(value, path, unread)
            tools.append(tool)
            shown.append(as_shown)
        elif ignores_tools:
            unread[f"tools[].{kind}"] = None
        else:
            raise Unsupported(f"{path}: tools of type {kind} are not run here.", param=f"{path}.type")
    choosing = _Choosing(distinct(tools, "tools"), at_most_one, ignores_tools)
    choice = raw.get("tool_choice")
    return _chosen(tuple(shown), "auto" if choice is None else choice, choosing, unread)


def _foreign(value: object) -> str | None:
    """The type of a tool that isn't run here."""
    kind = value.get("type") if isinstance(value, dict) else None
    return kind[:_SHOWN_CHARS] if isinstance(kind, str) and kind not in _KINDS else None


def _tool(value: Any, path: str, unread: dict[str, None]) -> tuple[Tool, Mapping[str, object]]:
    if isinstance(value, dict) and value.get("type") == "custom":
        custom = validated(CustomTool, value, path)
        note_unread(value, {*CustomTool.model_fields, *_off(value)}, path, unread)
        _check_callers(custom.allowed_callers, path)
        return _custom(custom, path, unread)
    function = validated(FunctionTool, value, path)
    note_unread(value, {*FunctionTool.model_fields, *_off(value)}, path, unread)
    _check_callers(function.allowed_callers, path)
    shown = {
        "type": "function",
        "name": function.name,
        "description": function.description,
        "parameters": NO_PARAMETERS if function.parameters is None else function.parameters,
        "strict": bool(function.strict),
    }
    return function_tool(function, path), shown


def _off(value: Mapping[str, object]) -> set[str]:
    """The switches of a tool that ask for nothing."""
    return {name for name in ("async", "defer_loading") if value.get(name) is False}


def _custom(custom: CustomTool, path: str, unread: dict[str, None]) -> tuple[Tool, Mapping[str, object]]:
    shown: dict[str, object] = {"type": "custom", "name": custom.name}
    if custom.description is not None:
        shown["description"] = custom.description
    input_format, shown["format"] = _input(custom.format, f"{path}.format", unread)
    return Tool(custom.name, custom.description, input=input_format, param=f"{path}.format"), shown


def _input(value: object, path: str, unread: dict[str, None]) -> tuple[AnyText | Regex | Lark, Mapping[str, object]]:
    """What a custom tool's input must be, and that as the response shows it."""
    if not isinstance(value, dict) or value.get("type") != "grammar":
        if value is not None:
            validated(TextFormat, value, path)
            note_unread(value, TextFormat.model_fields, path, unread)
        return ANY_TEXT, {"type": "text"}
    grammar = validated(GrammarFormat, value, path)
    note_unread(value, GrammarFormat.model_fields, path, unread)
    shown = {"type": "grammar", "syntax": grammar.syntax, "definition": grammar.definition}
    return grammar_asked(grammar, f"{path}.definition"), shown


def _check_callers(callers: Sequence[str] | None, path: str) -> None:
    if callers is not None and "direct" not in callers:
        param = f"{path}.allowed_callers"
        raise Unsupported(f"{param}: only the model itself calls tools here; it must hold direct.", param=param)


def _chosen(
    shown: tuple[Mapping[str, object], ...], choice: object, choosing: _Choosing, unread: dict[str, None]
) -> ToolsAsked:
    tools, at_most_one = choosing.tools, choosing.at_most_one
    match choice:
        case "none":
            return ToolsAsked(shown, "none")
        case "auto":
            return ToolsAsked(shown, "auto", tools, ToolPlan(tools, "auto", at_most_one) if tools else NO_TOOLS)
        case "required":
            if not tools:
                raise BadRequest("tool_choice: only allowed with tools that are run here.", param="tool_choice")
            return ToolsAsked(shown, "required", tools, ToolPlan(tools, "required", at_most_one))
        case {"type": "function" | "custom" as kind}:
            named = validated(NamedTool, choice, "tool_choice")
            note_unread(choice, NamedTool.model_fields, "tool_choice", unread)
            tool = found(tools, kind, named.name, "tool_choice")
            return ToolsAsked(shown, {"type": kind, "name": named.name}, tools, forced(tool))
        case {"type": "allowed_tools"}:
            note_unread(choice, AllowedTools.model_fields, "tool_choice", unread)
            return _allowed(shown, validated(AllowedTools, choice, "tool_choice"), choosing, unread)
        case {"type": str() as kind}:
            raise Unsupported(
                f"tool_choice: tools of type {kind[:_SHOWN_CHARS]} are not run here.", param="tool_choice.type"
            )
    raise BadRequest(
        'tool_choice: must be "none", "auto", "required", or an object of type function, custom or allowed_tools.',
        param="tool_choice",
    )


def _allowed(
    shown: tuple[Mapping[str, object], ...], allowed: AllowedTools, choosing: _Choosing, unread: dict[str, None]
) -> ToolsAsked:
    path = "tool_choice.tools"
    named: list[tuple[str, NamedTool]] = []
    for index, value in enumerate(listed(allowed.tools, path)):
        item_path = f"{path}[{index}]"
        kind = _foreign(value)
        if kind is None:
            named.append((item_path, validated(NamedTool, value, item_path)))
            note_unread(value, NamedTool.model_fields, item_path, unread)
        elif not choosing.ignores_tools:
            raise Unsupported(f"{item_path}: tools of type {kind} are not run here.", param=f"{item_path}.type")
        else:
            unread[f"{path}[].{kind}"] = None
    if not named:
        raise BadRequest(f"{path}: must name at least one tool that is run here.", param=path)
    callable_tools = once([found(choosing.tools, tool.type, tool.name, where) for where, tool in named])
    choice = {
        "type": "allowed_tools",
        "mode": allowed.mode,
        "tools": [{"type": tool.type, "name": tool.name} for _, tool in named],
    }
    plan = ToolPlan(callable_tools, allowed.mode, choosing.at_most_one)
    return ToolsAsked(shown, choice, choosing.tools, plan)
