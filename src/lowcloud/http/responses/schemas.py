"""The shapes of answers, for the OpenAPI document and for tests; the answers themselves are written by hand.

Source: the Open Responses specification of 2026-04-24 (ResponseResource).
"""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue


class _Shape(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class OutputText(_Shape):
    type: Literal["output_text"]
    text: str
    annotations: list[JsonValue]
    logprobs: list[JsonValue]


class ReasoningText(_Shape):
    type: Literal["reasoning_text"]
    text: str


class OutputMessage(_Shape):
    type: Literal["message"]
    id: str
    status: Literal["in_progress", "completed", "incomplete"]
    role: Literal["assistant"]
    content: list[OutputText]


class ReasoningItem(_Shape):
    type: Literal["reasoning"]
    id: str
    status: Literal["in_progress", "completed", "incomplete"]
    summary: list[JsonValue] = Field(description="empty: none is invented")
    content: list[ReasoningText]
    encrypted_content: str | None = None


class FunctionCallItem(_Shape):
    type: Literal["function_call"]
    id: str
    call_id: str
    name: str
    arguments: str = Field(description="JSON of an object, as text")
    status: Literal["in_progress", "completed", "incomplete"]


class CustomCallItem(_Shape):
    type: Literal["custom_tool_call"]
    id: str
    call_id: str
    name: str
    input: str
    status: Literal["in_progress", "completed", "incomplete"]


class CompactionItem(_Shape):
    type: Literal["compaction"]
    id: str
    encrypted_content: str


OutputItem = OutputMessage | ReasoningItem | FunctionCallItem | CustomCallItem


class InputDetails(_Shape):
    cached_tokens: int = Field(description="input tokens that were reused, not computed")
    cache_write_tokens: int


class OutputDetails(_Shape):
    reasoning_tokens: int


class ResponseUsage(_Shape):
    input_tokens: int
    input_tokens_details: InputDetails
    output_tokens: int
    output_tokens_details: OutputDetails
    total_tokens: int
    neurons: float = Field(0.0, description="what it cost, by the price of the model that was asked for")


class ResponseError(_Shape):
    code: Literal["server_error", "rate_limit_exceeded", "invalid_prompt"]
    message: str


class IncompleteDetails(_Shape):
    reason: Literal["max_output_tokens"]


class EffectiveReasoning(_Shape):
    effort: str | None
    summary: None


class ConversationId(_Shape):
    id: str


class ResponseObject(_Shape):
    """Every member is there, with the value that counts."""

    id: str
    object: Literal["response"]
    created_at: int
    completed_at: int | None
    status: Literal["queued", "in_progress", "completed", "incomplete", "failed", "cancelled"]
    incomplete_details: IncompleteDetails | None
    error: ResponseError | None
    model: str
    previous_response_id: str | None
    conversation: ConversationId | None = None
    instructions: str | None
    output: list[OutputItem]
    tools: list[dict[str, Any]]
    tool_choice: JsonValue
    truncation: Literal["auto", "disabled"]
    parallel_tool_calls: bool
    text: dict[str, Any]
    temperature: float
    top_p: float
    presence_penalty: float
    frequency_penalty: float
    top_logprobs: int
    reasoning: EffectiveReasoning
    usage: ResponseUsage | None
    max_output_tokens: int | None
    max_tool_calls: int | None
    store: bool
    background: bool
    service_tier: Literal["default"]
    metadata: dict[str, str]
    safety_identifier: str | None
    prompt_cache_key: str | None
    user: str | None = None


class ResponseEvent(BaseModel):
    """The data of one event; ``sequence_number`` counts from 0 without a gap."""

    model_config = ConfigDict(extra="allow", strict=True)

    type: str
    sequence_number: int


class DeletedResponse(_Shape):
    id: str
    object: Literal["response"]
    deleted: Literal[True]


class ItemList(_Shape):
    object: Literal["list"]
    data: list[dict[str, Any]]
    first_id: str | None
    last_id: str | None
    has_more: bool


class ConversationObject(_Shape):
    id: str
    object: Literal["conversation"]
    created_at: int
    metadata: dict[str, str]


class DeletedConversation(_Shape):
    id: str
    object: Literal["conversation.deleted"]
    deleted: Literal[True]


class ConversationItem(BaseModel):
    """An item as it is kept."""

    model_config = ConfigDict(extra="allow", strict=True)

    id: str
    type: str


class InputTokens(_Shape):
    object: Literal["response.input_tokens"]
    input_tokens: int


class CompactedResponse(_Shape):
    id: str
    object: Literal["response.compaction"]
    created_at: int
    output: list[dict[str, Any]] = Field(
        description="the user's messages as they are, then one item of type compaction"
    )
    usage: ResponseUsage
