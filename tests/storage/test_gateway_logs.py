"""Logs of gateways: each once, with its bodies, counted as they come and go, and bounded in number, bytes and days."""

import asyncio
from dataclasses import replace

import pytest
from query_plans import plans, recorded, whole_reads
from sqlalchemy import func, select
from told_clock import START

from lowcloud.storage.database import open_database
from lowcloud.storage.gateway_log_query import LogFilter, LogQuery
from lowcloud.storage.gateway_logs import DAY_S, STEP, LogCount, LogPatch, LogRow, LogStore, NewLog
from lowcloud.storage.tables import MAX_COUNT, gateway_log_bodies, gateway_logs

pytestmark = pytest.mark.anyio
ACCOUNT, OTHER, GATEWAY = "a" * 32, "b" * 32, "g"
NO_BOUND = 10**12


@pytest.fixture
def store(database, clock):
    return LogStore(database, days=2, clock=clock)


def log(number, account=ACCOUNT, gateway=GATEWAY, **fields):
    return LogRow(f"id-{number:05}", account, gateway, START + number, **fields)


def new(number, request=None, response=None, **fields):
    return NewLog(log(number, **fields), request, response)


async def ids(store, gateway=GATEWAY, **query):
    page = await store.search(ACCOUNT, gateway, LogQuery(per_page=1_000, **query))
    return [int(row.id[3:]) for row in page.rows]


async def n_bodies(database):
    query = select(func.count()).select_from(gateway_log_bodies)
    return await database.run(lambda connection: connection.execute(query).scalar_one())


WHOLE = LogRow(
    "0199aaaa-0000-7000-8000-000000000001", ACCOUNT, GATEWAY, START + 0.25, "openai", "gpt", "Text Generation",
    "v1/chat/completions", 200, True, False, 12.5, 2, 3, 4, 0.0125, True, '{"a": 1, "b": null}', "chat",
    "application/json", "text/event-stream", 2_000, '{"é"', False, 5, "data:", True, "event", -1, 0.5, "curl", True,
    False, True, "FLAG",
)  # fmt: skip


async def test_what_is_added_comes_back_with_its_bodies(store):
    await store.add([NewLog(WHOLE, b"\0\xff", b"")])
    assert await store.get(ACCOUNT, GATEWAY, WHOLE.id) == WHOLE
    assert (await store.search(ACCOUNT, GATEWAY)).rows == (WHOLE,)
    assert await store.body(ACCOUNT, GATEWAY, WHOLE.id, "request") == b"\0\xff"
    assert await store.body(ACCOUNT, GATEWAY, WHOLE.id, "response") == b""


async def test_bodies_that_are_not_kept_are_not_there(store, database):
    await store.add([new(1), new(2, response=b"x")])
    assert await store.body(ACCOUNT, GATEWAY, log(1).id, "response") is None
    assert await store.body(ACCOUNT, GATEWAY, log(2).id, "request") is None
    assert await store.body(ACCOUNT, GATEWAY, log(2).id, "response") == b"x"
    assert await n_bodies(database) == 1


async def test_a_log_that_is_there_stays_as_it_is(store):
    assert await store.add([new(1, b"first"), new(1, b"second", model="m")]) == 1
    assert await store.add([new(1, b"third", model="n"), new(2)]) == 1
    assert (await store.get(ACCOUNT, GATEWAY, log(1).id)).model == ""
    assert await store.body(ACCOUNT, GATEWAY, log(1).id, "request") == b"first"
    assert (await store.count(ACCOUNT, GATEWAY)).logs == 2
    assert await store.add([]) == 0


async def test_an_account_and_a_gateway_see_and_touch_their_own_alone(store):
    await store.add([new(1, b"x"), new(2, gateway="h"), new(3, account=OTHER)])
    assert (await ids(store), await ids(store, "h")) == ([1], [2])
    for account, gateway in ((OTHER, GATEWAY), (ACCOUNT, "h")):
        assert await store.get(account, gateway, log(1).id) is None
        assert await store.body(account, gateway, log(1).id, "request") is None
        assert await store.patch(account, gateway, log(1).id, LogPatch(score=1.0)) is None
        assert await store.delete(account, gateway, LogQuery((LogFilter("id", "eq", (log(1).id,)),))) == 0
    assert await store.get(ACCOUNT, GATEWAY, log(1).id) == log(1)


