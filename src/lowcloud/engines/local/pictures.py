"""Image files to pixels, for a model that sees. Files are callers': what is no picture, or too large, is refused."""

import struct
from io import BytesIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

MAX_PIXELS = 2**25
_FORMATS = ("PNG", "JPEG", "WEBP", "GIF")
# What Pillow's readers end in on bytes that are no picture.
_FAILURES = (OSError, SyntaxError, ValueError, EOFError, IndexError, struct.error, Image.DecompressionBombError)


class BadPictureError(Exception):
    """Why a file can't be seen, as a clause without its subject."""


def pixels(data: bytes) -> NDArray[np.uint8]:
    """(1, height, width, 3), upright, without transparency; of an animation the first frame. Raises BadPictureError."""
    try:
        with Image.open(BytesIO(data), formats=_FORMATS) as image:
            _check_size(image)
            picture = ImageOps.exif_transpose(image).convert("RGB")
    except _FAILURES as error:
        raise BadPictureError("is broken, or no PNG, JPEG, WebP or GIF") from error
    return np.asarray(picture, np.uint8)[None]


def _check_size(image: Image.Image) -> None:
    """Before anything is decoded."""
    if image.width * image.height > MAX_PIXELS:
        raise BadPictureError(f"has {image.width} x {image.height} pixels, more than {MAX_PIXELS} together")
