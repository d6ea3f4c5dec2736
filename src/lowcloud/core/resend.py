"""Requests over connections that rested: a server may close one just when we send, so these are sent once more.

Source: RFC 9112, 9.3.1: what got no answer at all on a connection that had served another one. On a new one it failed.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from types import SimpleNamespace

import aiohttp

KEEP_ALIVE_S = 4.0  # below the 5 s after which uvicorn, Node and cpp-httplib close a connection that rests


@dataclass(frozen=True, slots=True)
class Request:
    """What is sent. ``skipped``: headers that aiohttp would add, and mustn't."""

    method: str
    url: aiohttp.typedefs.StrOrURL
    body: bytes | None = None
    headers: Sequence[tuple[str, str]] | None = None
    skipped: tuple[str, ...] = ()


@dataclass(slots=True)
class _Way:
    """How a request went: over a connection that had served another one before, or over its own."""

    is_reused: bool = False


async def answered(session: aiohttp.ClientSession, request: Request) -> aiohttp.ClientResponse:
    """The head of an answer, whatever its status; redirects aren't followed. ``session`` has ``traced()``."""
    while True:
        way = _Way()
        try:
            return await session.request(
                request.method,
                request.url,
                data=request.body,
                headers=request.headers,
                skip_auto_headers=request.skipped,
                allow_redirects=False,
                trace_request_ctx=way,
            )
        except (aiohttp.ServerDisconnectedError, aiohttp.ClientOSError):
            if not way.is_reused:
                raise


def traced() -> aiohttp.TraceConfig:
    """What a session needs for ``answered``."""

    async def note(_session: object, context: SimpleNamespace, _params: object) -> None:
        context.trace_request_ctx.is_reused = True

    trace = aiohttp.TraceConfig()
    trace.on_connection_reuseconn.append(note)
    return trace
