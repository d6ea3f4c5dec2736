"""A card: what is known of a model id, whether or not its weights are here."""

from datetime import UTC, date, datetime
from enum import StrEnum
from typing import Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, field_validator

from lowcloud.core.requests import Pooling


class Task(StrEnum):
    """What a model does, in Cloudflare's words; the service itself counts rerankers as classifiers, and moderation and
    decisions as text generation.
    """

    TEXT_GENERATION = "Text Generation"
    TEXT_EMBEDDINGS = "Text Embeddings"
    TEXT_CLASSIFICATION = "Text Classification"
    RERANK = "Rerank"
    TRANSLATION = "Translation"
    SUMMARIZATION = "Summarization"
    IMAGE_CLASSIFICATION = "Image Classification"
    OBJECT_DETECTION = "Object Detection"
    IMAGE_TO_TEXT = "Image-to-Text"
    TEXT_TO_IMAGE = "Text-to-Image"
    SPEECH_RECOGNITION = "Automatic Speech Recognition"
    TEXT_TO_SPEECH = "Text-to-Speech"
    VOICE_ACTIVITY_DETECTION = "Voice Activity Detection"
    MODERATION = "Moderation"
    DECISION = "Decision"


# What some kind of engine here does.
SERVED = frozenset({Task.TEXT_GENERATION, Task.TEXT_EMBEDDINGS, Task.TEXT_CLASSIFICATION, Task.RERANK})


# What the native run takes and gives: "classic" is Workers AI's own ``{response}``, "chat" a chat completion.
Family: TypeAlias = Literal["classic", "chat"]
# What the native run of an embedding model takes: ``text`` alone, with ``pooling`` (bge), or more.
EmbeddingInput: TypeAlias = Literal["text", "bge", "bge-m3", "qwen3-embedding"]


class Defaults(BaseModel):
    """Sampling and length when the caller names none; None: the neutral value, or what the context leaves."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    temperature: float | None = Field(None, ge=0, le=5)
    top_p: float | None = Field(None, gt=0, le=1)
    top_k: int | None = Field(None, ge=0)
    min_p: float | None = Field(None, ge=0, le=1)
    repetition_penalty: float | None = Field(None, gt=0)
    max_tokens: int | None = Field(None, ge=1)


class Price(BaseModel):
    """``price`` in US dollars a ``unit``, in Cloudflare's words; ``neurons`` a unit where they are published, since the
    dollars are rounded.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    unit: str
    price: float = Field(ge=0, allow_inf_nan=False)
    neurons: float | None = Field(None, ge=0, allow_inf_nan=False)


class ReasoningEffort(BaseModel):
    """Which efforts a model has, and what becomes of others; ``mandatory``: it can't be told not to reason.

    The names are the wire's.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    supported_efforts: tuple[str, ...] = ()
    default_effort: str | None = None
    normalizes_to: dict[str, str] = Field(default_factory=dict)
    mandatory: bool = False
    default_enabled: bool = True


class Card(BaseModel):
    """``context_window`` in tokens, prompt and answer together; ``dimensions`` of an embedding model's vectors.

    ``matryoshka`` lists the smaller dimensions that the model was trained to be cut to. ``family``,
    ``embedding_input`` and ``max_batch`` (texts a request) say how the native run speaks. ``async_queue``, ``beta``,
    ``partner``, ``realtime`` and ``require_workers_paid`` are what the service says of its own deployment.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: str
    task: Task
    description: str = ""
    owned_by: str
    created: int = Field(0, description="seconds since 1970, or a date; 0: unknown")
    source: str | None = Field(None, description="the weights' repository")
    context_window: int | None = Field(None, ge=1)
    max_input_tokens: int | None = Field(None, ge=1)
    dimensions: int | None = Field(None, ge=1)
    matryoshka: tuple[int, ...] = ()
    pooling: Pooling | None = Field(None, description="where nobody names one; None: what the model was trained for")
    function_calling: bool = False
    reasoning: bool = False
    vision: bool = False
    lora: bool = False
    family: Family = "classic"
    embedding_input: EmbeddingInput = "bge"
    max_batch: int | None = Field(None, ge=1)
    async_queue: bool = False
    beta: bool = False
    partner: bool = False
    realtime: bool = False
    require_workers_paid: bool = False
    deprecated: date | None = Field(None, description="the planned deprecation date")
    reasoning_effort: ReasoningEffort | None = None
    price: tuple[Price, ...] = Field((), description="empty: it costs nothing")
    info: str | None = Field(None, description="where to read about the model")
    terms: str | None = Field(None, description="its licence")
    defaults: Defaults = Defaults()

    @field_validator("created", mode="before")
    @classmethod
    def _seconds(cls, value: object) -> object:
        """A date means its midnight in UTC."""
        if type(value) is date:
            return int(datetime(value.year, value.month, value.day, tzinfo=UTC).timestamp())
        return value
