"""What the native run gives for text generation and for embeddings, as ``models/schema`` shows it.

Source: Cloudflare docs, Workers AI › Models, read 2026-11.
"""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, JsonValue

from lowcloud.core.requests import Pooling
from lowcloud.http.openai.schemas import ChatCompletion, ChatUsage, Completion, EmbeddingsUsage, FinishReason
from lowcloud.http.responses.schemas import ResponseObject

Events = Annotated[str, Field(json_schema_extra={"format": "binary", "contentType": "text/event-stream"})]


class _Shape(BaseModel):
    model_config = ConfigDict(strict=True)


class NativeCall(_Shape):
    name: str
    arguments: dict[str, JsonValue]


class TextAnswer(_Shape):
    """``response`` is a value where the request has a schema for it."""

    response: JsonValue
    reasoning_content: str | None = Field(None, description="absent where there is no reasoning")
    tool_calls: list[NativeCall] | None = Field(None, description="absent where the request has no tools")
    finish_reason: FinishReason
    usage: ChatUsage


TextOutput = TextAnswer | Events
ChatOutput = ChatCompletion | Completion | ResponseObject | Events


class Vectors(_Shape):
    """``shape`` is how many vectors of how many numbers."""

    shape: list[int] = Field(min_length=2, max_length=2)
    data: list[list[float]]
    usage: EmbeddingsUsage


class PooledVectors(Vectors):
    pooling: Pooling | None = Field(None, description="absent where it isn't known here")


class M3Score(_Shape):
    """``id`` is the context's place in the request."""

    id: int
    score: float


class M3Scores(_Shape):
    """The best first."""

    response: list[M3Score]
    usage: EmbeddingsUsage


class M3ContextVectors(_Shape):
    """As ``PooledVectors``."""

    response: list[list[float]]
    shape: list[int] = Field(min_length=2, max_length=2)
    pooling: Pooling | None = None
    usage: EmbeddingsUsage
