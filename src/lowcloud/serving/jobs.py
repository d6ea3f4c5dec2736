"""Runs jobs: leases them, keeps the leases while it works, and stores what comes of each, once.

A job starts three times at most: anew where its server died, and a while after an error that may pass. A server that
stops gives its jobs back, as if they had not been started.
"""

import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import anyio
import structlog

from lowcloud.core.errors import InternalError, LowcloudError, Overloaded, RequestTimeout, Unavailable
from lowcloud.storage.jobs import STARTS, GroupState, JobError, JobGroup, JobStore, LeasedJob, NewJob
from lowcloud.storage.writer import Work

POLL_S = 5.0  # what another server has left undone is found by looking
RELEASE_S = 10.0
CLEAN_S = 60.0
CLEANED = 1_000  # at once
RETRY_S = 30.0
RETRY_GROWTH = 8.0


class Handler(Protocol):
    """Runs the jobs of one kind."""

    async def run(self, job: LeasedJob) -> bytes:
        """The result, as JSON. Raises LowcloudError; a second start of the same job does the same again."""

    def failure(self, job: LeasedJob, error: LowcloudError) -> JobError:
        """What the job's account is told of an error."""


class JobMeter(Protocol):
    """Where the numbers of jobs go."""

    def queued_jobs(self, kind: str, jobs: int, /) -> None: ...
    def running_jobs(self, kind: str, jobs: int, /) -> None: ...
    def job(self, kind: str, outcome: str, /) -> None: ...


@dataclass(frozen=True, slots=True)
class RunnerLimits:
    """``concurrency`` jobs of each kind run here at once; a lease ends ``lease_s`` after it was renewed, a job is gone
    ``kept_s`` after it was asked for."""

    concurrency: int = 8
    lease_s: float = 30.0
    kept_s: float = 172_800.0


def retry_after_s(error: LowcloudError, attempt: int) -> float | None:
    """Seconds until a job that has failed is started again; None: it isn't, and the error is what came of it."""
    may_pass = isinstance(error, Unavailable | Overloaded | RequestTimeout) and error.is_worth_a_retry
    if attempt >= STARTS or not may_pass:
        return None
    return max(error.retry_after_s or 0.0, RETRY_S * RETRY_GROWTH ** (attempt - 1))


class JobRunner:
    """Queues jobs, and runs them while ``run`` does. ``clock`` gives seconds since 1970."""

    def __init__(
        self,
        store: JobStore,
        limits: RunnerLimits = RunnerLimits(),
        *,
        meter: JobMeter | None = None,
        clock: Callable[[], float] = time.time,
        sleep: Callable[[float], Awaitable[None]] = anyio.sleep,
    ) -> None:
        self._store, self._limits = store, limits
        self._meter, self._clock, self._sleep = meter, clock, sleep
        self._crews: dict[str, _Crew] = {}
        self._scope: anyio.CancelScope | None = None
        self._log = structlog.get_logger("lowcloud.jobs")

    def add(self, kind: str, handler: Handler) -> None:
        """Have ``handler`` run the jobs of a kind, from the next ``run`` on."""
        self._crews[kind] = _Crew(kind, handler, self._store, self._limits, self._sleep, self._meter)

    def check(self, n_jobs: int) -> None:
        """Raises BodyTooLarge for more than an account may have queued at all."""
        self._store.check(n_jobs)

    async def enqueue(self, kind: str, group_id: str, account_id: str, new: Sequence[NewJob]) -> None:
        """Queue all jobs of a new group, or none. Raises Overloaded where the account has too many already."""
        await self._store.enqueue(self._group(kind, group_id, account_id), new)
        self.wake(kind)

    def queueing(self, kind: str, group_id: str, account_id: str, new: Sequence[NewJob]) -> Work:
        """What ``enqueue`` does, for another's transaction; call ``wake`` once that is committed."""
        return self._store.queueing(self._group(kind, group_id, account_id), new)

    def wake(self, kind: str) -> None:
        """There may be a job of this kind to start."""
        self._crews[kind].wake()

    async def group(self, kind: str, account_id: str, group_id: str) -> GroupState | None:
        """One of an account's groups; None: there is none of that kind and id, or not any more."""
        return await self._store.group(kind, account_id, group_id)

    async def run(self) -> None:
        """Until ``stop``, or cancelled; jobs under way are given back then."""
        with anyio.CancelScope() as self._scope:
            async with anyio.create_task_group() as tasks:
                for crew in self._crews.values():
                    tasks.start_soon(crew.run)
                tasks.start_soon(self._clean)

    def stop(self) -> None:
        """Start no more jobs, and give back those under way."""
        if self._scope is not None:
            self._scope.cancel()

    def _group(self, kind: str, group_id: str, account_id: str) -> JobGroup:
        return JobGroup(group_id, kind, account_id, self._clock() + self._limits.kept_s)

    async def _clean(self) -> None:
        while True:
            try:
                while await self._store.delete_expired(CLEANED) == CLEANED:
                    pass
            except Exception:  # the outermost loop: it may go the next time
                self._log.exception("expired jobs can't be deleted")
            await self._sleep(CLEAN_S)


