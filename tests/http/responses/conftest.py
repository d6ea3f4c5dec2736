"""A server that keeps responses on a database of the test's own, and a caller of it."""

import json
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from itertools import count
from typing import Any

import anyio
import pytest

from lowcloud.http.responses.context import Locks
from lowcloud.http.routes import ResponseParts
from lowcloud.models.catalogue import CHAT_STAND_IN
from lowcloud.serving.jobs import JobRunner, RunnerLimits
from lowcloud.storage.conversations import ConversationStore
from lowcloud.storage.database import Database, open_database
from lowcloud.storage.jobs import JobLimits, JobStore
from lowcloud.storage.responses import KeepResponses, ResponseStore

BASE = "/client/v4/accounts/{account}/ai/v1"
NOW = 1_800_000_000.0
SECRET = "a-secret-of-twenty-letters"


class WallClock:
    """What the stores and the locks go by; it stands still."""

    def wall(self) -> float:
        return NOW

    def monotonic(self) -> float:
        return 0.0

    async def sleep(self, _seconds: float) -> None:
        await anyio.sleep_forever()


@pytest.fixture
def database(tmp_path) -> Iterator[Database]:
    with open_database(f"sqlite:///{tmp_path}/lowcloud.db") as opened:
        yield opened


@dataclass
class Desk:
    """A server under test. ``world`` is the usual one of ``tests/http``."""

    world: Any
    jobs: JobRunner
    store: ResponseStore
    account: str = "a" * 32

    async def ask(self, method: str, path: str, body: object = None, headers: dict[str, str] | None = None) -> Any:
        return await self.world.ask(method, BASE.format(account=self.account) + path, body, headers)

    def exchange(self, **body: object) -> Any:
        """A request of a response, which isn't sent yet."""
        return self.world.exchange("POST", BASE.format(account=self.account) + "/responses", asking(**body))

    async def answer(self, body: dict[str, object], headers: dict[str, str] | None = None) -> Any:
        """The answer to a request of a response."""
        return await self.ask("POST", "/responses", asking(**body), headers)

    async def response(self, **body: object) -> dict[str, Any]:
        """A response, which must be one."""
        answer = await self.answer(body)
        assert answer.status == 200, answer.body
        return answer.json

    async def get(self, response_id: str, query: str = "") -> Any:
        return await self.ask("GET", f"/responses/{response_id}{query}")

    async def events(self, **body: object) -> list[dict[str, Any]]:
        """The events of a stream, which must end with ``[DONE]``."""
        answer = await self.answer({"stream": True, **body})
        assert answer.status == 200, answer.body
        return self.events_of(answer)

    @staticmethod
    def events_of(answer: Any) -> list[dict[str, Any]]:
        """The events of a whole answer; each one's name is its data's type."""
        *events, done = [event for event in answer.body.decode().split("\n\n") if event]
        assert done == "data: [DONE]"
        found = []
        for event in events:
            name, data = event.split("\n")
            found.append(json.loads(data.removeprefix("data: ")))
            assert name == f"event: {found[-1]['type']}"
        assert [event["sequence_number"] for event in found] == list(
            range(found[0]["sequence_number"], found[0]["sequence_number"] + len(found))
        )
        return found


def asking(**body: object) -> dict[str, object]:
    return {"model": CHAT_STAND_IN, "input": "hello there"} | body


MakeDesk = Callable[..., AbstractAsyncContextManager[Desk]]


@pytest.fixture
def make_desk(make_world, database) -> MakeDesk:
    """``async with make_desk(reply="...") as desk``, as ``make_world``. ``runs``: jobs are run.

    ``stores`` is the class of its store.
    """

    @asynccontextmanager
    async def make(
        *,
        runs: bool = False,
        ignores: Any = None,
        secret: str = SECRET,
        stores: type[ResponseStore] = ResponseStore,
        **world: Any,
    ) -> AsyncGenerator[Desk, None]:
        store = stores(database, KeepResponses(), lambda: NOW)
        conversations = ConversationStore(database, clock=lambda: NOW)
        locks = Locks(conversations, WallClock())
        jobs = JobRunner(JobStore(database, JobLimits(), lambda: NOW), RunnerLimits(), clock=lambda: NOW)
        seeds = count(1)
        more = {} if ignores is None else {"ignores": ignores}
        parts = ResponseParts(store, conversations, locks, secret, new_seed=lambda: next(seeds), **more)
        async with make_world(jobs=jobs, responses=parts, **world) as made, anyio.create_task_group() as tasks:
            if runs:
                tasks.start_soon(jobs.run)
            yield Desk(made, jobs, store)
            tasks.cancel_scope.cancel()

    return make


@pytest.fixture
async def desk(make_desk) -> AsyncGenerator[Desk, None]:
    """The usual one, whose model says "one two three" and which runs jobs."""
    async with make_desk(runs=True) as made:
        yield made
