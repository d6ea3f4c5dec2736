"""A model's worker process: started, supervised, restarted with backoff, and spoken to in frames.

A ``Client`` is one unit of work: a sequence, or an input to encode. It is opened once; its frame goes to the worker as
soon as that is ready, and again, as the client then words it, to each worker that follows one that died. So a death is
nothing to a client but a pause, until the third. Everything here runs on one event loop.
"""

import sys
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeAlias

import anyio
import structlog

from lowcloud.core.errors import EngineFailed, InternalError, LowcloudError, ModelUnusable, Overloaded, Unavailable
from lowcloud.engines.engine import RuntimeState
from lowcloud.engines.local.backoff import Backoff, Death, restart_at
from lowcloud.engines.local.frames import (
    Accepted,
    Cancel,
    Counted,
    Encode,
    Failed,
    Finish,
    Frame,
    Ready,
    Refused,
    Step,
    Submit,
    Vectors,
)
from lowcloud.engines.local.link import Link, log_lines, start_worker
from lowcloud.engines.local.spec import LOAD_S, WorkerSpec

MAX_DEATHS = 3
MAX_CLIENTS = 8192
MAX_UNSENT_BYTES = 64 * 2**20
_DEATHS_KEPT = 64
_RETRY_S = 5.0


@dataclass(frozen=True, slots=True)
class Output:
    """A sequence's part of one step, as ``frames.Step`` has it."""

    tokens: list[int]
    logprobs: list[Any] | None
    finish: Finish | None
    predicted: tuple[int, int] = (0, 0)


@dataclass(frozen=True, slots=True)
class Vector:
    """An encoded input: little-endian float32 bytes of the unit vector."""

    data: bytes


Part: TypeAlias = Accepted | Counted | Refused | Output | Vector


class Client(Protocol):
    """Work for a worker. The methods are called on the event loop; they neither wait nor raise."""

    def frame(self, number: int) -> Submit | Encode:
        """What a worker that knows nothing of this client must get; ``number`` goes into ``seq`` or ``job``."""

    def take(self, part: Part) -> None:
        """What the worker says to this client."""

    def fail(self, error: LowcloudError) -> None:
        """Nothing comes any more: three deaths, or the process is stopped. The client is closed already."""


class Meter(Protocol):
    """Where the numbers of a worker go."""

    def step(  # noqa: PLR0913 - the numbers of one step, each by its name
        self, model: str, *, running: int, waiting: int, kv_used: int, kv_blocks: int, swapped: int, preemptions: int
    ) -> None: ...
    def restart(self, model: str) -> None: ...


@dataclass(frozen=True, slots=True)
class Supervision:
    """``command`` gets the spec as JSON and a socket's number as its last two arguments.

    A worker that isn't ready after ``load_timeout_s`` is killed; one that is told to end has ``grace_s`` for it.
    """

    command: tuple[str, ...] = (sys.executable, "-P", "-m", "lowcloud.engines.local.worker")
    backoff: Backoff = field(default_factory=Backoff)
    load_timeout_s: float = LOAD_S
    grace_s: float = 2.0


