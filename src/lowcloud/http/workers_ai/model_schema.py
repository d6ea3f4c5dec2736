"""The JSON schemas of what a model's native run takes and gives."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import FunctionType
from typing import Any, TypeAlias

from pydantic import BaseModel, TypeAdapter

from lowcloud.http.workers_ai import embeddings_request as vectors
from lowcloud.http.workers_ai import task_inputs as takes
from lowcloud.http.workers_ai import task_outputs as gives
from lowcloud.http.workers_ai import text_shapes as texts
from lowcloud.http.workers_ai.classify import ClassifyInput
from lowcloud.http.workers_ai.rerank import RerankInput
from lowcloud.http.workers_ai.text_schema import chat_input, classic_input
from lowcloud.models.card import Card, Task

Form: TypeAlias = Any  # a type, or a function that makes its schema


@dataclass(frozen=True, slots=True)
class Shape:
    """What a model takes and gives, by its name in the table; many models share one. ``max_texts`` a request."""

    name: str
    max_texts: int | None = None


class Undocumented(BaseModel):
    """The service doesn't document it."""


# By a family, an embedding model's input, a task, or the id of a model that doesn't speak as its task does.
_FORMS: Mapping[str, tuple[Form, Form]] = {
    "classic": (classic_input, texts.TextOutput),
    "chat": (chat_input, texts.ChatOutput),
    "text": (vectors.TextsInput, texts.Vectors),
    "bge": (vectors.PooledInput, texts.PooledVectors),
    "bge-m3": (
        vectors.ContextsInput | vectors.TextsInput,
        texts.M3Scores | texts.M3ContextVectors | texts.PooledVectors,
    ),
    "qwen3-embedding": (vectors.QwenInput, texts.Vectors),
    Task.TEXT_CLASSIFICATION: (ClassifyInput, gives.Labels),
    Task.RERANK: (RerankInput, gives.Ranking),
    Task.TRANSLATION: (takes.Translated, gives.Translation),
    "@cf/ai4bharat/indictrans2-en-indic-1B": (takes.IndicTranslated, gives.Translations),
    Task.SUMMARIZATION: (takes.Summarized, gives.Summary),
    Task.IMAGE_CLASSIFICATION: (takes.Raw | takes.Seen, gives.Labels),
    Task.OBJECT_DETECTION: (takes.Raw | takes.Seen, gives.Detections),
    Task.IMAGE_TO_TEXT: (takes.Raw | takes.Described, gives.Description),
    Task.TEXT_TO_IMAGE: (takes.Diffused, gives.Png),
    "@cf/black-forest-labs/flux-1-schnell": (takes.Schnell, gives.Image),
    "@cf/black-forest-labs/flux-2-dev": (takes.Flux2, gives.Image),
    "@cf/black-forest-labs/flux-2-klein-4b": (takes.Flux2, gives.Image),
    "@cf/black-forest-labs/flux-2-klein-9b": (takes.Flux2, gives.Image),
    "@cf/leonardo/phoenix-1.0": (takes.Phoenix, gives.Jpeg),
    "@cf/leonardo/lucid-origin": (takes.Lucid, gives.Image),
    Task.SPEECH_RECOGNITION: (takes.Raw | takes.Heard, gives.Transcript),
    "@cf/openai/whisper-large-v3-turbo": (takes.HeardTurbo, gives.LongTranscript),
    "@cf/deepgram/nova-3": (takes.HeardNova, gives.NovaTranscript),
    "@cf/deepgram/flux": (takes.HeardFlux, gives.FluxMessage),
    Task.TEXT_TO_SPEECH: (takes.SpokenAura, gives.Mp3),
    "@cf/myshell-ai/melotts": (takes.SpokenMelo, gives.Speech | gives.Mp3),
    Task.VOICE_ACTIVITY_DETECTION: (takes.Turn, gives.TurnEnd),
    Task.MODERATION: (takes.Guarded, gives.Judged),
    "@cf/meta/prompt-guard-2-86m": (Undocumented, Undocumented),
    Task.DECISION: (takes.Decided, gives.Decisions),
}


def shape_of(card: Card) -> Shape:
    """The shape of a model."""
    if card.task == Task.TEXT_GENERATION:
        return Shape(card.family)
    if card.task == Task.TEXT_EMBEDDINGS:
        return Shape(card.embedding_input, card.max_batch or vectors.MAX_TEXTS)
    return Shape(card.id if card.id in _FORMS else card.task)


def schemas(shape: Shape) -> dict[str, object]:
    """``{"input", "output"}``. Takes tens of milliseconds."""
    taken, given = _FORMS[shape.name]
    return {"input": _capped(_schema(taken), shape.max_texts), "output": _schema(given)}


def _schema(form: Form) -> dict[str, Any]:
    made: dict[str, Any] = form() if isinstance(form, FunctionType) else TypeAdapter(form).json_schema()
    return made


def _capped(schema: Any, max_texts: int | None) -> Any:
    """The schema with that bound on its lists, which of embeddings are all of texts."""
    if max_texts is None or not isinstance(schema, dict | list):
        return schema
    if isinstance(schema, list):
        return [_capped(each, max_texts) for each in schema]
    bound = {"maxItems": max_texts} if schema.get("type") == "array" else {}
    return {name: _capped(each, max_texts) for name, each in schema.items()} | bound
