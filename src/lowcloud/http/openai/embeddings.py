"""POST embeddings: texts in, vectors out, as numbers or as base64 of little-endian float32."""

from collections.abc import Callable
from dataclasses import replace

from starlette.datastructures import Headers
from starlette.responses import Response
from starlette.types import ASGIApp

from lowcloud.core.results import Embedded
from lowcloud.http.call import Call
from lowcloud.http.encode import result_headers, result_usage, to_json
from lowcloud.http.offload import Offload
from lowcloud.http.openai.chat_answer import fingerprint
from lowcloud.http.openai.embeddings_request import EmbeddingsAsked, embeddings_asked
from lowcloud.http.vectors import as_base64, as_numbers
from lowcloud.serving.service import Service

ACCEPT_HEADER = "lowcloud-accept-token-ids"


class Embeddings:
    """Handles embeddings requests. ``new_id`` makes the ids of requests."""

    def __init__(
        self, service: Service, offload: Offload, new_id: Callable[[], str], *, accept_token_ids: bool
    ) -> None:
        self._service = service
        self._offload = offload
        self._new_id = new_id
        self._accept_token_ids = accept_token_ids

    async def create(self, call: Call) -> ASGIApp:
        """All vectors at once, in the order of the inputs."""
        request_id, accepts = self._new_id(), self._accept_token_ids or _accepts_token_ids(call.headers)
        asked = await self._offload.read(
            call.body, lambda raw: embeddings_asked(raw, request_id, accept_token_ids=accepts)
        )
        call.trace.model = asked.model
        caller = replace(call.caller, rejects_if_busy=asked.rejects_if_busy)
        embedded = await self._service.embed(asked.model, asked.embed, caller)
        body = await self._offload.sized(sum(map(len, embedded.vectors)), lambda: encoded(asked, embedded))
        return Response(body, 200, result_headers(asked.ignored, embedded), "application/json")


def encoded(asked: EmbeddingsAsked, embedded: Embedded) -> bytes:
    """The answer's body. Raises EngineFailed for a vector that isn't made of numbers."""
    show = as_base64 if asked.is_base64 else as_numbers
    items = [
        b'{"object":"embedding","index":%d,"embedding":%b}' % (index, show(vector))
        for index, vector in enumerate(embedded.vectors)
    ]
    fields = {"model": asked.model, "system_fingerprint": fingerprint(embedded.weights)}
    tail = to_json({**fields, "usage": result_usage(embedded)})
    return b'{"object":"list","data":[' + b",".join(items) + b"]," + tail[1:]


def _accepts_token_ids(headers: Headers) -> bool:
    return headers.get(ACCEPT_HEADER, "").strip().lower() == "true"