class _Crew:
    """The jobs of one kind that run here."""

    def __init__(
        self,
        kind: str,
        handler: Handler,
        store: JobStore,
        limits: RunnerLimits,
        sleep: Callable[[float], Awaitable[None]],
        meter: JobMeter | None,
    ) -> None:
        self._kind, self._handler, self._store = kind, handler, store
        self._limits, self._sleep, self._meter = limits, sleep, meter
        self._held: dict[LeasedJob, anyio.CancelScope] = {}
        self._bell = anyio.Event()
        self._log = structlog.get_logger("lowcloud.jobs").bind(kind=kind)

    def wake(self) -> None:
        """There may be a job to start."""
        self._bell.set()

    async def run(self) -> None:
        """Until cancelled."""
        try:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(self._look)
                tasks.start_soon(self._keep)
                while True:
                    bell = self._bell = anyio.Event()
                    for job in await self._leased():
                        tasks.start_soon(self._work, job, self._held[job])
                    await bell.wait()
        finally:
            with anyio.move_on_after(RELEASE_S, shield=True):
                await self._give_back()

    async def _give_back(self) -> None:
        if not self._held:
            return
        try:
            await self._store.release(self._held)
        except Exception:  # the outermost place of this task: the leases lapse
            self._log.exception("jobs can't be given back", jobs=len(self._held))

    async def _look(self) -> None:
        while True:
            await self._count()
            await self._sleep(POLL_S)
            self.wake()

    async def _count(self) -> None:
        if self._meter is None:
            return
        try:
            self._meter.queued_jobs(self._kind, await self._store.queued(self._kind))
        except Exception:  # the outermost loop: the next look counts again
            self._log.exception("jobs can't be counted")

    def _holds(self) -> None:
        """What is held has changed."""
        if self._meter is not None:
            self._meter.running_jobs(self._kind, len(self._held))

    async def _keep(self) -> None:
        """Renew the leases in time; give up the jobs whose leases are another's by now."""
        while True:
            await self._sleep(self._limits.lease_s / 3)
            asked = tuple(self._held)
            if not asked:
                continue
            try:
                kept = await self._store.renew(asked, self._limits.lease_s)
            except Exception:  # the outermost loop: the leases last for two more tries
                self._log.exception("leases can't be renewed")
                continue
            for job in set(asked).difference(kept) & self._held.keys():
                self._log.warning("a job is another's by now", job=job.id, attempt=job.attempt)
                self._held.pop(job).cancel()

    async def _leased(self) -> tuple[LeasedJob, ...]:
        """As many jobs as there is room for. A lease that is taken is noted, whoever cancels."""
        room = self._limits.concurrency - len(self._held)
        if room <= 0:
            return ()
        with anyio.CancelScope(shield=True):
            try:
                jobs = await self._store.lease(self._kind, self._limits.lease_s, room)
            except Exception:  # the outermost loop: the next look tries again
                self._log.exception("jobs can't be leased")
                return ()
        self._held.update({job: anyio.CancelScope() for job in jobs})
        self._holds()
        return jobs

    async def _work(self, job: LeasedJob, scope: anyio.CancelScope) -> None:
        """A job that is cancelled with its crew stays held, for ``run`` to release."""
        with structlog.contextvars.bound_contextvars(job=job.id), scope:
            try:
                await self._run(job)
            except Exception:  # the outermost place of this task: the lease lapses, and the job starts again
                self._log.exception("a job's end can't be stored", attempt=job.attempt)
            self._held.pop(job, None)
            self._holds()
        self.wake()

    async def _run(self, job: LeasedJob) -> None:
        outcome = await self._outcome(job)
        if isinstance(outcome, float):
            self._log.info("a job is to be started again", attempt=job.attempt, after_s=outcome)
            await self._store.renew([job], outcome)
        else:
            state = "failed" if isinstance(outcome, JobError) else "done"
            if await self._store.finish(job, outcome) and self._meter is not None:
                self._meter.job(self._kind, state)
            self._log.info("job", outcome=state, attempt=job.attempt, account=job.account_id)

    async def _outcome(self, job: LeasedJob) -> str | JobError | float:
        """What came of a job; or the seconds after which it is to be started again."""
        try:
            return (await self._handler.run(job)).decode()
        except LowcloudError as error:
            wait_s = retry_after_s(error, job.attempt)
            return self._handler.failure(job, error) if wait_s is None else wait_s
        except Exception:  # the outermost place of a job's own code: what it is goes to the log and nowhere else
            self._log.exception("a job failed", attempt=job.attempt)
            details = f"The server's log has the details under the job {job.id}."
            return self._handler.failure(job, InternalError(f"Internal server error. {details}"))
