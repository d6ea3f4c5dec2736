"""Responses that run later: a job each, which a second start does again just as before."""

import json
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import anyio
import structlog

from lowcloud.core.errors import EngineFailed, LowcloudError, Unavailable
from lowcloud.core.requests import Caller, Generate
from lowcloud.http.call import Trace
from lowcloud.http.clock import Clock
from lowcloud.http.encode import to_json
from lowcloud.http.offload import Offload
from lowcloud.http.responses.builder import Fields, Pieces, error_fields, snapshot
from lowcloud.http.responses.context import context
from lowcloud.http.responses.events import sse
from lowcloud.http.responses.live import Live
from lowcloud.http.responses.request import ResponseAsked, response_asked
from lowcloud.http.responses.run import Maker, Order, Told, kept, new_response, shown
from lowcloud.serving.jobs import JobRunner, retry_after_s
from lowcloud.storage.jobs import GroupState, JobError, LeasedJob, NewJob
from lowcloud.storage.responses import OVER, Kept, ResponseStore

KIND = "response"
LOOK_S = 2.0  # another server may have been told to cancel what runs here
DONE = b"{}"  # of a job; what came of it is in its response


@dataclass(slots=True)
class _Running:
    live: Live = field(default_factory=Live)
    scope: anyio.CancelScope = field(default_factory=anyio.CancelScope)


