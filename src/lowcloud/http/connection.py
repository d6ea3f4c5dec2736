"""A connection whose client has a bound in bytes and in time for a request's head, which no ASGI app gets to see.

uvicorn's own has neither: heads that never end would fill the memory, and keep the event loop busy with copying them.

It becomes a WebSocket at the paths that have one. Anywhere else such a request is one as any other, as HTTP has it, so
that its answer is the usual one, and the connection goes on.
"""

import asyncio
import re
from http import HTTPStatus
from typing import ClassVar

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from lowcloud.core.errors import BadRequest, HeadTooLarge, LowcloudError, RequestTimeout
from lowcloud.http.encode import to_json
from lowcloud.http.errors import envelope
from lowcloud.http.head_first import HeadFirst
from lowcloud.http.link import LINK, Link
from lowcloud.http.socket_connection import handshake_error

LINGER_S = 2.0
_SOCKETS = re.compile(rb"(?:/client/v4/accounts/[^/?]+/ai)?/v1/responses/?(?:\?.*)?", re.DOTALL)


class Connection(HttpToolsProtocol):
    """One connection. A head takes at most ``head_bytes`` (and one read of the socket), and ``head_s`` seconds."""

    head_bytes: ClassVar[int] = 65_536
    head_s: ClassVar[float] = 30.0

    _is_refused = False
    _is_in_head = True
    _has_begun = False  # there is a byte of that head
    _n_read = 0  # bytes of a head that isn't complete
    _n_turns = 0  # heads that ended and messages that ended
    _deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
        self._head_first = HeadFirst(transport, self.loop)
        super().connection_made(self._head_first)  # type: ignore[arg-type]  # it does what the transport does
        self._link = Link()
        self._expect_head()

    def connection_lost(self, exc: Exception | None) -> None:
        self._head_is_there()
        super().connection_lost(exc)
        self._link.lost()

    def data_received(self, data: bytes) -> None:
        if self._is_refused:
            return
        turns = self._n_turns
        super().data_received(data)
        if not self._is_in_head or self._is_refused:
            return
        if turns == self._n_turns:
            self._n_read += len(data)
        if self._n_read > self.head_bytes:
            self._refuse(HeadTooLarge(f"The request line and the headers are larger than {self.head_bytes} bytes."))

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._link.is_read = False
        self.scope[LINK] = self._link  # type: ignore[literal-required]  # ours, beside ASGI's
        self._has_begun = True
        if self._deadline is None:
            self._expect_head()

    def on_headers_complete(self) -> None:
        self._is_in_head = self._has_begun = False
        self._n_turns += 1
        self._head_is_there()
        if not self._is_answering():
            self._head_first.begin()
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        super().on_message_complete()
        self._link.is_read = True
        self._is_in_head = True
        self._n_turns += 1

    def pause_writing(self) -> None:
        super().pause_writing()
        self._link.is_blocked = True

    def resume_writing(self) -> None:
        super().resume_writing()
        self._link.is_blocked = False

    def send_400_response(self, msg: str) -> None:  # noqa: ARG002 - uvicorn's name
        self._refuse(BadRequest("This is not a valid HTTP request."))

    def handle_websocket_upgrade(self) -> None:
        error = handshake_error(self.url, self.scope["headers"])  # type: ignore[arg-type]  # a list of pairs
        if error is not None:
            self._refuse(error)
        elif self._is_answering():
            self.transport.close()  # the answer before would end within the frames
        else:
            super().handle_websocket_upgrade()

    def _should_upgrade(self) -> bool:
        is_socket = self.scope["method"] == "GET" and _SOCKETS.fullmatch(self.url) is not None
        return is_socket and super()._should_upgrade()

    def _unsupported_upgrade_warning(self) -> None:
        """An upgrade that nobody takes is a request as any other, which is answered; uvicorn would log a hint."""

    def _expect_head(self) -> None:
        self._deadline = self.loop.call_later(self.head_s, self._late)

    def _head_is_there(self) -> None:
        self._n_read = 0
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _late(self) -> None:
        if self._is_answering():
            self._expect_head()  # of the next request; this one's answer isn't cut for it
        elif not self._has_begun:
            self.transport.close()  # an answer could be taken for that of a request which is on its way
        else:
            self._refuse(RequestTimeout(f"The request line and the headers didn't come within {self.head_s:g} s."))

    def _refuse(self, error: LowcloudError) -> None:
        """Answer, unless an answer is under way, and close.

        What still comes is read for a moment and thrown away: closing at once would take the answer from the client.
        """
        self._is_refused = True
        self._head_is_there()
        if self._is_answering() or self.transport.is_closing():
            self.transport.close()
            return
        self.transport.write(_answer(error))
        self.transport.write_eof()
        self._deadline = self.loop.call_later(LINGER_S, self.transport.abort)

    def _is_answering(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete


def _answer(error: LowcloudError) -> bytes:
    body, status = to_json(envelope(error)), HTTPStatus(error.status)
    return b"HTTP/1.1 %d %b\r\ncontent-type: application/json\r\ncontent-length: %d\r\nconnection: close\r\n\r\n%b" % (
        status,
        status.phrase.encode(),
        len(body),
        body,
    )
