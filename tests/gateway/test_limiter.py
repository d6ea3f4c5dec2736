"""Limits of requests: in one process, and in Redis for several."""

import anyio
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lowcloud.gateway.limiter import MemoryLimiter
from lowcloud.gateway.redis_limiter import REST_S, RedisLimiter, redis_client
from lowcloud.gateway.windows import Counts, Window, take

pytestmark = pytest.mark.anyio
TECHNIQUES = ["fixed", "sliding"]
NOW = 1_790_000_000.5
steps = st.lists(st.integers(0, 40), max_size=60)  # tenths of a second from one call to the next


@pytest.fixture
async def client(redis_url):
    async with redis_client(redis_url) as client:
        await client.flushall()
        yield client


@pytest.fixture(params=["memory", "redis"])
def limiter(request):
    if request.param == "memory":
        return MemoryLimiter()
    return RedisLimiter(request.getfixturevalue("client"), MemoryLimiter(max_keys=0))


async def let_in(limiter, technique, n, *, limit=100, key="key"):
    """How many of so many calls at once are."""
    decisions = []

    async def call():
        decisions.append(await limiter.take(key, limit, 60, technique, NOW))

    async with anyio.create_task_group() as tasks:
        for _ in range(n):
            tasks.start_soon(call)
    return sum(each.is_allowed for each in decisions)


@pytest.mark.parametrize("technique", TECHNIQUES)
async def test_of_a_thousand_calls_at_once_against_a_limit_of_a_hundred_exactly_a_hundred_are_let_in(
    limiter, technique
):
    assert await let_in(limiter, technique, 1_000) == 100


@pytest.mark.parametrize("technique", TECHNIQUES)
async def test_keys_are_counted_apart(limiter, technique):
    assert await let_in(limiter, technique, 3, limit=2, key="a") == 2
    assert await let_in(limiter, technique, 3, limit=2, key="b") == 2


@pytest.mark.parametrize("technique", TECHNIQUES)
async def test_what_is_refused_is_let_in_once_its_time_has_come(limiter, technique):
    for after_s in (0, 10):
        assert (await limiter.take("key", 2, 60, technique, NOW + after_s)).is_allowed
    refused = await limiter.take("key", 2, 60, technique, NOW + 20)
    assert (refused.is_allowed, refused.remaining) == (False, 0)
    assert 0 < refused.retry_after_s <= 60
    again = NOW + 20 + refused.retry_after_s
    assert not (await limiter.take("key", 2, 60, technique, again - 0.001)).is_allowed
    assert (await limiter.take("key", 2, 60, technique, again)).is_allowed


async def test_a_limit_of_nothing_lets_nothing_in(limiter):
    decisions = [await limiter.take("key", 0, 60, technique, NOW) for technique in TECHNIQUES]
    assert [each.is_allowed for each in decisions] == [False, False]
    assert all(0 < each.retry_after_s <= 60 for each in decisions)


async def test_a_limit_that_is_lowered_counts_what_was_let_in_before(limiter):
    for after_s in range(4):
        await limiter.take("key", 4, 60, "sliding", NOW + after_s)
    refused = await limiter.take("key", 2, 60, "sliding", NOW + 10)
    assert refused.retry_after_s == pytest.approx(52)  # until the third of the four has left


async def test_this_process_forgets_the_keys_that_rested_longest():
    limiter = MemoryLimiter(max_keys=2)
    for key in ("a", "b", "a", "c"):
        await limiter.take(key, 1, 60, "fixed", NOW)
    assert len(limiter) == 2
    assert not (await limiter.take("a", 1, 60, "fixed", NOW)).is_allowed
    assert (await limiter.take("b", 1, 60, "fixed", NOW)).is_allowed


@pytest.mark.parametrize("technique", TECHNIQUES)
def test_redis_decides_as_the_pure_windows_do(redis_url, technique):
    @settings(max_examples=25)
    @given(steps, st.integers(1, 5))
    def decides(tenths, limit):
        anyio.run(compared, redis_url, technique, tenths, limit)

    decides()


async def compared(redis_url, technique, tenths, limit):
    async with redis_client(redis_url) as client:
        await client.flushall()
        limiter, counts, now = RedisLimiter(client, MemoryLimiter()), Counts(), NOW
        for step in tenths:
            now = round(now + step / 10, 1)
            expected, counts = take(Window(limit, 7, technique), counts, now)
            found = await limiter.take("key", limit, 7, technique, now)
            assert (found.is_allowed, found.remaining) == (expected.is_allowed, expected.remaining)
            assert found.retry_after_s == pytest.approx(expected.retry_after_s, abs=1e-5)


@pytest.mark.parametrize("technique", TECHNIQUES)
async def test_two_servers_count_together_in_redis_and_what_they_count_is_forgotten(redis_url, client, technique):
    async with redis_client(redis_url) as other:
        servers = [RedisLimiter(each, MemoryLimiter()) for each in (client, other)]
        found = [(await servers[n % 2].take("key", 3, 60, technique, NOW)).is_allowed for n in range(4)]
    assert found == [True, True, True, False]
    (name,) = await client.keys("*")
    assert 0 < await client.pttl(name) <= 61_000


async def test_without_redis_each_server_counts_for_itself_and_asks_again_after_a_while(tmp_path, redis_url):
    socket = tmp_path / "socket"
    async with redis_client(f"unix://{socket}") as client:
        limiter = RedisLimiter(client, MemoryLimiter(), prefix=str(tmp_path))
        first, second = [await limiter.take("key", 1, 60, "sliding", NOW) for _ in range(2)]
        assert (first.is_allowed, second.is_allowed) == (True, False)
        socket.symlink_to(redis_url.removeprefix("unix://"))
        assert not (await limiter.take("key", 1, 60, "sliding", NOW + REST_S - 1)).is_allowed
        assert (await limiter.take("key", 1, 60, "sliding", NOW + REST_S)).is_allowed
