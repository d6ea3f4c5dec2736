"""The content of a chat message: a string, or parts of text, refusals and images."""

import re
from base64 import b64decode
from dataclasses import dataclass, field, replace
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from lowcloud.core.errors import BadRequest, Unsupported
from lowcloud.core.messages import Image
from lowcloud.http.image_links import is_link, linked
from lowcloud.http.openai.parameters import note_unread
from lowcloud.http.validation import validated

PART_SEPARATOR = "\n"
OTHER_MEDIA = frozenset(
    {"input_image", "image", "input_audio", "audio", "audio_url", "file", "input_file", "video_url", "video"}
)
_DATA_URL = re.compile(r"data:(image/[a-z0-9.+-]{1,64})(?:;[a-z0-9=._-]{1,64}){0,4};base64,", re.IGNORECASE)
_SHOWN_CHARS = 40


class TextPart(BaseModel):
    """A piece of a message; pieces are joined with a newline."""

    model_config = ConfigDict(strict=True)

    type: Literal["text"]
    text: str


class RefusalPart(BaseModel):
    """What an assistant said instead of an answer; read as text."""

    model_config = ConfigDict(strict=True)

    type: Literal["refusal"]
    refusal: str


class ImageUrl(BaseModel):
    """A data URL: ``data:image/png;base64,...``; or an http or https URL, where ``server.image_urls`` is set."""

    model_config = ConfigDict(strict=True)

    url: str
    detail: Literal["auto", "low", "high", "original"] | None = None


class ImagePart(BaseModel):
    """An image, at its place among the texts."""

    model_config = ConfigDict(strict=True)

    type: Literal["image_url"]
    image_url: ImageUrl


Part = Annotated[TextPart | RefusalPart | ImagePart, Field(discriminator="type")]


@dataclass(slots=True)
class Content:
    """A message's texts and the images at their places among them, one after the other. Neighbouring texts get a
    newline between them."""

    images: list[Image] = field(default_factory=list)
    _texts: list[str] = field(default_factory=list)
    _length: int = 0
    _follows_text: bool = False

    @property
    def text(self) -> str:
        return "".join(self._texts)

    def say(self, text: str) -> None:
        """Add a text."""
        piece = PART_SEPARATOR + text if self._follows_text else text
        self._texts.append(piece)
        self._length += len(piece)
        self._follows_text = True

    def see(self, image: Image) -> None:
        """Add an image, at its place."""
        self.images.append(replace(image, at=self._length))
        self._follows_text = False


def content_of(value: object, role: str, path: str, unread: dict[str, None]) -> Content:
    """What isn't null as content. Raises BadRequest, Unsupported with the path."""
    content = Content()
    if isinstance(value, str):
        content.say(value)
        return content
    if not isinstance(value, list):
        raise BadRequest(f"{path}: must be a string, a list of parts or null.", param=path)
    if not value and role != "assistant":
        raise BadRequest(f"{path}: must have at least one part.", param=path)
    for index, item in enumerate(value):
        match _part(item, f"{path}[{index}]", role, unread):
            case Image() as image:
                content.see(image)
            case str(text):
                content.say(text)
    return content


def _part(value: Any, path: str, role: str, unread: dict[str, None]) -> str | Image:
    kind = value.get("type") if isinstance(value, dict) else None
    if isinstance(kind, str):
        note_unread(value, {"type", kind}, path, unread)
    if kind == "refusal" and role == "assistant":
        return validated(RefusalPart, value, path).refusal
    if kind == "image_url" and role == "user":
        image = validated(ImagePart, value, path).image_url
        note_unread(value["image_url"], ImageUrl.model_fields, f"{path}.image_url", unread)
        return replace(_image(image, f"{path}.image_url", unread), param=path)
    if kind == "image_url" or (isinstance(kind, str) and kind in OTHER_MEDIA):
        what = "text and images are" if role == "user" else "text is"
        raise Unsupported(f"{path}: content of type {kind} is not supported here; only {what}.", param=path)
    return validated(TextPart, value, path).text


def _image(image: ImageUrl, path: str, unread: dict[str, None]) -> Image:
    if image.detail not in (None, "auto"):
        unread["messages[].content[].image_url.detail"] = None
    path = f"{path}.url"
    return linked(image.url, path) if is_link(image.url) else embedded(image.url, path)


def embedded(url: str, path: str) -> Image:
    """The image of a data URL. Raises BadRequest with the path."""
    head = _DATA_URL.match(url)
    if head is None:
        shown = url[:_SHOWN_CHARS]
        raise BadRequest(f"{path}: must be a data URL, data:image/...;base64,..., not {shown}.", param=path)
    return Image(image_bytes(url[head.end() :], path), head[1].lower())


def image_bytes(encoded: str, path: str) -> bytes:
    """What ``encoded`` is the base64 of. Raises BadRequest with the path."""
    try:
        data = b64decode(encoded, validate=True)
    except ValueError:
        raise BadRequest(f"{path}: the image is not base64.", param=path) from None
    if not data:
        raise BadRequest(f"{path}: the image is empty.", param=path)
    return data
