"""The body of a response: what is accepted, and what it asks for.

Source: the types of openai's Python SDK, 3.54 (types/responses/response_create_params.py), and the Open Responses
specification (2026-04-24).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, SkipValidation

from lowcloud.core.errors import BadRequest, Unsupported
from lowcloud.core.messages import Effort, Messages
from lowcloud.core.output import Format
from lowcloud.core.requests import Generate, ThinkingBound
from lowcloud.http.openai import chat_request
from lowcloud.http.openai.chat_format import GuidedFields
from lowcloud.http.openai.chat_request import TIER, Pairs, template_options
from lowcloud.http.openai.parameters import OPENAI_HINTS, Fate, named, note_unread, refuse
from lowcloud.http.openai.run_options import RunFields
from lowcloud.http.openai.sampling_fields import Count, TokenFields
from lowcloud.http.responses.items import InputItem, Item, canonical_items
from lowcloud.http.responses.text_format import TextFields, text_asked
from lowcloud.http.responses.tools import CustomTool, FunctionTool, ToolChoice, ToolsAsked, tools_asked
from lowcloud.http.validation import validated

LOGPROBS = "message.output_text.logprobs"
ENCRYPTED_REASONING = "reasoning.encrypted_content"
# Those of ``include``, and whether they ask for something that is never there: what tools that aren't run here give.
INCLUDES: Mapping[str, bool] = {
    LOGPROBS: False,
    ENCRYPTED_REASONING: False,
    "message.input_image.image_url": False,  # always shown
    "file_search_call.results": True,
    "web_search_call.results": True,
    "web_search_call.action.sources": True,
    "computer_call_output.output.image_url": True,
    "code_interpreter_call.outputs": True,
}
Id = Annotated[str, Field(min_length=1, max_length=256)]


class _Part(BaseModel):
    model_config = ConfigDict(strict=True)


class StreamOptions(_Part):
    """Only with ``stream``."""

    include_obfuscation: bool | None = Field(None, description="pad events, so that their sizes tell less")


class ConversationRef(_Part):
    """A conversation that is kept here."""

    id: Id


class Reasoning(_Part):
    """``summary`` and its older name are hints: none is made. ``context`` and ``mode`` are refused but for defaults."""

    effort: Effort | None = None
    summary: Literal["auto", "concise", "detailed"] | None = None
    generate_summary: Literal["auto", "concise", "detailed"] | None = None
    context: str | None = None
    mode: str | None = None


class Ours(_Part):
    """What is not OpenAI's."""

    ignore_unsupported_tools: bool | None = Field(None, description="leave out tools of types that aren't run here")


class ResponseBody(TokenFields, RunFields):
    """The parameters that are read. Others are refused or named in ``lowcloud-ignored``."""

    model_config = ConfigDict(strict=True, title="CreateResponse", allow_inf_nan=False)

    model: str = Field(description="an id of GET models; there is no default")
    input: Annotated[str | list[InputItem] | None, SkipValidation] = None
    instructions: str | None = None
    previous_response_id: Id | None = None
    conversation: Annotated[Id | ConversationRef | None, SkipValidation] = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    background: bool | None = None
    store: bool | None = None
    include: Annotated[list[str] | None, SkipValidation] = None
    max_output_tokens: Count | None = None
    max_tool_calls: Count | None = None
    top_logprobs: Annotated[int, Field(ge=0, le=20)] | None = None
    text: Annotated[TextFields | None, SkipValidation] = None
    reasoning: Reasoning | None = None
    tools: Annotated[list[FunctionTool | CustomTool] | None, SkipValidation] = None
    tool_choice: Annotated[ToolChoice | None, SkipValidation] = None
    parallel_tool_calls: bool | None = None
    truncation: Literal["auto", "disabled"] | None = None
    metadata: Pairs | None = None
    chat_template_kwargs: dict[str, object] | None = Field(None, description="variables of the chat template")
    thinking_token_budget: Annotated[int, Field(ge=0, lt=2**31)] | None = None
    lowcloud: Ours | None = None
    user: str | None = None
    prompt_cache_key: str | None = None
    safety_identifier: str | None = None
    service_tier: Literal["auto", "default", "flex", "scale", "priority", "fast", "ultrafast"] | None = None


