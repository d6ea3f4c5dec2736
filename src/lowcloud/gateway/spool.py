"""Records on the disk before anybody hears of a call's end, and from there, in batches, in the database.

A record is appended to the segment of the moment. A segment goes once all its records are in the database, which knows
each by its id: so what is moved twice, after a crash, is there once.
"""

from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Protocol

import anyio
import structlog

from lowcloud.gateway.record import OtherFormError, Record, packed, unpacked
from lowcloud.gateway.segments import Segments

MAX_BYTES = 512 * 2**20  # of all segments
MEMORY_BYTES = 64 * 2**20  # of records that are held until they are moved; the rest is read back
BATCH = 1_000
MOVE_S = 1.0  # many at once cost less; who looks for logs has them moved
RETRY_S = 2.0  # after a move that failed
PROBES = 5  # so many in a row that the sink won't have, and it takes none


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
        self._segments, self._sink, self._meter = Segments(folder, max_bytes), sink, meter
        self._held: dict[int, list[Record] | None] = {}  # by segment; those of others are read back
        self._moving = anyio.Lock()
        self._log = structlog.get_logger("lowcloud.gateway")
        self.n_lost = 0

    def open(self) -> None:
        """Take over what a server before left. Blocking. Raises OSError."""
        self._segments.open()

    def append(self, record: Record, data: bytes = b"") -> bool:
        """Keep a record; ``data`` is it packed, where the caller has that. Blocking, for as long as the system takes to
        copy it. False: it is lost, and counted.
        """
        try:
            number = self._segments.append(data or packed(record))
        except OSError as error:
            self._lose(str(error))
            return False
        self._hold(number, record)
        return True

    @property
    def n_bytes(self) -> int:
        """Of the records that aren't in the database yet."""
        return self._segments.n_bytes

    @property
    def is_empty(self) -> bool:
        """Whether all is in the database."""
        return not self._segments.numbers

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
            self._segments.end()
            n_taken, stuck = 0, []
            for number in self._segments.numbers:
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
        held = self._held.get(number)
        return held if held is not None else await anyio.to_thread.run_sync(self._read_back, number)

    def close(self) -> None:
        """Leave the rest for the next start."""
        self._segments.end()

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

    def _hold(self, number: int, record: Record) -> None:
        held = self._held.setdefault(number, [])
        held_bytes = sum(self._segments.size(each) for each, records in self._held.items() if records is not None)
        if held is None or held_bytes > MEMORY_BYTES:
            self._held[number] = None
        else:
            held.append(record)

    def _forget(self, number: int) -> None:
        self._held.pop(number, None)
        self._segments.drop(number)

    def _read_back(self, number: int) -> list[Record]:
        records: list[Record] = []
        try:
            for record in unpacked(self._segments.read(number)):
                records.append(record)  # noqa: PERF402 - those before a cut one count
        except FileNotFoundError:  # somebody removed it
            self._log.warning("logs are gone from the spool", segment=number)
        except OtherFormError:
            kept = self._segments.set_aside(number)
            self._log.error("another version's logs can't be read, and are kept as they are", file=kept)
        except (ValueError, RecursionError):  # the last one of a server that died while it wrote
            self._log.warning("a log is cut and can't be read", segment=number)
        return records
