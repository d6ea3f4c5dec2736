"""Requests to other people's HTTP servers, over aiohttp's connections and its parser, without its sessions.

A session's cookies, redirects, proxies and traces aren't wanted here, and take longer than all the rest of a request.

A server may close a connection that rested just when we send: what got no answer at all on a connection that had
served another request is sent once more, on a new one. There it failed. Source: RFC 9112, 9.3.1.
"""

import asyncio
from collections.abc import Sequence
from typing import NamedTuple
from weakref import WeakSet

import aiohttp
from aiohttp.client_proto import ResponseHandler
from aiohttp.connector import Connection
from aiohttp.http import HttpProcessingError, RawResponseMessage
from yarl import URL

KEEP_ALIVE_S = 4.0  # below the 5 s after which uvicorn, Node and cpp-httplib close a connection that rests
_WITH_BODY = frozenset({"POST", "PUT", "PATCH"})
_SWITCHING = 101
_LAST_STATUS = 599  # RFC 9110, 15
_MAX_ORIGINS = 1_024


class Request(NamedTuple):
    """What is sent, with a Host and the body's length beside the ``headers``, which are Latin-1."""

    method: str
    url: URL
    headers: Sequence[tuple[str, str]] = ()
    body: bytes = b""


class Answer:
    """The head of an answer, and its ``content``, which raises ``aiohttp.ClientError`` where it breaks off.

    Closing it before its end closes the connection; one that was read to its end is in the pool again.
    """

    def __init__(self, message: RawResponseMessage, content: aiohttp.StreamReader, connection: Connection) -> None:
        self.status, self.headers, self.raw_headers = message.code, message.headers, message.raw_headers
        self.content, self._connection = content, connection
        content.on_eof(self._ended)

    def close(self) -> None:
        """May be called again."""
        self._connection.close()

    def _ended(self) -> None:
        transport = self._connection.transport
        if transport is not None and transport.get_write_buffer_size():
            self._connection.close()  # it was answered before its body was sent, and nothing may follow that
        else:
            self._connection.release()


class Exchanges:
    """One pool of connections. ``silence_s``: the longest wait for bytes of an answer, None for any; a body that was
    compressed comes as it is unless it ``decompresses``."""

    def __init__(
        self,
        connector: aiohttp.BaseConnector,
        connect_s: float,
        silence_s: float | None = None,
        *,
        decompresses: bool = False,
    ) -> None:
        self._connector, self._silence_s, self._decompresses = connector, silence_s, decompresses
        self._timeout = aiohttp.ClientTimeout(total=None, sock_connect=connect_s)
        self._origins: dict[tuple[str, str | None, int | None], aiohttp.ClientRequest] = {}
        self._served: WeakSet[ResponseHandler] = WeakSet()

    async def send(self, request: Request) -> Answer:
        """The head of an answer, whatever its status; redirects aren't followed.

        Raises aiohttp.ClientError, OSError, TimeoutError, ValueError.
        """
        connection = await self._connected(request.url)
        protocol = connection.protocol
        try:
            return await self._answered(request, connection)
        except (aiohttp.ServerDisconnectedError, aiohttp.ClientOSError):
            if protocol not in self._served:
                raise
        while (connection := await self._connected(request.url)).protocol in self._served:
            connection.close()  # it rested as long as the one before
        return await self._answered(request, connection)

    async def _connected(self, url: URL) -> Connection:
        return await self._connector.connect(self._origin(url), [], self._timeout)

    async def _answered(self, request: Request, connection: Connection) -> Answer:
        try:
            return await self._exchanged(request, connection)
        except BaseException:
            connection.close()
            raise

    async def _exchanged(self, request: Request, connection: Connection) -> Answer:
        protocol, transport = connection.protocol, connection.transport
        if protocol is None or transport is None:
            raise aiohttp.ServerDisconnectedError
        protocol.set_response_params(
            skip_payload=request.method == "HEAD",
            read_until_eof=True,
            auto_decompress=self._decompresses,
            read_timeout=self._silence_s,
        )
        transport.writelines((_head(request), request.body))
        protocol.start_timeout()
        while True:
            try:
                message, content = await protocol.read()
            except HttpProcessingError as error:
                raise aiohttp.ClientPayloadError("this is no answer of HTTP") from error
            if message.code >= 200 or message.code == _SWITCHING:
                break
        if message.code > _LAST_STATUS:
            raise aiohttp.ClientPayloadError("this is no status of HTTP")
        if protocol not in self._served:
            self._served.add(protocol)
        return Answer(message, content, connection)

    def _origin(self, url: URL) -> aiohttp.ClientRequest:
        """What the connector asks of a request: where it goes, which is the same for all to one server."""
        key = (url.scheme, url.raw_host, url.port)
        found = self._origins.get(key)
        if found is None:
            if len(self._origins) >= _MAX_ORIGINS:
                self._origins.clear()
            loop = asyncio.get_running_loop()
            found = self._origins[key] = aiohttp.ClientRequest("GET", url.origin(), loop=loop)
        return found


def _head(request: Request) -> bytes:
    url, body = request.url, request.body
    lines = [f"{request.method} {url.raw_path_qs} HTTP/1.1\r\nHost: {url.host_port_subcomponent}\r\n"]
    lines += [f"{name}: {value}\r\n" for name, value in request.headers]
    if body or request.method in _WITH_BODY:
        lines.append(f"Content-Length: {len(body)}\r\n")
    head = "".join([*lines, "\r\n"])
    if head.count("\n") != len(lines) + 2 or head.count("\r") != len(lines) + 2:  # the first line is two
        raise ValueError("a header holds an end of line")
    return head.encode("latin-1")
