"""Bytes on the disk that outlive this process being killed: numbered files, of which the last is appended to."""

import os
import re
from pathlib import Path

SUFFIX = ".spool"
UNREAD = ".unread"
_NUMBER = re.compile(r"[0-9]{12}")


class Segments:
    """One folder's files, at most ``max_bytes`` together; their owner is the only one who writes there. Blocking."""

    def __init__(self, folder: Path, max_bytes: int) -> None:
        self._folder, self._max_bytes = folder, max_bytes
        self._file: int | None = None
        self._number = 0
        self._sizes: dict[int, int] = {}
        self.n_bytes = 0

    def open(self) -> None:
        """Take over what a server before left. Raises OSError."""
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        for path in sorted(self._folder.iterdir()):
            if not _NUMBER.fullmatch(path.stem) or path.suffix not in (SUFFIX, UNREAD):
                continue  # somebody else's
            number = int(path.stem)
            self._number = max(self._number, number + 1)
            if path.suffix == SUFFIX:
                self._sizes[number] = path.stat().st_size
                self.n_bytes += self._sizes[number]

    @property
    def numbers(self) -> list[int]:
        """Of all segments, the oldest first."""
        return list(self._sizes)

    def size(self, number: int) -> int:
        """Bytes of a segment."""
        return self._sizes[number]

    def append(self, data: bytes) -> int:
        """Write at the end of the last segment; returns its number. Takes as long as the system does to copy it.

        Raises OSError where it can't be written whole; what there is of it ends its segment.
        """
        if self.n_bytes + len(data) > self._max_bytes:
            raise OSError("its folder is full")
        if self._file is None:
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND
            self._file = os.open(self._path(self._number), flags, 0o600)
            self._sizes[self._number] = 0
        number = self._number
        written = os.write(self._file, data)
        self.n_bytes += written
        self._sizes[number] += written
        if written < len(data):
            self.end()  # half a record is none, and nothing may follow it
            raise OSError("the disk is full")
        return number

    def end(self) -> None:
        """What is appended next begins a segment of its own."""
        if self._file is not None:
            os.close(self._file)
            self._file = None
            self._number += 1

    def read(self, number: int) -> bytes:
        """All of a segment. Raises FileNotFoundError: somebody removed it."""
        return self._path(number).read_bytes()

    def drop(self, number: int) -> None:
        """Delete a segment that has ended. Raises OSError, and then it is still there."""
        self._path(number).unlink(missing_ok=True)
        self.n_bytes -= self._sizes.pop(number)

    def set_aside(self, number: int) -> str:
        """Leave a segment to somebody else, under another name, which is returned; it is to be dropped all the same."""
        return self._path(number).replace(self._path(number).with_suffix(UNREAD)).name

    def _path(self, number: int) -> Path:
        return self._folder / f"{number:012d}{SUFFIX}"