# Parameters of the chat format that have another name here.
MOVED: Mapping[str, str] = {
    "messages": "input",
    "max_tokens": "max_output_tokens",
    "max_completion_tokens": "max_output_tokens",
    "response_format": "text.format",
    "reasoning_effort": "reasoning.effort",
    "functions": "tools",
    "function_call": "tool_choice",
}
REFUSED: dict[str, tuple[object, ...]] = {
    **chat_request.REFUSED,
    **dict.fromkeys(MOVED, ()),
    **dict.fromkeys(GuidedFields.model_fields, ()),
    "logprobs": (False,),
    "n": (1,),
    "prediction": (),
    "background_options": ({}, {"completion_window": "soonest"}),
    "context_management": ([],),
    "image": ({}, {"context_compression": "auto"}, {"context_compression": "disabled"}),
    "generate": (True,),
}
HINTS: dict[str, tuple[object, ...]] = {
    **OPENAI_HINTS,
    "access_programs": ({},),
}
FATES: dict[str, Fate] = {
    **dict.fromkeys(ResponseBody.model_fields, Fate.HONOURED),
    **dict.fromkeys(HINTS, Fate.IGNORED),
    **dict.fromkeys(REFUSED, Fate.REFUSED),
}


@dataclass(frozen=True, slots=True)
class ResponseAsked:
    """What a body asks for. ``head``: the members of the response that the body decides, as JSON.

    ``items`` is its own input, canonical, with references that the caller has to resolve; ``paths`` says where in the
    body each is, by its id. ``generate`` is everything but the prompt's messages. ``ignored`` are the names of what the
    body holds beside that.
    """

    model: str
    head: Mapping[str, object]
    items: tuple[Item, ...]
    generate: Generate
    instructions: str | None = None
    is_stream: bool = False
    include_obfuscation: bool = False
    store: bool = True
    is_background: bool = False
    previous_response_id: str | None = None
    conversation_id: str | None = None
    truncates: bool = False
    include_logprobs: bool = False
    include_encrypted_reasoning: bool = False
    max_tool_calls: int | None = None
    custom: frozenset[str] = frozenset()
    ignored: tuple[str, ...] = ()
    rejects_if_busy: bool = False
    paths: Mapping[str, str] = field(default_factory=dict)

    @property
    def source(self) -> str:
        """The parameter that names what it goes on from, if there is any."""
        return "conversation" if self.conversation_id else "previous_response_id"


def response_asked(
    raw: dict[str, Any], response_id: str, *, ignores_tools: bool, may_be_empty: bool = False
) -> ResponseAsked:
    """Raises BadRequest, Unsupported. ``ignores_tools``: as ``lowcloud.ignore_unsupported_tools`` in the body.

    ``may_be_empty``: there may be nothing to answer.
    """
    body = validated(ResponseBody, raw)
    _refuse(raw)
    conversation_id = _conversation_id(raw.get("conversation"))
    _check_together(body, conversation_id)
    unread: dict[str, None] = {}
    _note_members(raw, unread)
    include = _include(raw.get("include"), unread)
    items = _items(raw.get("input"), response_id, unread)
    if not (items or may_be_empty or body.previous_response_id or conversation_id):
        raise BadRequest("input: must have at least one item.", param="input")
    tools = tools_asked(
        raw,
        at_most_one=body.parallel_tool_calls is False or body.max_tool_calls == 1,
        ignores_tools=ignores_tools or bool(body.lowcloud and body.lowcloud.ignore_unsupported_tools),
        unread=unread,
    )
    output, text = text_asked(raw.get("text"), unread)
    include_logprobs = LOGPROBS in include or bool(body.top_logprobs)
    rejects_if_busy = body.rejects_if_busy(raw, unread)
    return ResponseAsked(
        body.model,
        _head(body, conversation_id, tools, text),
        items,
        _generate(body, response_id, tools, output, include_logprobs),
        instructions=body.instructions,
        is_stream=bool(body.stream),
        include_obfuscation=bool(body.stream_options and body.stream_options.include_obfuscation),
        store=body.store is not False,
        is_background=bool(body.background),
        previous_response_id=body.previous_response_id,
        conversation_id=conversation_id,
        truncates=body.truncation == "auto",
        include_logprobs=include_logprobs,
        include_encrypted_reasoning=ENCRYPTED_REASONING in include,
        max_tool_calls=body.max_tool_calls,
        custom=tools.custom(),
        ignored=(*named(raw, FATES, HINTS), *unread),
        rejects_if_busy=rejects_if_busy,
        paths={str(item["id"]): f"input[{place}]" for place, item in enumerate(items)},
    )


def _generate(
    body: ResponseBody, response_id: str, tools: ToolsAsked, output: Format, include_logprobs: bool
) -> Generate:
    effort = body.reasoning.effort if body.reasoning else None
    options = template_options(body.chat_template_kwargs)
    return Generate(
        id=response_id,
        prompt=Messages((), tools.told, effort, options, effort_param="reasoning.effort" if effort else ""),
        sampling=body.sampling(),
        stop=tuple(body.stop or ()),
        top_logprobs=(body.top_logprobs or 0) if include_logprobs else None,
        max_tokens=body.max_output_tokens,
        ignore_eos=bool(body.ignore_eos),
        output=output,
        tools=tools.plan,
        thinking=None if body.thinking_token_budget is None else ThinkingBound(body.thinking_token_budget),
    )


