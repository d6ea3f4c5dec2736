"""A transport whose answers begin with one write: a head goes out with the first bytes of its body.

uvicorn writes them apart, which is a second call of the system and a second packet: a twentieth of a short answer.
"""

import asyncio
from collections.abc import Iterable
from typing import Any


class HeadFirst:
    """``transport``, whose first write after each ``begin`` waits for a second one, for the loop's turn at most."""

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        self._transport, self._loop = transport, loop
        self._head = b""
        self._is_begun = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def begin(self) -> None:
        """An answer is due."""
        self._is_begun = True

    def write(self, data: bytes) -> None:
        """As a transport's."""
        if self._is_begun:
            self._is_begun = False
            self._head = data
            self._loop.call_soon(self._flush)
        elif self._head:
            head, self._head = self._head, b""
            self._transport.write(head + data)
        else:
            self._transport.write(data)

    def writelines(self, data: Iterable[bytes]) -> None:
        """As a transport's."""
        self.write(b"".join(data))

    def write_eof(self) -> None:
        """As a transport's."""
        self._flush()
        self._transport.write_eof()

    def close(self) -> None:
        """As a transport's."""
        self._flush()
        self._transport.close()

    def _flush(self) -> None:
        head, self._head = self._head, b""
        if head and not self._transport.is_closing():
            self._transport.write(head)
