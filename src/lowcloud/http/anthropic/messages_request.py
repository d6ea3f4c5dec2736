"""The body of Anthropic's Messages: what is accepted, and what it asks for.

Source: the types of anthropic's Python SDK, 2.14 (types/message_create_params.py).
"""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, SkipValidation

from lowcloud.core.errors import BadRequest, Unsupported
from lowcloud.core.messages import Effort, Messages
from lowcloud.core.output import ANY_TEXT, Format, JsonSchema
from lowcloud.core.requests import Generate, Sampling, ThinkingBound
from lowcloud.core.tools import NO_TOOLS, Tool, ToolPlan
from lowcloud.http.anthropic.content import conversation
from lowcloud.http.anthropic.messages_stream import Head
from lowcloud.http.generation import Asked
from lowcloud.http.openai.chat_tools import listed
from lowcloud.http.openai.parameters import Fate, named, note_unread, refuse
from lowcloud.http.validation import validated

NAME = r"^[a-zA-Z0-9_.-]{1,128}$"
THINKING_EFFORT: Effort = "medium"


class _Body(BaseModel):
    model_config = ConfigDict(strict=True, allow_inf_nan=False)


class ToolParam(_Body):
    """A function that the client runs. Tools that Anthropic's servers run are refused by their ``type``."""

    name: str = Field(pattern=NAME)
    input_schema: dict[str, Any]
    description: str | None = None
    strict: bool | None = None


class ToolChoiceParam(_Body):
    """``any`` asks for one call at least, ``tool`` for one of ``name``."""

    type: Literal["auto", "any", "tool", "none"]
    name: str | None = None
    disable_parallel_tool_use: bool | None = None


class ThinkingParam(_Body):
    """Without it, or disabled, the model doesn't think where its template can put that off."""

    type: Literal["enabled", "disabled", "adaptive"]
    budget_tokens: Annotated[int, Field(ge=1)] | None = None
    display: Literal["summarized", "omitted"] | None = None


class OutputFormatParam(_Body):
    """The answer's text is JSON of this schema."""

    type: Literal["json_schema"]
    schema_: dict[str, Any] = Field(alias="schema")


class OutputConfigParam(_Body):
    """How hard to think, and what the text must be."""

    effort: Literal["low", "medium", "high", "xhigh", "max"] | None = None
    format: OutputFormatParam | None = None


class MessagesBody(_Body):
    """The parameters that are read. Others are refused or named in ``lowcloud-ignored``."""

    model_config = ConfigDict(strict=True, title="CreateMessage", allow_inf_nan=False)

    model: str = Field(description="an id of GET models; there is no default")
    max_tokens: Annotated[int, Field(ge=1, lt=2**31)]
    messages: Annotated[list[dict[str, Any]], SkipValidation] = Field(min_length=1)
    system: Annotated[str | list[dict[str, Any]] | None, SkipValidation] = None
    stream: bool | None = None
    temperature: Annotated[float, Field(ge=0, le=1)] | None = None
    top_p: Annotated[float, Field(gt=0, le=1)] | None = None
    top_k: Annotated[int, Field(ge=0, lt=2**31)] | None = None
    stop_sequences: list[Annotated[str, Field(min_length=1)]] | None = Field(None, max_length=64)
    tools: Annotated[list[dict[str, Any]] | None, SkipValidation] = None
    tool_choice: ToolChoiceParam | None = None
    thinking: ThinkingParam | None = None
    output_config: OutputConfigParam | None = None


class CountBody(_Body):
    """What is counted: the parameters of a message that reach its prompt."""

    model_config = ConfigDict(strict=True, title="CountMessageTokens", allow_inf_nan=False)

    model: str
    messages: Annotated[list[dict[str, Any]], SkipValidation] = Field(min_length=1)
    system: Annotated[str | list[dict[str, Any]] | None, SkipValidation] = None
    tools: Annotated[list[dict[str, Any]] | None, SkipValidation] = None
    tool_choice: ToolChoiceParam | None = None
    thinking: ThinkingParam | None = None
    output_config: OutputConfigParam | None = None


REFUSED: dict[str, tuple[object, ...]] = {
    "container": (),
    "mcp_servers": ([],),
    "context_management": (),
}
HINTS: dict[str, tuple[object, ...]] = {
    "metadata": ({},),
    "service_tier": ("auto", "standard_only"),
    "cache_control": (),
    "inference_geo": (),
    "speed": ("standard",),
    "diagnostics": (),
    "betas": ([],),
}
FATES: dict[str, Fate] = {
    **dict.fromkeys(MessagesBody.model_fields, Fate.HONOURED),
    **dict.fromkeys(HINTS, Fate.IGNORED),
    **dict.fromkeys(REFUSED, Fate.REFUSED),
}


def message_asked(raw: dict[str, Any], request_id: str) -> tuple[Asked, Head]:
    """What is to be generated, and what the message begins with. Raises BadRequest, Unsupported."""
    body = validated(MessagesBody, raw)
    refuse(raw, REFUSED)
    unread: dict[str, None] = {}
    prompt, plan = _prompt(raw, body, unread)
    _refuse_prefill(body.messages)
    generate = Generate(
        id=request_id,
        prompt=prompt,
        sampling=Sampling(temperature=body.temperature, top_p=body.top_p, top_k=body.top_k),
        stop=tuple(body.stop_sequences or ()),
        max_tokens=body.max_tokens,
        output=_output(body.output_config),
        tools=plan,
        thinking=_budget(body),
    )
    shows_thinking = body.thinking is None or body.thinking.display != "omitted"
    asked = Asked(body.model, generate, bool(body.stream), (*named(raw, FATES, HINTS), *unread))
    return asked, Head(request_id, body.model, shows_thinking)


