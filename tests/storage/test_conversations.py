"""Conversations: each account's own, bounded, and one response at a time goes on from one."""

import json

import pytest
from sqlalchemy import func, select
from told_clock import START

from lowcloud.core.errors import BadRequest, ConversationLocked
from lowcloud.storage.conversations import CONVERSATION_BYTES, Conversation, ConversationStore, KeepConversations
from lowcloud.storage.items import ItemPage, StoredItem, clear_unlisted
from lowcloud.storage.jobs import STARTS, JobGroup, JobLimits, JobStore, NewJob
from lowcloud.storage.tables import conversation_items, conversations, items

pytestmark = pytest.mark.anyio
ACCOUNT, OTHER = "a" * 32, "b" * 32
LOCK_S = 60.0


@pytest.fixture
def make(database, clock):
    return lambda **keep: ConversationStore(database, KeepConversations(**keep), clock)


@pytest.fixture
def store(make):
    return make()


def item(name, text=""):
    return StoredItem(f"key-{name}", name, json.dumps({"id": name, "text": text}))


def conversation(name="c", account=ACCOUNT, **metadata):
    return Conversation(name, account, START, metadata)


def ids(found):
    return None if found is None else [each.id for each in found]


async def contents(store, name="c", account=ACCOUNT, limit=99, **page):
    return ids(await store.items(account, name, ItemPage(limit, **({"is_descending": False} | page))))


async def test_what_is_created_comes_back(store):
    await store.create(conversation(a="é\0"), [item("i1"), item("i2")])
    assert await store.get(ACCOUNT, "c") == conversation(a="é\0")
    assert await store.items(ACCOUNT, "c", ItemPage(9)) == (item("i2"), item("i1"))
    assert await store.item(ACCOUNT, "c", "i1") == item("i1")
    assert await store.item(ACCOUNT, "c", "i3") is None


async def test_an_account_sees_and_touches_its_own_alone(store, clock):
    await store.create(conversation(), [item("i")])
    assert await store.get(OTHER, "c") is None
    assert await contents(store, account=OTHER) is None
    assert await store.item(OTHER, "c", "i") is None
    assert await store.relabel(OTHER, "c", {"a": "b"}) is None
    assert [await store.add(OTHER, "c", [item("j")]), await store.delete(OTHER, "c")] == [False, False]
    assert await store.remove_item(OTHER, "c", "i") is None
    assert await store.lock(OTHER, "c", "r", clock.now + LOCK_S) is None
    assert (await store.get(ACCOUNT, "c"), await contents(store)) == (conversation(), ["i"])


async def test_labels_are_replaced(store):
    await store.create(conversation(a="1"))
    assert await store.relabel(ACCOUNT, "c", {"b": "2"}) == conversation(b="2")
    assert await store.get(ACCOUNT, "c") == conversation(b="2")


async def test_items_are_added_at_the_end_and_paged_in_both_directions(store):
    await store.create(conversation(), [item("i0")])
    assert await store.add(ACCOUNT, "c", [item("i1"), item("i2")]) is True
    assert await store.add(ACCOUNT, "c", []) is True
    assert await contents(store, limit=2) == ["i0", "i1"]
    assert await contents(store, after="i1") == ["i2"]
    assert await contents(store, limit=2, is_descending=True) == ["i2", "i1"]
    assert await contents(store, after="i1", is_descending=True) == ["i0"]
    with pytest.raises(BadRequest) as refused:
        await contents(store, after="i9")
    assert refused.value.param == "after"


async def test_every_item_of_an_id_is_removed_and_the_last_is_shown(store):
    again = StoredItem("key-again", "i", '{"again":1}')
    await store.create(conversation(), [item("i"), item("j"), again])
    await store.create(conversation("d"), [StoredItem("key-d", "i", "{}")])
    assert await store.item(ACCOUNT, "c", "i") == again
    assert await store.remove_item(ACCOUNT, "c", "i") == conversation()
    assert await store.remove_item(ACCOUNT, "c", "i") is None
    assert [await contents(store), await contents(store, "d")] == [["j"], ["i"]]


async def test_what_is_deleted_is_gone_and_its_items_go(store, database, clock):
    await store.create(conversation(), [item("i"), item("j")])
    await store.remove_item(ACCOUNT, "c", "j")
    assert [await store.delete(ACCOUNT, "c"), await store.delete(ACCOUNT, "c")] == [True, False]
    assert await store.get(ACCOUNT, "c") is None
    assert await store.add(ACCOUNT, "c", [item("k")]) is False
    await database.writer.put(lambda connection: clear_unlisted(connection, clock.now, 9))

    def count(connection):
        tables = (conversations, conversation_items, items)
        return [connection.execute(select(func.count()).select_from(table)).scalar_one() for table in tables]

    assert await database.run(count) == [0, 0, 0]


