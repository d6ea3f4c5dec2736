"""Image files to pixels, for a model that sees. Files are callers': what is no picture, or too large, is refused."""

import struct
import warnings
from io import BytesIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

_FORMATS = ("PNG", "JPEG", "WEBP", "GIF")
# What Pillow's readers end in on bytes that are no picture.
_FAILURES = (OSError, SyntaxError, ValueError, EOFError, IndexError, struct.error)


class BadPictureError(Exception):
    """Why a file can't be seen, as a clause without its subject."""


def pixels(data: bytes, most: int) -> NDArray[np.uint8]:
    """(1, height, width, 3), upright, without transparency; of an animation the first frame.

    Raises BadPictureError; before anything is decoded for an image of more than ``most`` pixels.
    """
    try:
        with warnings.catch_warnings(action="ignore"), Image.open(BytesIO(data), formats=_FORMATS) as image:
            _check_size(image, most)
            picture = ImageOps.exif_transpose(image).convert("RGB")
    except Image.DecompressionBombError as error:
        raise BadPictureError("has more pixels than anything can see") from error
    except _FAILURES as error:
        raise BadPictureError("is broken, or no PNG, JPEG, WebP or GIF") from error
    return np.asarray(picture, np.uint8)[None]


def _check_size(image: Image.Image, most: int) -> None:
    if image.width * image.height > most:
        raise BadPictureError(f"has {image.width} x {image.height} pixels, and {most} are left to it")
