"""The connections to one upstream: a pool of them, bounded waits, and failures as our errors.

No process runs for a remote model, so it is ready at once. Leaving an answer before its end closes its connection,
which is how an upstream learns that nobody waits for it any more.
"""

import asyncio
import json
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import aclosing, asynccontextmanager

import aiohttp
import anyio
import anyio.to_thread
import structlog
from yarl import URL

from lowcloud.core.errors import LowcloudError, Unavailable
from lowcloud.core.exchange import KEEP_ALIVE_S, Exchanges, Request
from lowcloud.core.exchange import Answer as Exchanged
from lowcloud.engines.engine import RuntimeState
from lowcloud.engines.remote.failure import broken, refused, unreached
from lowcloud.engines.remote.sse import SseError, SseReader
from lowcloud.engines.remote.upstream import Upstream

DRAIN_S = 0.2
MAX_SMALL_BYTES = 2**20
MAX_WHOLE_BYTES = 256 * 2**20
DONE = "[DONE]"
_THREADS = 2
_FAILURES = (aiohttp.ClientError, OSError, TimeoutError, ValueError, asyncio.IncompleteReadError)


class RemoteRuntime:
    """``Runtime`` of one remote model. Its engine sends through it, while it runs."""

    def __init__(self, upstream: Upstream) -> None:
        self.upstream = upstream
        self._headers = tuple(upstream.headers().items())
        self._exchanges: Exchanges | None = None
        self._opened = anyio.Event()
        self._threads = anyio.CapacityLimiter(_THREADS)
        self._log = structlog.get_logger("lowcloud.remote")

    @property
    def state(self) -> RuntimeState:
        return "stopped" if self._exchanges is None else "ready"

    @property
    def note(self) -> str:
        return f"remote: {self.upstream.model}"

    async def run(self) -> None:
        async with self.connected():
            await anyio.sleep_forever()

    @asynccontextmanager
    async def connected(self) -> AsyncGenerator[None, None]:
        """Connections that are closed at the end."""
        upstream = self.upstream
        async with aiohttp.TCPConnector(limit=upstream.connections, keepalive_timeout=KEEP_ALIVE_S) as connector:
            self._exchanges = Exchanges(connector, upstream.connect_s, decompresses=True)
            self._opened.set()
            try:
                yield
            finally:
                self._exchanges, self._opened = None, anyio.Event()

    async def ready(self) -> None:
        await self._opened.wait()

    @asynccontextmanager
    async def post(self, path: str, make_body: Callable[[], Mapping[str, object]]) -> AsyncGenerator["Answer", None]:
        """An answer whose head is a 200. Raises what ``failure`` makes of anything else.

        ``make_body`` is called in a thread: images and many texts take a while to encode.
        """
        body = await anyio.to_thread.run_sync(lambda: _json(make_body()), limiter=self._threads)
        response = await self._begun(path, body)
        try:
            answer = Answer(self.upstream, response, self._threads)
            yield answer
            await answer.drain()
        finally:
            response.close()  # does nothing to a connection whose answer was read to its end: it is in the pool again

    async def get(self, path: str) -> tuple[int, bytes]:
        """A status and the beginning of its body. Raises Unavailable where there is none."""
        response = await self._sent("GET", path)
        return response.status, await self._closed(response)

    async def _begun(self, path: str, body: bytes) -> Exchanged:
        response = await self._sent("POST", path, body)
        if response.status == 200:
            return response
        retry_after = response.headers.get("Retry-After")
        raise self._logged(refused(self.upstream, response.status, await self._closed(response), retry_after))

    async def _sent(self, method: str, path: str, body: bytes = b"") -> Exchanged:
        """The head of an answer, whatever its status."""
        if self._exchanges is None:
            raise Unavailable("The server is stopping.")
        upstream = self.upstream
        try:
            async with asyncio.timeout(upstream.connect_s + upstream.first_byte_s):
                return await self._exchanges.send(Request(method, URL(f"{upstream.url}{path}"), self._headers, body))
        except _FAILURES as error:
            raise self._logged(unreached(upstream, error)) from error

    async def _closed(self, response: Exchanged) -> bytes:
        """The beginning of a body that isn't read on; what breaks off is as good."""
        body = bytearray()
        try:
            async with asyncio.timeout(self.upstream.between_bytes_s):
                while len(body) < MAX_SMALL_BYTES and (piece := await response.content.readany()):
                    body += piece
        except _FAILURES:
            pass
        finally:
            response.close()
        return bytes(body[:MAX_SMALL_BYTES])

    def _logged(self, error: LowcloudError) -> LowcloudError:
        if error.status >= 500:
            self._log.warning("upstream failed", model=self.upstream.id, reason=str(error))
        return error


class Answer:
    """An answer under way. Raises EngineFailed where it breaks, or comes to a halt."""

    def __init__(self, upstream: Upstream, response: Exchanged, threads: anyio.CapacityLimiter) -> None:
        self._upstream, self._response, self._threads = upstream, response, threads
        self._wait_s = upstream.first_byte_s
        self.is_whole = False

    async def chunks(self) -> AsyncGenerator[object, None]:
        """The JSON of each event until ``[DONE]`` or the end; of an answer that isn't a stream, its one body."""
        if _media_type(self._response) == "application/json":
            yield await self.whole()
            return
        async with aclosing(self._events()) as events:
            async for data in events:
                if data == DONE:
                    self.is_whole = True
                    return
                yield self._parsed(data)

    async def whole(self, max_bytes: int = MAX_WHOLE_BYTES) -> object:
        """The JSON of the whole body."""
        body = bytearray()
        while piece := await self._piece():
            body += piece
            if len(body) > max_bytes:
                raise broken(self._upstream, f"sent more than {max_bytes} bytes")
        self.is_whole = True
        return await anyio.to_thread.run_sync(self._parsed, bytes(body), limiter=self._threads)

    async def drain(self) -> None:
        """Read what should be the end, so that the connection can be used again; not for long."""
        try:
            async with asyncio.timeout(DRAIN_S):
                while await self._response.content.readany():
                    pass
        except _FAILURES:
            return

    async def _events(self) -> AsyncGenerator[str, None]:
        reader = SseReader()
        try:
            while piece := await self._piece():
                for data in reader.feed(piece):
                    yield data
            for data in reader.end():
                yield data
        except SseError as error:
            raise broken(self._upstream, f"sent {error}") from None

    async def _piece(self) -> bytes:
        """Empty at the end."""
        try:
            async with asyncio.timeout(self._wait_s):
                piece = await self._response.content.readany()
        except TimeoutError:
            raise broken(self._upstream, f"was silent for {self._wait_s:g} s") from None
        except _FAILURES as error:
            raise broken(self._upstream, "broke its answer off") from error
        self._wait_s = self._upstream.between_bytes_s
        return piece

    def _parsed(self, data: str | bytes) -> object:
        try:
            parsed: object = json.loads(data)
        except (ValueError, RecursionError):
            raise broken(self._upstream, "sent what is no JSON") from None
        return parsed


def _media_type(answer: Exchanged) -> str:
    return answer.headers.get("Content-Type", "").partition(";")[0].strip().lower()


def _json(body: Mapping[str, object]) -> bytes:
    return json.dumps(body, ensure_ascii=False).encode()
