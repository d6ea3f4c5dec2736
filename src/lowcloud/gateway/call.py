"""The gateway's vocabulary: calls to providers, their replies, and who carries them.

What is made for each call is a NamedTuple here and below: frozen dataclasses take three times as long to make.
"""

import re
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import NamedTuple, Protocol, TypeAlias

import anyio

from lowcloud.core.principal import Principal
from lowcloud.gateway.errors import NoReply
from lowcloud.gateway.options import NOTHING, Options

Headers: TypeAlias = tuple[tuple[str, str], ...]
OURS = "workers-ai"
MAX_DIGITS = 18
MAX_NAME_CHARS = 256  # of a header's name
HEADER_NAME = re.compile(rf"[A-Za-z0-9!#$%&'*+.^_`|~-]{{1,{MAX_NAME_CHARS}}}")


class Call(NamedTuple):
    """One HTTP request to a provider.

    ``path`` is the provider's own, raw and without a slash in front; ``query`` is raw. ``headers`` have lower-case
    names, and none of the connection's (host, content-length, transfer-encoding ...) nor of the gateway's (cf-aig-*).
    """

    provider: str
    method: str
    path: str
    query: str
    headers: Headers
    body: bytes

    def header(self, name: str) -> str | None:
        """The first of that name."""
        return next((value for each, value in self.headers if each == name), None)


class Reply(NamedTuple):
    """What a provider answers. ``body`` gives pieces as they come; closing it ends the exchange."""

    status: int
    headers: Headers
    body: AsyncGenerator[bytes, None]

    def header(self, name: str) -> str | None:
        """The first of that name."""
        return next((value for each, value in self.headers if each == name), None)

    @property
    def length(self) -> int | None:
        """The bytes of its body, where its head tells them in a number that a body can have."""
        told = self.header("content-length") or ""
        return int(told) if len(told) <= MAX_DIGITS and told.isascii() and told.isdigit() else None


async def begun(body: AsyncGenerator[bytes, None]) -> AsyncGenerator[bytes, None]:
    """A body whose first piece, an empty one, is taken: closing a generator that never began runs none of its code."""
    await anext(body)
    return body


async def opened(reply: Reply, timeout_s: float) -> Reply:
    """A reply once the first byte of its body is there, or its end. Raises NoReply where that isn't in time."""
    first = b""
    try:
        with anyio.fail_after(max(0.0, timeout_s)):
            while not first and (piece := await anext(reply.body, None)) is not None:
                first = piece
    except TimeoutError:
        raise NoReply(kind="timeout") from None

    async def body() -> AsyncGenerator[bytes, None]:
        async with aclosing(reply.body):
            yield b""
            yield first
            async for piece in reply.body:
                yield piece

    return reply._replace(body=await begun(body()))


class Target(NamedTuple):
    """Where a call goes: ``url`` is whole; ``headers`` are the call's with the credentials that it is sent with.

    A ``is_checked`` host may be none of this machine's and of its network's. ``account_id`` and ``principal`` are for
    our own models, who have no URL.
    """

    url: str
    headers: Headers
    is_checked: bool = True
    account_id: str = ""
    principal: Principal | None = None


class Step(NamedTuple):
    """A call, and what is asked for it alone."""

    call: Call
    options: Options = NOTHING


class Asked(NamedTuple):
    """What a client asks of a gateway. ``principal``: who called, where that is known.

    ``id`` is the log's, a lowercase UUIDv7. ``source`` says which way in it came: ``provider``, ``compat``,
    ``universal``, ``rest`` or ``binding``.
    """

    id: str
    account_id: str
    gateway_id: str
    steps: tuple[Step, ...]
    options: Options
    source: str
    principal: Principal | None = None
    user_agent: str = ""


class Upstream(Protocol):
    """Carries calls to a provider."""

    async def send(self, call: Call, target: Target, first_byte_s: float | None) -> Reply:
        """The reply, once its head is there. Raises NoReply: no connection, no head in time, a host that is not
        allowed."""