class WorkerProcess:
    """The ``Runtime`` of one local model. ``model`` is its card's id, for logs and numbers; ``clock`` in seconds."""

    def __init__(
        self,
        spec: WorkerSpec,
        model: str,
        meter: Meter,
        *,
        supervision: Supervision | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._spec, self._model, self._meter = spec, model, meter
        self._how = supervision or Supervision()
        self._clock = clock
        self._log = structlog.get_logger("lowcloud.worker").bind(model=model)
        self._clients: dict[int, _Entry] = {}
        self._last_number = 0
        self._link: Link | None = None
        self._loaded: Ready | None = None
        self._ready_since: float | None = None
        self._failure: str | None = None
        self._deaths: deque[Death] = deque(maxlen=_DEATHS_KEPT)
        self._restart_at = 0.0
        self._state: RuntimeState = "stopped"
        self._note = "not started yet"
        self._changed = anyio.Event()

    @property
    def spec(self) -> WorkerSpec:
        return self._spec

    @property
    def state(self) -> RuntimeState:
        return self._state

    @property
    def note(self) -> str:
        return self._note

    @property
    def loaded(self) -> Ready | None:
        """What the last worker that came up said of itself."""
        return self._loaded

    @property
    def pid(self) -> int | None:
        """The present worker's process id."""
        return self._link.pid if self._link else None

    def open(self, client: Client) -> int:
        """Give a client to the worker, now or when it is ready. Returns its number, unique in this process.

        Raises Overloaded when too many are open, or when the worker doesn't read what it is sent.
        """
        if len(self._clients) >= MAX_CLIENTS or (self._link and self._link.unsent_bytes > MAX_UNSENT_BYTES):
            raise Overloaded("The model's process has more work than it can take.", retry_after_s=_RETRY_S)
        self._last_number += 1
        self._clients[self._last_number] = _Entry(client)
        if self._state == "ready":
            self._send(client.frame(self._last_number))
        return self._last_number

    def close(self, number: int) -> None:
        """Forget a client, and have the worker forget it. A number that isn't open is no error."""
        if self._clients.pop(number, None) and self._state == "ready":
            self._send(Cancel(number))

    async def ready(self) -> None:
        while self._state != "ready":
            if self._state == "backoff":
                kind = ModelUnusable if self._failure else Unavailable
                retry_after_s = max(1.0, self._restart_at - self._clock())
                raise kind(f"The model can't answer now: {self._note}.", retry_after_s=retry_after_s)
            await self._changed.wait()

    async def run(self) -> None:
        try:
            while True:
                self._bury(await self._life())
                await self._wait_for_restart()
                self._meter.restart(self._model)
        finally:
            self._turn("stopped", "stopped")
            for number in list(self._clients):
                self._fail(number, Unavailable("The model was stopped.", retry_after_s=_RETRY_S))

    async def _life(self) -> str:
        """Start a worker and serve it until it is gone. Returns how it ended."""
        self._failure, self._ready_since = None, None
        self._turn("starting", "loading")
        try:
            link = await start_worker(self._how.command, self._spec, self._received)
        except OSError as error:
            return f"its process can't be started ({error.strerror})"
        self._link = link
        try:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(log_lines, link.output, lambda line: self._log.info("worker says", line=line))
                tasks.start_soon(self._watch_load, link)
                await link.gone()
                tasks.cancel_scope.cancel()
        finally:
            self._link = None
            with anyio.CancelScope(shield=True):
                ended = await link.end(self._how.grace_s)
        return self._failure or ended

    async def _watch_load(self, link: Link) -> None:
        await anyio.sleep(self._how.load_timeout_s)
        if self._state == "starting":
            self._failure = f"it did not load in {self._how.load_timeout_s:g} s"
            link.kill()

    def _bury(self, how: str) -> None:
        now = self._clock()
        ready_s = 0.0 if self._ready_since is None else max(now - self._ready_since, sys.float_info.min)
        self._deaths.append(Death(now, ready_s))
        self._log.warning("worker ended", how=how, open=len(self._clients))
        if self._spec.kind in ("text", "vision"):
            self._measure([0, 0, 0, 0, 0, 0])
        self._restart_at = restart_at(self._deaths, self._how.backoff)
        for number, entry in list(self._clients.items()):
            entry.deaths += 1
            if entry.deaths >= MAX_DEATHS:
                message = f"The model's process ended {MAX_DEATHS} times while it worked on this request: {how}."
                self._fail(number, EngineFailed(message))
        self._note = how

    async def _wait_for_restart(self) -> None:
        delay_s = self._restart_at - self._clock()
        if delay_s > 0:
            self._turn("backoff", self._note)
            await anyio.sleep(delay_s)

    def _received(self, frame: Frame) -> None:
        """Every frame of the worker comes here, in order."""
        match frame:
            case Step(outputs, stats):
                for number, *output in outputs:
                    part = Output(*output)
                    self._give(number, part, is_last=part.finish is not None)
                self._measure(stats)
            case Vectors(outputs):
                for number, data in outputs:
                    self._give(number, Vector(data), is_last=True)
            case Accepted(seq=number) | Counted(seq=number):
                self._give(number, frame, is_last=False)
            case Refused(seq=number):
                self._give(number, frame, is_last=True)
            case Ready():
                self._came_up(frame)
            case Failed(message):
                self._failure = message
            case _:
                raise ValueError(f"a worker doesn't send {type(frame).__name__}")

    def _give(self, number: int, part: Part, *, is_last: bool) -> None:
        """What comes for a closed client is dropped: its ``Cancel`` is on its way."""
        entry = self._clients.get(number)
        if entry is None:
            return
        if is_last:
            del self._clients[number]
        try:
            entry.client.take(part)
        except Exception:  # the outermost place of this callback: one client's fault must not end the others
            self._log.exception("a client could not take what the worker sent")
            self.close(number)
            entry.client.fail(InternalError("The server could not read the model's answer."))

    def _came_up(self, ready: Ready) -> None:
        self._loaded, self._ready_since = ready, self._clock()
        self._turn("ready", ready.note or ready.weights)
        for number, entry in self._clients.items():
            self._send(entry.client.frame(number))

    def _measure(self, stats: list[int]) -> None:
        waiting, running, used, blocks, swapped, preemptions = stats
        self._meter.step(
            self._model,
            running=running,
            waiting=waiting,
            kv_used=used,
            kv_blocks=blocks,
            swapped=swapped,
            preemptions=preemptions,
        )

    def _fail(self, number: int, error: LowcloudError) -> None:
        entry = self._clients.pop(number, None)  # another's failure may have closed it
        if entry:
            entry.client.fail(error)

    def _send(self, frame: Frame) -> None:
        if self._link:
            self._link.send(frame)

    def _turn(self, state: RuntimeState, note: str) -> None:
        self._state, self._note = state, note
        changed, self._changed = self._changed, anyio.Event()
        changed.set()


class _Entry:
    """An open client and how many deaths it has seen."""

    __slots__ = ("client", "deaths")

    def __init__(self, client: Client) -> None:
        self.client = client
        self.deaths = 0
