"""The body of a chat completion: what is accepted, and what it asks for."""

from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, SkipValidation, StringConstraints

from lowcloud.core.errors import BadRequest
from lowcloud.core.messages import Messages
from lowcloud.core.requests import Generate, Sampling
from lowcloud.http.openai.chat_messages import ChatMessage, messages_of
from lowcloud.http.openai.parameters import Fate, named, refuse
from lowcloud.http.validation import validated

INT64 = 2**63
MAX_CHOICES = 128
MAX_STOPS = 4


def _stop_list(value: object) -> object:
    return [value] if isinstance(value, str) else value


Penalty = Annotated[float, Field(ge=-2, le=2)]
Text = Annotated[str, StringConstraints(min_length=1)]
# One spelling for each id, so that no two keys of logit_bias mean the same token.
TokenId = Annotated[str, StringConstraints(pattern=r"^(0|[1-9][0-9]{0,9})$")]
Pairs = Annotated[
    dict[Annotated[str, StringConstraints(max_length=64)], Annotated[str, StringConstraints(max_length=512)]],
    Field(max_length=16),
]
Stops = Annotated[
    list[Text] | None,
    Field(max_length=MAX_STOPS),
    BeforeValidator(_stop_list, json_schema_input_type=Text | list[Text] | None),
]


class StreamOptions(BaseModel):
    """Only with ``stream``."""

    model_config = ConfigDict(strict=True)

    include_usage: bool | None = Field(None, description="end with a chunk of the usage")


class ChatBody(BaseModel):
    """The parameters that are read. Others are refused or named in ``lowcloud-ignored``."""

    model_config = ConfigDict(strict=True, title="CreateChatCompletion", allow_inf_nan=False)

    model: str = Field(description="an id of GET models; there is no default")
    messages: Annotated[list[ChatMessage], SkipValidation] = Field(min_length=1)
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    max_tokens: Annotated[int, Field(ge=1, lt=2**31)] | None = None
    max_completion_tokens: Annotated[int, Field(ge=1, lt=2**31)] | None = None
    temperature: Annotated[float, Field(ge=0, le=2)] | None = None
    top_p: Annotated[float, Field(gt=0, le=1)] | None = None
    top_k: Annotated[int, Field(ge=0, lt=2**31)] | None = Field(None, description="0: off")
    min_p: Annotated[float, Field(ge=0, le=1)] | None = None
    repetition_penalty: Annotated[float, Field(gt=0, le=100)] | None = None
    presence_penalty: Penalty | None = None
    frequency_penalty: Penalty | None = None
    logit_bias: dict[TokenId, Annotated[float, Field(ge=-100, le=100)]] | None = None
    seed: Annotated[int, Field(ge=-INT64, lt=INT64)] | None = None
    n: Annotated[int, Field(ge=1, le=MAX_CHOICES)] | None = None
    stop: Stops = None
    logprobs: bool | None = None
    top_logprobs: Annotated[int, Field(ge=0, le=20)] | None = None
    ignore_eos: bool | None = Field(None, description="go on to max_tokens; for benchmarks")
    user: str | None = None
    metadata: Pairs | None = None
    prompt_cache_key: str | None = None
    safety_identifier: str | None = None
    parallel_tool_calls: bool | None = None
    service_tier: Literal["auto", "default", "flex", "scale", "priority", "fast"] | None = None


# Parameters of OpenAI's API and of other servers that would change the answer, with the values that ask for nothing.
REFUSED: dict[str, tuple[object, ...]] = {
    "tools": ([],),
    "tool_choice": ("none", "auto"),
    "functions": ([],),
    "function_call": ("none", "auto"),
    "response_format": ({"type": "text"},),
    "reasoning_effort": ("none",),
    "verbosity": ("medium",),
    "modalities": (["text"],),
    "audio": (),
    "moderation": (),
    "web_search_options": (),
    "store": (False,),
    "prompt": (),
    "suffix": (),
    "best_of": (1,),
    "echo": (False,),
    "raw": (False,),
    "lora": (),
    "min_tokens": (0,),
    "stop_token_ids": ([],),
    "bad_words": ([],),
    "length_penalty": (1, 1.0),
    "use_beam_search": (False,),
    "typical_p": (1, 1.0),
    "grammar": (),
    "json_schema": (),
    "guided_json": (),
    "guided_regex": (),
    "guided_choice": (),
    "guided_grammar": (),
    "structured_outputs": (),
    "chat_template": (),
    "chat_template_kwargs": ({},),
    "thinking": (),
    "thinking_token_budget": (),
    "reasoning": (),
    "documents": ([],),
}
HINTS: dict[str, tuple[object, ...]] = {
    "user": (),
    "metadata": ({},),
    "prompt_cache_key": (),
    "prompt_cache_options": ({},),
    "prompt_cache_retention": (),
    "safety_identifier": (),
    "prediction": (),
    "service_tier": ("auto", "default"),
    "parallel_tool_calls": (True, False),
    "options": ({},),
}
FATES: dict[str, Fate] = {
    **dict.fromkeys(ChatBody.model_fields, Fate.HONOURED),
    **dict.fromkeys(HINTS, Fate.IGNORED),
    **dict.fromkeys(REFUSED, Fate.REFUSED),
}


@dataclass(frozen=True, slots=True)
class ChatAsked:
    """What a body asks for. ``ignored`` are the names of what it holds beside that."""

    model: str
    generate: Generate
    is_stream: bool
    include_usage: bool
    ignored: tuple[str, ...]


def chat_asked(raw: dict[str, Any], request_id: str) -> ChatAsked:
    """Raises BadRequest, Unsupported."""
    body = validated(ChatBody, raw)
    refuse(raw, REFUSED)
    _check_together(body)
    messages, unread = messages_of(raw["messages"])
    options = raw.get("stream_options") or {}
    unread += [f"stream_options.{name}" for name in options if name != "include_usage" and options[name]]
    generate = Generate(
        id=request_id,
        prompt=Messages(messages),
        choices=body.n or 1,
        sampling=_sampling(body),
        stop=tuple(body.stop or ()),
        top_logprobs=(body.top_logprobs or 0) if body.logprobs else None,
        max_tokens=body.max_tokens if body.max_completion_tokens is None else body.max_completion_tokens,
        ignore_eos=bool(body.ignore_eos),
    )
    include_usage = bool(body.stream_options and body.stream_options.include_usage)
    ignored = (*named(raw, FATES, HINTS), *unread)
    return ChatAsked(body.model, generate, bool(body.stream), include_usage, ignored)


def _check_together(body: ChatBody) -> None:
    if body.stream_options is not None and not body.stream:
        raise BadRequest("stream_options: only allowed when stream is true.", param="stream_options")
    if body.top_logprobs is not None and not body.logprobs:
        raise BadRequest("top_logprobs: only allowed when logprobs is true.", param="top_logprobs")
    if None not in (body.max_tokens, body.max_completion_tokens) and body.max_tokens != body.max_completion_tokens:
        raise BadRequest(
            f"max_completion_tokens: {body.max_completion_tokens} contradicts max_tokens: {body.max_tokens}; send one.",
            param="max_completion_tokens",
        )


def _sampling(body: ChatBody) -> Sampling:
    return Sampling(
        temperature=body.temperature,
        top_p=body.top_p,
        top_k=body.top_k,
        min_p=body.min_p,
        seed=body.seed,
        repetition_penalty=body.repetition_penalty,
        presence_penalty=body.presence_penalty or 0.0,
        frequency_penalty=body.frequency_penalty or 0.0,
        logit_bias=tuple((int(token), bias) for token, bias in (body.logit_bias or {}).items()),
    )
