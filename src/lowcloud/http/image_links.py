"""Images that a request names by URL: what a wire format reads them as, and how their bytes get into the prompt."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Protocol, TypeVar

from lowcloud.core.errors import BadRequest, Unsupported
from lowcloud.core.messages import Image, Message, Messages, Prompt
from lowcloud.core.requests import Caller, Generate
from lowcloud.serving.service import Service

P = TypeVar("P", bound=Prompt)
MAX_LINKS = 32  # of one request


@dataclass(frozen=True, slots=True)
class LinkedImage(Image):
    """An image that isn't here yet: it has no data, and never leaves ``http``. ``path`` is its URL's in the body."""

    url: str = ""
    path: str = ""


def is_link(url: str) -> bool:
    """Whether it names something on another server."""
    return url[:8].lower().startswith(("http://", "https://"))


def linked(url: str, path: str) -> LinkedImage:
    """An image to be fetched."""
    return LinkedImage(b"", "", url=url, path=path)


class ImageFetcher(Protocol):
    """Gets images from other servers."""

    async def fetch(self, links: Sequence[LinkedImage]) -> list[Image]:
        """The images, each at its link's place. Raises BadRequest with the path of one that can't be had."""


class ImageLinks:
    """Puts the images that prompts name into them. Without a ``fetcher`` prompts that name some are refused."""

    def __init__(self, service: Service, fetcher: ImageFetcher | None) -> None:
        self._service, self._fetcher = service, fetcher

    async def followed(self, model_id: str, prompt: P, caller: Caller | None = None) -> P:
        """``prompt`` with the bytes of every image; nothing is fetched for a model that can't see it, nor for a
        ``caller`` whose run wouldn't be admitted.

        Raises BadRequest, Unsupported, ModelNotFound; Overloaded, LimitReached.
        """
        links = self.links(prompt)
        if not (links and self._fetcher and isinstance(prompt, Messages)):
            return prompt
        await self._service.check(model_id, Generate(id="", prompt=prompt), caller)
        images = iter(await self._fetcher.fetch(links))
        return replace(prompt, messages=tuple(_filled(message, images) for message in prompt.messages))

    def links(self, prompt: Prompt) -> list[LinkedImage]:
        """The images of a prompt that aren't here yet. Raises Unsupported, BadRequest where they won't be fetched."""
        messages = prompt.messages if isinstance(prompt, Messages) else ()
        links = [image for message in messages for image in message.images if isinstance(image, LinkedImage)]
        if links and self._fetcher is None:
            path = links[0].path
            raise Unsupported(f"{path}: only data URLs are taken here, unless server.image_urls is set.", param=path)
        if len(links) > MAX_LINKS:
            path = links[MAX_LINKS].path
            raise BadRequest(f"{path}: at most {MAX_LINKS} images of a request are fetched.", param=path)
        return links


def _filled(message: Message, images: Iterator[Image]) -> Message:
    filled = tuple(next(images) if isinstance(image, LinkedImage) else image for image in message.images)
    return replace(message, images=filled)
