"""Work that is done later: every job ends with one result or one error, whoever dies on the way.

A runner leases jobs, renews its leases while it works, and finishes them. A lease that isn't renewed lapses, and the
job is anyone's again. Each start of a job has a number, its attempt: only the newest may renew or finish it.
"""

import json
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, Select, and_, delete, func, insert, select, update

from lowcloud.core.errors import RETRY_S, BodyTooLarge, Overloaded
from lowcloud.storage.database import Database
from lowcloud.storage.tables import jobs
from lowcloud.storage.writer import Work

QUEUED, RUNNING, DONE, FAILED = "queued", "running", "done", "failed"
STARTS = 3  # of a job, at most
HEAD_CHARS = 1_000
ROW_BYTES = 1_024  # what a job takes beside its payload or result, about; its reference and its error too


@dataclass(frozen=True, slots=True)
class JobLimits:
    """Jobs of an account that haven't ended, bytes of all that it has, bytes of one result and of those of a group."""

    jobs: int = 10_000
    size_bytes: int = 2**30
    result_bytes: int = 16 * 2**20
    group_bytes: int = 256 * 2**20


@dataclass(frozen=True, slots=True)
class JobGroup:
    """Jobs that one request asked for. ``kind`` says who runs them; they are gone at ``expires_at``, ended or not."""

    id: str
    kind: str
    account_id: str
    expires_at: float


@dataclass(frozen=True, slots=True)
class NewJob:
    """``payload`` is JSON: all that is needed to run it. ``seed`` makes a second start like the first."""

    payload: str
    seed: int
    external_reference: str | None = None


@dataclass(frozen=True, slots=True)
class LeasedJob:
    """A job that is the caller's to run, for a while."""

    id: str
    account_id: str
    group_id: str
    position: int
    attempt: int
    payload: str
    seed: int


@dataclass(frozen=True, slots=True)
class JobError:
    """Why a job failed, for its account to see."""

    code: str
    message: str


@dataclass(frozen=True, slots=True)
class EndedJob:
    """``outcome`` is JSON where the job is done."""

    position: int
    external_reference: str | None
    outcome: str | JobError


@dataclass(frozen=True, slots=True)
class GroupState:
    """How many jobs of a group are in each state; ``ended`` has all of them, in order, once none is left to run; until
    then ``head`` has the first characters of the payload of the first one left."""

    queued: int
    running: int
    done: int
    failed: int
    ended: tuple[EndedJob, ...] = ()
    head: str = ""

    @property
    def is_over(self) -> bool:
        """Whether every job has ended."""
        return not self.queued and not self.running


GAVE_UP = JobError("engine_failed", "It was started several times, and none of the starts came to an end.")
TOO_LARGE = JobError("engine_failed", "The result is too large to be kept, by itself or with the others asked for.")


