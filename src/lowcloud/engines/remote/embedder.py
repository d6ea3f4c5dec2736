"""The embedder of a remote model: an upstream's ``/embeddings``, whose vectors are made unit vectors."""

import base64
import binascii
import math
from array import array
from collections.abc import Mapping

import anyio
import anyio.to_thread

from lowcloud.core.errors import BadRequest, Unsupported
from lowcloud.core.messages import Text
from lowcloud.core.requests import Embed
from lowcloud.core.results import Embedded
from lowcloud.engines.engine import Counted, unheard
from lowcloud.engines.remote.body import rough_tokens
from lowcloud.engines.remote.failure import broken, complained
from lowcloud.engines.remote.runtime import RemoteRuntime
from lowcloud.engines.remote.upstream import Upstream
from lowcloud.models.card import Card

_THREADS = 1
_UNIT = 1e-6  # a norm so near to 1 is left as it is


class RemoteEmbedder:
    """``Embedder`` of one remote model; it sends through ``runtime``, which the pool runs."""

    def __init__(self, card: Card, runtime: RemoteRuntime) -> None:
        self._card, self._runtime = card, runtime
        self._reading = anyio.CapacityLimiter(_THREADS)

    @property
    def card(self) -> Card:
        return self._card

    async def embed(self, request: Embed, _counted: Counted = unheard) -> Embedded:
        """Raises Unsupported for what the format has no words for, and the upstream's failures as ours."""
        upstream = self._runtime.upstream
        body = embeddings_body(request, upstream)
        async with self._runtime.post("/embeddings", lambda: body) as answer:
            parsed = await answer.whole()
        if not isinstance(parsed, Mapping) or parsed.get("error"):
            raise complained(upstream, parsed)
        size = self._card.dimensions
        vectors = await anyio.to_thread.run_sync(
            vectors_of, parsed, len(request.inputs), size, upstream, limiter=self._reading
        )
        return Embedded(vectors, _prompt_tokens(parsed, request), upstream.weights)


def embeddings_body(request: Embed, upstream: Upstream) -> dict[str, object]:
    """Asks for base64, as the official SDKs do; upstreams that send numbers are understood. Raises Unsupported."""
    if request.pooling is not None:
        raise Unsupported(f"{upstream.id} is a remote model; its pooling can't be chosen.", param="pooling")
    if request.truncate:
        raise Unsupported(f"{upstream.id} is a remote model; it can't be told to truncate.", param="truncate")
    texts = [item.text for item in request.inputs if isinstance(item, Text)]
    ids = [list(item.ids) for item in request.inputs if not isinstance(item, Text)]
    if texts and ids:
        raise BadRequest("input: texts and token ids can't be mixed for a remote model.", param="input")
    body: dict[str, object] = {"model": upstream.model, "input": texts or ids, "encoding_format": "base64"}
    return body if request.dimensions is None else body | {"dimensions": request.dimensions}


def vectors_of(answer: Mapping[str, object], n_inputs: int, size: int | None, upstream: Upstream) -> tuple[bytes, ...]:
    """Unit vectors in the order of the inputs, each little-endian float32. Raises EngineFailed for any other answer."""
    data = answer.get("data")
    items = [item for item in data if isinstance(item, Mapping)] if isinstance(data, list) else []
    places = [item.get("index", place) for place, item in enumerate(items)]
    if sorted(place for place in places if isinstance(place, int)) != list(range(n_inputs)):
        raise broken(upstream, f"gave {len(items)} vectors for {n_inputs} inputs")
    by_place = {place: _numbers(item.get("embedding"), upstream) for place, item in zip(places, items, strict=True)}
    sizes = {len(numbers) for numbers in by_place.values()}
    if len(sizes) != 1 or size not in (None, *sizes):
        raise broken(upstream, f"gave vectors of {', '.join(map(str, sorted(sizes)))} dimensions")
    return tuple(_unit(by_place[place], upstream) for place in range(n_inputs))


def _numbers(embedding: object, upstream: Upstream) -> "array[float]":
    try:
        if isinstance(embedding, str):
            numbers = array("f", base64.b64decode(embedding, validate=True))
        elif isinstance(embedding, list):
            numbers = array("f", embedding)
        else:
            numbers = array("f")
    except (ValueError, TypeError, OverflowError, binascii.Error):
        numbers = array("f")
    if not numbers:
        raise broken(upstream, "gave a vector that is none")
    return numbers


def _unit(numbers: "array[float]", upstream: Upstream) -> bytes:
    norm = math.hypot(*numbers)
    if not math.isfinite(norm) or not norm:
        raise broken(upstream, "gave a vector without a direction")
    return (numbers if abs(norm - 1) < _UNIT else array("f", [number / norm for number in numbers])).tobytes()


def _prompt_tokens(answer: Mapping[str, object], request: Embed) -> int:
    usage = answer.get("usage")
    given = usage.get("prompt_tokens") if isinstance(usage, Mapping) else None
    return given if isinstance(given, int) and given >= 0 else sum(rough_tokens(item) for item in request.inputs)