def _head(
    body: ResponseBody, conversation_id: str | None, tools: ToolsAsked, text: Mapping[str, object]
) -> Mapping[str, object]:
    """Temperature, top_p and max_output_tokens are None where the card's hold."""
    head: dict[str, object] = {
        "background": bool(body.background),
        "frequency_penalty": body.frequency_penalty or 0,
        "instructions": body.instructions,
        "max_output_tokens": body.max_output_tokens,
        "max_tool_calls": body.max_tool_calls,
        "metadata": body.metadata or {},
        "parallel_tool_calls": body.parallel_tool_calls is not False,
        "presence_penalty": body.presence_penalty or 0,
        "previous_response_id": body.previous_response_id,
        "prompt_cache_key": body.prompt_cache_key,
        "reasoning": {"effort": body.reasoning.effort if body.reasoning else None, "summary": None},
        "safety_identifier": body.safety_identifier,
        "service_tier": TIER,
        "store": body.store is not False,
        "temperature": body.temperature,
        "text": text,
        "tool_choice": tools.choice,
        "tools": list(tools.tools),
        "top_logprobs": body.top_logprobs or 0,
        "top_p": body.top_p,
        "truncation": body.truncation or "disabled",
    }
    if body.user is not None:
        head["user"] = body.user
    return head if conversation_id is None else head | {"conversation": {"id": conversation_id}}


def _refuse(raw: Mapping[str, object]) -> None:
    for name, new in MOVED.items():
        if raw.get(name) is not None:
            raise Unsupported(f"{name} is not a parameter of responses; {new} is.", param=name)
    refuse(raw, REFUSED)


def _conversation_id(value: object) -> str | None:
    if value is None:
        return None
    return validated(ConversationRef, {"id": value} if isinstance(value, str) else value, "conversation").id


def _check_together(body: ResponseBody, conversation_id: str | None) -> None:
    if body.previous_response_id is not None and conversation_id is not None:
        raise BadRequest(
            "previous_response_id: only allowed without conversation; send one.", param="previous_response_id"
        )
    if body.background and body.store is False:
        raise BadRequest("background: only allowed where the response is stored; store is false.", param="background")
    if body.stream_options is not None and not body.stream:
        raise BadRequest("stream_options: only allowed when stream is true.", param="stream_options")


def _note_members(raw: Mapping[str, Any], unread: dict[str, None]) -> None:
    """What of the parameters that are objects nobody reads. Raises Unsupported for what would change the answer."""
    note_unread(raw.get("stream_options"), StreamOptions.model_fields, "stream_options", unread)
    note_unread(raw.get("lowcloud"), Ours.model_fields, "lowcloud", unread)
    note_unread(raw.get("conversation"), ConversationRef.model_fields, "conversation", unread)
    reasoning = raw.get("reasoning") or {}
    note_unread(reasoning, {"effort", "context", "mode"}, "reasoning", unread)
    for name, nothing in {"context": "auto", "mode": "standard"}.items():
        if reasoning.get(name) not in (None, nothing):
            path = f"reasoning.{name}"
            raise Unsupported(f'{path} is not supported here (accepted: "{nothing}").', param=path)
    options = raw.get("prompt_cache_options")
    if isinstance(options, dict) and options.get("prewarm"):
        path = "prompt_cache_options.prewarm"
        raise Unsupported(f"{path} is not supported here.", param=path)


def _include(value: object, unread: dict[str, None]) -> frozenset[str]:
    if value is None:
        return frozenset()
    if not isinstance(value, list):
        raise BadRequest("include: must be a list.", param="include")
    for index, name in enumerate(value):
        if not isinstance(name, str) or name not in INCLUDES:
            path = f"include[{index}]"
            raise BadRequest(f"{path}: must be one of {', '.join(INCLUDES)}.", param=path)
        if INCLUDES[name]:
            unread[f"include[].{name}"] = None
    return frozenset(value)


def _items(value: object, response_id: str, unread: dict[str, None]) -> tuple[Item, ...]:
    if value is None:
        return ()
    if isinstance(value, str):
        value = [{"role": "user", "content": value}]
    if not isinstance(value, list):
        raise BadRequest("input: must be a string or a list of items.", param="input")
    return canonical_items(value, "input", response_id, unread)
