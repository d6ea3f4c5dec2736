"""The end of a WebSocket that is ours: which handshakes are tried, and what uvicorn's own doesn't bound.

The app has the say when the server stops: it is told by a message of the type ``DRAIN``, and closes when it is done.
"""

import binascii
from base64 import b64decode
from collections.abc import Sequence
from typing import Any

from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.frames import Frame

from lowcloud.core.errors import BadRequest, HeadTooLarge, LowcloudError

DRAIN = "lowcloud.drain"
CLOSE_S = 5.0
FRAGMENTS = 4_096  # of a message: each costs memory, also one that is empty
_HEADERS = 128  # what websockets reads of a head
_LINE_BYTES = 8_190
_KEY_BYTES = 16


class SocketConnection(WebSocketsSansIOProtocol):
    """One WebSocket."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.close_timeout = CLOSE_S

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if not self.handshake_initiated:  # its head came as one piece, so it is none, and nobody will answer it
            self.transport.close()

    def handle_cont(self, event: Frame) -> None:
        if len(self.frames) < FRAGMENTS:
            super().handle_cont(event)
            return
        self.frames = []
        self.conn.fail(1009, f"a message of more than {FRAGMENTS} fragments")
        self.handle_parser_exception()

    def shutdown(self) -> None:
        if self.close_sent or not self.handshake_initiated:
            super().shutdown()
        else:
            self.queue.put_nowait({"type": DRAIN})  # type: ignore[misc, arg-type]  # ours, beside ASGI's


def handshake_error(url: bytes, headers: Sequence[tuple[bytes, bytes]]) -> LowcloudError | None:
    """What is wrong with the head of a handshake, if anything: what is refused later gets no answer of ours."""
    lines = (url, *(name + value for name, value in headers))
    if len(headers) > _HEADERS or max(map(len, lines)) > _LINE_BYTES - len(b"GET  HTTP/1.1\r\n"):
        return HeadTooLarge(f"A WebSocket's handshake has at most {_HEADERS} headers, of {_LINE_BYTES} bytes each.")
    if any(name == b"transfer-encoding" or (name == b"content-length" and value != b"0") for name, value in headers):
        return BadRequest("A WebSocket's handshake has no body.")
    if _values(headers, b"sec-websocket-version") != [b"13"]:
        return BadRequest("Sec-WebSocket-Version must be 13.")
    keys = _values(headers, b"sec-websocket-key")
    if len(keys) != 1 or not _is_key(keys[0]):
        return BadRequest("Sec-WebSocket-Key must be 16 bytes in base64.")
    return None


def _values(headers: Sequence[tuple[bytes, bytes]], wanted: bytes) -> list[bytes]:
    return [value for name, value in headers if name == wanted]


def _is_key(value: bytes) -> bool:
    try:
        return len(b64decode(value, validate=True)) == _KEY_BYTES
    except binascii.Error:
        return False
