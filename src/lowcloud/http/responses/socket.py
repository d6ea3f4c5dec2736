"""The WebSocket of responses: one connection, whose messages are answered one after another."""

from collections import deque
from dataclasses import dataclass

import anyio
from structlog.typing import FilteringBoundLogger

from lowcloud.core.errors import BadRequest, BodyTooLarge, LowcloudError, Overloaded
from lowcloud.http.call import Admit, Call, Wire
from lowcloud.http.clock import Clock
from lowcloud.http.encode import to_json
from lowcloud.http.responses.builder import OVER, Fields
from lowcloud.http.responses.events import socket_error
from lowcloud.http.responses.memory import Memory
from lowcloud.http.responses.orders import Tools
from lowcloud.http.responses.turns import Turns
from lowcloud.http.socket_connection import DRAIN
from lowcloud.http.watch import ClientLeft, only

IDLE_S = 1_800.0
MOST_WAITING = 16
LAST = frozenset(OVER.values())  # the events that end a response
MEMORY_BODIES = 4  # as many of the largest messages as are remembered of responses that aren't stored
NORMAL, GOING_AWAY = 1000, 1001


@dataclass(frozen=True, slots=True)
class Farewell:
    """Why a connection is closed by us."""

    code: int
    reason: str


IDLE = Farewell(NORMAL, f"no response was asked for within {IDLE_S:g} s")
STOPPING = Farewell(GOING_AWAY, "the server is stopping")


class Sockets:
    """Handles WebSockets. A message, and all that wait while a response runs, have at most ``most_bytes``."""

    def __init__(self, tools: Tools, most_bytes: int, logger: FilteringBoundLogger) -> None:
        self._tools, self._most_bytes, self._logger = tools, most_bytes, logger

    async def open(self, call: Call, admit: Admit, wire: Wire) -> None:
        """Serve one until either side ends it. Raises ClientLeft where that cut a response off, WriteTimeout."""
        memory = Memory(MEMORY_BODIES * self._most_bytes)
        turns = Turns(self._tools, call, admit, memory, self._logger)
        await _Connection(wire, turns, Inbox(self._most_bytes), self._tools.clock).run()


class Inbox:
    """Messages that wait for those before them; bounded. It ends with a farewell."""

    def __init__(self, most_bytes: int) -> None:
        self._most_bytes = most_bytes
        self._waiting: deque[bytes] = deque()
        self._changed = anyio.Event()
        self._farewell: Farewell | None = None

    def put(self, message: bytes) -> None:
        """Raises BodyTooLarge, Overloaded."""
        if len(message) > self._most_bytes:
            raise BodyTooLarge(f"The message is larger than {self._most_bytes} bytes (server.max_body_bytes).")
        n_bytes = len(message) + sum(map(len, self._waiting))
        if len(self._waiting) >= MOST_WAITING or n_bytes > self._most_bytes:
            raise Overloaded("Too many messages wait for the responses before them; one runs at a time.")
        if self._farewell is None:
            self._waiting.append(message)
            self._changed.set()

    def end(self, farewell: Farewell) -> None:
        """Nothing comes any more behind what waits."""
        self._farewell = self._farewell or farewell
        self._changed.set()

    async def next(self) -> bytes | Farewell:
        """The next message, or the end."""
        while not self._waiting:
            if self._farewell is not None:
                return self._farewell
            self._changed = anyio.Event()
            await self._changed.wait()
        return self._waiting.popleft()


class _Connection:
    def __init__(self, wire: Wire, turns: Turns, inbox: Inbox, clock: Clock) -> None:
        self._wire, self._turns, self._inbox, self._clock = wire, turns, inbox, clock
        self._is_busy = False

    async def run(self) -> None:
        if (await self._wire.receive())["type"] != "websocket.connect":
            raise ClientLeft
        await self._wire.send({"type": "websocket.accept"})
        try:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(self._read, tasks.cancel_scope)
                await self._answer()
                tasks.cancel_scope.cancel()
        except BaseExceptionGroup as raised:
            raise only(raised) from None
        if self._is_busy:
            raise ClientLeft

    async def _answer(self) -> None:
        while isinstance(message := await self._next(), bytes):
            self._is_busy = True
            await self._turns.answer(message, self._tell)
            self._is_busy = False
        await self._wire.send({"type": "websocket.close", "code": message.code, "reason": message.reason})

    async def _next(self) -> bytes | Farewell:
        """The next message, or why there is none: the connection may rest for ``IDLE_S``."""
        async with anyio.create_task_group() as tasks:

            async def give_up() -> None:
                await self._clock.sleep(IDLE_S)
                self._inbox.end(IDLE)

            tasks.start_soon(give_up)
            message = await self._inbox.next()
            tasks.cancel_scope.cancel()
        return message

    async def _read(self, scope: anyio.CancelScope) -> None:
        """Take what comes at any time, so that a client that leaves is noticed within a response too."""
        while True:
            message = await self._wire.receive()
            if message["type"] == "websocket.disconnect":
                self._turns.has_left = True
                scope.cancel()
                return
            if message["type"] == DRAIN:
                self._inbox.end(STOPPING)
            else:
                await self._take(message.get("text"))

    async def _take(self, text: str | None) -> None:
        try:
            if text is None:
                raise BadRequest("A message must be text; this one is binary.")
            self._inbox.put(text.encode())
        except LowcloudError as error:
            await self._tell(socket_error(error))

    async def _tell(self, event: Fields) -> None:
        """A client that has the last event of a response may leave at once: it hasn't left within one."""
        with anyio.CancelScope(shield=event["type"] in LAST):
            await self._wire.send({"type": "websocket.send", "text": to_json(event).decode()})
