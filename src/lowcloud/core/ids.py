"""Ids that nobody guesses; some sort by time."""

import os
import time
from collections import deque
from collections.abc import Callable

_DRAWN = 256  # ids' random bits that are drawn at once: asking for each takes longer than the rest of making it
_BYTES = 16
_random: deque[bytes] = deque()
os.register_at_fork(after_in_child=_random.clear)


def uuid4() -> str:
    """A lowercase UUIDv4 (RFC 9562)."""
    value = _random_bits() & ~(0xF << 76 | 0x3 << 62) | 0x4 << 76 | 0x2 << 62
    return _written(value)


def uuid7(now_ms: int, random: int) -> str:
    """A lowercase UUIDv7 (RFC 9562) of a time in milliseconds since 1970 and at least 74 random bits."""
    value = (
        (now_ms & (1 << 48) - 1) << 80 | 0x7 << 76 | (random >> 62 & 0xFFF) << 64 | 0x2 << 62 | random & (1 << 62) - 1
    )
    return _written(value)


def new_uuid7(clock: Callable[[], float] = time.time) -> str:
    """One of now."""
    return uuid7(int(clock() * 1_000), _random_bits())


def _written(value: int) -> str:
    digits = f"{value:032x}"
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"


def _random_bits() -> int:
    """128 of the system's, given once, to whichever thread asks."""
    try:
        drawn = _random.pop()
    except IndexError:
        data = os.urandom(_DRAWN * _BYTES)
        _random.extend(data[at : at + _BYTES] for at in range(_BYTES, len(data), _BYTES))
        drawn = data[:_BYTES]
    return int.from_bytes(drawn, "big")
