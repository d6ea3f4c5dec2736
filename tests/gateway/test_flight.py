"""One upstream call for all who ask the same at once."""

from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lowcloud.gateway.call import Headers, Reply
from lowcloud.gateway.errors import FellBehind, NoReply
from lowcloud.gateway.flight import Flights, Whole

pytestmark = pytest.mark.anyio
JSON: Headers = (("content-type", "application/json"),)


@dataclass
class Source:
    """An upstream's reply, whose pieces a test lets come. ``closed`` is set once nobody wants more of it."""

    status: int = 200
    n_begun: int = 0
    length: int | None = None
    gate: anyio.Event = field(default_factory=anyio.Event)
    closed: anyio.Event = field(default_factory=anyio.Event)

    pieces: list[bytes | Exception | None] = field(default_factory=list)
    changed: anyio.Event = field(default_factory=anyio.Event)

    async def begin(self) -> Reply:
        self.n_begun += 1
        await self.gate.wait()
        told = () if self.length is None else (("content-length", str(self.length)),)
        return Reply(self.status, (*JSON, *told), self._body())

    def say(self, *pieces: bytes | Exception | None) -> "Source":
        self.pieces += pieces
        changed, self.changed = self.changed, anyio.Event()
        changed.set()
        return self

    def end(self) -> None:
        self.say(None)

    async def _body(self) -> AsyncGenerator[bytes, None]:
        number = 0
        try:
            while True:
                while number == len(self.pieces):
                    await self.changed.wait()
                piece, number = self.pieces[number], number + 1
                if piece is None:
                    return
                if isinstance(piece, Exception):
                    raise piece
                yield piece
        finally:
            self.closed.set()


@dataclass
class Field:
    """Flights, and what landed."""

    flights: Flights
    landed: list[Whole] = field(default_factory=list)
    runway: anyio.Event | None = None
    shares: Callable[[Reply], bool] = lambda reply: reply.status < 400

    async def join(self, source: Source, key: str = "k", patience_s: float | None = None) -> tuple[Reply, bool]:
        return await self.flights.join(key, source.begin, self.shares, self._land, patience_s)

    async def _land(self, whole: Whole) -> None:
        if self.runway is not None:
            await self.runway.wait()
        self.landed.append(whole)


@asynccontextmanager
async def flying(max_bytes: int = 1_000, window_bytes: int = 10) -> AsyncGenerator[Field, None]:
    with anyio.fail_after(20):
        async with anyio.create_task_group() as tasks:
            yield Field(Flights(tasks, max_bytes, window_bytes))
            tasks.cancel_scope.cancel()


async def read(reply: Reply) -> bytes:
    return b"".join([piece async for piece in reply.body])


async def both(field: Field, source: Source) -> list[tuple[Reply, bool]]:
    """The leader's and a follower's reply."""
    found: list[tuple[Reply, bool]] = []

    async def join() -> None:
        found.append(await field.join(source))

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(join)
        await anyio.wait_all_tasks_blocked()
        tasks.start_soon(join)
        await anyio.wait_all_tasks_blocked()
        source.gate.set()
    return sorted(found, key=lambda each: each[1])


async def test_a_follower_reads_along_and_what_is_whole_lands_once():
    async with flying() as field:
        source = Source().say(b"one ", b"two")
        (leader, is_led), (follower, is_follower) = await both(field, source)
        source.end()
        assert [await read(leader), await read(follower)] == [b"one two"] * 2
        assert (is_led, is_follower, source.n_begun) == (False, True, 1)
        await anyio.wait_all_tasks_blocked()
        assert field.landed == [Whole(200, JSON, b"one two")]
        assert len(field.flights) == 0


async def test_pieces_come_as_they_come():
    async with flying() as field:
        source = Source()
        replies = [reply for reply, _ in await both(field, source)]
        for piece in (b"one", b"two"):
            source.say(piece)
            assert [await anext(reply.body) for reply in replies] == [piece, piece]
        for reply in replies:
            await reply.body.aclose()


