"""Calls to other people's servers, over aiohttp: bytes pass as they come, and nobody is led into this network.

Two pools of connections: one goes to public addresses alone, checked where a socket is made; the other is for the hosts
that the operator allows. Redirects are answers like any other: they are never followed.
"""

import asyncio
import re
import zlib
from collections.abc import AsyncGenerator, Callable, Collection, Iterator
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass

import aiohttp
import structlog
from yarl import URL

from lowcloud.core.addresses import is_public
from lowcloud.core.errors import BadRequest, Unavailable
from lowcloud.core.exchange import KEEP_ALIVE_S, Answer, Exchanges, Request
from lowcloud.core.gate import Gate, Lookup, addresses_of, forbidden
from lowcloud.gateway.call import HEADER_NAME, Call, Headers, Reply, Target
from lowcloud.gateway.errors import NoReply, NoReplyKind

PIECE_BYTES = 2**16
_FAILURES = (aiohttp.ClientError, OSError, TimeoutError, asyncio.IncompleteReadError, ValueError)
# A connection's own, and what a provider says of its own host, which isn't ours.
_HOPS = frozenset(
    {"connection", "keep-alive", "proxy-authenticate", "proxy-authorization", "proxy-connection", "te", "trailer"}
    | {"transfer-encoding", "upgrade"}
)
_OF_ITS_HOST = frozenset({"set-cookie", "alt-svc", "strict-transport-security"})
_OF_THE_CLIENT = frozenset({"host", "content-length", "accept-encoding", "expect"})
_CODINGS = frozenset({"gzip", "x-gzip", "deflate"})
_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")


@dataclass(frozen=True, slots=True)
class UpstreamBounds:
    """``connections`` at once; seconds to connect, to the head of a reply whatever a call asks for, and of silence: no
    reply's head or next piece comes later than that."""

    connections: int = 1024
    connect_s: float = 10.0
    first_byte_s: float = 600.0
    between_bytes_s: float = 600.0


class HttpUpstream:
    """``Upstream`` over HTTPS. ``allowed_hosts``: names and addresses that may be in this network, as in a URL.

    ``allows`` judges the addresses of all other hosts; ``lookup`` gives those of a name, blocking.
    """

    def __init__(
        self,
        bounds: UpstreamBounds,
        allowed_hosts: Collection[str] = (),
        *,
        allows: Callable[[str], bool] = is_public,
        lookup: Lookup = addresses_of,
    ) -> None:
        self._bounds, self._gate = bounds, Gate(lookup, allows)
        self._allowed = frozenset(host.lower().strip("[]") for host in allowed_hosts)
        self._checked: Exchanges | None = None
        self._free: Exchanges | None = None
        self._log = structlog.get_logger("lowcloud.gateway")

    @asynccontextmanager
    async def connected(self) -> AsyncGenerator[None, None]:
        """Connections that are closed at the end; calls are sent within."""
        gate, limit = self._gate, self._bounds.connections
        checked = aiohttp.TCPConnector(
            resolver=gate, socket_factory=gate.socket, limit=limit, keepalive_timeout=KEEP_ALIVE_S
        )
        free = aiohttp.TCPConnector(limit=limit, keepalive_timeout=KEEP_ALIVE_S)
        async with checked, free:
            self._checked, self._free = self._exchanges(checked), self._exchanges(free)
            try:
                yield
            finally:
                self._checked = self._free = None

    async def send(self, call: Call, target: Target, first_byte_s: float | None) -> Reply:
        """The reply, once its head is there; its body raises NoReply where it breaks off.

        Raises NoReply, and BadRequest for headers that can't be sent.
        """
        url = self._url(target)
        exchanges = self._checked if target.is_checked and not self._is_allowed(url) else self._free
        if exchanges is None:
            raise Unavailable("The server is stopping.")
        request = Request(call.method, url, _sent(target.headers), call.body)
        limit_s = self._bounds.first_byte_s if first_byte_s is None else min(first_byte_s, self._bounds.first_byte_s)
        try:
            async with asyncio.timeout(limit_s):
                answer = await exchanges.send(request)
        except _FAILURES as error:
            raise self._no_reply(call, error) from error
        return await self._reply(call, answer)

    def _exchanges(self, connector: aiohttp.TCPConnector) -> Exchanges:
        return Exchanges(connector, self._bounds.connect_s, self._bounds.between_bytes_s)

    def _url(self, target: Target) -> URL:
        """As it stands: not quoted again. Raises NoReply."""
        try:
            url = URL(target.url, encoded=True)
            is_good = url.scheme in ("http", "https") and bool(url.host) and url.user is None and url.password is None
        except ValueError:
            is_good = False
        if not is_good or "\\" in target.url or not target.url.isprintable():
            raise NoReply(kind="not_allowed")
        return url

    def _is_allowed(self, url: URL) -> bool:
        return (url.host or "").lower() in self._allowed

    async def _reply(self, call: Call, answer: Answer) -> Reply:
        headers, coding = _received(answer)
        body = self._pieces(call, answer)
        await anext(body)  # so that closing a body that nobody reads ends the exchange too
        if coding is None:
            return Reply(answer.status, headers, body)
        plain = _decoded(body)
        await anext(plain)
        return Reply(answer.status, headers, plain)

    async def _pieces(self, call: Call, answer: Answer) -> AsyncGenerator[bytes, None]:
        """First an empty one. Closing it before the end closes the connection."""
        try:
            yield b""
            while piece := await answer.content.readany():
                yield piece
        except _FAILURES as error:
            raise self._no_reply(call, error) from error
        finally:
            answer.close()  # does nothing to a connection whose reply was read to its end: it is in the pool again

    def _no_reply(self, call: Call, error: Exception) -> NoReply:
        """The caller isn't told where an address leads, the log is."""
        kind: NoReplyKind = "timeout" if isinstance(error, TimeoutError) else "no_connection"
        if forbidden(error) is not None:
            kind = "not_allowed"
        self._log.info("a provider gave no reply", provider=call.provider, kind=kind, why=type(error).__name__)
        return NoReply(kind=kind)