async def test_one_response_at_a_time_has_a_conversation(store, clock):
    await store.create(conversation(), [item("i"), item("j")])
    for _ in range(2):
        assert ids(await store.lock(ACCOUNT, "c", "r", clock.now + LOCK_S)) == ["i", "j"]
    with pytest.raises(ConversationLocked) as refused:
        await store.lock(ACCOUNT, "c", "s", clock.now + LOCK_S)
    assert (refused.value.status, refused.value.code, refused.value.param) == (
        409,
        "conversation_locked",
        "conversation",
    )
    await store.unlock("c", "s")
    with pytest.raises(ConversationLocked):
        await store.lock(ACCOUNT, "c", "s", clock.now + LOCK_S)
    await store.unlock("c", "r")
    assert ids(await store.lock(ACCOUNT, "c", "s", clock.now + LOCK_S)) == ["i", "j"]


async def test_a_lock_that_is_not_renewed_lapses(store, clock):
    for name in ("c", "d"):
        await store.create(conversation(name))
        await store.lock(ACCOUNT, name, "r", clock.now + LOCK_S)
    await store.renew([("c", "r"), ("d", "another")], clock.now + 2 * LOCK_S)
    await store.renew([], clock.now)
    clock.now += LOCK_S
    assert await store.lock(ACCOUNT, "d", "s", clock.now + LOCK_S) == ()
    with pytest.raises(ConversationLocked):
        await store.lock(ACCOUNT, "c", "s", clock.now + LOCK_S)
    clock.now += LOCK_S
    assert await store.lock(ACCOUNT, "c", "s", clock.now + LOCK_S) == ()


@pytest.fixture
async def queue(store, database, clock):
    """The jobs of a database in which the response "r" has the conversation "c" and is queued."""
    queue = JobStore(database, JobLimits(), clock)
    await store.create(conversation())
    await store.lock(ACCOUNT, "c", "r", clock.now + LOCK_S)
    await queue.enqueue(JobGroup("r", "response", ACCOUNT, clock.now + 9 * LOCK_S), [NewJob("{}", 1)])
    clock.now += LOCK_S
    return queue


async def locked(store, clock):
    """Whether the response "s" is refused."""
    try:
        await store.lock(ACCOUNT, "c", "s", clock.now)
    except ConversationLocked:
        return True
    return False


async def test_a_lock_lasts_as_long_as_the_job_of_its_response(store, queue, clock):
    assert await locked(store, clock)
    (job,) = await queue.lease("response", LOCK_S, 1)
    assert await locked(store, clock)
    await queue.finish(job, "{}")
    assert not await locked(store, clock)


async def test_a_lock_ends_with_the_last_start_of_its_response(store, queue, clock):
    for _ in range(STARTS):
        assert await queue.lease("response", LOCK_S, 1)
        clock.now += LOCK_S
        assert await locked(store, clock)
    assert await queue.lease("response", LOCK_S, 1) == ()
    assert not await locked(store, clock)


async def test_a_lock_ends_with_the_time_of_its_job(store, queue, clock):
    clock.now += 7 * LOCK_S
    assert await locked(store, clock)
    clock.now += LOCK_S
    assert not await locked(store, clock)


async def test_a_conversation_has_so_many_items_and_no_more(make, clock):
    store = make(items=2)
    await store.create(conversation(), [item("i")])
    assert await store.lock(ACCOUNT, "c", "r", clock.now + LOCK_S)
    with pytest.raises(BadRequest, match="at most 2 items"):
        await store.add(ACCOUNT, "c", [item("j"), item("k")])
    await store.add(ACCOUNT, "c", [item("j")])
    for refused in (
        store.lock(ACCOUNT, "c", "r", clock.now + LOCK_S),
        store.create(conversation("d"), [item("k"), item("l"), item("m")]),
    ):
        with pytest.raises(BadRequest, match="at most 2 items"):
            await refused
    assert [await contents(store), await store.get(ACCOUNT, "d")] == [["i", "j"], None]
    await store.remove_item(ACCOUNT, "c", "i")
    assert await store.add(ACCOUNT, "c", [item("k")]) is True


async def test_the_conversations_of_an_account_have_so_many_bytes_and_no_more(make):
    store = make(account_bytes=3 * CONVERSATION_BYTES)
    await store.create(conversation(), [item("i", "x" * 1_000)])
    await store.create(conversation("other", OTHER), [item("o", "x" * 1_000)])
    with pytest.raises(BadRequest, match="delete some"):
        await store.create(conversation("d"))
    with pytest.raises(BadRequest, match="delete some"):
        await store.add(ACCOUNT, "c", [item("j", "x" * 1_000)])
    await store.remove_item(ACCOUNT, "c", "i")
    await store.create(conversation("d"))
