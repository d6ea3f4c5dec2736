"""POST tokenize, detokenize and apply-template: a model's own tokens and words, as vLLM and llama.cpp name them."""

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, SkipValidation
from starlette.responses import Response
from starlette.types import ASGIApp

from lowcloud.core.errors import BadRequest
from lowcloud.core.messages import Messages, Prompt, Text
from lowcloud.http.call import Call
from lowcloud.http.encode import to_json
from lowcloud.http.offload import Offload
from lowcloud.http.openai.chat_messages import messages_of
from lowcloud.http.openai.chat_tools import tools_asked
from lowcloud.http.validation import validated
from lowcloud.serving.service import Service

Pieces = Annotated[list[Any] | None, SkipValidation]


class _Body(BaseModel):
    model_config = ConfigDict(strict=True)

    model: str = Field(description="an id of GET models; there is no default")


class TokenizeBody(_Body):
    """A text (``prompt``, or ``content``), or a conversation as chat completions take it."""

    prompt: str | None = None
    content: str | None = None
    messages: Pieces = None
    tools: Pieces = None
    return_token_strs: bool | None = None


class DetokenizeBody(_Body):
    """Token ids of the model's own vocabulary."""

    tokens: list[Annotated[int, Field(ge=0)]]


class TemplateBody(_Body):
    """A conversation as chat completions take it."""

    messages: Pieces = None
    tools: Pieces = None
    chat_template_kwargs: dict[str, object] | None = None


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

    def __init__(self, service: Service, offload: Offload) -> None:
        self._service, self._offload = service, offload

    async def tokenize(self, call: Call) -> ASGIApp:
        """A text's or a conversation's tokens."""
        body, prompt = await self._offload.read(call.body, _tokenize_asked)
        call.trace.model = body.model
        tokens = await self._service.tokens(body.model, prompt)
        strings = [token.text for token in tokens] if body.return_token_strs else None
        return _json({"count": len(tokens), "tokens": [token.id for token in tokens], "token_strs": strings})

    async def count_chat(self, call: Call) -> ASGIApp:
        """The tokens of a chat completion's prompt."""
        model, prompt = await self._offload.read(call.body, _template_asked)
        call.trace.model = model
        return _json({"input_tokens": await self._service.count(model, prompt)})

    async def detokenize(self, call: Call) -> ASGIApp:
        """Tokens' text."""
        body = await self._offload.read(call.body, lambda raw: validated(DetokenizeBody, raw))
        call.trace.model = body.model
        text = await self._service.text(body.model, tuple(body.tokens))
        return _json({"prompt": text, "content": text})

    async def apply_template(self, call: Call) -> ASGIApp:
        """A conversation as the model's own chat template renders it."""
        model, prompt = await self._offload.read(call.body, _template_asked)
        call.trace.model = model
        return _json({"prompt": await self._service.rendered(model, prompt)})


def _tokenize_asked(raw: dict[str, Any]) -> tuple[TokenizeBody, Prompt]:
    body = validated(TokenizeBody, raw)
    given = [name for name in ("prompt", "content", "messages") if raw.get(name) is not None]
    if len(given) != 1:
        raise BadRequest("prompt: one of prompt, content and messages is required.", param="prompt")
    if body.messages is not None:
        return body, _conversation(raw, {})
    return body, Text(body.prompt if body.prompt is not None else body.content or "")


def _template_asked(raw: dict[str, Any]) -> tuple[str, Messages]:
    body = validated(TemplateBody, raw)
    return body.model, _conversation(raw, body.chat_template_kwargs or {})


def _conversation(raw: dict[str, Any], options: dict[str, object]) -> Messages:
    unread: dict[str, None] = {}
    messages = messages_of(raw.get("messages"), unread)
    return Messages(messages, tools_asked(raw, unread).shown, options=options)


def _json(fields: dict[str, object]) -> Response:
    return Response(to_json(fields), 200, media_type="application/json")
