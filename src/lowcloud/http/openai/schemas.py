"""The shapes of answers, for the OpenAPI document and for tests; the answers themselves are written by hand."""

from typing import Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, JsonValue


class _Shape(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class PromptTokensDetails(_Shape):
    cached_tokens: int = Field(description="prompt tokens that were reused, not computed")


class CompletionTokensDetails(_Shape):
    reasoning_tokens: int = Field(description="completion tokens of the reasoning before the answer")
    accepted_prediction_tokens: int = Field(description="completion tokens that the prediction foresaw")
    rejected_prediction_tokens: int = Field(description="tokens of it that were tried and didn't come: no completion's")


class ChatUsage(_Shape):
    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    prompt_tokens_details: PromptTokensDetails
    completion_tokens_details: CompletionTokensDetails
    neurons: float = Field(0.0, description="what it cost, by the price of the model that was asked for")


class TopLogprob(_Shape):
    token: str
    logprob: float
    bytes: list[int]


class TokenLogprobs(TopLogprob):
    top_logprobs: list[TopLogprob]


class Logprobs(_Shape):
    content: list[TokenLogprobs]
    refusal: None


class CalledFunction(_Shape):
    name: str
    arguments: str = Field(description="JSON of an object, as text")


class FunctionCall(_Shape):
    id: str
    type: Literal["function"]
    function: CalledFunction


class CalledCustom(_Shape):
    name: str
    input: str


class CustomCall(_Shape):
    id: str
    type: Literal["custom"]
    custom: CalledCustom


class AssistantMessage(_Shape):
    role: Literal["assistant"]
    content: str | None = Field(description="null beside calls, where there is no text")
    refusal: None
    reasoning_content: str | None = Field(None, description="absent where there is no reasoning")
    reasoning: str | None = Field(None, description="the same as reasoning_content")
    tool_calls: list[FunctionCall | CustomCall] | None = Field(None, description="absent where there are none")
    function_call: CalledFunction | None = Field(None, description="the call, for a request with functions")


FinishReason: TypeAlias = Literal["stop", "length", "tool_calls", "function_call"]


class ChatChoice(_Shape):
    index: int
    message: AssistantMessage
    logprobs: Logprobs | None
    finish_reason: FinishReason


class ChatCompletion(_Shape):
    id: str
    object: Literal["chat.completion"]
    created: int
    model: str = Field(description="the id that was asked for")
    system_fingerprint: str = Field(description="the weights and the engine that answered")
    service_tier: Literal["default"] | None = Field(None, description="absent unless the request names one")
    choices: list[ChatChoice]
    usage: ChatUsage


class StoredCompletion(ChatCompletion):
    metadata: dict[str, str]


class StoredCompletionList(_Shape):
    object: Literal["list"]
    data: list[StoredCompletion]
    first_id: str | None
    last_id: str | None
    has_more: bool


class DeletedCompletion(_Shape):
    object: Literal["chat.completion.deleted"]
    id: str
    deleted: Literal[True]


class StoredMessage(BaseModel):
    """A message as it was sent, with an id. Content in parts is ``content_parts``."""

    model_config = ConfigDict(extra="allow", strict=True)

    id: str
    role: str
    content: str | None
    content_parts: list[dict[str, JsonValue]] | None


class StoredMessageList(_Shape):
    object: Literal["list"]
    data: list[StoredMessage]
    first_id: str | None
    last_id: str | None
    has_more: bool


class FunctionDelta(_Shape):
    name: str | None = None
    arguments: str


class CustomDelta(_Shape):
    name: str | None = None
    input: str


class CallDelta(_Shape):
    """``id``, ``type`` and the name come once; arguments and input in pieces."""

    index: int
    id: str | None = None
    type: Literal["function", "custom"] | None = None
    function: FunctionDelta | None = None
    custom: CustomDelta | None = None


class Delta(_Shape):
    role: Literal["assistant"] | None = None
    content: str | None = None
    refusal: None = None
    reasoning_content: str | None = None
    reasoning: str | None = None
    tool_calls: list[CallDelta] | None = None
    function_call: FunctionDelta | None = None


class ChunkChoice(_Shape):
    index: int
    delta: Delta
    logprobs: Logprobs | None
    finish_reason: FinishReason | None


class ChatCompletionChunk(_Shape):
    id: str
    object: Literal["chat.completion.chunk"]
    created: int
    model: str
    system_fingerprint: str
    service_tier: Literal["default"] | None = Field(None, description="absent unless the request names one")
    choices: list[ChunkChoice]
    usage: ChatUsage | None = Field(None, description="absent unless stream_options.include_usage")
    obfuscation: str | None = Field(None, description="absent unless stream_options.include_obfuscation")


class Embedding(_Shape):
    object: Literal["embedding"]
    index: int
    embedding: list[float] | str = Field(description="numbers, or base64 of little-endian float32")


class EmbeddingsUsage(_Shape):
    prompt_tokens: int
    total_tokens: int


class EmbeddingList(_Shape):
    object: Literal["list"]
    data: list[Embedding]
    model: str
    system_fingerprint: str
    usage: EmbeddingsUsage


class SamplingDefaults(_Shape):
    temperature: float | None
    top_p: float | None
    top_k: int | None
    min_p: float | None
    repetition_penalty: float | None
    max_tokens: int | None


class ModelDetails(_Shape):
    answered_by: str
    stand_in: bool
    task: str
    description: str
    context_window: int | None
    max_input_tokens: int | None
    dimensions: int | None
    defaults: SamplingDefaults


class Model(_Shape):
    id: str
    object: Literal["model"]
    created: int
    owned_by: str
    lowcloud: ModelDetails


class ModelList(_Shape):
    object: Literal["list"]
    data: list[Model]


class ErrorDetails(_Shape):
    message: str
    type: str
    param: str | None
    code: str


class V4Error(_Shape):
    code: int
    message: str


class V4Refusal(_Shape):
    success: Literal[False]
    errors: list[V4Error]
    messages: list[str]
    result: None


class ErrorEnvelope(V4Refusal):
    error: ErrorDetails


class Health(_Shape):
    status: Literal["ok"]


class ModelState(_Shape):
    id: str
    state: Literal["stopped", "starting", "ready", "backoff"]
    preload: bool


class GatewayHealth(_Shape):
    """Of its logs: those that were lost since the start, and the bytes that are on their way to the database."""

    logs_lost: int
    spool_bytes: int


class Readiness(_Shape):
    ready: bool
    models: list[ModelState]
    gateway: GatewayHealth | None = None


class CompletionLogprobs(_Shape):
    """The old form: one list a property, an entry a token."""

    tokens: list[str]
    token_logprobs: list[float]
    top_logprobs: list[dict[str, float]]
    text_offset: list[int]


class CompletionChoice(_Shape):
    """One text; of several prompts, ``n`` each, in their order."""

    index: int
    text: str
    logprobs: CompletionLogprobs | None
    finish_reason: Literal["stop", "length"] | None


class Completion(_Shape):
    """Texts that were gone on with; of a stream, a piece of one."""

    id: str
    object: Literal["text_completion"]
    created: int
    model: str
    system_fingerprint: str
    choices: list[CompletionChoice]
    usage: ChatUsage | None = Field(None, description="of a stream absent unless stream_options.include_usage")
    obfuscation: str | None = Field(None, description="absent unless stream_options.include_obfuscation")
