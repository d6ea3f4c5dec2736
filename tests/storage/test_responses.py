"""Stored responses: whole or not at all, over once, and no item goes that something lists."""

import json
from dataclasses import replace

import pytest
from sqlalchemy import func, select
from told_clock import START

from lowcloud.core.errors import BadRequest, ConversationLocked, Overloaded
from lowcloud.storage.completions import DAY_S
from lowcloud.storage.conversations import Conversation, ConversationStore
from lowcloud.storage.items import ItemPage, StoredItem
from lowcloud.storage.jobs import JobGroup, JobLimits, JobStore, NewJob
from lowcloud.storage.responses import OVER, UNFINISHED, KeepResponses, Kept, NewResponse, ResponseStore
from lowcloud.storage.tables import conversation_items, items, jobs, response_items, responses

pytestmark = pytest.mark.anyio
ACCOUNT, OTHER = "a" * 32, "b" * 32
GRACE_S = 100.0


@pytest.fixture
def make(database, clock):
    return lambda **keep: ResponseStore(database, KeepResponses(**{"grace_s": GRACE_S} | keep), clock)


@pytest.fixture
def store(make):
    return make()


@pytest.fixture
def conversations(database, clock):
    return ConversationStore(database, clock=clock)


def item(name, text=""):
    return StoredItem(f"key-{name}", name, json.dumps({"id": name, "text": text}))


def kept(name="r", *output, account=ACCOUNT, status="completed", **fields):
    whole = {"head": f'{{"id":"{name}"}}', "pieces": "[1]"} | fields
    return Kept(name, account, START, "m", status, output=tuple(map(item, output)), **whole)


def new(name="r", given=(), made=(), context=(), **fields):
    return NewResponse(kept(name, *made, **fields), tuple(f"key-{each}" for each in context), tuple(map(item, given)))


def queued(name="r", given=(), **fields):
    return new(name, given, status="queued", pieces="", **fields)


def nothing(connection):
    pass


def ids(found):
    return None if found is None else [each.id for each in found]


async def chain(store, count):
    """Responses r0, r1, ..., each with an item of its own given and made, going on from the one before."""
    context = []
    for n in range(count):
        await store.save(new(f"r{n}", [f"i{n}"], [f"o{n}"], context))
        context += [f"i{n}", f"o{n}"]


async def cleared(store, clock, after_s=GRACE_S):
    """All that goes by then."""
    clock.now += after_s
    total = 0
    while done := await store.clear(limit=3):
        total += done
    return total


async def rows(database, *tables):
    def count(connection):
        return [connection.execute(select(func.count()).select_from(table)).scalar_one() for table in tables]

    return await database.run(count)


async def test_what_is_saved_comes_back(store):
    saved = new(given=["i1", "i2"], made=["o1", "o2"], conversation_id="c")
    await store.save(saved)
    assert await store.get(ACCOUNT, "r") == saved.response
    assert await store.context(ACCOUNT, "r") == ("completed", (*saved.input, *saved.response.output))


async def test_a_response_without_items_is_one_too(store):
    await store.save(new())
    assert await store.get(ACCOUNT, "r") == kept()
    assert await store.context(ACCOUNT, "r") == ("completed", ())
    assert await store.input_items(ACCOUNT, "r", ItemPage(9)) == ()


async def test_an_account_sees_and_touches_its_own_alone(store):
    await store.queue(queued(given=["i"]), nothing)
    assert await store.get(OTHER, "r") is None
    assert await store.context(OTHER, "r") is None
    assert await store.input_items(OTHER, "r", ItemPage(9)) is None
    assert await store.items(OTHER, ["i"]) == {}
    assert await store.cancel(OTHER, "r") is None
    assert [await store.start(OTHER, "r"), await store.delete(OTHER, "r")] == [False, False]
    assert await store.finish(kept(account=OTHER)) is False
    assert await store.get(ACCOUNT, "r") == queued().response


