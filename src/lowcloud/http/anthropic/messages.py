"""POST messages and messages/count_tokens."""

from collections.abc import Callable

from starlette.responses import Response
from starlette.types import ASGIApp

from lowcloud.http.anthropic import errors
from lowcloud.http.anthropic.messages_request import count_asked, message_asked
from lowcloud.http.anthropic.messages_stream import MessageWriter, WholeMessage
from lowcloud.http.call import Call
from lowcloud.http.encode import answer_headers, to_json
from lowcloud.http.generation import Answerer, Ending, Form
from lowcloud.http.image_links import ImageLinks
from lowcloud.http.offload import Offload
from lowcloud.serving.service import Service


class AnthropicMessages:
    """Handles Anthropic's format. ``new_id`` makes the ids of messages."""

    def __init__(
        self, service: Service, answerer: Answerer, links: ImageLinks, offload: Offload, new_id: Callable[[], str]
    ) -> None:
        self._service, self._answerer, self._links = service, answerer, links
        self._offload, self._new_id = offload, new_id

    async def create(self, call: Call) -> ASGIApp:
        """A message, whole or as a stream."""
        call.trace.completion_id = request_id = self._new_id()
        asked, head = await self._offload.read(call.body, lambda raw: message_asked(raw, request_id))
        form = Form(lambda _: MessageWriter(head), lambda _: WholeMessage(head), Ending(errors.event))
        return await self._answerer.answer(asked, form, call)

    async def count(self, call: Call) -> ASGIApp:
        """The prompt's tokens, counted by the model's own template and tokenizer."""
        model, prompt, ignored = await self._offload.read(call.body, count_asked)
        call.trace.model = model
        n_tokens = await self._service.count(model, await self._links.followed(model, prompt))
        headers = answer_headers(ignored, self._service.stand_in(model))
        return Response(to_json({"input_tokens": n_tokens}), 200, headers, "application/json")