def _sent(headers: Headers) -> list[tuple[str, str]]:
    """Replies are asked for as they are: compressed ones could be neither counted nor searched. Raises BadRequest."""
    dropped = _HOPS | _OF_THE_CLIENT
    kept = [(name, value) for name, value in headers if name.lower() not in dropped]
    for name, value in kept:
        if not HEADER_NAME.fullmatch(name) or _CONTROL.search(value):
            raise BadRequest(f"The header {name[:100]!r} can't be sent to a provider.", param="headers")
    return [*kept, ("accept-encoding", "identity")]


def _received(answer: Answer) -> tuple[Headers, str | None]:
    """The headers that are passed on, and the coding that comes off: one that a server put on unasked."""
    headers = [(name.decode("latin-1").lower(), value.decode("latin-1")) for name, value in answer.raw_headers]
    own = {each.strip().lower() for name, value in headers if name == "connection" for each in value.split(",")}
    coding = answer.headers.get("content-encoding", "").strip().lower()
    is_plain = coding not in _CODINGS
    dropped = _HOPS | _OF_ITS_HOST | own | (set() if is_plain else {"content-encoding", "content-length"})
    return tuple(each for each in headers if each[0] not in dropped), None if is_plain else coding


async def _decoded(body: AsyncGenerator[bytes, None]) -> AsyncGenerator[bytes, None]:
    """First an empty piece, as ``body`` had; then what was compressed by gzip or zlib. Raises NoReply where that is
    cut, or is none."""
    async with aclosing(body):
        yield b""
        members = _Members()
        try:
            async for piece in body:
                for plain in members.unpacked(piece):
                    yield plain
        except zlib.error as error:
            raise NoReply(kind="no_connection") from error
        if members.is_cut:
            raise NoReply(kind="no_connection")


class _Members:
    """Unpacks what was compressed, of one member or several, as gzip has them one after another."""

    def __init__(self) -> None:
        self._member: zlib._Decompress | None = None

    @property
    def is_cut(self) -> bool:
        """Whether a member that has begun hasn't ended."""
        return self._member is not None

    def unpacked(self, piece: bytes) -> Iterator[bytes]:
        """In pieces of a bounded size, however much ``piece`` becomes."""
        while piece or self._member:
            member = self._member = self._member or zlib.decompressobj(wbits=47)
            plain = member.decompress(piece, PIECE_BYTES)
            if plain:
                yield plain
            if member.eof:
                piece, self._member = member.unused_data, None
            elif plain:
                piece = member.unconsumed_tail
            else:
                return
