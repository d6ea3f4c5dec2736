"""Image files become pixels, and what is no picture is refused, whatever its bytes."""

from io import BytesIO

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from lowcloud.engines.local.pictures import MAX_PIXELS, BadPictureError, pixels

RED, BLUE = (255, 0, 0), (0, 0, 255)


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
    seen = pixels(file_of(two_tone(), kind))
    assert (seen.shape, seen.dtype) == ((1, 20, 40, 3), np.uint8)
    assert np.abs(seen[0, 10, 5].astype(int) - RED).max() < 8
    assert np.abs(seen[0, 10, 35].astype(int) - BLUE).max() < 8


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGBA", "I;16"])
def test_grey_transparent_and_indexed_images_have_three_colours_too(mode):
    image = Image.new(mode, (3, 2))
    assert pixels(file_of(image, "PNG")).shape == (1, 2, 3, 3)


def test_a_photo_is_turned_upright():
    exif = Image.Exif()
    exif[0x0112] = 6  # taken with the camera on its side
    assert pixels(file_of(two_tone(), "JPEG", exif=exif)).shape == (1, 40, 20, 3)


def test_of_an_animation_the_first_frame_is_seen():
    frames = [Image.new("RGB", (4, 4), RED), Image.new("RGB", (4, 4), BLUE)]
    file = file_of(frames[0], "GIF", save_all=True, append_images=frames[1:])
    assert tuple(pixels(file)[0, 0, 0]) == RED


def test_an_image_of_too_many_pixels_is_refused_before_it_is_decoded():
    """A PNG whose head promises 65535 x 65535 pixels; there is nothing behind it."""
    whole = bytearray(file_of(two_tone(), "PNG"))
    whole[16:24] = (65535).to_bytes(4) * 2
    crc = __import__("zlib").crc32(bytes(whole[12:29]))
    whole[29:33] = crc.to_bytes(4)
    with pytest.raises(BadPictureError):
        pixels(bytes(whole))
    side = int(MAX_PIXELS**0.5) + 1
    with pytest.raises(BadPictureError, match=f"has {side} x {side} pixels, more than {MAX_PIXELS} together"):
        pixels(file_of(Image.new("1", (side, side)), "PNG"))


@pytest.mark.parametrize("kind", ["BMP", "TIFF", "PPM"])
def test_other_kinds_of_files_are_not_read(kind):
    with pytest.raises(BadPictureError, match="no PNG, JPEG, WebP or GIF"):
        pixels(file_of(two_tone(), kind))


@given(st.binary(max_size=64))
def test_bytes_that_are_no_image_are_refused(data):
    with pytest.raises(BadPictureError):
        pixels(data)


@given(st.sampled_from(["PNG", "JPEG", "WEBP", "GIF"]), st.data())
def test_a_broken_image_is_refused_or_seen_as_far_as_it_goes(kind, data):
    file = bytearray(file_of(two_tone(), kind))
    at = data.draw(st.integers(0, len(file) - 1))
    file[at] ^= data.draw(st.integers(1, 255))
    cut = data.draw(st.integers(1, len(file)))
    try:
        seen = pixels(bytes(file[:cut]))
    except BadPictureError:
        return
    assert seen.ndim == 4
    assert seen.shape[-1] == 3
