"""OpenAI's routes, and those that other servers have beside them: tokens and rerank."""

from dataclasses import dataclass

from lowcloud.http.call import Handler
from lowcloud.http.openai import schemas
from lowcloud.http.openai.chat import Chat
from lowcloud.http.openai.chat_request import ChatBody
from lowcloud.http.openai.completions import Completions
from lowcloud.http.openai.completions_request import CompletionBody
from lowcloud.http.openai.embeddings import Embeddings
from lowcloud.http.openai.embeddings_request import EmbeddingsBody
from lowcloud.http.openai.models import Models
from lowcloud.http.openai.rerank import Ranking, Reranking
from lowcloud.http.openai.rerank_request import RerankBody
from lowcloud.http.openai.stored import CompletionsQuery, ListQuery, Relabel, Stored
from lowcloud.http.openai.tokens import (
    CountAnswer,
    DetokenizeAnswer,
    DetokenizeBody,
    TemplateAnswer,
    TemplateBody,
    TokenizeAnswer,
    TokenizeBody,
    TokenTexts,
)
from lowcloud.http.openapi import Operation
from lowcloud.http.router import Route


@dataclass(frozen=True, slots=True)
class Handlers:
    """One object an endpoint. Without ``stored`` there are no routes of stored chat completions."""

    chat: Chat
    completions: Completions
    token_texts: TokenTexts
    embeddings: Embeddings
    reranking: Reranking
    models: Models
    stored: Stored | None


def openai_routes(on: Handlers, bases: tuple[str, ...]) -> list[Route]:
    """At every base."""
    runs = [
        ("/chat/completions", on.chat.create, CHAT),
        ("/chat/completions/input_tokens", on.token_texts.count_chat, CHAT_COUNT),
        ("/completions", on.completions.create, COMPLETION),
        ("/tokenize", on.token_texts.tokenize, TOKENIZE),
        ("/detokenize", on.token_texts.detokenize, DETOKENIZE),
        ("/apply-template", on.token_texts.apply_template, TEMPLATE),
        ("/embeddings", on.embeddings.create, EMBEDDINGS),
        ("/rerank", on.reranking.create, RERANK),
        ("/reranking", on.reranking.create, RERANK),
    ]
    table = [
        *(_stored(on.stored) if on.stored else ()),
        ("GET", "/models", on.models.index, MODELS),
        ("GET", "/models/{model...}", on.models.show, MODEL),
    ]
    paths = [(base + path, handler, shown) for path, handler, shown in runs for base in bases]
    paths += [(path, on.reranking.create, RERANK) for path in _cohere("/rerank", bases)]
    return [
        *(Route("POST", path, handler, shown, runs_models=True) for path, handler, shown in paths),
        *(Route(method, base + path, handler, shown) for method, path, handler, shown in table for base in bases),
    ]


def _stored(on: Stored) -> list[tuple[str, str, Handler, Operation]]:
    one = "/chat/completions/{completion_id}"
    return [
        ("GET", "/chat/completions", on.index, STORED_LIST),
        ("GET", one, on.show, STORED),
        ("POST", one, on.relabel, RELABEL),
        ("DELETE", one, on.delete, DELETE),
        ("GET", f"{one}/messages", on.messages, STORED_MESSAGES),
    ]


def _cohere(path: str, bases: tuple[str, ...]) -> list[str]:
    """Cohere's SDKs put a ``/v1`` or ``/v2`` of their own after the base URL, which may be ours without its ``/v1``."""
    paths = [base + version + path for base in bases for version in ("/v1", "/v2")]
    return paths + [base.removesuffix("/v1") + "/v2" + path for base in bases]


CHAT = Operation(
    "createChatCompletion",
    "Answers a conversation, whole or as a stream.",
    "openai",
    request=ChatBody,
    answer=schemas.ChatCompletion,
    event=schemas.ChatCompletionChunk,
)
STORED_LIST = Operation(
    "listChatCompletions",
    "Lists the stored chat completions.",
    "openai",
    answer=schemas.StoredCompletionList,
    errors=(400,),
    query=CompletionsQuery,
)
STORED = Operation(
    "getChatCompletion", "One of the stored chat completions.", "openai", answer=schemas.StoredCompletion
)
RELABEL = Operation(
    "updateChatCompletion",
    "Gives a stored chat completion other metadata.",
    "openai",
    request=Relabel,
    answer=schemas.StoredCompletion,
    errors=(400, 408, 413, 415),
)
DELETE = Operation(
    "deleteChatCompletion", "Deletes a stored chat completion.", "openai", answer=schemas.DeletedCompletion
)
STORED_MESSAGES = Operation(
    "getChatCompletionMessages",
    "The messages that a stored chat completion answered.",
    "openai",
    answer=schemas.StoredMessageList,
    errors=(400,),
    query=ListQuery,
)
COMPLETION = Operation(
    "createCompletion",
    "Goes on with texts, whole or as a stream.",
    "openai",
    request=CompletionBody,
    answer=schemas.Completion,
    event=schemas.Completion,
)
TOKENIZE = Operation("tokenize", "A text's tokens.", "tokens", request=TokenizeBody, answer=TokenizeAnswer)
CHAT_COUNT = Operation(
    "countChatTokens",
    "Counts a chat completion's prompt.",
    "tokens",
    request=TemplateBody,
    answer=CountAnswer,
)
DETOKENIZE = Operation("detokenize", "Tokens' text.", "tokens", request=DetokenizeBody, answer=DetokenizeAnswer)
TEMPLATE = Operation(
    "applyTemplate",
    "A conversation as the model's chat template renders it.",
    "tokens",
    request=TemplateBody,
    answer=TemplateAnswer,
)
EMBEDDINGS = Operation(
    "createEmbeddings",
    "Turns texts into unit vectors.",
    "openai",
    request=EmbeddingsBody,
    answer=schemas.EmbeddingList,
)
RERANK = Operation(
    "rerank",
    "Scores documents for a query, in the forms of Jina and Cohere.",
    "rerank",
    request=RerankBody,
    answer=Ranking,
)
MODELS = Operation("listModels", "Lists the models that would answer.", "openai", answer=schemas.ModelList)
MODEL = Operation("retrieveModel", "One of the models that would answer.", "openai", answer=schemas.Model)
