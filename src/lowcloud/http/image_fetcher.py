"""Fetches images from other servers for callers whom nobody trusts: it goes nowhere but to the open Internet.

Each address is checked where its socket is made, also those that redirects lead to: nothing stands between the check
and the connection that could name another one. A caller learns the same of an address that is refused, of a name that
nobody knows and of a server that doesn't answer.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from urllib.parse import urljoin, urlsplit

import aiohttp
import anyio
import structlog

from lowcloud.core.addresses import is_public
from lowcloud.core.errors import BadRequest
from lowcloud.core.gate import ForbiddenAddressError, Gate, Lookup, addresses_of
from lowcloud.core.messages import Image
from lowcloud.http.image_links import LinkedImage
from lowcloud.http.watch import only

MAX_URL_CHARS = 8192
MAX_REDIRECTS = 3
MAX_AT_ONCE = 16  # of all requests
PIECE_BYTES = 2**16
_DEFAULT_PORTS = {"http": 80, "https": 443}
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_STARTS = ((b"\x89PNG\r\n\x1a\n", "image/png"), (b"\xff\xd8\xff", "image/jpeg"), (b"GIF8", "image/gif"))
_HEADERS = {
    "Accept": "image/png, image/jpeg, image/webp, image/gif",
    "Accept-Encoding": "identity",
    "User-Agent": "Lowcloud",
}
# aiohttp's own errors, those of sockets and waits, and what names that can't be encoded end in.
_FAILURES = (aiohttp.ClientError, OSError, ValueError)


@dataclass(frozen=True, slots=True)
class FetchBounds:
    """``ports`` that URLs may name; ``max_bytes`` of a request's images together; ``seconds`` for each of them."""

    ports: tuple[int, ...] = (80, 443)
    max_bytes: int = 10 * 2**20
    seconds: float = 20.0


class WebImages:
    """``ImageFetcher`` over HTTP. ``lookup`` gives the addresses of a name, blocking; ``allows`` judges them."""

    def __init__(
        self,
        bounds: FetchBounds,
        *,
        allows: Callable[[str], bool] = is_public,
        lookup: Lookup = addresses_of,
    ) -> None:
        self._bounds, self._gate = bounds, Gate(lookup, allows, bounds.ports)
        self._turns = anyio.CapacityLimiter(MAX_AT_ONCE)
        self._log = structlog.get_logger("lowcloud.images")

    async def fetch(self, links: Sequence[LinkedImage]) -> list[Image]:
        for link in links:
            if (wrong := complaint(link.url, self._bounds.ports)) is not None:
                raise BadRequest(f"{link.path}: {wrong}.", param=link.path)
        images: dict[int, Image] = {}
        budget = _Budget(self._bounds.max_bytes)

        async def put(number: int, link: LinkedImage, session: aiohttp.ClientSession) -> None:
            images[number] = await self._image(session, link, budget)

        try:
            async with self._session() as session, anyio.create_task_group() as tasks:
                for number, link in enumerate(links):
                    tasks.start_soon(put, number, link, session)
        except BaseExceptionGroup as raised:
            raise only(raised) from None
        return [images[number] for number in range(len(links))]

    def _session(self) -> aiohttp.ClientSession:
        """Of one request: no connection, cookie or resolved name outlives it. The environment's proxies aren't used."""
        connector = aiohttp.TCPConnector(
            resolver=self._gate, use_dns_cache=False, socket_factory=self._gate.socket, force_close=True, limit=0
        )
        return aiohttp.ClientSession(
            connector=connector,
            headers=_HEADERS,
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(total=None),
            auto_decompress=False,
            trust_env=False,
        )

    async def _image(self, session: aiohttp.ClientSession, link: LinkedImage, budget: "_Budget") -> Image:
        try:
            with anyio.fail_after(self._bounds.seconds):
                async with self._turns:
                    data = await self._data(session, link, budget)
        except _FAILURES as error:
            host = urlsplit(link.url).hostname
            self._log.info("an image was not fetched", host=host, why=type(error).__name__, says=str(error)[:200])
            raise BadRequest(f"{link.path}: the image can't be fetched.", param=link.path) from None
        kind = media_type(data)
        if kind is None:
            raise BadRequest(f"{link.path}: there is no PNG, JPEG, WebP or GIF image there.", param=link.path)
        return Image(data, kind, link.at, param=link.param)

    async def _data(self, session: aiohttp.ClientSession, link: LinkedImage, budget: "_Budget") -> bytes:
        url = link.url
        for _ in range(1 + MAX_REDIRECTS):
            async with session.get(url, allow_redirects=False) as response:
                location = response.headers.get("Location")
                if response.status not in _REDIRECTS or location is None:
                    return await _body(response, link, budget)
            url = urljoin(url, location)
            if complaint(url, self._bounds.ports) is not None:
                raise ForbiddenAddressError("it redirects to where nothing is fetched")
        raise BadRequest(f"{link.path}: redirects more than {MAX_REDIRECTS} times.", param=link.path)


def complaint(url: str, ports: Sequence[int]) -> str | None:
    """What is wrong with the URL of an image, as a clause without its subject; None where nothing is. Pure."""
    if len(url) > MAX_URL_CHARS:
        return f"a URL of more than {MAX_URL_CHARS} characters is not followed"
    try:
        parts = urlsplit(url)
        port = _DEFAULT_PORTS.get(parts.scheme) if parts.port is None else parts.port
    except ValueError:
        return "is not a URL"
    if parts.scheme not in _DEFAULT_PORTS or not parts.hostname or "\\" in url or not url.isprintable():
        return "must be an http or https URL"
    if "@" in parts.netloc:
        return "must not carry a user's name or password"
    return None if port in ports else f"images are fetched from these ports alone: {', '.join(map(str, ports))}"


def media_type(data: bytes) -> str | None:
    """What the first bytes of a file say that it is; None for what is no PNG, JPEG, WebP or GIF. Pure."""
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "image/webp"
    return next((kind for start, kind in _STARTS if data.startswith(start)), None)


async def _body(response: aiohttp.ClientResponse, link: LinkedImage, budget: "_Budget") -> bytes:
    if response.status != 200:
        raise BadRequest(f"{link.path}: the image's server answers with status {response.status}.", param=link.path)
    data = bytearray()
    async for piece in response.content.iter_chunked(PIECE_BYTES):
        data += piece
        budget.left -= len(piece)
        if budget.left < 0:
            what = f"the images of a request may have {budget.whole} bytes together"
            raise BadRequest(f"{link.path}: {what}, and these have more.", param=link.path)
    return bytes(data)


class _Budget:
    """The bytes that are left to a request."""

    def __init__(self, whole: int) -> None:
        self.whole = self.left = whole
