"""Records on the disk before anybody hears of a call's end, and from there, in batches, in the database.

A record is appended to a file of the moment, a segment; that outlives this process. A segment goes once all its records
are in the database, which knows each by its id: so what is moved twice, after a crash, is there once.
"""

import os
import re
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Protocol

import anyio
import structlog

from lowcloud.gateway.record import OtherFormError, Record, packed, unpacked

MAX_BYTES = 512 * 2**20  # of all segments
MEMORY_BYTES = 64 * 2**20  # of records that are held until they are moved; the rest is read back
BATCH = 1_000
MOVE_S = 1.0  # many at once cost less; who looks for logs has them moved
RETRY_S = 2.0  # after a move that failed
PROBES = 5  # so many in a row that the sink won't have, and it takes none
SUFFIX = ".spool"
UNREAD = ".unread"
_SEGMENT = re.compile(r"[0-9]{12}")


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
        for path in sorted(self._folder.iterdir()):
            if not _SEGMENT.fullmatch(path.stem) or path.suffix not in (SUFFIX, UNREAD):
                continue  # somebody else's
            number = int(path.stem)
            self._number = max(self._number, number + 1)
            if path.suffix == SUFFIX:
                self._held[number], self._sizes[number] = None, path.stat().st_size
                self._size += self._sizes[number]

    def append(self, record: Record, data: bytes = b"") -> bool:
        """Keep a record; ``data`` is it packed, where the caller has that. Blocking, for as long as the system takes to
        copy it. False: it is lost, and counted.
        """
        try:
            self._write(data or packed(record))
        except OSError as error:
            self._lose(str(error))
            return False
        self._hold(record)
        return True

    @property
    def n_bytes(self) -> int:
        """Of the records that aren't in the database yet."""
        return self._size

    @property
    def is_empty(self) -> bool:
        """Whether all is in the database."""
        return not self._held

    def find(self, log_id: str) -> Record | None:
        """One that isn't in the database yet, and is held."""
        held = (record for records in self._held.values() if records for record in records)
        return next((record for record in held if record.id == log_id), None)

    async def run(self, sleep: Callable[[float], Awaitable[None]] = anyio.sleep) -> None:
        """Move records again and again until cancelled; then those that are left."""
        try:
            while True:
                is_moved = await self._try()
                await sleep(MOVE_S if is_moved else RETRY_S)
        finally:
            with anyio.move_on_after(10, shield=True):
                await self._try()

    async def move(self) -> None:
        """Have all that was appended until now in the database. Raises what the sink does where it takes nothing; then
        nothing is lost. A record that it won't have while it takes others is.
        """
        async with self._moving:
            self._end_segment()
            n_taken, stuck = 0, []
            for number in sorted(self._held):
                try:
                    n_taken += await self._move(number)
                except Exception:
                    stuck.append(number)
                    if not n_taken and len(stuck) == PROBES:
                        raise
            if not n_taken and stuck:
                await self._move(stuck.pop(0))  # says why, or goes after all
            for number in stuck:
                await self._drop(number)

    async def _move(self, number: int) -> int:
        """How many records were taken. Raises what the sink does where it takes none."""
        records = await self._records(number)
        n_taken = 0
        for start in range(0, len(records), BATCH):
            n_taken += await self._add(records[start : start + BATCH])
        self._forget(number)
        return n_taken

    async def _drop(self, number: int) -> None:
        """Another segment was moved, and this one wasn't: what isn't taken now either is lost."""
        refused = [record for record in await self._records(number) if not await self._is_taken(record)]
        self._lose("the database won't have them", len(refused))
        self._forget(number)

    async def _records(self, number: int) -> list[Record]:
        held = self._held[number]
        return held if held is not None else await anyio.to_thread.run_sync(self._read_back, number)

    def close(self) -> None:
        """Leave the rest for the next start."""
        self._end_segment()

    async def _add(self, records: list[Record]) -> int:
        """Where not all are taken, each by itself: one that the sink won't have must not hold up the others."""
        try:
            await self._sink.add(records)
        except Exception as error:
            refused = 0
            for number, record in enumerate(records, 1):
                refused += not await self._is_taken(record)
                if refused == number and number in (PROBES, len(records)):
                    raise  # it takes none, so it is no fault of theirs
            self._lose(str(error), refused)
            return len(records) - refused
        return len(records)

    async def _is_taken(self, record: Record) -> bool:
        try:
            await self._sink.add([record])
        except Exception:  # what it is about is logged with all of the batch
            return False
        return True

    def _lose(self, why: str, logs: int = 1) -> None:
        if self.n_lost == 0 < logs:
            self._log.error("logs are lost", error=why)
        self.n_lost += logs
        self._meter.logs_lost(logs)

    async def _try(self) -> bool:
        try:
            await self.move()
        except Exception:  # the outermost place of this task: it is tried again
            self._log.exception("logs can't be moved to the database")
            return False
        return True

    def _write(self, data: bytes) -> None:
        """Raises OSError where it can't be written whole."""
        if self._size + len(data) > self._max_bytes:
            raise OSError("the spool is full")
        if self._file is None:
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND
            self._file = os.open(self._path(self._number), flags, 0o600)
            self._held[self._number], self._sizes[self._number] = [], 0
        written = os.write(self._file, data)
        self._size += written
        self._sizes[self._number] += written
        if written < len(data):
            self._end_segment()  # half a record is none, and nothing may follow it
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
        records: list[Record] = []
        try:
            for record in unpacked(self._path(number).read_bytes()):
                records.append(record)  # noqa: PERF402 - those before a cut one count
        except FileNotFoundError:  # somebody removed it
            self._log.warning("logs are gone from the spool", segment=number)
        except OtherFormError:
            kept = self._path(number).replace(self._path(number).with_suffix(UNREAD))
            self._log.error("another version's logs can't be read, and are kept as they are", file=kept.name)
        except (ValueError, RecursionError):  # the last one of a server that died while it wrote
            self._log.warning("a log is cut and can't be read", segment=number)
        return records

    def _path(self, number: int) -> Path:
        return self._folder / f"{number:012d}{SUFFIX}"
