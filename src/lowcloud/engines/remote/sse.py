"""Server-sent events, from bytes. No I/O. Source: WHATWG HTML, server-sent events, 9.2.6."""

import re
from collections.abc import Iterator

MAX_EVENT_BYTES = 16 * 2**20
_BOM = b"\xef\xbb\xbf"
# A CR at the end may be half of a CRLF, so it waits for the next byte.
_LINE_END = re.compile(rb"\r\n|\n|\r(?!\Z)")


class SseError(ValueError):
    """An event is too large to be one."""


class SseReader:
    """Feed it pieces of a stream, cut anywhere; it gives the data of each event, lines joined by LF.

    An event without data is none. One that the end of the stream cuts is none either, but for upstreams that forget
    the last empty line: ``end`` gives it.
    """

    def __init__(self, max_bytes: int = MAX_EVENT_BYTES) -> None:
        self._max_bytes = max_bytes
        self._rest = bytearray()
        self._data: list[bytes] = []
        self._size = 0
        self._is_first = True

    def feed(self, piece: bytes) -> Iterator[str]:
        """The data of the events that ``piece`` completes. Raises SseError."""
        may_end = b"\n" in piece or b"\r" in piece or self._rest.endswith(b"\r")
        self._rest += piece
        if may_end:
            text, begin = self._whole(), 0
            for found in _LINE_END.finditer(text):
                yield from self._line(text[begin : found.start()])
                begin = found.end()
            self._rest = bytearray(text[begin:])
        self._check(len(self._rest))

    def end(self) -> Iterator[str]:
        """The stream is over: the last event, if its empty line is missing."""
        rest, self._rest = self._whole().removesuffix(b"\r"), bytearray()
        yield from self._line(rest)
        yield from self._line(b"")

    def _whole(self) -> bytes:
        """What wasn't read yet, without a mark of the byte order at the very beginning."""
        text = bytes(self._rest)
        if self._is_first:
            text, self._is_first = text.removeprefix(_BOM), False
        return text

    def _line(self, line: bytes) -> Iterator[str]:
        if not line:
            data, self._data, self._size = self._data, [], 0
            if data:
                yield b"\n".join(data).decode("utf-8", "replace")
            return
        name, _, value = line.partition(b":")
        if name == b"data":
            value = value.removeprefix(b" ")
            self._check(len(value))
            self._size += len(value)
            self._data.append(value)

    def _check(self, more: int) -> None:
        if self._size + more > self._max_bytes:
            raise SseError(f"an event of more than {self._max_bytes} bytes")
