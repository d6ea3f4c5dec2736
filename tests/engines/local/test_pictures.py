"""Image files become pixels, and what is no picture is refused, whatever its bytes."""

import zlib
from io import BytesIO

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from lowcloud.engines.local.pictures import BadPictureError, pixels

RED, BLUE = (255, 0, 0), (0, 0, 255)
MOST = 10_000


def seen(file: bytes) -> np.ndarray:
    return pixels(file, MOST)


def file_of(image: Image.Image, kind: str, **options: object) -> bytes:
    file = BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def two_tone(mode: str = "RGB") -> Image.Image:
    """Wide, its left half red and its right half blue."""
    image = Image.new("RGB", (40, 20), RED)
    image.paste(BLUE, (20, 0, 40, 20))
    return image.convert(mode)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "GIF"])
def test_every_kind_of_file_gives_its_pixels_row_by_row(kind):
    found = seen(file_of(two_tone(), kind))
    assert (found.shape, found.dtype) == ((1, 20, 40, 3), np.uint8)
    assert np.abs(found[0, 10, 5].astype(int) - RED).max() < 8
    assert np.abs(found[0, 10, 35].astype(int) - BLUE).max() < 8


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGBA", "I;16"])
def test_grey_transparent_and_indexed_images_have_three_colours_too(mode):
    image = Image.new(mode, (3, 2))
    assert seen(file_of(image, "PNG")).shape == (1, 2, 3, 3)


def test_a_photo_is_turned_upright():
    exif = Image.Exif()
    exif[0x0112] = 6  # taken with the camera on its side
    assert seen(file_of(two_tone(), "JPEG", exif=exif)).shape == (1, 40, 20, 3)


def test_of_an_animation_the_first_frame_is_seen():
    frames = [Image.new("RGB", (4, 4), RED), Image.new("RGB", (4, 4), BLUE)]
    file = file_of(frames[0], "GIF", save_all=True, append_images=frames[1:])
    assert tuple(seen(file)[0, 0, 0]) == RED


@pytest.mark.parametrize(
    ("side", "says"),
    [
        (101, f"has 101 x 101 pixels, and {MOST} are left to it"),
        (10_000, f"has 10000 x 10000 pixels, and {MOST} are left to it"),
        (60_000, "has more pixels than anything can see"),
    ],
)
def test_an_image_of_too_many_pixels_is_refused_before_it_is_decoded(side, says):
    """A PNG whose head promises more than there is."""
    file = bytearray(file_of(two_tone(), "PNG"))
    assert seen(bytes(file)).size == 800 * 3
    file[16:24] = side.to_bytes(4, "big") * 2
    file[29:33] = zlib.crc32(bytes(file[12:29])).to_bytes(4, "big")
    with pytest.raises(BadPictureError, match=says):
        seen(bytes(file))


@pytest.mark.parametrize("kind", ["BMP", "TIFF", "PPM"])
def test_other_kinds_of_files_are_not_read(kind):
    with pytest.raises(BadPictureError, match="no PNG, JPEG, WebP or GIF"):
        seen(file_of(two_tone(), kind))


@given(st.binary(max_size=64))
def test_bytes_that_are_no_image_are_refused(data):
    with pytest.raises(BadPictureError):
        seen(data)


@given(st.sampled_from(["PNG", "JPEG", "WEBP", "GIF"]), st.data())
def test_a_broken_image_is_refused_or_seen_as_far_as_it_goes(kind, data):
    file = bytearray(file_of(two_tone(), kind))
    at = data.draw(st.integers(0, len(file) - 1))
    file[at] ^= data.draw(st.integers(1, 255))
    cut = data.draw(st.integers(1, len(file)))
    try:
        found = seen(bytes(file[:cut]))
    except BadPictureError:
        return
    assert found.ndim == 4
    assert found.shape[-1] == 3
