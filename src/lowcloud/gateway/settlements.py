"""What calls have cost since it was last saved: on the disk at once, so that it outlives this process being killed."""

import json
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import structlog

from lowcloud.gateway.segments import Segments
from lowcloud.gateway.spend import Key
from lowcloud.gateway.windows import Entry

MAX_BYTES = 64 * 2**20
Place: TypeAlias = tuple[str, str]  # an account and a gateway


@dataclass(frozen=True, slots=True)
class Settlement:
    """A call that began at ``entry``'s time has cost ``entry``'s dollars, in all of ``keys``; without any: its gateway
    is gone, with what was spent there."""

    place: Place
    keys: Collection[Key] = ()
    entry: Entry = (0.0, 0.0)


class Settlements:
    """A folder of them, whose owner is the only one who writes there. Blocking."""

    def __init__(self, folder: Path, max_bytes: int = MAX_BYTES) -> None:
        self._segments = Segments(folder, max_bytes)
        self._is_failing = False
        self._log = structlog.get_logger("lowcloud.gateway")

    def open(self) -> None:
        """Take over what a server before left. Raises OSError."""
        self._segments.open()

    def append(self, settlement: Settlement) -> None:
        """Keep one. What can't be kept is lost where this process is killed before it is saved, and only then."""
        line = json.dumps([*settlement.place, list(settlement.keys), settlement.entry]) + "\n"
        try:
            self._segments.append(line.encode())
        except OSError as error:
            if not self._is_failing:
                self._log.error("what is spent can't be kept on the disk", error=str(error))
            self._is_failing = True
        else:
            self._is_failing = False

    def end(self) -> list[int]:
        """The segments of all that was appended until now; what comes next is in others."""
        self._segments.end()
        return self._segments.numbers

    def read(self, segments: Collection[int]) -> list[Settlement]:
        """What is in some, in order."""
        return [settlement for number in segments for settlement in self._read(number)]

    def drop(self, segments: Collection[int]) -> None:
        """All that is in them is saved. Raises OSError."""
        for number in segments:
            self._segments.drop(number)

    def _read(self, number: int) -> list[Settlement]:
        found: list[Settlement] = []
        try:
            for line in self._segments.read(number).splitlines():
                account_id, gateway_id, keys, (at, amount) = json.loads(line)
                found.append(Settlement((account_id, gateway_id), [(rule, name) for rule, name in keys], (at, amount)))
        except (OSError, ValueError, TypeError):  # the last one of a server that died while it wrote
            self._log.warning("what was spent is cut and can't be read", segment=number)
        return found
