"""Owns what must run for models to answer: builds an engine at its first use, runs its runtime, ends all at exit.

Everything happens on one event loop, so there are no locks. A runtime runs in a task of the pool's, never in a
request's: a client that leaves while a model loads doesn't stop the load.
"""

import time
from collections.abc import AsyncGenerator, Callable, Collection, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from types import TracebackType
from typing import TypeAlias

import anyio
import anyio.abc
import anyio.to_thread
import structlog

from lowcloud.core.errors import LowcloudError, ModelNotFound, Unavailable
from lowcloud.engines.engine import Classifier, Embedder, Engine, Reranker, Runtime, RuntimeState

Served: TypeAlias = Engine | Embedder | Reranker | Classifier
_BUILDERS = 2


@dataclass(frozen=True, slots=True)
class Hosted:
    """An engine and what must run for it. ``load_wait_s`` None: the pool's; longer while a model converts."""

    engine: Served
    runtime: Runtime | None = None
    load_wait_s: float | None = None


@dataclass(frozen=True, slots=True)
class ModelStatus:
    """What a model's runtime does now; ``note`` is one line for people."""

    id: str
    state: RuntimeState
    note: str
    preload: bool


class _Entry:
    """One model that was asked for: being built, built, running, or gone. ``waiting``: who waits for its runtime."""

    def __init__(self) -> None:
        self.hosted: Hosted | None = None
        self.error: LowcloudError | None = None
        self.settled = anyio.Event()
        self.is_running = False
        self.is_gone = False
        self.waiting: set[anyio.CancelScope] = set()


class Pool:
    """An async context manager; enter and leave it in one task. ``hosted`` has a factory a card id.

    A factory is called off the loop at the first use; a runtime starts at the first lease, or at once for the ids in
    ``preload``. An engine that can't be built, or whose runtime ends by itself, is built anew at the next use.
    """

    def __init__(
        self, hosted: Mapping[str, Callable[[], Hosted]], *, load_wait_s: float, preload: Collection[str] = ()
    ) -> None:
        self._factories = dict(hosted)
        self._load_wait_s = load_wait_s
        self._preload = frozenset(preload)
        self._entries: dict[str, _Entry] = {}
        self._tasks: anyio.abc.TaskGroup | None = None
        self._builders = anyio.CapacityLimiter(_BUILDERS)
        self._log = structlog.get_logger("lowcloud.pool")

    async def __aenter__(self) -> "Pool":
        self._tasks = await anyio.create_task_group().__aenter__()
        for card_id in sorted(self._preload):
            self._tasks.start_soon(self._load, card_id)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool | None:
        tasks, self._tasks = self._open(), None
        tasks.cancel_scope.cancel()
        return await tasks.__aexit__(kind, error, trace)

    async def engine(self, card_id: str) -> Served:
        """The engine, whether or not its runtime is up: enough to check, render and count. Raises Unavailable."""
        return _hosted(await self._built(card_id)).engine

    @asynccontextmanager
    async def lease(self, card_id: str) -> AsyncGenerator[Served, None]:
        """The engine, ready to answer. Raises Unavailable when it doesn't load in time or is in restart backoff."""
        asked = time.monotonic()
        entry = await self._built(card_id)
        hosted = _hosted(entry)
        if hosted.runtime is not None:
            self._start(card_id, entry, hosted.runtime)
            wait_s = self._load_wait_s if hosted.load_wait_s is None else hosted.load_wait_s
            await _until_ready(entry, hosted.runtime, asked, wait_s)
        yield hosted.engine

    def status(self) -> tuple[ModelStatus, ...]:
        """Every model, in the order of the factories."""
        return tuple(self._status(card_id) for card_id in self._factories)

    def is_ready(self) -> bool:
        """Whether the pool is open and every model of ``preload`` can answer."""
        loaded = {status.id for status in self.status() if status.state == "ready"}
        return self._tasks is not None and self._preload <= loaded

    def _status(self, card_id: str) -> ModelStatus:
        entry = self._entries.get(card_id)
        preload = card_id in self._preload
        if entry is None:
            return ModelStatus(card_id, "stopped", "not asked for yet", preload)
        if entry.hosted is None:
            return ModelStatus(card_id, "starting", "being prepared", preload)
        runtime = entry.hosted.runtime
        if runtime is None:
            return ModelStatus(card_id, "ready", "", preload)
        return ModelStatus(card_id, runtime.state, runtime.note, preload)

    async def _built(self, card_id: str) -> _Entry:
        entry = self._entries.get(card_id)
        if entry is None:
            if card_id not in self._factories:
                raise ModelNotFound(card_id)
            entry = _Entry()
            self._open().start_soon(self._build, card_id, entry)
            self._entries[card_id] = entry
        with anyio.move_on_after(self._load_wait_s):
            await entry.settled.wait()
        if not entry.settled.is_set():
            raise _still_loading(self._load_wait_s)
        return entry

    async def _build(self, card_id: str, entry: _Entry) -> None:
        try:
            entry.hosted = await anyio.to_thread.run_sync(
                self._factories[card_id], limiter=self._builders, abandon_on_cancel=True
            )
        except LowcloudError as error:
            self._log.error("model can't be built", model=card_id, reason=str(error), exc_info=error.__cause__)
            entry.error = error
        except Exception:  # the outermost place of this task: a broken model must not end the server
            self._log.exception("model can't be built", model=card_id)
        finally:
            if entry.hosted is None:
                del self._entries[card_id]
            entry.settled.set()

    def _start(self, card_id: str, entry: _Entry, runtime: Runtime) -> None:
        if not entry.is_running:
            self._open().start_soon(self._run, card_id, entry, runtime)
            entry.is_running = True

    async def _run(self, card_id: str, entry: _Entry, runtime: Runtime) -> None:
        structlog.contextvars.clear_contextvars()  # it outlives the request that started it, and serves others
        try:
            await runtime.run()
            self._log.error("model's runtime ended", model=card_id)
        except Exception:  # the outermost place of this task, as above
            self._log.exception("model's runtime failed", model=card_id)
        finally:
            del self._entries[card_id]
            entry.is_gone = True
            for scope in entry.waiting:
                scope.cancel()

    async def _load(self, card_id: str) -> None:
        try:
            async with self.lease(card_id):
                self._log.info("model loaded", model=card_id)
        except LowcloudError as error:
            self._log.error("model not loaded", model=card_id, reason=str(error))

    def _open(self) -> anyio.abc.TaskGroup:
        if self._tasks is None:
            raise Unavailable("The server is stopping.")
        return self._tasks


async def _until_ready(entry: _Entry, runtime: Runtime, asked: float, wait_s: float) -> None:
    """Return when the runtime is up. Raises Unavailable ``wait_s`` after ``asked``, or once the runtime has ended."""
    with anyio.move_on_after(asked + wait_s - time.monotonic()) as scope:
        entry.waiting.add(scope)
        try:
            await runtime.ready()
        finally:
            entry.waiting.discard(scope)
    if scope.cancelled_caught:
        raise _could_not_start() if entry.is_gone else _still_loading(wait_s)


def _hosted(entry: _Entry) -> Hosted:
    if entry.hosted is None:
        raise entry.error or _could_not_start()
    return entry.hosted


def _still_loading(waited_s: float) -> Unavailable:
    return Unavailable(f"The model is still loading after {waited_s:g} s; try again later.")


def _could_not_start() -> Unavailable:
    return Unavailable("The model could not be started.")
