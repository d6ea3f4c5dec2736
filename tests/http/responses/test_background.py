"""Responses in the background whose jobs come to no end of their own, and those whose end can't be written."""

import json
from contextlib import asynccontextmanager

import anyio
import pytest
from sqlalchemy import update

from lowcloud.engines.scripted import Stage
from lowcloud.storage.jobs import GAVE_UP, JobError, JobLimits, JobStore
from lowcloud.storage.responses import ResponseStore
from lowcloud.storage.tables import jobs

pytestmark = pytest.mark.anyio
NOW = 1_800_000_000.0  # as the desk's clocks say


async def broken(database, event, condition="1"):
    """From now on the database refuses such a change of a response, as a full disk would."""
    refusal = f"CREATE TRIGGER full BEFORE {event} ON responses WHEN {condition} BEGIN SELECT RAISE(ABORT, 'full'); END"
    await database.writer.put(lambda connection: connection.exec_driver_sql(refusal))


async def mended(database):
    await database.writer.put(lambda connection: connection.exec_driver_sql("DROP TRIGGER full"))


async def leased(database):
    """The only job, as a server has it that is about to die."""
    store = JobStore(database, JobLimits(), lambda: NOW)
    (job,) = await store.lease("response", 30, 1)
    return store, job


async def test_a_stream_whose_response_cant_be_written_ends_as_failed(desk, database):
    await broken(database, "INSERT")
    events = await desk.events()
    assert events[-1]["type"] == "response.failed"
    assert events[-1]["response"]["error"]["code"] == "server_error"
    assert (await desk.get(events[-1]["response"]["id"])).status == 404


async def test_one_whose_end_cant_be_written_has_failed_for_who_follows_it_and_for_who_looks(desk, database):
    await broken(database, "UPDATE", "new.status = 'completed'")
    events = await desk.events(background=True)
    assert [event["type"] for event in events].count("response.failed") == 1
    await mended(database)
    told = events[-1]["response"]
    assert (events[-1]["type"], told["status"]) == ("response.failed", "failed")
    shown = (await desk.get(told["id"])).json
    assert (shown["status"], shown["error"]["code"]) == ("failed", told["error"]["code"])


@pytest.mark.parametrize(
    ("outcome", "why"),
    [("{}", "could not be stored"), (JobError("x", "It broke."), "It broke."), (GAVE_UP, "started several times")],
)
async def test_one_whose_job_is_over_without_it_has_failed(make_desk, database, outcome, why):
    async with make_desk() as desk:
        response = await desk.response(background=True)
        store, job = await leased(database)
        assert (await desk.get(response["id"])).json["status"] == "queued"
        await store.finish(job, outcome)
        shown = (await desk.get(response["id"])).json
        assert (shown["status"], shown["error"]["code"]) == ("failed", "server_error")
        assert why in shown["error"]["message"]
        events = desk.events_of(await desk.get(response["id"], "?stream=true"))
        assert events[-1]["response"] == shown


async def test_one_that_waited_for_too_long_has_failed(make_desk, database):
    async with make_desk() as desk:
        response = await desk.response(background=True)
        await database.writer.put(lambda connection: connection.execute(update(jobs).values(expires_at=NOW)))
        shown = (await desk.get(response["id"])).json
        assert (shown["status"], shown["error"]["code"]) == ("failed", "server_error")
        assert "waited" in shown["error"]["message"]


@asynccontextmanager
async def followed(make_desk):
    """A response that runs, one word into its text, and the request that follows it; over once the block is."""
    stage = Stage()
    stage.hold("token:1")
    async with make_desk(stage=stage, runs=True) as desk:
        exchange = desk.exchange(background=True, stream=True)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(exchange.run)
            await exchange.until(lambda answer: b"response.output_text.delta" in answer.body)
            yield desk, exchange


async def test_what_would_be_refused_before_it_starts_is_not_kept(desk):
    for refused in ({"max_output_tokens": 1_000_000}, {"input": "word " * 9_000}):
        live, later = [await desk.answer({**refused, "background": later}) for later in (False, True)]
        assert later.status == 400 and later.json["error"] == live.json["error"]
    truncated = await desk.answer({"input": "word " * 9_000, "background": True, "truncation": "auto"})
    assert truncated.status == 200 and truncated.json["status"] == "queued"


async def test_who_follows_one_hears_that_the_server_stops(make_desk):
    async with followed(make_desk) as (desk, exchange):
        desk.jobs.stop()
    assert b"response goes on once it is back" in exchange.answer.body


def told(exchange):
    """The events that have come."""
    lines = exchange.answer.body.decode().splitlines()
    events = [json.loads(line[6:]) for line in lines if line.startswith("data: {")]
    assert [event["sequence_number"] for event in events] == list(range(len(events)))
    return events


def name_of(exchange):
    return told(exchange)[0]["response"]["id"]


class LateToTell(ResponseStore):
    """A response that has ended is on the disk, and who has written it isn't told so."""

    async def finish(self, response):
        if await super().finish(response):
            await anyio.sleep_forever()
        return False


async def test_one_that_is_cancelled_while_its_end_is_committed_ends_as_it_is_kept(make_desk):
    async with make_desk(runs=True, stores=LateToTell) as desk, anyio.create_task_group() as tasks:
        exchange = desk.exchange(background=True, stream=True)
        tasks.start_soon(exchange.run)
        await exchange.until(lambda answer: b"response.output_item.done" in answer.body)
        name = name_of(exchange)
        while (await desk.get(name)).json["status"] != "completed":
            pass
        cancelled = await desk.ask("POST", f"/responses/{name}/cancel")
        kept = (await desk.get(name)).json
        replayed = desk.events_of(await desk.get(name, "?stream=true"))
    assert cancelled.json == kept
    assert told(exchange) == replayed
    assert (replayed[-1]["type"], replayed[-1]["response"]) == ("response.completed", kept)


async def test_one_that_another_server_cancels_ends_as_it_is_kept(make_desk):
    async with followed(make_desk) as (desk, exchange):
        await desk.store.cancel(desk.account, name_of(exchange))
        desk.world.chat.stage.open("token:1")
        await exchange.until(lambda answer: b"[DONE]" in answer.body)
        kept = (await desk.get(name_of(exchange))).json
    last = told(exchange)[-1]
    assert (last["type"], last["response"], kept["status"]) == ("response.incomplete", kept, "cancelled")


async def test_one_that_another_server_deletes_has_no_end(make_desk):
    async with followed(make_desk) as (desk, exchange):
        await desk.store.delete(desk.account, name_of(exchange))
        desk.world.chat.stage.open("token:1")
        await exchange.until(lambda answer: b"event: error" in answer.body)
    events = told(exchange)
    assert (events[-1]["type"], events[-1]["code"]) == ("error", "not_found")
    assert not any(event["response"]["status"] == "completed" for event in events if "response" in event)


async def test_who_follows_one_that_is_deleted_hears_that_and_nothing_else(make_desk):
    async with followed(make_desk) as (desk, exchange):
        await desk.ask("DELETE", f"/responses/{name_of(exchange)}")
    events = told(exchange)
    assert (events[-1]["type"], events[-1]["code"]) == ("error", "not_found")
    assert not any("response" in event and event["response"]["status"] == "cancelled" for event in events)
