"""Stream events as bytes, and the events of errors."""

import math
from collections.abc import AsyncGenerator
from contextlib import aclosing

from lowcloud.core.errors import LowcloudError
from lowcloud.http.encode import to_json
from lowcloud.http.openai.chat_stream import padded
from lowcloud.http.responses.builder import Fields


def sse(event: Fields, *, pads: bool = False) -> bytes:
    """One event; ``pads``: its size tells less of what is in a delta."""
    said = b"event: %b\ndata: %b\n\n" % (str(event["type"]).encode(), to_json(event))
    return padded_delta(said) if pads else said


async def as_sse(events: AsyncGenerator[Fields, None], *, pads: bool) -> AsyncGenerator[bytes, None]:
    """Each event, as it comes."""
    async with aclosing(events):
        async for event in events:
            yield sse(event, pads=pads)


def padded_delta(said: bytes) -> bytes:
    """The same event, where it is a delta, of a size that tells less."""
    return padded(said) if said.partition(b"\n")[0].endswith(b".delta") else said


def error_event(error: LowcloudError, number: int) -> Fields:
    """The event that ends a stream which can't go on, though the response may."""
    said = {"code": error.code, "message": str(error), "param": error.param}
    # by both ways that clients look for it: OpenAI's and the specification's
    return {"type": "error", "sequence_number": number, **said, "error": {"type": error.type, **said}}


def socket_error(error: LowcloudError) -> Fields:
    """The event of a WebSocket's message that gets no response. ``headers`` are those that an answer would have."""
    said: Fields = {"type": error.type, "code": error.code, "message": str(error), "param": error.param}
    if error.retry_after_s is not None:
        said["headers"] = {"retry-after": str(max(1, math.ceil(error.retry_after_s)))}
    return {"type": "error", "status": error.status, "error": said}