async def test_a_chain_has_all_its_items_in_order(store):
    await chain(store, 3)
    status, found = await store.context(ACCOUNT, "r2")
    assert (status, ids(found)) == ("completed", ["i0", "o0", "i1", "o1", "i2", "o2"])
    assert ids((await store.get(ACCOUNT, "r2")).output) == ["o2"]


async def test_input_items_are_what_was_seen_and_given_on_pages_in_both_directions(store):
    await chain(store, 3)

    async def page(limit=9, **fields):
        return ids(await store.input_items(ACCOUNT, "r2", ItemPage(limit, **fields)))

    assert await page() == ["i2", "o1", "i1", "o0", "i0"]
    assert await page(2, is_descending=False) == ["i0", "o0"]
    assert await page(2, after="o0", is_descending=False) == ["i1", "o1"]
    assert await page(2, after="o0") == ["i0"]
    assert await page(after="i0") == []
    for unknown in ("o2", "i9"):
        with pytest.raises(BadRequest) as refused:
            await page(after=unknown)
        assert refused.value.param == "after"


async def test_pages_come_to_an_end_where_two_items_share_an_id(store):
    twins = [StoredItem(f"key-{n}", "same", f'{{"n":{n}}}') for n in range(3)]
    await store.save(NewResponse(kept(), (), tuple(twins)))
    for is_descending in (True, False):
        assert await store.input_items(ACCOUNT, "r", ItemPage(9, "same", is_descending)) == ()


async def test_what_is_queued_starts_and_finishes_once(store):
    await store.queue(queued(given=["i"]), nothing)
    assert (await store.get(ACCOUNT, "r")).status == "queued"
    assert [await store.start(ACCOUNT, "r") for _ in range(2)] == [True, True]
    assert (await store.context(ACCOUNT, "r"))[0] == "in_progress"
    done = kept("r", "o1", "o2", status="incomplete", head='{"id":"r","done":1}')
    assert await store.finish(done) is True
    assert await store.get(ACCOUNT, "r") == done
    assert ids((await store.context(ACCOUNT, "r"))[1]) == ["i", "o1", "o2"]
    assert await store.start(ACCOUNT, "r") is False
    assert await store.finish(kept("r", "o3", status="failed")) is False
    assert await store.get(ACCOUNT, "r") == done


@pytest.mark.parametrize("status", sorted(OVER))
async def test_what_is_over_isnt_cancelled_and_is_shown_as_it_is(store, status):
    await store.save(new(made=["o"], status=status))
    assert await store.cancel(ACCOUNT, "r", "{}") == kept("r", "o", status=status)


@pytest.mark.parametrize("status", sorted(UNFINISHED))
async def test_what_is_cancelled_is_over(store, status):
    await store.queue(new(status=status, pieces=""), nothing)
    assert await store.cancel(ACCOUNT, "r", '{"error":null}') == kept(
        status="cancelled", head='{"error":null}', pieces=""
    )
    assert await store.cancel(ACCOUNT, "r") == kept(status="cancelled", head='{"error":null}', pieces="")
    assert [await store.start(ACCOUNT, "r"), await store.finish(kept())] == [False, False]


async def test_a_response_and_its_job_are_queued_together_or_not_at_all(store, database, clock):
    group = JobGroup("r", "response", ACCOUNT, clock.now + DAY_S)
    job = [NewJob("{}", 1)]
    await store.queue(queued("r", ["i"]), JobStore(database, clock=clock).queueing(group, job))
    assert await rows(database, responses, items, jobs) == [1, 1, 1]
    full = JobStore(database, JobLimits(jobs=1), clock)
    with pytest.raises(Overloaded):
        await store.queue(queued("s", ["j"]), full.queueing(replace(group, id="s"), job))
    assert await rows(database, responses, items, jobs) == [1, 1, 1]


