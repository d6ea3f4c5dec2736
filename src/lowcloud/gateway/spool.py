"""Records on the disk before anybody hears of a call's end, and from there, in batches, in the database.

A record is appended to a file of the moment, a segment; that outlives this process. A segment goes once all its records
are in the database, which knows each by its id: so what is moved twice, after a crash, is there once.
"""

import os
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Protocol

import anyio
import structlog

from lowcloud.gateway.record import Record, line_of, record_of

MAX_BYTES = 512 * 2**20  # of all segments
MEMORY_BYTES = 64 * 2**20  # of records that are held until they are moved; the rest is read back
BATCH = 500
MOVE_S = 0.2
SUFFIX = ".jsonl"


class Sink(Protocol):
    """Where records go."""

    async def add(self, records: Sequence[Record]) -> None:
        """Each once, by its id."""


class LossMeter(Protocol):
    """Where it is counted that a record couldn't be kept."""

    def logs_lost(self, logs: int) -> None: ...


class Spool:
    """One folder's segments; its owner is the only one who writes there."""

    def __init__(self, folder: Path, sink: Sink, meter: LossMeter, max_bytes: int = MAX_BYTES) -> None:
        self._folder, self._sink, self._meter = folder, sink, meter
        self._max_bytes = max_bytes
        self._file: int | None = None
        self._number = 0
        self._size = 0  # of all segments
        self._sizes: dict[int, int] = {}
        self._held: dict[int, list[Record] | None] = {}  # by segment; None: they are read back
        self._moving = anyio.Lock()
        self._log = structlog.get_logger("lowcloud.gateway")
        self.n_lost = 0

    def open(self) -> None:
        """Take over what a server before left. Blocking. Raises OSError."""
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        for path in sorted(self._folder.glob(f"*{SUFFIX}")):
            number = int(path.stem)
            self._held[number], self._sizes[number] = None, path.stat().st_size
            self._size += self._sizes[number]
            self._number = max(self._number, number + 1)

    def append(self, record: Record) -> bool:
        """Keep a record. Blocking, for as long as the system takes to copy it. False: it is lost, and counted."""
        line = line_of(record)
        try:
            self._write(line)
        except OSError as error:
            self.n_lost += 1
            self._meter.logs_lost(1)
            if self.n_lost == 1:
                self._log.error("logs are lost", error=str(error))
            return False
        self._hold(record)
        return True

    def find(self, log_id: str) -> Record | None:
        """One that isn't in the database yet, and is held."""
        held = (record for records in self._held.values() if records for record in records)
        return next((record for record in held if record.id == log_id), None)

    async def run(self, sleep: Callable[[float], Awaitable[None]] = anyio.sleep) -> None:
        """Move records again and again until cancelled; then those that are left."""
        try:
            while True:
                await self._try()
                await sleep(MOVE_S)
        finally:
            with anyio.move_on_after(10, shield=True):
                await self._try()

    async def move(self) -> None:
        """Have all that was appended until now in the database. Raises what the sink does; nothing is lost then."""
        async with self._moving:
            self._end_segment()
            for number in sorted(self._held):
                records = self._held[number]
                if records is None:
                    records = await anyio.to_thread.run_sync(self._read_back, number)
                for start in range(0, len(records), BATCH):
                    await self._sink.add(records[start : start + BATCH])
                self._forget(number)

    def close(self) -> None:
        """Leave the rest for the next start."""
        self._end_segment()

    async def _try(self) -> None:
        try:
            await self.move()
        except Exception:  # the outermost place of this task: it is tried again
            self._log.exception("logs can't be moved to the database")

    def _write(self, line: bytes) -> None:
        """Raises OSError where it can't be written whole."""
        if self._size + len(line) > self._max_bytes:
            raise OSError("the spool is full")
        if self._file is None:
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND
            self._file = os.open(self._path(self._number), flags, 0o600)
            self._held[self._number], self._sizes[self._number] = [], 0
        written = os.write(self._file, line)
        self._size += written
        self._sizes[self._number] += written
        if written < len(line):
            self._end_segment()  # half a line is no record, and nothing may follow it
            raise OSError("the disk is full")

    def _hold(self, record: Record) -> None:
        held = self._held[self._number]
        held_bytes = sum(self._sizes[number] for number, records in self._held.items() if records is not None)
        if held is None or held_bytes > MEMORY_BYTES:
            self._held[self._number] = None
        else:
            held.append(record)

    def _end_segment(self) -> None:
        if self._file is not None:
            os.close(self._file)
            self._file = None
            self._number += 1

    def _forget(self, number: int) -> None:
        del self._held[number]
        self._size -= self._sizes.pop(number)
        self._path(number).unlink(missing_ok=True)

    def _read_back(self, number: int) -> list[Record]:
        records = []
        for line in self._path(number).read_bytes().splitlines():
            try:
                records.append(record_of(line))
            except ValueError:  # the last line of a server that died while it wrote
                self._log.warning("a log is cut and can't be read", segment=number)
        return records

    def _path(self, number: int) -> Path:
        return self._folder / f"{number:012d}{SUFFIX}"
