"""POST tokenize, detokenize and apply-template: a model's own tokens and words, as vLLM and llama.cpp name them."""

from collections.abc import Sequence
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, SkipValidation
from starlette.responses import Response
from starlette.types import ASGIApp

from lowcloud.core.errors import BadRequest
from lowcloud.core.messages import Messages, Prompt, Text
from lowcloud.engines.engine import Token
from lowcloud.http.call import Call
from lowcloud.http.encode import answer_headers, to_json
from lowcloud.http.image_links import ImageLinks
from lowcloud.http.offload import Offload
from lowcloud.http.openai.chat_messages import ChatMessage
from lowcloud.http.openai.chat_request import HINTS, PROMPT_REFUSED, ConversationFields, conversation
from lowcloud.http.openai.parameters import named, refuse
from lowcloud.http.validation import validated
from lowcloud.serving.service import Service

TOKEN_BYTES = 8  # about what a token takes of an answer
# Of other servers; here no text gets control tokens, neither around it nor in it.
TOKENIZE_REFUSED: dict[str, tuple[object, ...]] = {
    **PROMPT_REFUSED,
    "add_special_tokens": (False,),
    "add_special": (False,),
    "parse_special": (False,),
    "with_pieces": (False,),
}


class _Body(BaseModel):
    model_config = ConfigDict(strict=True)

    model: str = Field(description="an id of GET models; there is no default")


class TextBody(_Body):
    """A text, as ``prompt`` or as ``content``."""

    prompt: str | None = None
    content: str | None = None
    return_token_strs: bool | None = None


class TokenizeBody(TextBody, ConversationFields):
    """A text (``prompt``, or ``content``), or a conversation as chat completions take it."""

    messages: Annotated[list[ChatMessage] | None, SkipValidation] = None


class DetokenizeBody(_Body):
    """Token ids of the model's own vocabulary."""

    tokens: list[Annotated[int, Field(ge=0)]]


class TemplateBody(_Body, ConversationFields):
    """A conversation as chat completions take it."""

    messages: Annotated[list[ChatMessage], SkipValidation] = Field(min_length=1)


class TokenizeAnswer(BaseModel):
    """The tokens, and their texts where these are asked for."""

    count: int
    tokens: list[int]
    token_strs: list[str] | None


class DetokenizeAnswer(BaseModel):
    """The text, by both names that servers have for it."""

    prompt: str
    content: str


class CountAnswer(BaseModel):
    """A count."""

    input_tokens: int


class TemplateAnswer(BaseModel):
    """What the model would be given."""

    prompt: str


class TokenTexts:
    """Handles them. None of them needs the model's weights."""

    def __init__(self, service: Service, links: ImageLinks, offload: Offload) -> None:
        self._service, self._links, self._offload = service, links, offload

    async def tokenize(self, call: Call) -> ASGIApp:
        """A text's or a conversation's tokens."""
        body, prompt, ignored = await self._offload.read(call.body, _tokenize_asked)
        call.trace.model = body.model
        tokens = await self._service.tokens(body.model, await self._links.followed(body.model, prompt))
        has_texts = bool(body.return_token_strs)
        shown = await self._offload.sized(TOKEN_BYTES * len(tokens), lambda: _shown(tokens, has_texts=has_texts))
        return self._answer(shown, body.model, ignored)

    async def count_chat(self, call: Call) -> ASGIApp:
        """The tokens of a chat completion's prompt."""
        model, prompt, ignored = await self._offload.read(call.body, _template_asked)
        call.trace.model = model
        n_tokens = await self._service.count(model, await self._links.followed(model, prompt))
        return self._answer(to_json({"input_tokens": n_tokens}), model, ignored)

    async def detokenize(self, call: Call) -> ASGIApp:
        """Tokens' text."""
        model, ids, ignored = await self._offload.read(call.body, _detokenize_asked)
        call.trace.model = model
        text = await self._service.text(model, ids)
        shown = await self._offload.sized(2 * len(text), lambda: to_json({"prompt": text, "content": text}))
        return self._answer(shown, model, ignored)

    async def apply_template(self, call: Call) -> ASGIApp:
        """A conversation as the model's own chat template renders it."""
        model, prompt, ignored = await self._offload.read(call.body, _template_asked)
        call.trace.model = model
        rendered = await self._service.rendered(model, await self._links.followed(model, prompt))
        shown = await self._offload.sized(len(rendered), lambda: to_json({"prompt": rendered}))
        return self._answer(shown, model, ignored)

    def _answer(self, body: bytes, model: str, ignored: Sequence[str]) -> Response:
        headers = answer_headers(ignored, self._service.stand_in(model))
        return Response(body, 200, headers, "application/json")


def _shown(tokens: Sequence[Token], *, has_texts: bool) -> bytes:
    texts = [token.text for token in tokens] if has_texts else None
    return to_json({"count": len(tokens), "tokens": [token.id for token in tokens], "token_strs": texts})


def _tokenize_asked(raw: dict[str, Any]) -> tuple[TokenizeBody, Prompt, list[str]]:
    body = validated(TokenizeBody, raw)
    refuse(raw, TOKENIZE_REFUSED)
    given = [name for name in ("prompt", "content", "messages") if raw.get(name) is not None]
    if len(given) != 1:
        raise BadRequest("prompt: one of prompt, content and messages is required.", param="prompt")
    if body.messages is None:
        text = body.prompt if body.prompt is not None else body.content or ""
        return body, Text(text), named(raw, {*TextBody.model_fields, *TOKENIZE_REFUSED}, {})
    unread: dict[str, None] = {}
    prompt, _ = conversation(body, raw, unread)
    return body, prompt, [*named(raw, {*TokenizeBody.model_fields, *TOKENIZE_REFUSED}, HINTS), *unread]


def _detokenize_asked(raw: dict[str, Any]) -> tuple[str, tuple[int, ...], list[str]]:
    body = validated(DetokenizeBody, raw)
    return body.model, tuple(body.tokens), named(raw, DetokenizeBody.model_fields, {})


def _template_asked(raw: dict[str, Any]) -> tuple[str, Messages, list[str]]:
    body = validated(TemplateBody, raw)
    refuse(raw, PROMPT_REFUSED)
    unread: dict[str, None] = {}
    prompt, _ = conversation(body, raw, unread)
    return body.model, prompt, [*named(raw, {*TemplateBody.model_fields, *PROMPT_REFUSED}, HINTS), *unread]