@given(
    st.lists(st.binary(min_size=1, max_size=9), max_size=12),
    st.lists(st.sampled_from(["said", 0, 1, 2]), max_size=60),
    st.integers(0, 40),
)
def test_whatever_the_order_of_who_reads_when_all_get_the_same_bytes(pieces, turns, max_bytes):
    async def run() -> None:
        async with flying(max_bytes, window_bytes=10_000) as field:
            source, left = Source(), list(pieces)
            bodies = [reply.body for reply, _ in await both(field, source)]
            bodies.append((await field.join(source))[0].body)  # who came late
            got = [[] for _ in bodies]
            for turn in turns:
                if turn == "said":
                    source.say(*left[:1])
                    left = left[1:]
                    await anyio.wait_all_tasks_blocked()
                elif len(got[turn]) < len(pieces) - len(left):
                    got[turn].append(await anext(bodies[turn]))
            source.say(*left).end()
            for number in (1, 0, 2):
                got[number] += [piece async for piece in bodies[number]]
            assert got == [pieces] * 3
            whole = b"".join(pieces)
            assert [each.body for each in field.landed] == ([whole] if len(whole) <= max_bytes else [])

    anyio.run(run)


async def test_a_failure_before_the_head_reaches_the_leader_and_who_joined_calls_for_itself():
    async with flying() as field:
        outcomes: list[object] = []
        source = Source()

        async def fail() -> Reply:
            await source.gate.wait()
            raise NoReply(kind="timeout")

        async def lead() -> None:
            with pytest.raises(NoReply):
                await field.flights.join("k", fail, field.shares, field._land)
            outcomes.append("failed")

        own = Source().say(b"mine")
        own.gate.set()
        own.end()

        async def follow() -> None:
            reply, is_follower = await field.join(own)
            outcomes.append((await read(reply), is_follower))

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(lead)
            await anyio.wait_all_tasks_blocked()
            tasks.start_soon(follow)
            await anyio.wait_all_tasks_blocked()
            source.gate.set()
        assert sorted(outcomes, key=str) == [(b"mine", False), "failed"]


async def test_a_reply_that_isnt_shared_is_the_leaders_alone_and_doesnt_land():
    async with flying() as field:
        source = Source(status=500).say(b"no")
        source.end()
        (first, _), (second, is_follower) = await both(field, source)
        assert (first.status, second.status, is_follower, source.n_begun) == (500, 500, False, 2)
        await read(first)
        assert field.landed == []


async def test_a_call_that_breaks_off_breaks_off_for_all_and_doesnt_land():
    async with flying() as field:
        source = Source().say(b"half", NoReply(kind="no_connection"))
        for reply, _ in await both(field, source):
            with pytest.raises(NoReply):
                await read(reply)
        assert field.landed == []
        assert len(field.flights) == 0


async def test_the_call_goes_on_while_one_follower_remains_and_ends_with_the_last():
    async with flying() as field:
        source = Source().say(b"one")
        (leader, _), (follower, _) = await both(field, source)
        await leader.body.aclose()
        await anyio.wait_all_tasks_blocked()
        assert not source.closed.is_set()
        await follower.body.aclose()  # it took nothing, and yet it is known to have left
        await source.closed.wait()
        assert field.landed == []


async def test_nobody_joins_a_call_that_all_have_left():
    async with flying() as field:
        source = Source().say(b"one")
        source.gate.set()
        reply, _ = await field.join(source)
        await reply.body.aclose()
        again = Source().say(b"new")
        again.gate.set()
        again.end()
        second, is_follower = await field.join(again)  # before the first has come to its end
        assert (await read(second), is_follower) == (b"new", False)
        await anyio.wait_all_tasks_blocked()
        assert len(field.flights) == 0


