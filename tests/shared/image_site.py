"""A server on a loopback port that plays the open Internet, and what fetches images from it."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from aiohttp import web

from lowcloud.http.image_fetcher import FetchBounds, WebImages

PNG = b"\x89PNG\r\n\x1a\n" + b"pixels"
JPEG = b"\xff\xd8\xff\xe0" + b"pixels"


@dataclass
class Site:
    """A server that answers each path by a handler; ``requests`` are those that came, with their headers."""

    port: int = 0
    handlers: dict[str, Callable[[web.Request], Awaitable[web.StreamResponse]]] = field(default_factory=dict)
    requests: list[tuple[str, Mapping[str, str]]] = field(default_factory=list)
    left: asyncio.Event = field(default_factory=asyncio.Event)

    async def handle(self, request: web.Request) -> web.StreamResponse:
        self.requests.append((request.raw_path, dict(request.headers)))
        try:
            return await self.handlers[request.path](request)
        except asyncio.CancelledError:
            self.left.set()
            raise

    def serve(self, path: str, body: bytes = PNG, **response) -> None:
        async def answer(_: web.Request) -> web.StreamResponse:
            return web.Response(body=body, **response)

        self.handlers[path] = answer

    def redirect(self, path: str, location: str, status: int = 302) -> None:
        self.serve(path, b"", status=status, headers={"Location": location, "Set-Cookie": "a=b"})

    def images(
        self, names: Mapping[str, list[str]] | None = None, allows: Callable[[str], bool] | None = None, **bounds
    ) -> WebImages:
        """What fetches from this site: by the names ``images.test`` and ``names``, which no resolver knows."""

        def lookup(host: str) -> list[str]:
            known = {"images.test": ["127.0.0.1"], **(names or {})}
            if host not in known:
                raise OSError("Name or service not known")
            return known[host]

        own = FetchBounds(ports=(self.port,), **bounds)
        return WebImages(own, allows=allows or (lambda address: address == "127.0.0.1"), lookup=lookup)

    def url(self, path: str = "/a.png", host: str = "images.test") -> str:
        return f"http://{host}:{self.port}{path}"


@asynccontextmanager
async def site() -> AsyncGenerator[Site, None]:
    found = Site()
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", found.handle)
    runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=1.0)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        found.port = runner.addresses[0][1]
        yield found
    finally:
        await runner.cleanup()