class JobStore:
    """The jobs of one database. ``clock`` gives seconds since 1970."""

    def __init__(
        self, database: Database, limits: JobLimits = JobLimits(), clock: Callable[[], float] = time.time
    ) -> None:
        self._database = database
        self._limits = limits
        self._clock = clock
        self._served: dict[str, str] = {}  # the account that was last in turn, by kind

    async def enqueue(self, group: JobGroup, new: Sequence[NewJob]) -> None:
        """Queue a new group's jobs, at least one: all, or none where the account has too many (Overloaded).

        Raises as ``check`` does.
        """
        await self._database.writer.put(self.queueing(group, new))

    def queueing(self, group: JobGroup, new: Sequence[NewJob]) -> Work:
        """What ``enqueue`` does, for another's transaction, which it ends with Overloaded where it must."""
        now = self._clock()
        rows = [_row(group, position, job, now) for position, job in enumerate(new)]
        self.check(len(rows), sum(row["size_bytes"] for row in rows))

        def queue(connection: Connection) -> None:
            self._check_room(connection, group.account_id, rows)
            connection.execute(insert(jobs), rows)

        return queue

    def check(self, n_jobs: int, size_bytes: int = 0) -> None:
        """Raises BodyTooLarge for more than an account may have at all."""
        taken = size_bytes + ROW_BYTES * n_jobs
        if n_jobs > self._limits.jobs or taken > self._limits.size_bytes:
            most = f"At most {self._limits.jobs} requests of {self._limits.size_bytes} bytes in all"
            raise BodyTooLarge(f"{most} can wait to be run; these are {n_jobs} of {taken} bytes.")

    async def lease(self, kind: str, lease_s: float, limit: int) -> tuple[LeasedJob, ...]:
        """At most ``limit`` jobs to run: first those whose lease has lapsed, then accounts in turn, the oldest of each.

        One whose lease lapsed at its last start has failed.
        """
        now = self._clock()
        has_lapsed = _of_kind(kind, RUNNING) & (jobs.c.expires_at > now) & (jobs.c.lease_until <= now)
        lapsed = select(jobs).where(has_lapsed).order_by(jobs.c.lease_until)
        start = {"state": RUNNING, "attempts": jobs.c.attempts + 1, "lease_until": now + lease_s}

        def lease(connection: Connection) -> tuple[LeasedJob, ...]:
            is_last = has_lapsed & (jobs.c.attempts >= STARTS)
            connection.execute(update(jobs).where(is_last).values(_end(GAVE_UP, now)))
            rows = _changed(connection, lapsed.limit(limit), start)
            rows += self._in_turn(connection, kind, start, limit - len(rows))
            return tuple(_leased(row) for row in rows)

        return await self._database.writer.put(lease)

    async def queued(self, kind: str) -> int:
        """Jobs of a kind that wait, of all accounts and for all servers."""
        return await self._database.run(lambda connection: _count(connection, _of_kind(kind, QUEUED)))

    async def renew(self, held: Iterable[LeasedJob], lease_s: float) -> tuple[LeasedJob, ...]:
        """Keep the leases for longer; those that are still the caller's. The others are to be abandoned."""
        change = {"lease_until": self._clock() + lease_s}
        return await self._database.writer.put(
            lambda connection: tuple(job for job in held if _change(connection, job, change))
        )

    async def release(self, held: Iterable[LeasedJob]) -> None:
        """Give the jobs back unfinished, for another to start at once; the start doesn't count."""
        change = {"state": QUEUED, "lease_until": None, "attempts": jobs.c.attempts - 1}
        await self._database.writer.put(lambda connection: [_change(connection, job, change) for job in held])

    async def finish(self, job: LeasedJob, outcome: str | JobError) -> bool:
        """Store what came of a job, JSON or an error. False: it is another's by now, or gone, and nothing is stored."""
        now = self._clock()
        size = 0 if isinstance(outcome, JobError) else len(outcome.encode())

        def finish(connection: Connection) -> bool:
            fits = size <= self._limits.result_bytes and size <= self._limits.group_bytes - _results(connection, job)
            return _change(connection, job, _end(outcome if not size or fits else TOO_LARGE, now))

        return await self._database.writer.put(finish)

    async def group(self, kind: str, account_id: str, group_id: str) -> GroupState | None:
        """One of an account's groups; None: there is none of that kind and id, or not any more."""
        its_own = and_(jobs.c.account_id == account_id, jobs.c.group_id == group_id)
        mine = and_(its_own, jobs.c.kind == kind, jobs.c.expires_at > self._clock())
        return await self._database.run(lambda connection: _group(connection, mine))

    async def delete_expired(self, limit: int = 1_000) -> int:
        """Delete at most ``limit`` jobs whose time is over, which nobody sees any more; how many."""
        over = select(jobs.c.id).where(jobs.c.expires_at <= self._clock()).limit(limit)
        change = delete(jobs).where(jobs.c.id.in_(over.scalar_subquery()))
        return await self._database.writer.put(lambda connection: connection.execute(change).rowcount)

    def _in_turn(self, connection: Connection, kind: str, start: dict[str, Any], limit: int) -> list[Row[Any]]:
        """Start at most ``limit`` jobs that wait, one after another, since each changes whose turn is next."""
        now = self._clock()
        queued = select(jobs).where(_of_kind(kind, QUEUED), jobs.c.expires_at > now)
        queued = queued.order_by(jobs.c.created_at, jobs.c.position).limit(1)
        waiting, running = _waiting(connection, kind), _running(connection, kind, now)
        started: list[Row[Any]] = []
        while waiting and len(started) < limit:
            account = next_in_turn(waiting, running, self._served.get(kind, ""))
            if rows := _changed(connection, queued.where(jobs.c.account_id == account), start):
                started += rows
                running[account] += 1
                self._served[kind] = account
            else:
                waiting.remove(account)
        return started

    def _check_room(self, connection: Connection, account_id: str, rows: Sequence[dict[str, Any]]) -> None:
        mine = jobs.c.account_id == account_id
        sizes = func.coalesce(func.sum(jobs.c.size_bytes + ROW_BYTES), 0)
        taken = connection.execute(select(sizes).where(mine)).scalar_one()
        live = mine & jobs.c.state.in_([QUEUED, RUNNING])
        if _count(connection, live) + len(rows) > self._limits.jobs:
            raise Overloaded(f"More than {self._limits.jobs} requests would wait to be run.", retry_after_s=RETRY_S)
        if taken + sum(row["size_bytes"] + ROW_BYTES for row in rows) > self._limits.size_bytes:
            raise Overloaded("There is no room for more requests until older results expire.", retry_after_s=RETRY_S)


def _row(group: JobGroup, position: int, job: NewJob, now: float) -> dict[str, Any]:
    return {
        "id": f"{group.id}-{position}",
        "kind": group.kind,
        "account_id": group.account_id,
        "group_id": group.id,
        "position": position,
        "state": QUEUED,
        "attempts": 0,
        "created_at": now,
        "expires_at": group.expires_at,
        "size_bytes": len(job.payload.encode()),
        "seed": job.seed,
        "external_reference": json.dumps(job.external_reference),
        "payload": job.payload,
    }