async def test_a_patch_changes_what_it_names(store):
    await store.add([new(1, metadata='{"a": "1"}')])
    assert (await store.patch(ACCOUNT, GATEWAY, log(1).id, LogPatch(feedback=1, score=0.5))).feedback == 1
    assert (await store.patch(ACCOUNT, GATEWAY, log(1).id, LogPatch(feedback=None))).score == 0.5
    found = await store.patch(ACCOUNT, GATEWAY, log(1).id, LogPatch())
    assert (found.feedback, found.score, found.metadata) == (None, 0.5, '{"a": "1"}')


async def test_other_metadata_is_found_by_filters(store):
    await store.add([new(1, metadata='{"a": "1"}')])
    assert (await store.patch(ACCOUNT, GATEWAY, log(1).id, LogPatch(metadata='{"b": 2}'))).metadata == '{"b": 2}'
    assert await ids(store, filters=(LogFilter("metadata.key", "eq", ("a",)),)) == []
    assert await ids(store, filters=(LogFilter("metadata.key", "eq", ("b",)),)) == [1]
    assert await ids(store, filters=(LogFilter("metadata.value", "eq", (2,)),)) == [1]


async def test_key_and_value_of_the_metadata_are_of_one_entry(store):
    await store.add([new(1, metadata='{"team": "red"}'), new(2, metadata='{"team": "blue", "old": "red"}'), new(3)])
    team, red = LogFilter("metadata.key", "eq", ("team",)), LogFilter("metadata.value", "eq", ("red",))
    assert await ids(store, filters=(team, red)) == [1]
    assert await ids(store, filters=(team, replace(red, operator="neq"))) == [2]
    assert await ids(store, filters=(replace(team, operator="neq"),)) == [3]
    not_old, not_red = LogFilter("metadata.key", "neq", ("old",)), replace(red, operator="neq")
    assert await ids(store, filters=(not_old, not_red)) == [3]
    assert await ids(store, filters=(not_old,)) == [3, 1]


async def test_text_that_no_database_can_store_keeps_no_log_out(store):
    odd = "a\0\ud800"
    await store.add([new(1, model=odd, request_head=odd, metadata='{"k\ud800": "\\u0000\\ud800"}', tokens_in=10**30)])
    found = await store.get(ACCOUNT, GATEWAY, log(1).id)
    assert (found.model, found.request_head, found.tokens_in) == ("a␀?", "a␀?", MAX_COUNT)
    assert await ids(store, filters=(LogFilter("model", "eq", (odd,)),)) == [1]
    assert await ids(store, filters=(LogFilter("metadata.value", "eq", ("\0\ud800",)),)) == [1]


async def test_names_are_cut_at_what_their_columns_hold(store):
    await store.add([new(1, user_agent="u" * 9_999, path="p" * 9_999, request_head="h" * 9_999)])
    found = await store.get(ACCOUNT, GATEWAY, log(1).id)
    assert (len(found.user_agent), len(found.path), len(found.request_head)) == (500, 2_000, 1_024)


async def test_the_newest_come_first_unless_another_order_is_asked_for(store):
    await store.add([new(1, model="b"), new(2, model="a"), new(3, model="b")])
    assert await ids(store) == [3, 2, 1]
    assert await ids(store, is_descending=False) == [1, 2, 3]
    assert await ids(store, order_by="model") == [3, 1, 2]
    page = await store.search(ACCOUNT, GATEWAY, LogQuery(page=2, per_page=2))
    assert (page.rows, page.total, page.ranges) == ((log(1, model="b"),), 3, None)
    assert (await store.search(ACCOUNT, GATEWAY, LogQuery(page=10**30))).rows == ()


async def test_ranges_are_of_all_that_is_meant(store):
    await store.add([new(n, cost=float(n), tokens_in=n, tokens_out=1, duration_ms=2.0 * n) for n in range(1, 5)])
    query = LogQuery((LogFilter("cost", "gt", (1,)),), per_page=1, with_ranges=True)
    ranges = (await store.search(ACCOUNT, GATEWAY, query)).ranges
    assert (ranges.cost.least, ranges.cost.greatest) == (2.0, 4.0)
    assert (ranges.duration_ms.least, ranges.total_tokens.greatest) == (4.0, 5)