async def test_what_is_deleted_is_gone_at_once_also_while_it_runs(store):
    await store.queue(queued(given=["i"]), nothing)
    await store.start(ACCOUNT, "r")
    assert [await store.delete(ACCOUNT, "r"), await store.delete(ACCOUNT, "r")] == [True, False]
    assert await store.get(ACCOUNT, "r") is None
    assert await store.context(ACCOUNT, "r") is None
    assert await store.items(ACCOUNT, ["i"]) == {}
    assert await store.finish(kept("r", "o")) is False


async def test_deleting_breaks_no_chain(store, database, clock):
    await chain(store, 3)
    await store.delete(ACCOUNT, "r0")
    await store.delete(ACCOUNT, "r1")
    await cleared(store, clock)
    assert ids((await store.context(ACCOUNT, "r2"))[1]) == ["i0", "o0", "i1", "o1", "i2", "o2"]
    await store.delete(ACCOUNT, "r2")
    await cleared(store, clock)
    assert await rows(database, responses, items, response_items) == [0, 0, 0]


async def test_who_has_read_a_context_can_go_on_from_it_after_it_was_deleted(store, clock):
    await chain(store, 1)
    await store.delete(ACCOUNT, "r0")
    await cleared(store, clock, GRACE_S - 1)
    await store.save(new("r1", ["i1"], context=["i0", "o0"]))
    await cleared(store, clock)
    assert ids((await store.context(ACCOUNT, "r1"))[1]) == ["i0", "o0", "i1"]


async def test_what_was_kept_long_enough_isnt_there_and_goes(make, database, clock):
    store = make(days=2)
    await chain(store, 3)
    await store.queue(queued("q"), nothing)
    clock.now += 2 * DAY_S
    assert await store.get(ACCOUNT, "r0") is None
    assert await store.start(ACCOUNT, "q") is False
    assert await store.items(ACCOUNT, ["i0"]) == {}
    await store.save(new("new", made=["o"], context=["o1"]))
    await cleared(store, clock, 0)
    assert await rows(database, responses, items) == [1, 7]
    await cleared(store, clock)
    assert ids((await store.context(ACCOUNT, "new"))[1]) == ["o1", "o"]
    assert await rows(database, responses, items, response_items) == [1, 2, 2]
    assert await cleared(store, clock) == 0


async def test_an_item_is_found_by_its_id_the_newest_and_while_something_lists_it(store, conversations, clock):
    await store.save(new("r0", ["i"], ["o"]))
    await conversations.create(Conversation("c", ACCOUNT, clock.now, {}), [item("in c")])
    clock.now += 1
    newest = StoredItem("key-again", "o", '{"newest":1}')
    await store.save(NewResponse(kept("r1"), (), (newest,)))
    asked = ["i", "o", "in c", "none", *(f"many {n}" for n in range(1_000))]
    assert await store.items(ACCOUNT, asked) == {"i": item("i"), "o": newest, "in c": item("in c")}
    await store.delete(ACCOUNT, "r1")
    await conversations.delete(ACCOUNT, "c")
    assert await store.items(ACCOUNT, asked) == {"i": item("i"), "o": item("o")}
    assert await store.items(ACCOUNT, []) == {}


async def test_the_oldest_of_an_account_that_has_too_much_go(make, database, clock):
    store = make(account_bytes=20_000)
    for n in range(5):
        text = StoredItem(f"key-{n}", f"i{n}", "x" * 6_000)
        response = replace(kept(f"r{n}"), created_at=clock.now + n)
        await store.save(NewResponse(response, (), (text,)))
    await store.queue(queued("q"), nothing)
    await store.save(new("other", account=OTHER))
    await cleared(store, clock, 0)
    found = [await store.get(ACCOUNT, name) is not None for name in ("r0", "r1", "r2", "r3", "r4", "q")]
    assert found == [False, False, False, True, True, True]
    assert await store.get(OTHER, "other")
    assert await store.clear() == 0


