"""One upstream call for all who ask the same at once: who began it and who joined read along.

The call belongs to nobody of them: it goes on while one reads. What comes is held whole as long as it may be kept; of
a longer reply only a window is, and who falls behind that is cut off.
"""

from collections.abc import AsyncGenerator, Awaitable, Callable
from dataclasses import dataclass
from typing import TypeAlias

import anyio
from anyio.abc import TaskGroup

from lowcloud.gateway.cache_key import MAX_BYTES
from lowcloud.gateway.call import Headers, Reply, begun
from lowcloud.gateway.errors import FellBehind

WINDOW_BYTES = 4 * 2**20
CLOSE_BOUND_S = 5.0
Begin: TypeAlias = Callable[[], Awaitable[Reply]]


@dataclass(frozen=True, slots=True)
class Whole:
    """A reply that came to its end, and all of it."""

    status: int
    headers: Headers
    body: bytes


Landed: TypeAlias = Callable[[Whole], Awaitable[None]]  # gets a reply that may be kept; until it is, others still join


class Flights:
    """The flights of this process, by the keys of the cache. ``is_shared`` says of a reply's head whether others get it
    too; ``landed`` gets what is whole. ``max_bytes`` of a reply are held, then a window of ``window_bytes``.
    """

    def __init__(self, tasks: TaskGroup, max_bytes: int = MAX_BYTES, window_bytes: int = WINDOW_BYTES) -> None:
        self._tasks = tasks
        self._max_bytes, self._window_bytes = max_bytes, window_bytes
        self._flights: dict[str, _Flight] = {}

    async def join(
        self,
        key: str,
        begin: Begin,
        is_shared: Callable[[Reply], bool],
        landed: Landed,
        patience_s: float | None = None,
    ) -> tuple[Reply, bool]:
        """The reply, and whether it is of a flight that another began. Raises what ``begin`` does, and TimeoutError for
        who joined one and waited ``patience_s`` for its head.

        Who joined a flight whose reply isn't shared calls for themselves.
        """
        flight = self._flights.get(key)
        if flight is not None and not flight.is_left:
            with anyio.fail_after(patience_s):
                reply = await flight.followed()
            return (await begin(), False) if reply is None else (reply, True)
        flight = self._flights[key] = _Flight(is_shared, landed, self._max_bytes, self._window_bytes)
        self._tasks.start_soon(self._fly, key, flight, begin)
        return await flight.led(), False

    def __len__(self) -> int:
        return len(self._flights)

    async def _fly(self, key: str, flight: "_Flight", begin: Begin) -> None:
        try:
            await flight.fly(begin)
        finally:
            if self._flights.get(key) is flight:
                del self._flights[key]


class _Flight:
    """Its head once it is known, then its pieces. ``_first`` is the number of the first piece that is held."""

    def __init__(self, is_shared: Callable[[Reply], bool], landed: Landed, max_bytes: int, window_bytes: int) -> None:
        self._is_shared, self._landed = is_shared, landed
        self._max_bytes, self._window_bytes = max_bytes, window_bytes
        self._head: Reply | None = None
        self._error: Exception | None = None
        self._pieces: list[bytes] = []
        self._first = self._held = self._size = 0
        self._furthest = 0  # the number of the piece that the fastest reader wants next
        self._readers = 1  # the leader
        self._is_over = False
        self.is_left = False  # by all its readers: it ends, and nobody may join it
        self._changed = anyio.Event()
        self._scope = anyio.CancelScope()

    async def fly(self, begin: Begin) -> None:
        """Carry the call, until it is over or nobody reads any more."""
        with self._scope:
            try:
                reply = await begin()
            except Exception as error:  # whatever it is, it is the leader's
                self._end(error)
                return
            self._head = reply
            self._turn()
            try:
                await self._carry(reply)
            except Exception as error:
                self._end(error)
            finally:
                with anyio.move_on_after(CLOSE_BOUND_S, shield=True):
                    await reply.body.aclose()
        if not self._is_over:
            self._end(anyio.ClosedResourceError())

    async def led(self) -> Reply:
        """The reply for who began. Raises what beginning it raised."""
        await self._until_begun()
        if self._error is not None and self._head is None:
            raise self._error
        return await self._reply()

    async def _until_begun(self) -> None:
        try:
            while self._head is None and self._error is None:
                await self._changed.wait()
        except BaseException:
            self._leave()
            raise

    async def _reply(self) -> Reply:
        if self._head is None:
            raise RuntimeError("a flight without a head has no reply")
        return Reply(self._head.status, self._head.headers, await begun(self._read()))

    async def followed(self) -> Reply | None:
        """The reply for who joined; None: it is for the leader alone."""
        self._readers += 1
        await self._until_begun()
        if self._head is None or not self._is_shared(self._head) or self._first > 0:
            self._leave()
            return None
        return await self._reply()

    async def _read(self) -> AsyncGenerator[bytes, None]:
        """First an empty piece."""
        number = 0
        try:
            yield b""
            while await self._has(number):
                piece = self._pieces[number - self._first]
                number += 1
                if number > self._furthest:
                    self._furthest = number
                    self._turn()
                yield piece
        finally:
            self._leave()

    async def _has(self, number: int) -> bool:
        """Wait for a piece; False: there is none any more. Raises FellBehind, and what ended the flight."""
        while number - self._first >= len(self._pieces):
            if self._error is not None:
                raise self._error
            if self._is_over:
                return False
            await self._changed.wait()
        if number < self._first:
            raise FellBehind
        return True

    async def _carry(self, reply: Reply) -> None:
        async for piece in reply.body:
            self._pieces.append(piece)
            self._held += len(piece)
            self._size += len(piece)
            self._turn()
            if self._size > self._max_bytes:
                await self._slide()
            if self._size == reply.length:
                self._end(None)  # it is whole: who has read it may leave before the exchange says so
        self._end(None)  # and nobody waits until it is kept
        if self._size <= self._max_bytes and self._is_shared(reply):
            await self._landed(Whole(reply.status, reply.headers, b"".join(self._pieces)))

    async def _slide(self) -> None:
        """Drop what is out of the window, but for the fastest reader's next piece; wait for that one to go on."""
        while self._held > self._window_bytes:
            while self._first < self._furthest and self._held > self._window_bytes:
                self._held -= len(self._pieces.pop(0))
                self._first += 1
            if self._held > self._window_bytes:
                await self._changed.wait()
        self._turn()

    def _end(self, error: Exception | None) -> None:
        if not self._is_over:
            self._is_over, self._error = True, error
            self._turn()

    def _leave(self) -> None:
        self._readers -= 1
        if self._readers == 0 and not self._is_over:
            self.is_left = True
            self._scope.cancel()

    def _turn(self) -> None:
        changed, self._changed = self._changed, anyio.Event()
        changed.set()