def count_asked(raw: dict[str, Any]) -> tuple[str, Messages, tuple[str, ...]]:
    """The model, the prompt that is to be counted, and what nobody reads. Raises BadRequest, Unsupported."""
    body = validated(CountBody, raw)
    refuse(raw, REFUSED)
    unread: dict[str, None] = {}
    prompt, _ = _prompt(raw, body, unread)
    return body.model, prompt, (*named(raw, {*CountBody.model_fields, *REFUSED}, HINTS), *unread)


def _prompt(
    raw: Mapping[str, Any], body: MessagesBody | CountBody, unread: dict[str, None]
) -> tuple[Messages, ToolPlan]:
    messages = conversation(body.messages, body.system, unread)
    given = [] if body.tools is None else listed(body.tools, "tools")
    tools = tuple(_tool(tool, f"tools[{index}]", unread) for index, tool in enumerate(given))
    _check_tools(tools)
    plan = _plan(body.tool_choice, tools)
    effort = _effort(body.thinking, body.output_config)
    _note_members(raw, effort, unread)
    param = "" if body.thinking is None else "thinking"
    return Messages(messages, tools if plan.mode != "none" else (), effort, effort_param=param), plan


def _refuse_prefill(messages: list[dict[str, Any]]) -> None:
    """An answer that the caller has begun; what is only counted may end so. Raises Unsupported."""
    if messages[-1]["role"] == "assistant":
        path = f"messages[{len(messages) - 1}]"
        raise Unsupported(f"{path}: a last message of the assistant can't be continued here.", param=path)


def _note_members(raw: Mapping[str, Any], effort: Effort, unread: dict[str, None]) -> None:
    """What of the parameters that are objects nobody reads; an effort is for thinking alone."""
    note_unread(raw.get("tool_choice"), ToolChoiceParam.model_fields, "tool_choice", unread)
    thinking, config = raw.get("thinking") or {}, raw.get("output_config") or {}
    budget = {"budget_tokens"} if thinking.get("type") == "enabled" else set()
    note_unread(thinking, {"type", "display", *budget}, "thinking", unread)
    note_unread(config, {"format", *(() if effort == "none" else ("effort",))}, "output_config", unread)
    note_unread(config.get("format"), {"type", "schema"}, "output_config.format", unread)


def _tool(raw: object, path: str, unread: dict[str, None]) -> Tool:
    kind = raw.get("type") if isinstance(raw, dict) else None
    if kind not in (None, "custom"):
        raise BadRequest(f"{path}.type: {str(kind)[:100]} runs on Anthropic's servers, not here.", param=f"{path}.type")
    tool = validated(ToolParam, raw, path)
    note_unread(raw, {*ToolParam.model_fields, "type"}, path, unread)
    return Tool(
        tool.name, tool.description, tool.input_schema, is_strict=bool(tool.strict), param=f"{path}.input_schema"
    )


def _check_tools(tools: tuple[Tool, ...]) -> None:
    seen: set[str] = set()
    for index, tool in enumerate(tools):
        if tool.name in seen:
            raise BadRequest(f"tools[{index}].name: {tool.name} is there already.", param=f"tools[{index}].name")
        seen.add(tool.name)


def _plan(choice: ToolChoiceParam | None, tools: tuple[Tool, ...]) -> ToolPlan:
    if choice is None or choice.type == "none":
        return ToolPlan(tools, "auto") if tools and choice is None else NO_TOOLS
    if not tools:
        raise BadRequest("tool_choice: there are no tools.", param="tool_choice")
    at_most_one = bool(choice.disable_parallel_tool_use)
    if choice.type == "tool":
        one = tuple(tool for tool in tools if tool.name == choice.name)
        if not one:
            raise BadRequest(f"tool_choice.name: no tool is named {choice.name}.", param="tool_choice.name")
        return ToolPlan(one, "required", at_most_one)
    return ToolPlan(tools, "auto" if choice.type == "auto" else "required", at_most_one)


def _effort(thinking: ThinkingParam | None, config: OutputConfigParam | None) -> Effort:
    if thinking is None or thinking.type == "disabled":
        return "none"
    if thinking.type == "enabled" and thinking.budget_tokens is None:
        param = "thinking.budget_tokens"
        raise BadRequest(f"Missing required parameter: {param}.", param=param)
    return (config.effort if config else None) or THINKING_EFFORT


def _budget(body: MessagesBody) -> ThinkingBound | None:
    param = "thinking.budget_tokens"
    budget = body.thinking.budget_tokens if body.thinking and body.thinking.type == "enabled" else None
    if budget is not None and budget >= body.max_tokens:
        raise BadRequest(f"{param}: must be less than max_tokens, which is {body.max_tokens}.", param=param)
    return None if budget is None else ThinkingBound(budget, param)


def _output(config: OutputConfigParam | None) -> Format:
    if config is None or config.format is None:
        return ANY_TEXT
    return JsonSchema(config.format.schema_, param="output_config.format.schema")
