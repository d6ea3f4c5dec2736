"""A card: what is known of a model id, whether or not its weights are here."""

from enum import StrEnum

from pydantic import BaseModel, ConfigDict, Field


class Task(StrEnum):
    """Cloudflare's names of tasks."""

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


class Defaults(BaseModel):
    """Sampling and length when the caller names none; None: the neutral value, or what the context leaves."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    temperature: float | None = Field(None, ge=0, le=5)
    top_p: float | None = Field(None, gt=0, le=1)
    top_k: int | None = Field(None, ge=0)
    min_p: float | None = Field(None, ge=0, le=1)
    repetition_penalty: float | None = Field(None, gt=0)
    max_tokens: int | None = Field(None, ge=1)


class Card(BaseModel):
    """``context_window`` in tokens, prompt and answer together; ``dimensions`` of an embedding model's vectors.

    ``matryoshka`` lists the smaller dimensions that the model was trained to be cut to.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: str
    task: Task
    description: str = ""
    owned_by: str
    created: int = Field(0, description="seconds since 1970; 0: unknown")
    source: str | None = Field(None, description="the weights' repository")
    context_window: int | None = Field(None, ge=1)
    max_input_tokens: int | None = Field(None, ge=1)
    dimensions: int | None = Field(None, ge=1)
    matryoshka: tuple[int, ...] = ()
    function_calling: bool = False
    reasoning: bool = False
    vision: bool = False
    lora: bool = False
    deprecated: str | None = Field(None, description="the planned deprecation date")
    defaults: Defaults = Defaults()
