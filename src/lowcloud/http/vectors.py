"""Vectors as they are written into JSON. A vector is little-endian float32 bytes. Pure."""

import math
import struct
from base64 import b64encode

from lowcloud.core.errors import EngineFailed


def as_numbers(vector: bytes) -> bytes:
    """Nine digits: as many as tell every float32 from every other. Raises EngineFailed."""
    numbers = floats(vector)
    return b"[" + (b"%.9g," * len(numbers) % numbers)[:-1] + b"]"


def as_base64(vector: bytes) -> bytes:
    """Raises EngineFailed."""
    floats(vector)
    return b'"' + b64encode(vector) + b'"'


def floats(vector: bytes) -> tuple[float, ...]:
    """Raises EngineFailed for a vector that isn't made of numbers."""
    numbers = struct.unpack(f"<{size(vector)}f", vector)
    if not math.isfinite(sum(numbers)):
        raise EngineFailed("The model gave a vector that isn't made of numbers.")
    return numbers


def size(vector: bytes) -> int:
    """How many numbers it has."""
    return len(vector) // 4
