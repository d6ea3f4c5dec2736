"""Keeps the event loop free of what takes long: bodies over 64 KB are parsed and validated in a thread."""

from collections.abc import Callable
from typing import TypeVar

from lowcloud.core.errors import MissingBody
from lowcloud.core.threads import Threads
from lowcloud.http.strict_json import LARGE_BYTES, parse_object

T = TypeVar("T")
MAX_THREADS = 2


class Offload:
    """Two threads at most, so that large bodies wait for each other and not everybody for them."""

    def __init__(self) -> None:
        self._threads = Threads(MAX_THREADS, "lowcloud.offload")

    async def read(self, body: bytes, to_request: Callable[[dict[str, object]], T]) -> T:
        """What ``to_request`` makes of the JSON object in ``body``. Raises BadRequest, MissingBody."""
        if not body:
            raise MissingBody("Request is missing headers or body: body")
        return await self.sized(len(body), lambda: to_request(parse_object(body)))

    async def sized(self, n_bytes: int, work: Callable[[], T]) -> T:
        """What ``work`` returns: from a thread where what it works on is large."""
        return work() if n_bytes <= LARGE_BYTES else await self.run(work)

    async def run(self, work: Callable[[], T]) -> T:
        """What ``work`` returns, from a thread. A caller that is cancelled doesn't wait for it."""
        return await self._threads.run(work)
