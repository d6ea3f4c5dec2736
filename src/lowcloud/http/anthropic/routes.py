"""Anthropic's routes."""

from lowcloud.http.anthropic import errors, schemas
from lowcloud.http.anthropic.messages import AnthropicMessages
from lowcloud.http.anthropic.messages_request import CountBody, MessagesBody
from lowcloud.http.openapi import Operation
from lowcloud.http.router import Route


def anthropic_routes(on: AnthropicMessages, bases: tuple[str, ...]) -> list[Route]:
    """At every base. Anthropic's SDKs put a ``/v1`` of their own after the base URL."""
    table = [("/messages", on.create, MESSAGE), ("/messages/count_tokens", on.count, COUNT)]
    return [
        Route("POST", base + between + path, handler, shown, error_shape=errors.envelope, runs_models=True)
        for path, handler, shown in table
        for base in bases
        for between in ("", "/v1")
    ]


MESSAGE = Operation(
    "createMessage",
    "Answers a conversation in Anthropic's format, whole or as a stream.",
    "anthropic",
    request=MessagesBody,
    answer=schemas.MessageAnswer,
    event=schemas.MessageEvent,
    error=schemas.ErrorAnswer,
)
COUNT = Operation(
    "countMessageTokens",
    "Counts a message's prompt.",
    "anthropic",
    request=CountBody,
    answer=schemas.TokenCount,
    error=schemas.ErrorAnswer,
)
