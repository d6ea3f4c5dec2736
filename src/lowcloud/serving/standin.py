"""How many numbers a vector has when the model that was asked for isn't the one that answers, and how it gets them.

Pure. Vectors are little-endian float32 bytes.
"""

import math
import struct

from lowcloud.core.errors import BadRequest
from lowcloud.models.catalogue import Answer

_FLOAT_BYTES = 4


def dimensions_of(answer: Answer, asked: int | None) -> int | None:
    """How many dimensions the answer has; None: as many as come.

    A model's own vectors may be cut to the sizes it was trained for; a stand-in's are only padded, to a size that the
    model asked for has. Raises BadRequest on ``dimensions`` for every other size.
    """
    card = answer.card if answer.stand_in else answer.by
    if asked is None:
        return card.dimensions
    sizes = sorted({*card.matryoshka, *([card.dimensions] if card.dimensions else [])})
    least = (answer.by.dimensions or 0) if answer.stand_in else 0
    allowed = [size for size in sizes if size >= least]
    if asked in allowed:
        return asked
    if asked in sizes:
        raise BadRequest(
            f"{card.id} is answered by the stand-in {answer.by.id}: its {least} dimensions can't be cut to {asked}.",
            param="dimensions",
        )
    shown = ", ".join(str(size) for size in allowed) or "none"
    raise BadRequest(f"{card.id} can't give {asked} dimensions; it gives: {shown}.", param="dimensions")


def is_cut(vector: bytes, dimensions: int | None) -> bool:
    """Whether ``resized`` makes the vector shorter."""
    return dimensions is not None and len(vector) > _FLOAT_BYTES * dimensions


def resized(vector: bytes, dimensions: int | None) -> bytes:
    """The vector padded with zeros, which leaves every cosine as it is, or cut and made a unit vector again."""
    have = len(vector) // _FLOAT_BYTES
    if dimensions is None or dimensions == have:
        return vector
    if dimensions > have:
        return vector + bytes(_FLOAT_BYTES * (dimensions - have))
    numbers = struct.unpack_from(f"<{dimensions}f", vector)
    norm = math.sqrt(math.fsum(number * number for number in numbers)) or 1.0
    return struct.pack(f"<{dimensions}f", *(number / norm for number in numbers))