@pytest.mark.parametrize("who", ["leader", "follower"])
async def test_who_leaves_before_there_is_a_head_is_counted_out(who):
    async with flying() as field:
        source = Source().say(b"one")
        source.end()
        got: list[bytes] = []
        scopes = {"leader": anyio.CancelScope(), "follower": anyio.CancelScope()}

        async def join(name: str) -> None:
            with scopes[name]:
                got.append(await read((await field.join(source))[0]))

        async with anyio.create_task_group() as tasks:
            for name in scopes:
                tasks.start_soon(join, name)
                await anyio.wait_all_tasks_blocked()
            scopes[who].cancel()
            await anyio.wait_all_tasks_blocked()
            source.gate.set()
        assert got == [b"one"]
        assert len(field.flights) == 0


async def test_who_falls_behind_a_long_reply_is_cut_off_and_the_fastest_is_waited_for():
    async with flying(max_bytes=20, window_bytes=10) as field:
        source = Source().say(*[b"12345"] * 8)
        source.end()
        (leader, _), (follower, _) = await both(field, source)
        await anyio.wait_all_tasks_blocked()
        assert await read(leader) == b"12345" * 8
        with pytest.raises(FellBehind):
            await read(follower)
        assert field.landed == []


async def test_nobody_joins_a_reply_whose_beginning_is_gone():
    async with flying(max_bytes=20, window_bytes=10) as field:
        source = Source().say(*[b"12345"] * 8)
        source.gate.set()
        leader, _ = await field.join(source)
        reading = [await anext(leader.body) for _ in range(6)]
        await anyio.wait_all_tasks_blocked()
        own = Source().say(b"own")
        own.gate.set()
        own.end()
        late, is_follower = await field.join(own)
        assert (await read(late), is_follower) == (b"own", False)
        source.end()
        assert b"".join(reading) + await read(leader) == b"12345" * 8


async def test_a_reply_that_cant_be_closed_ends_all_the_same():
    async with flying() as field:

        async def body() -> AsyncGenerator[bytes, None]:
            try:
                yield b"one"
                await anyio.sleep_forever()
            finally:
                raise RuntimeError("it won't close")

        async def begin() -> Reply:
            return Reply(200, JSON, body())

        reply, _ = await field.flights.join("k", begin, field.shares, field._land)
        assert await anext(reply.body) == b"one"
        await reply.body.aclose()
        await anyio.wait_all_tasks_blocked()
        assert len(field.flights) == 0


@pytest.mark.parametrize("length", [7, None])
async def test_nobody_waits_until_it_is_kept_and_who_asks_in_between_gets_it(length):
    async with flying() as field:
        field.runway = anyio.Event()
        source = Source(length=length).say(b"one ", b"two")
        source.gate.set()
        reply, _ = await field.join(source)
        source.end()
        assert await read(reply) == b"one two"
        again, is_follower = await field.join(source)
        assert (await read(again), is_follower, source.n_begun) == (b"one two", True, 1)
        field.runway.set()
        await anyio.wait_all_tasks_blocked()
        assert [whole.body for whole in field.landed] == [b"one two"]


async def test_who_leaves_with_the_last_byte_leaves_a_reply_that_lands():
    async with flying() as field:
        source = Source(length=7).say(b"one ", b"two")
        source.gate.set()
        reply, _ = await field.join(source)
        got = b""
        while len(got) < 7:
            got += await anext(reply.body)
        await reply.body.aclose()  # before the exchange says that it is over
        await anyio.wait_all_tasks_blocked()
        assert not source.closed.is_set()
        source.end()
        await anyio.wait_all_tasks_blocked()
        assert [whole.body for whole in field.landed] == [b"one two"]


async def test_who_joins_waits_no_longer_than_for_a_call_of_their_own():
    async with flying() as field:
        source = Source()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(field.join, source)
            await anyio.wait_all_tasks_blocked()
            with pytest.raises(TimeoutError):
                await field.join(source, patience_s=0.001)
            source.gate.set()
        assert source.n_begun == 1
