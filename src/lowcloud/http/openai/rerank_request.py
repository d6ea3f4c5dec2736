"""The body of a rerank request, in the forms of Jina's and of Cohere's API: what is accepted, and what it asks for."""

from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import ConfigDict, Field, SkipValidation

from lowcloud.core.errors import BadRequest
from lowcloud.core.requests import Rerank
from lowcloud.http.openai.parameters import Fate, named, refuse
from lowcloud.http.openai.run_options import RunFields
from lowcloud.http.validation import validated

MAX_DOCUMENTS = 2_048
Count = Annotated[int, Field(ge=1, lt=2**31)]


class RerankBody(RunFields):
    """The parameters that are read. Others are refused or named in ``lowcloud-ignored``."""

    model_config = ConfigDict(strict=True, title="CreateRerank")

    model: str = Field(description="an id of GET models; there is no default")
    query: str = Field(min_length=1)
    documents: Annotated[list[str | dict[str, str]], SkipValidation] = Field(
        description="up to 2,048 texts, or objects with a text"
    )
    top_n: Count | None = Field(None, description="how many of the best come back; else all")
    return_documents: bool | None = Field(None, description="with each result its document; the default")
    rank_fields: Annotated[list[str], Field(min_length=1)] | None = Field(
        None, description="which members of objects are read, in this order; else text"
    )
    max_tokens_per_doc: Count | None = Field(None, description="cut each document to so many tokens")
    max_chunks_per_doc: Count | None = Field(None, description="no document is ever split, so there is one")
    truncate: bool | None = Field(None, description="cut documents over the model's limit instead of refusing them")
    user: str | None = None
    priority: int | None = None


REFUSED: dict[str, tuple[object, ...]] = {
    "texts": (),
    "raw_scores": (False,),
    "return_text": (False,),
    "top_k": (),
    "truncation": (),
    "truncate_prompt_tokens": (),
    "max_doc_length": (),
    "max_query_length": (),
    "return_embeddings": (False,),
    "relevant_spans": ({"mode": "disabled"},),
    "instruction": (),
    "activation": (True,),
    "use_activation": (True,),
}
HINTS: dict[str, tuple[object, ...]] = {"user": (), "priority": (0,)}
FATES: dict[str, Fate] = {
    **dict.fromkeys(RerankBody.model_fields, Fate.HONOURED),
    **dict.fromkeys(HINTS, Fate.IGNORED),
    **dict.fromkeys(REFUSED, Fate.REFUSED),
}


@dataclass(frozen=True, slots=True)
class RerankAsked:
    """What a body asks for. ``shown`` are the documents as results show them; None: they don't.

    ``top_n`` None: all. ``ignored`` are the names of what it holds beside that.
    """

    model: str
    rerank: Rerank
    shown: tuple[object, ...] | None
    top_n: int | None
    rejects_if_busy: bool
    ignored: tuple[str, ...]


def rerank_asked(raw: dict[str, Any], request_id: str) -> RerankAsked:
    """Raises BadRequest, Unsupported."""
    refuse(raw, REFUSED)
    body = validated(RerankBody, raw)
    rerank = Rerank(
        id=request_id,
        query=body.query,
        documents=_texts(raw["documents"], body.rank_fields),
        document_tokens=body.max_tokens_per_doc,
        truncate=bool(body.truncate),
    )
    shown = None if body.return_documents is False else tuple(map(_shown, raw["documents"]))
    unread: dict[str, None] = {}
    rejects_if_busy = body.rejects_if_busy(raw, unread)
    ignored = (*named(raw, FATES, HINTS), *unread)
    return RerankAsked(body.model, rerank, shown, body.top_n, rejects_if_busy, ignored)


def _texts(documents: object, fields: list[str] | None) -> tuple[str, ...]:
    if not isinstance(documents, list):
        raise BadRequest("documents: must be a list of strings, or of objects with a text.", param="documents")
    if not documents:
        raise BadRequest("documents: must not be empty.", param="documents")
    if len(documents) > MAX_DOCUMENTS:
        raise BadRequest(
            f"documents: at most {MAX_DOCUMENTS} documents a request; these are {len(documents)}.", param="documents"
        )
    return tuple(_text(document, f"documents[{place}]", fields) for place, document in enumerate(documents))


def _text(document: object, path: str, fields: list[str] | None) -> str:
    """Of an object its ``text``, or the members that ``fields`` name: one as it is, of several each after its name."""
    if isinstance(document, str):
        return document
    if not isinstance(document, dict):
        raise BadRequest(f"{path}: must be a string, or an object with a text.", param=path)
    wanted = fields or ["text"]
    members = [(name, _member(document[name], f"{path}.{name}")) for name in wanted if document.get(name) is not None]
    if not members:
        raise BadRequest(f"{path}: has none of {', '.join(wanted)}; only texts are ranked here.", param=path)
    return members[0][1] if len(wanted) == 1 else "\n".join(f"{name}: {value}" for name, value in members)


def _member(value: object, path: str) -> str:
    if not isinstance(value, str):
        raise BadRequest(f"{path}: must be a string.", param=path)
    return value


def _shown(document: object) -> object:
    return {"text": document} if isinstance(document, str) else document
