"""The shapes of answers, for the OpenAPI document and for tests; the answers themselves are written by hand."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field


class _Shape(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class PromptTokensDetails(_Shape):
    cached_tokens: int = Field(description="prompt tokens that were reused, not computed")


class ChatUsage(_Shape):
    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    prompt_tokens_details: PromptTokensDetails


class TopLogprob(_Shape):
    token: str
    logprob: float
    bytes: list[int]


class TokenLogprobs(TopLogprob):
    top_logprobs: list[TopLogprob]


class Logprobs(_Shape):
    content: list[TokenLogprobs]
    refusal: None


class AssistantMessage(_Shape):
    role: Literal["assistant"]
    content: str
    refusal: None


class ChatChoice(_Shape):
    index: int
    message: AssistantMessage
    logprobs: Logprobs | None
    finish_reason: Literal["stop", "length"]


class ChatCompletion(_Shape):
    id: str
    object: Literal["chat.completion"]
    created: int
    model: str = Field(description="the id that was asked for")
    system_fingerprint: str = Field(description="the weights and the engine that answered")
    choices: list[ChatChoice]
    usage: ChatUsage


class Delta(_Shape):
    role: Literal["assistant"] | None = None
    content: str | None = None
    refusal: None = None


class ChunkChoice(_Shape):
    index: int
    delta: Delta
    logprobs: Logprobs | None
    finish_reason: Literal["stop", "length"] | None


class ChatCompletionChunk(_Shape):
    id: str
    object: Literal["chat.completion.chunk"]
    created: int
    model: str
    system_fingerprint: str
    choices: list[ChunkChoice]
    usage: ChatUsage | None = Field(None, description="absent unless stream_options.include_usage")


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


class ErrorEnvelope(_Shape):
    error: ErrorDetails
    success: Literal[False]
    errors: list[V4Error]
    messages: list[str]
    result: None


class Health(_Shape):
    status: Literal["ok"]


class ModelState(_Shape):
    id: str
    state: Literal["stopped", "starting", "ready", "backoff"]
    preload: bool


class Readiness(_Shape):
    ready: bool
    models: list[ModelState]