def next_in_turn(waiting: Collection[str], running: Mapping[str, int], served: str) -> str:
    """The account whose job is next: the one with the fewest running; of several, the next in a circle of all names
    after the one that was ``served`` last."""
    return min(waiting, key=lambda account: (running.get(account, 0), account <= served, account))


def _of_kind(kind: str, state: str) -> ColumnElement[bool]:
    return and_(jobs.c.kind == kind, jobs.c.state == state)


def _waiting(connection: Connection, kind: str) -> set[str]:
    """Accounts with queued jobs. Each is looked up by the one before it, since one may have many jobs."""
    least = select(func.min(jobs.c.account_id).label("account_id")).where(_of_kind(kind, QUEUED))
    found = least.cte("waiting", recursive=True)
    following = least.where(jobs.c.account_id > found.c.account_id).correlate(found).scalar_subquery()
    found = found.union_all(select(following).where(found.c.account_id.is_not(None)))
    is_one = found.c.account_id.is_not(None)
    return set(connection.execute(select(found.c.account_id).where(is_one)).scalars())


def _running(connection: Connection, kind: str, now: float) -> Counter[str]:
    """How many jobs each account has running, on all servers."""
    is_held = _of_kind(kind, RUNNING) & (jobs.c.lease_until > now)
    counts = select(jobs.c.account_id, func.count().label("jobs")).where(is_held).group_by(jobs.c.account_id)
    return Counter({row.account_id: row.jobs for row in connection.execute(counts)})


def _changed(connection: Connection, query: Select[Any], change: dict[str, Any]) -> list[Row[Any]]:
    """The rows before their change; those that another server changes at this moment are passed over (SQLite has one
    writer at a time)."""
    rows = list(connection.execute(query.with_for_update(skip_locked=True)))
    if rows:
        connection.execute(update(jobs).where(jobs.c.id.in_([row.id for row in rows])).values(change))
    return rows


def _count(connection: Connection, which: ColumnElement[bool]) -> int:
    return int(connection.execute(select(func.count()).select_from(jobs).where(which)).scalar_one())


def _leased(row: Row[Any]) -> LeasedJob:
    return LeasedJob(row.id, row.account_id, row.group_id, row.position, row.attempts + 1, row.payload, row.seed)


def _change(connection: Connection, job: LeasedJob, change: dict[str, Any]) -> bool:
    """Whether the lease was still this attempt's; only then the job is changed."""
    is_held = (jobs.c.id == job.id) & (jobs.c.state == RUNNING) & (jobs.c.attempts == job.attempt)
    return connection.execute(update(jobs).where(is_held).values(change)).rowcount == 1


def _end(outcome: str | JobError, now: float) -> dict[str, Any]:
    """What changes in a job that ends. Its payload has served, and prompts aren't kept for longer than they must."""
    end: dict[str, Any] = {"finished_at": now, "lease_until": None, "payload": ""}
    if isinstance(outcome, JobError):
        error = {"error_code": outcome.code, "error_message": outcome.message}
        return end | error | {"state": FAILED, "size_bytes": 0}
    return end | {"state": DONE, "result": outcome, "size_bytes": len(outcome.encode())}


def _results(connection: Connection, job: LeasedJob) -> int:
    """Bytes of the results that the job's group has."""
    group = (jobs.c.account_id == job.account_id) & (jobs.c.group_id == job.group_id) & (jobs.c.state == DONE)
    size = connection.execute(select(func.coalesce(func.sum(jobs.c.size_bytes), 0)).where(group)).scalar_one()
    return int(size)


def _group(connection: Connection, mine: ColumnElement[bool]) -> GroupState | None:
    """Asked in one statement, since in PostgreSQL a job may end between two."""
    left = select(jobs).where(mine, jobs.c.state.in_([QUEUED, RUNNING])).order_by(jobs.c.position).limit(1).subquery()
    head = select(func.substr(left.c.payload, 1, HEAD_CHARS)).scalar_subquery()
    counts = select(jobs.c.state, func.count().label("jobs"), head.label("head")).where(mine).group_by(jobs.c.state)
    found = connection.execute(counts).all()
    if not found:
        return None
    by_state = {row.state: row.jobs for row in found}
    queued, running, done, failed = (by_state.get(state, 0) for state in (QUEUED, RUNNING, DONE, FAILED))
    if queued or running:
        return GroupState(queued, running, done, failed, head=found[0].head)
    rows = connection.execute(select(jobs).where(mine).order_by(jobs.c.position))
    return GroupState(queued, running, done, failed, tuple(_ended(row) for row in rows))


def _ended(row: Row[Any]) -> EndedJob:
    outcome = JobError(row.error_code, row.error_message) if row.state == FAILED else row.result
    return EndedJob(row.position, json.loads(row.external_reference), outcome)