async def test_what_is_still_to_be_made_makes_no_room(make, clock):
    store = make(account_bytes=1)
    await store.queue(queued("q", ["i"]), nothing)
    assert await cleared(store, clock) == 0
    assert await store.get(ACCOUNT, "q") == queued("q").response


async def test_items_that_a_chain_keeps_count_until_the_chain_goes(make, database, clock):
    store = make(account_bytes=20_000)
    context = []
    for n in range(5):
        text = StoredItem(f"key-{n}", f"i{n}", "x" * 6_000)
        await store.save(NewResponse(replace(kept(f"r{n}"), created_at=clock.now + n), tuple(context), (text,)))
        context.append(text.key)
    await cleared(store, clock, 0)
    await cleared(store, clock)
    assert await rows(database, responses, items, response_items) == [0, 0, 0]


async def test_what_conversations_list_makes_no_response_go(make, conversations, database, clock):
    store = make(account_bytes=20_000)
    long = [StoredItem(f"key-{n}", f"i{n}", "x" * 6_000) for n in range(5)]
    await conversations.create(Conversation("c", ACCOUNT, clock.now, {}), long)
    await store.save(new("r", ["i"], context=["0"]))
    assert await cleared(store, clock) == 0
    await conversations.delete(ACCOUNT, "c")
    await cleared(store, clock)
    assert await rows(database, responses, items, conversation_items) == [1, 2, 0]


async def in_conversation(conversations, clock):
    await conversations.create(Conversation("c", ACCOUNT, clock.now, {}), [item("first")])
    await conversations.lock(ACCOUNT, "c", "r", clock.now + 60)


async def contents(conversations):
    return ids(await conversations.items(ACCOUNT, "c", ItemPage(99, is_descending=False)))


async def is_locked(conversations, clock):
    try:
        await conversations.lock(ACCOUNT, "c", "another", clock.now)
    except ConversationLocked:
        return True
    return False


@pytest.mark.parametrize("way", ["save", "finish"])
@pytest.mark.parametrize("status", sorted(OVER))
async def test_a_conversation_gains_what_was_answered_and_is_free(store, conversations, clock, way, status):
    await in_conversation(conversations, clock)
    done = new("r", ["i"], ["o"], ["first"], status=status, conversation_id="c")
    if way == "save":
        await store.save(done)
    else:
        await store.queue(replace(done, response=replace(done.response, status="queued", output=())), nothing)
        assert await contents(conversations) == ["first"]
        await store.finish(done.response)
    gained = ["i", "o"] if status in ("completed", "incomplete") else []
    assert await contents(conversations) == ["first", *gained]
    assert not await is_locked(conversations, clock)


@pytest.mark.parametrize("way", ["cancel", "delete"])
async def test_a_conversation_is_free_when_its_response_is_cancelled_or_deleted(store, conversations, clock, way):
    await in_conversation(conversations, clock)
    await store.queue(queued("r", ["i"], conversation_id="c"), nothing)
    assert await is_locked(conversations, clock)
    await getattr(store, way)(ACCOUNT, "r")
    assert await contents(conversations) == ["first"]
    assert not await is_locked(conversations, clock)


async def test_a_response_outlives_its_conversation_and_a_conversation_its_responses(store, conversations, clock):
    await in_conversation(conversations, clock)
    await store.save(new("r", ["i"], ["o"], ["first"], conversation_id="c"))
    await store.delete(ACCOUNT, "r")
    await cleared(store, clock)
    assert await contents(conversations) == ["first", "i", "o"]
    await conversations.delete(ACCOUNT, "c")
    await store.save(new("s", ["j"], [], ["first", "i", "o"], conversation_id="c"))
    await cleared(store, clock)
    assert ids((await store.context(ACCOUNT, "s"))[1]) == ["first", "i", "o", "j"]
    assert await contents(conversations) is None