class Background:
    """Queues responses and runs them. ``new_seed`` draws the seed of those that bring none."""

    def __init__(
        self,
        maker: Maker,
        store: ResponseStore,
        jobs: JobRunner,
        offload: Offload,
        clock: Clock,
        new_seed: Callable[[], int],
    ) -> None:
        self._maker, self._store, self._jobs = maker, store, jobs
        self._offload, self._clock, self._new_seed = offload, clock, new_seed
        self._running: dict[str, _Running] = {}
        self._bell = anyio.Event()
        self._log = structlog.get_logger("lowcloud.responses")

    async def submit(self, order: Order, body: bytes, *, ignores_tools: bool) -> Fields:
        """Keep the response, queued, with the job that makes it; returns it. Raises Overloaded."""
        response = snapshot(order.plan.head, "queued")
        about = {"ignores_tools": ignores_tools, "created_at": response["created_at"], "body": body.decode()}
        job = NewJob(json.dumps(about), self._new_seed())
        new = new_response(order, response, [])
        queueing = self._jobs.queueing(KIND, order.plan.id, order.account_id, [job])
        await self._store.queue(replace(new, response=replace(new.response, pieces="")), queueing)
        self._jobs.wake(KIND)
        return response

    def live(self, response_id: str) -> Live | None:
        """The events of a response that runs here."""
        running = self._running.get(response_id)
        return running.live if running else None

    @property
    def bell(self) -> anyio.Event:
        """Set when the next response starts to run here."""
        return self._bell

    async def settled(self, response: Kept) -> Kept:
        """The response as it is: one whose job has given up, is over without it, or is gone, has failed."""
        if response.status in OVER or response.id in self._running:
            return response
        group = await self._jobs.group(KIND, response.account_id, response.id)
        if group is not None and not group.is_over:
            return response
        await self._fail(response, EngineFailed(_why(group)))
        return await self._store.get(response.account_id, response.id) or response

    async def cancel(self, account_id: str, response_id: str) -> Kept | None:
        """The response, which is over then; None: there is none of the account's."""
        running = self._running.get(response_id)
        if running is not None and await self._store.get(account_id, response_id) is not None:
            running.scope.cancel()
            await running.live.over()
        return await self._store.cancel(account_id, response_id)

    def forget(self, response_id: str) -> None:
        """Stop what runs of a response that was deleted."""
        if running := self._running.get(response_id):
            running.scope.cancel()

    async def run(self, job: LeasedJob) -> bytes:
        """Make one response, unless it is over or gone. Raises what is worth another start."""
        if not await self._store.start(job.account_id, job.group_id):
            return DONE
        running = self._running[job.group_id] = _Running()
        self._bell.set()
        self._bell = anyio.Event()
        try:
            await self._make(job, running)
        except LowcloudError as error:
            if _is_worth(error, job):
                running.live.close()  # those who follow it wait for the next start
                raise
            response = await self._store.get(job.account_id, job.group_id)
            if response is not None:
                await self._fail(response, error)
        except anyio.get_cancelled_exc_class():
            running.live.close(Unavailable("The server is stopping; the response goes on once it is back."))
            raise
        finally:
            running.live.close()
            del self._running[job.group_id]
        return DONE

    def failure(self, _job: LeasedJob, error: LowcloudError) -> JobError:
        """What becomes of a job is told of its response."""
        return JobError(error.code, str(error))

    async def _make(self, job: LeasedJob, running: _Running) -> None:
        order = await self._order(job)
        trace = Trace(job.id, "POST", "", self._clock.monotonic(), account_id=job.account_id)
        begin = partial(self._maker.begin, order, Caller(job.account_id, "background"), trace)
        told = self._maker.told(order, begin, partial(self._keep, order), trace, partial(_is_worth, job=job))
        with running.scope:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(self._watch, job, running.scope)
                await self._tell(told.events(), told, running.live)
                tasks.cancel_scope.cancel()
        if running.scope.cancelled_caught and not told.has_ended:
            if await self._store.get(job.account_id, job.group_id) is None:
                return  # deleted: those who follow it find that out
            await self._tell(told.cancelled(), told, running.live)
        if told.has_ended:
            running.live.end()

    async def _tell(self, events: AsyncGenerator[Fields, None], told: Told, live: Live) -> None:
        try:
            async with aclosing(events):
                async for event in events:
                    live.add(sse(event))
        finally:
            await told.aclose()

    async def _order(self, job: LeasedJob) -> Order:
        """What was accepted, and just that: the items are those that were kept then. Raises LowcloudError."""
        about: dict[str, Any] = await self._offload.read(job.payload.encode(), lambda payload: payload)
        asked = await self._offload.read(
            about["body"].encode(), lambda raw: response_asked(raw, job.group_id, ignores_tools=about["ignores_tools"])
        )
        found = await self._store.context(job.account_id, job.group_id)
        seen = context(found[1] if found else ())
        order = self._maker.order(_seeded(asked, job.seed), job.group_id, job.account_id, seen, ())
        head = {**order.plan.head, "created_at": about["created_at"]}
        return replace(order, plan=replace(order.plan, head=head))

    async def _keep(self, order: Order, response: Fields, pieces: Pieces) -> Fields | None:
        """The response as it is then: where it was over already, what it was is what stays."""
        if await self._store.finish(kept(order, response, pieces)):
            return response
        stored = await self._store.get(order.account_id, order.plan.id)
        return None if stored is None else shown(stored)

    async def _watch(self, job: LeasedJob, scope: anyio.CancelScope) -> None:
        """Stop when it was cancelled or deleted elsewhere."""
        while True:
            await self._clock.sleep(LOOK_S)
            response = await self._store.get(job.account_id, job.group_id)
            if response is None or response.status in OVER:
                scope.cancel()

    async def _fail(self, response: Kept, error: LowcloudError) -> None:
        failed = {**json.loads(response.head), "status": "failed", "error": error_fields(error)}
        await self._store.finish(replace(response, status="failed", head=to_json(failed).decode(), pieces="[]"))


def _why(group: GroupState | None) -> str:
    """Why there is no end of a response whose job is over, or gone."""
    if group is None:
        return "It waited for longer than what is run later is kept."
    outcome = group.ended[0].outcome
    return outcome.message if isinstance(outcome, JobError) else "Its end could not be stored."


def _is_worth(error: LowcloudError, job: LeasedJob) -> bool:
    return retry_after_s(error, job.attempt) is not None


def _seeded(asked: ResponseAsked, seed: int) -> ResponseAsked:
    """With a seed where the body has none, so that a second start says the same as the first."""
    generate: Generate = asked.generate
    if generate.sampling.seed is not None:
        return asked
    return replace(asked, generate=replace(generate, sampling=replace(generate.sampling, seed=seed)))