async def test_the_count_is_of_what_is_there_whatever_came_and_went(store, clock):
    await store.add([new(n, b"x" * 1_000) for n in range(6)])
    await store.add([new(9, gateway="h")])
    whole = await store.count(ACCOUNT, GATEWAY)
    assert whole.logs == 6
    assert whole.size_bytes > 6_000
    await store.delete(ACCOUNT, GATEWAY, LogQuery(is_descending=False), limit=2)
    assert await store.trim(ACCOUNT, GATEWAY, LogCount(3, NO_BOUND)) == 1
    assert await store.count(ACCOUNT, GATEWAY) == LogCount(3, whole.size_bytes // 2)
    clock.now += 2 * DAY_S + 4
    assert await store.delete_expired() == 2
    assert [(await store.count(ACCOUNT, name)).logs for name in (GATEWAY, "h", "none")] == [1, 1, 0]


async def test_a_trim_leaves_the_newest(store, database):
    await store.add([new(n, b"x" * 1_000) for n in range(STEP + 20)])
    assert await store.trim(ACCOUNT, GATEWAY, LogCount(10, NO_BOUND)) == STEP + 10
    assert await ids(store) == list(range(STEP + 19, STEP + 9, -1))
    assert await n_bodies(database) == 10
    size = (await store.count(ACCOUNT, GATEWAY)).size_bytes
    assert await store.trim(ACCOUNT, GATEWAY, LogCount(10, size - 1)) == 1
    assert await ids(store) == list(range(STEP + 19, STEP + 10, -1))
    assert await store.trim(ACCOUNT, "none", LogCount(0, 0)) == 0


async def test_a_deletion_of_many_goes_in_steps_and_takes_their_bodies(store, database):
    await store.add([new(n, b"x", success=n % 2 == 0) for n in range(2 * STEP + 20)])
    assert await store.delete(ACCOUNT, GATEWAY, LogQuery((LogFilter("success", "eq", (True,)),))) == STEP + 10
    assert (await store.count(ACCOUNT, GATEWAY)).logs == await n_bodies(database) == STEP + 10
    assert await store.delete(ACCOUNT, GATEWAY) == STEP + 10
    assert await ids(store) == []


async def test_what_is_too_old_goes_in_steps(store, clock):
    await store.add([new(n) for n in range(5)])
    clock.now += 2 * DAY_S + 2
    assert [await store.delete_expired(2), await store.delete_expired(2), await store.delete_expired(2)] == [2, 1, 0]
    assert await ids(store) == [4, 3]


async def test_logs_added_and_deleted_at_once_are_counted_right(url):
    """As by two servers, where the database lets them."""
    with open_database(url) as one, open_database(url) as two:
        stores = [LogStore(one), LogStore(two)]
        adding = [stores[n % 2].add([new(10 * n + m) for m in range(10)]) for n in range(20)]
        await asyncio.gather(*adding, *(each.trim(ACCOUNT, GATEWAY, LogCount(50, NO_BOUND)) for each in stores))
        await asyncio.gather(*(each.trim(ACCOUNT, GATEWAY, LogCount(50, NO_BOUND)) for each in stores))
        query = select(func.count()).select_from(gateway_logs)
        there = await one.run(lambda connection: connection.execute(query).scalar_one())
        assert (await stores[0].count(ACCOUNT, GATEWAY)).logs == there


async def test_nothing_reads_a_whole_table(store, database):
    await store.add([new(n, b"x") for n in range(50)])
    with recorded() as statements:
        await store.get(ACCOUNT, GATEWAY, log(1).id)
        await store.body(ACCOUNT, GATEWAY, log(1).id, "request")
        await store.patch(ACCOUNT, GATEWAY, log(1).id, LogPatch(score=1.0))
        await store.add([new(2), new(60)])
        await store.search(ACCOUNT, GATEWAY)
        await store.search(ACCOUNT, GATEWAY, LogQuery((LogFilter("created_at", "gt", (0,)),), with_ranges=True))
        await store.delete(ACCOUNT, GATEWAY, LogQuery((LogFilter("model", "eq", ("m",)),)))
        await store.count(ACCOUNT, GATEWAY)
        await store.trim(ACCOUNT, GATEWAY, LogCount(40, NO_BOUND))
        await store.delete_expired()
    assert len(statements) > 12
    assert await whole_reads(database, statements) == []


@pytest.mark.parametrize("is_descending", [True, False])
async def test_a_list_in_the_order_of_time_sorts_nothing(store, database, is_descending):
    await store.add([new(n) for n in range(50)])
    with recorded() as statements:
        await store.search(ACCOUNT, GATEWAY, LogQuery(is_descending=is_descending))
    [plan, _] = await plans(database, statements)
    assert not [line for line in plan if "Sort" in line or "TEMP B-TREE" in line], plan
