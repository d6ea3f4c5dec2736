"""Small image files."""

from io import BytesIO

from PIL import Image


def picture(left: tuple[int, int, int], right: tuple[int, int, int]) -> bytes:
    """A PNG, 40 x 20, of two colours."""
    image = Image.new("RGB", (40, 20), left)
    image.paste(right, (20, 0, 40, 20))
    file = BytesIO()
    image.save(file, "PNG")
    return file.getvalue()


PICTURE = picture((255, 0, 0), (0, 0, 255))
OTHER = picture((0, 255, 0), (20, 20, 20))
