"""Ids that sort by time."""

import secrets
import time
from collections.abc import Callable


def uuid7(now_ms: int, random: int) -> str:
    """A lowercase UUIDv7 (RFC 9562) of a time in milliseconds since 1970 and at least 74 random bits."""
    value = (
        (now_ms & (1 << 48) - 1) << 80 | 0x7 << 76 | (random >> 62 & 0xFFF) << 64 | 0x2 << 62 | random & (1 << 62) - 1
    )
    digits = f"{value:032x}"
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"


def new_uuid7(clock: Callable[[], float] = time.time) -> str:
    """One of now."""
    return uuid7(int(clock() * 1_000), secrets.randbits(74))
