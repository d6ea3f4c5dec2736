"""POST embeddings: texts in, vectors out, as numbers or as base64 of little-endian float32."""

import math
import struct
from base64 import b64encode
from collections.abc import Callable

from starlette.datastructures import Headers
from starlette.responses import Response
from starlette.types import ASGIApp

from lowcloud.core.errors import EngineFailed
from lowcloud.core.events import Embedded
from lowcloud.http.call import Call
from lowcloud.http.encode import answer_headers, to_json
from lowcloud.http.offload import Offload
from lowcloud.http.openai.chat_answer import fingerprint
from lowcloud.http.openai.embeddings_request import EmbeddingsAsked, embeddings_asked
from lowcloud.serving.service import Service

ACCEPT_HEADER = "lowcloud-accept-token-ids"
INLINE_BYTES = 65_536


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
        embedded = await self._service.embed(asked.model, asked.embed, call.caller)
        if sum(map(len, embedded.vectors)) > INLINE_BYTES:
            body = await self._offload.run(lambda: encoded(asked, embedded))
        else:
            body = encoded(asked, embedded)
        return Response(body, 200, answer_headers(asked.ignored, embedded.stand_in), "application/json")


def encoded(asked: EmbeddingsAsked, embedded: Embedded) -> bytes:
    """The answer's body. Raises EngineFailed for a vector that isn't made of numbers."""
    show = _base64 if asked.is_base64 else _numbers
    items = [
        b'{"object":"embedding","index":%d,"embedding":%b}' % (index, show(vector))
        for index, vector in enumerate(embedded.vectors)
    ]
    usage = {"prompt_tokens": embedded.prompt_tokens, "total_tokens": embedded.prompt_tokens}
    tail = to_json({"model": asked.model, "system_fingerprint": fingerprint(embedded.weights), "usage": usage})
    return b'{"object":"list","data":[' + b",".join(items) + b"]," + tail[1:]


def _numbers(vector: bytes) -> bytes:
    """Nine digits: as many as tell every float32 from every other."""
    numbers = _floats(vector)
    return b"[" + (b"%.9g," * len(numbers) % numbers)[:-1] + b"]"


def _base64(vector: bytes) -> bytes:
    _floats(vector)
    return b'"' + b64encode(vector) + b'"'


def _floats(vector: bytes) -> tuple[float, ...]:
    numbers = struct.unpack(f"<{len(vector) // 4}f", vector)
    if not math.isfinite(sum(numbers)):
        raise EngineFailed("The model gave a vector that isn't made of numbers.")
    return numbers


def _accepts_token_ids(headers: Headers) -> bool:
    return headers.get(ACCEPT_HEADER, "").strip().lower() == "true"
