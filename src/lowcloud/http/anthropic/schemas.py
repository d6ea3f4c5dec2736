"""The answers in Anthropic's format, as the API's document shows them. What is sent is built by hand."""

from typing import Literal

from pydantic import BaseModel

from lowcloud.http.openai.schemas import V4Refusal


class ErrorFields(BaseModel):
    """What went wrong."""

    type: str
    message: str


class ErrorAnswer(V4Refusal):
    """An error, in Cloudflare's shape too."""

    type: Literal["error"]
    error: ErrorFields


class Caller(BaseModel):
    """Who made a call: the model itself."""

    type: Literal["direct"]


class ContentBlock(BaseModel):
    """``text`` with citations, ``thinking`` with a signature, or ``tool_use`` with id, name, input and caller."""

    type: Literal["text", "thinking", "tool_use"]
    text: str | None = None
    citations: None = None
    thinking: str | None = None
    signature: str | None = None
    id: str | None = None
    name: str | None = None
    input: dict[str, object] | None = None
    caller: Caller | None = None


class OutputTokensDetails(BaseModel):
    """Of the output tokens."""

    thinking_tokens: int


class MessageUsage(BaseModel):
    """Tokens; what was read from the cache isn't among the input tokens."""

    input_tokens: int
    cache_creation_input_tokens: int
    cache_read_input_tokens: int
    cache_creation: None
    output_tokens: int
    output_tokens_details: OutputTokensDetails
    server_tool_use: None
    service_tier: None
    inference_geo: None


class MessageAnswer(BaseModel):
    """A message."""

    id: str
    type: Literal["message"]
    role: Literal["assistant"]
    model: str
    content: list[ContentBlock]
    stop_reason: Literal["end_turn", "max_tokens", "stop_sequence", "tool_use"]
    stop_sequence: str | None
    stop_details: None
    container: None
    usage: MessageUsage


class MessageEvent(BaseModel):
    """The data of an event; which members it has depends on its type."""

    type: Literal[
        "message_start",
        "content_block_start",
        "content_block_delta",
        "content_block_stop",
        "message_delta",
        "message_stop",
        "error",
    ]


class TokenCount(BaseModel):
    """A count."""

    input_tokens: int
