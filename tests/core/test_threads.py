"""Threads: so many and no more, whoever leaves."""

import threading

import anyio
import pytest
from structlog.contextvars import bound_contextvars, get_contextvars

from lowcloud.core.threads import Threads

pytestmark = pytest.mark.anyio
GIVE_UP_S = 30


class Works:
    """Works that keep their threads until they are let go."""

    def __init__(self) -> None:
        self.begun: list[str] = []
        self.most = 0
        self._running = 0
        self._open = threading.Event()
        self._changed = threading.Condition()

    def work(self, name: str) -> str:
        with self._changed:
            self.begun.append(name)
            self._running += 1
            self.most = max(self.most, self._running)
            self._changed.notify_all()
        assert self._open.wait(GIVE_UP_S)
        with self._changed:
            self._running -= 1
        return name

    async def reached(self, n: int) -> None:
        def wait() -> bool:
            with self._changed:
                return self._changed.wait_for(lambda: len(self.begun) >= n, GIVE_UP_S)

        assert await anyio.to_thread.run_sync(wait)

    def let_go(self) -> None:
        self._open.set()


async def test_a_works_result_and_its_error_come_back():
    threads = Threads(1, "t")
    assert await threads.run(lambda: threading.current_thread().name.startswith("t")) is True
    with pytest.raises(ZeroDivisionError):
        await threads.run(lambda: 1 // 0)


async def test_a_work_knows_its_callers_context():
    with bound_contextvars(request_id="r1"):
        assert await Threads(1, "t").run(get_contextvars) == {"request_id": "r1"}


async def test_a_thread_whose_caller_left_is_taken_until_its_work_is_done():
    threads, works = Threads(2, "t"), Works()
    results: list[str] = []

    async def ask(name: str) -> None:
        results.append(await threads.run(lambda: works.work(name)))

    async with anyio.create_task_group() as leavers:
        leavers.start_soon(ask, "a")
        leavers.start_soon(ask, "b")
        await works.reached(2)
        leavers.cancel_scope.cancel()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(ask, "c")
        await anyio.wait_all_tasks_blocked()
        works.let_go()
    assert (results, works.most) == (["c"], 2)


async def test_what_has_not_begun_when_its_caller_leaves_never_does():
    threads, works = Threads(1, "t"), Works()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(threads.run, lambda: works.work("a"))
        await works.reached(1)
        with anyio.CancelScope() as scope:
            scope.cancel()
            await threads.run(lambda: works.work("never"))
        works.let_go()
        assert await threads.run(lambda: works.work("b")) == "b"
    assert works.begun == ["a", "b"]
