"""A request whose client leaves is cancelled, whichever way its server tells of that."""

import anyio
import anyio.lowlevel
import pytest

from lowcloud.http.link import LINK, Link
from lowcloud.http.watch import ClientLeft, while_connected

pytestmark = pytest.mark.anyio


class Work:
    """Waits until it is cancelled, or ends at once."""

    def __init__(self, *, ends: bool = False) -> None:
        self.begun, self.state, self._ends = anyio.Event(), "not begun", ends

    async def __call__(self) -> None:
        self.state = "begun"
        self.begun.set()
        try:
            await (anyio.lowlevel.checkpoint() if self._ends else anyio.sleep_forever())
        except anyio.get_cancelled_exc_class():
            self.state = "cancelled"
            raise
        self.state = "done"


class Client:
    """Says that it left once ``left`` is set; without it, it stays."""

    def __init__(self) -> None:
        self.left = anyio.Event()

    async def receive(self) -> dict[str, object]:
        await self.left.wait()
        return {"type": "http.disconnect"}


async def test_work_is_cancelled_when_its_connection_tells_of_its_loss():
    link, work = Link(), Work()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(after, work, link.lost)
        with pytest.raises(ClientLeft):
            await while_connected({LINK: link}, Client().receive, work)
    assert work.state == "cancelled"


async def test_work_for_a_connection_that_is_lost_already_is_not_done():
    link, work = Link(), Work()
    link.lost()
    with anyio.fail_after(5), pytest.raises(ClientLeft):
        await while_connected({LINK: link}, Client().receive, work)
    assert work.state == "cancelled"


async def test_the_loss_after_the_work_is_nobodys_and_that_during_the_next_is_the_next_ones():
    link, first, second = Link(), Work(ends=True), Work()
    await while_connected({LINK: link}, Client().receive, first)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(after, second, link.lost)
        with pytest.raises(ClientLeft):
            await while_connected({LINK: link}, Client().receive, second)
    assert (first.state, second.state) == ("done", "cancelled")


async def test_the_end_of_a_request_that_another_came_behind_leaves_that_one_told():
    link, first, second = Link(), Work(ends=True), Work()

    async def overtaken() -> None:
        tasks.start_soon(cut, second)
        await second.begun.wait()
        await first()

    async def cut(work: Work) -> None:
        with pytest.raises(ClientLeft):
            await while_connected({LINK: link}, Client().receive, work)

    async with anyio.create_task_group() as tasks:
        await while_connected({LINK: link}, Client().receive, overtaken)
        link.lost()
    assert (first.state, second.state) == ("done", "cancelled")


async def test_where_the_connection_tells_nothing_what_it_receives_is_watched():
    client, work = Client(), Work()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(after, work, client.left.set)
        with pytest.raises(ClientLeft):
            await while_connected({}, client.receive, work)
    assert work.state == "cancelled"


@pytest.mark.parametrize("scope", [{}, {LINK: Link()}])
async def test_what_the_work_raises_is_raised_and_what_it_ends_is_ended(scope):
    async def fails() -> None:
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        await while_connected(scope, Client().receive, fails)
    work = Work(ends=True)
    await while_connected(scope, Client().receive, work)
    assert work.state == "done"


async def after(work: Work, then) -> None:
    await work.begun.wait()
    then()
