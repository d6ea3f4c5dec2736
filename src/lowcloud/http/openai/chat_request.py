"""The body of a chat completion: what is accepted, and what it asks for."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, SkipValidation, StringConstraints

from lowcloud.core.errors import BadRequest, Unsupported
from lowcloud.core.messages import RESERVED_OPTIONS, Effort, Messages
from lowcloud.core.requests import Generate, ThinkingBound
from lowcloud.http.openai.chat_answer import Shape
from lowcloud.http.openai.chat_content import TextPart
from lowcloud.http.openai.chat_format import GuidedFields, ResponseFormat, format_asked
from lowcloud.http.openai.chat_messages import ChatMessage, messages_of
from lowcloud.http.openai.chat_tools import (
    CustomTool,
    FunctionChoice,
    FunctionDefinition,
    FunctionTool,
    ToolChoice,
    ToolsAsked,
    tools_asked,
)
from lowcloud.http.openai.parameters import OPENAI_HINTS, Fate, named, note_unread, refuse
from lowcloud.http.openai.run_options import RunFields
from lowcloud.http.openai.sampling_fields import SAMPLING_REFUSED, Count, SamplingFields, StreamOptions
from lowcloud.http.validation import validated

Pairs = Annotated[
    dict[Annotated[str, StringConstraints(max_length=64)], Annotated[str, StringConstraints(max_length=512)]],
    Field(max_length=16),
]


class Prediction(BaseModel):
    """A text that the answer may resemble."""

    model_config = ConfigDict(strict=True)

    type: Literal["content"]
    content: Annotated[str | list[TextPart], SkipValidation]


class Reasoning(BaseModel):
    """The same as ``reasoning_effort``, as the Responses format has it."""

    model_config = ConfigDict(strict=True, extra="allow")

    effort: Effort | None = None


class ConversationFields(BaseModel):
    """What reaches the prompt beside the messages; ``conversation`` reads it."""

    tools: Annotated[list[FunctionTool | CustomTool] | None, SkipValidation] = None
    tool_choice: Annotated[ToolChoice | None, SkipValidation] = None
    functions: Annotated[list[FunctionDefinition] | None, SkipValidation] = None
    function_call: Annotated[FunctionChoice | None, SkipValidation] = None
    reasoning_effort: Effort | None = None
    reasoning: Reasoning | None = None
    chat_template_kwargs: dict[str, object] | None = Field(None, description="variables of the chat template")


class ChatBody(SamplingFields, GuidedFields, ConversationFields, RunFields):
    """The parameters that are read. Others are refused or named in ``lowcloud-ignored``."""

    model_config = ConfigDict(strict=True, title="CreateChatCompletion", allow_inf_nan=False)

    model: str = Field(description="an id of GET models; there is no default")
    messages: Annotated[list[ChatMessage], SkipValidation] = Field(min_length=1)
    max_completion_tokens: Count | None = None
    logprobs: bool | None = None
    top_logprobs: Annotated[int, Field(ge=0, le=20)] | None = None
    user: str | None = None
    metadata: Pairs | None = None
    prompt_cache_key: str | None = None
    safety_identifier: str | None = None
    parallel_tool_calls: bool | None = None
    response_format: Annotated[ResponseFormat | None, SkipValidation] = None
    thinking_token_budget: Annotated[int, Field(ge=0, lt=2**31)] | None = None
    prediction: Prediction | None = None
    store: bool | None = None
    verbosity: Literal["low", "medium", "high"] | None = None
    service_tier: Literal["auto", "default", "flex", "scale", "priority", "fast"] | None = None


# Parameters of other servers that would change the prompt, with the values that ask for nothing.
PROMPT_REFUSED: dict[str, tuple[object, ...]] = {
    "chat_template": (),
    "documents": ([],),
    "add_generation_prompt": (True,),
    "continue_final_message": (False,),
}
# And those of OpenAI's API and of other servers that would change the answer.
REFUSED: dict[str, tuple[object, ...]] = {
    **SAMPLING_REFUSED,
    **PROMPT_REFUSED,
    "modalities": (["text"],),
    "audio": (),
    "moderation": (),
    "web_search_options": (),
    "prompt": (),
    "suffix": (),
    "best_of": (1,),
    "echo": (False,),
    "raw": (False,),
    "thinking": (),
    "include_reasoning": (True,),
}
HINTS: dict[str, tuple[object, ...]] = {
    **OPENAI_HINTS,
    "verbosity": ("medium",),
}
FATES: dict[str, Fate] = {
    **dict.fromkeys(ChatBody.model_fields, Fate.HONOURED),
    **dict.fromkeys(HINTS, Fate.IGNORED),
    **dict.fromkeys(REFUSED, Fate.REFUSED),
}


TIER = "default"


@dataclass(frozen=True, slots=True)
class ToStore:
    """What is kept of the request beside the answer. ``messages`` as they came."""

    messages: list[object]
    metadata: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class ChatAsked:
    """What a body asks for. ``ignored`` are the names of what it holds beside that; ``service_tier`` the one shown."""

    model: str
    generate: Generate
    is_stream: bool
    shape: Shape
    ignored: tuple[str, ...]
    service_tier: str | None = None
    to_store: ToStore | None = None
    rejects_if_busy: bool = False


def chat_asked(raw: dict[str, Any], request_id: str) -> ChatAsked:
    """Raises BadRequest, Unsupported."""
    body = validated(ChatBody, raw)
    refuse(raw, REFUSED)
    _check_together(body)
    unread: dict[str, None] = {}
    prompt, tools = conversation(body, raw, unread)
    options = body.stream_asked(raw, unread)
    rejects_if_busy = body.rejects_if_busy(raw, unread)
    generate = Generate(
        id=request_id,
        prompt=prompt,
        choices=body.n or 1,
        sampling=body.sampling(),
        stop=tuple(body.stop or ()),
        top_logprobs=(body.top_logprobs or 0) if body.logprobs else None,
        max_tokens=body.max_tokens if body.max_completion_tokens is None else body.max_completion_tokens,
        ignore_eos=bool(body.ignore_eos),
        output=format_asked(raw, unread),
        tools=tools.plan,
        thinking=None if body.thinking_token_budget is None else ThinkingBound(body.thinking_token_budget),
        prediction=_predicted(raw.get("prediction"), unread),
    )
    to_store = ToStore(raw["messages"], body.metadata or {}) if body.store else None
    if body.metadata and to_store is None:
        unread["metadata"] = None
    ignored = (*named(raw, FATES, HINTS), *unread)
    tier = None if body.service_tier is None else TIER
    shape = _shape(body, tools, options)
    return ChatAsked(body.model, generate, bool(body.stream), shape, ignored, tier, to_store, rejects_if_busy)


def conversation(
    body: ConversationFields, raw: Mapping[str, object], unread: dict[str, None]
) -> tuple[Messages, ToolsAsked]:
    """The prompt of a body with messages, and what it asks of tools. Raises BadRequest, Unsupported."""
    messages = messages_of(raw.get("messages"), unread)
    tools = tools_asked(raw, unread)
    effort, options = _effort(body, unread), template_options(body.chat_template_kwargs)
    param = "reasoning.effort" if body.reasoning_effort is None else "reasoning_effort"
    return Messages(messages, tools.shown, effort, options, effort_param=param), tools


def _shape(body: ChatBody, tools: ToolsAsked, options: StreamOptions) -> Shape:
    return Shape(
        choices=body.n or 1,
        has_logprobs=bool(body.logprobs),
        include_usage=bool(options.include_usage),
        custom=tools.custom(),
        is_named=tools.is_named,
        is_legacy=tools.is_legacy,
        is_forced=tools.plan.mode == "required",
        pads=bool(options.include_obfuscation),
    )


def _effort(body: ConversationFields, unread: dict[str, None]) -> Effort | None:
    """Of ``reasoning_effort`` or ``reasoning``, which must agree."""
    if body.reasoning is None:
        return body.reasoning_effort
    for name, value in (body.reasoning.model_extra or {}).items():
        if name == "summary" and value is not None:
            unread["reasoning.summary"] = None
        elif value is not None:
            raise Unsupported(f"reasoning.{name[:64]} is not supported here.", param=f"reasoning.{name[:64]}")
    one, other = body.reasoning_effort, body.reasoning.effort
    if None not in (one, other) and one != other:
        raise BadRequest(
            f"reasoning.effort: {other} contradicts reasoning_effort: {one}; send one.", param="reasoning.effort"
        )
    return other if one is None else one


def template_options(asked: Mapping[str, object] | None) -> Mapping[str, object]:
    """The template's variables that ``chat_template_kwargs`` sets. Raises BadRequest for one of the server's own."""
    options = asked or {}
    for name in options.keys() & RESERVED_OPTIONS:
        path = f"chat_template_kwargs.{name}"
        raise BadRequest(f"{path}: is the server's own to set.", param=path)
    return options


def _predicted(prediction: Mapping[str, object] | None, unread: dict[str, None]) -> str | None:
    if prediction is None:
        return None
    note_unread(prediction, Prediction.model_fields, "prediction", unread)
    content = prediction["content"]
    if isinstance(content, str):
        return content or None
    if not isinstance(content, list):
        raise BadRequest("prediction.content: must be a string or a list of text parts.", param="prediction.content")
    paths = [f"prediction.content[{index}]" for index in range(len(content))]
    parts = [validated(TextPart, part, path).text for part, path in zip(content, paths, strict=True)]
    for part, path in zip(content, paths, strict=True):
        note_unread(part, TextPart.model_fields, path, unread)
    return "".join(parts) or None


def _check_together(body: ChatBody) -> None:
    if body.top_logprobs is not None and not body.logprobs:
        raise BadRequest("top_logprobs: only allowed when logprobs is true.", param="top_logprobs")
    if None not in (body.max_tokens, body.max_completion_tokens) and body.max_tokens != body.max_completion_tokens:
        raise BadRequest(
            f"max_completion_tokens: {body.max_completion_tokens} contradicts max_tokens: {body.max_tokens}; send one.",
            param="max_completion_tokens",
        )
