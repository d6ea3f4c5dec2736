"""The inputs of a native embedding run, by the family of the model: what is accepted, and what it asks for.

Source: Cloudflare docs, Workers AI › Models; for the instruction Qwen3-Embedding's own card; read 2026-11.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, SkipValidation

from lowcloud.core.errors import BadRequest
from lowcloud.core.messages import Text
from lowcloud.core.requests import Embed, Pooling
from lowcloud.http.openai.parameters import named, note_unread
from lowcloud.http.validation import validated
from lowcloud.http.workers_ai.lenient import Flag
from lowcloud.models.card import Card, EmbeddingInput

MAX_TEXTS = 2_048  # where the model names no bound of its own
INSTRUCTION = "Given a web search query, retrieve relevant passages that answer the query"
Filled: TypeAlias = Annotated[str, Field(min_length=1)]
Texts: TypeAlias = Annotated[Filled | Annotated[list[Filled], Field(min_length=1)], SkipValidation]
# "vectors": ``data``, "contexts": the same as ``response``, "scores": of contexts for a query.
Shape: TypeAlias = Literal["vectors", "contexts", "scores"]
# What the caller calls a text, and the text.
Named: TypeAlias = tuple[str, str]


class Truncating(BaseModel):
    """The base of inputs that a model may have to cut."""

    model_config = ConfigDict(strict=True)

    truncate_inputs: Flag | None = Field(None, description="cut texts over the model's limit instead of refusing them")


class TextsInput(Truncating):
    """Texts to embed."""

    text: Texts = Field(description="a text, or up to as many as the model takes")


class PooledInput(TextsInput):
    """``cls`` is what the model was trained for; the vectors of the two don't go together."""

    pooling: Pooling | None = Field(None, description="mean where none is given")


class Context(BaseModel):
    """One of the texts that are scored, or embedded."""

    model_config = ConfigDict(strict=True)

    text: Filled


class ContextsInput(Truncating):
    """Contexts to score for a query, or without one to embed."""

    query: Filled | None = None
    contexts: list[Context] = Field(min_length=1)


class QwenInput(Truncating):
    """Queries get the instruction, documents don't; ``text`` is another name of documents."""

    model_config = ConfigDict(
        json_schema_extra={"anyOf": [{"required": [name]} for name in ("queries", "documents", "text")]}
    )

    queries: Texts | None = None
    documents: Texts | None = None
    text: Texts | None = None
    instruction: str | None = Field(None, description=f'what queries are for; else "{INSTRUCTION}"')


@dataclass(frozen=True, slots=True)
class VectorsAsked:
    """``shows_pooling``: the answer says how its vectors were pooled. ``ignored`` names what nothing reads."""

    embed: Embed
    shape: Shape
    shows_pooling: bool
    ignored: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Read:
    """``unread`` names what a body has beside its members that are known, and those without an effect."""

    body: Truncating
    texts: list[Named]
    shape: Shape = "vectors"
    unread: tuple[str, ...] = ()


def vectors_asked(inputs: Mapping[str, object], card: Card, run_id: str) -> VectorsAsked:
    """What the inputs ask of the model that ``card`` describes. Raises BadRequest."""
    if inputs.get("requests") is not None:
        raise BadRequest("requests: a batch needs queueRequest=true.", param="requests")
    raw = {name: value for name, value in inputs.items() if value is not None}
    read = _READERS[card.embedding_input](raw, card.max_batch or MAX_TEXTS)
    embed = Embed(
        id=run_id,
        inputs=tuple(Text(text) for _, text in read.texts),
        pooling=read.body.pooling if isinstance(read.body, PooledInput) else None,
        truncate=bool(read.body.truncate_inputs),
        names=tuple(name for name, _ in read.texts),
    )
    ignored = (*named(raw, type(read.body).model_fields, {}), *read.unread)
    return VectorsAsked(embed, read.shape, card.embedding_input in _SHOW_POOLING, ignored)


def _plain(raw: dict[str, object], cap: int) -> _Read:
    return _Read(validated(TextsInput, raw), _texts(raw, "text", cap))


def _pooled(raw: dict[str, object], cap: int) -> _Read:
    return _Read(validated(PooledInput, raw), _texts(raw, "text", cap))


def _m3(raw: dict[str, object], cap: int) -> _Read:
    """Texts, or contexts: with a query or without one."""
    if "contexts" not in raw and "query" not in raw:
        return _plain(raw, cap)
    if "text" in raw:
        raise BadRequest("text and contexts are mutually exclusive", param="text")
    _check_length("contexts", raw.get("contexts"), cap)
    body = validated(ContextsInput, raw)
    contexts = [(f"contexts[{place}].text", context.text) for place, context in enumerate(body.contexts)]
    unread = unread_of_contexts(raw)
    if body.query is None:
        return _Read(body, contexts, "contexts", unread)
    return _Read(body, [("query", body.query), *contexts], "scores", unread)


def _qwen(raw: dict[str, object], cap: int) -> _Read:
    """Queries come first, then documents, where there are both."""
    body = validated(QwenInput, raw)
    if body.text is not None and body.documents is not None:
        raise BadRequest("text and documents are mutually exclusive", param="text")
    instruction = INSTRUCTION if body.instruction is None else body.instruction
    queries = [(name, f"Instruct: {instruction}\nQuery:{query}") for name, query in _texts(raw, "queries", cap)]
    texts = [*queries, *_texts(raw, "documents", cap), *_texts(raw, "text", cap)]
    if not texts:
        raise BadRequest(
            "anyOf at '/' not met, 0 matches: required properties at '/' are 'queries', "
            "required properties at '/' are 'documents', required properties at '/' are 'text'",
            param="queries",
        )
    return _Read(body, texts, unread=() if queries or body.instruction is None else ("instruction",))


_READERS: Mapping[EmbeddingInput, Callable[[dict[str, object], int], _Read]] = {
    "text": _plain,
    "bge": _pooled,
    "bge-m3": _m3,
    "qwen3-embedding": _qwen,
}
_SHOW_POOLING = ("bge", "bge-m3")


def unread_of_contexts(raw: Mapping[str, object]) -> tuple[str, ...]:
    """Names of the members of contexts that nothing reads; ``raw`` has been validated."""
    unread: dict[str, None] = {}
    contexts = raw.get("contexts")
    for context in contexts if isinstance(contexts, list) else ():
        note_unread(context, Context.model_fields, "contexts[]", unread)
    return tuple(unread)


def _texts(raw: Mapping[str, object], name: str, cap: int) -> list[Named]:
    """The texts of a member that may be one text or a list; none where it is absent. Raises BadRequest."""
    if name not in raw:
        return []
    value = raw[name]
    if not isinstance(value, list):
        return [(name, _filled(value, name, "a string, or a list of strings"))]
    _check_length(name, value, cap)
    paths = [f"{name}[{place}]" for place in range(len(value))]
    return [(path, _filled(text, path, "a string")) for path, text in zip(paths, value, strict=True)]


def _check_length(name: str, value: object, cap: int) -> None:
    if isinstance(value, list) and not 1 <= len(value) <= cap:
        raise BadRequest(f"{name}: must have 1 to {cap} texts for this model; it has {len(value)}.", param=name)


def _filled(text: object, path: str, kind: str) -> str:
    if not isinstance(text, str):
        raise BadRequest(f"{path}: must be {kind}.", param=path)
    if not text:
        raise BadRequest(f"{path}: must not be an empty string.", param=path)
    return text
