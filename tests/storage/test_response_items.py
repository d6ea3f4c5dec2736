"""Items live as long as something lists them, whatever happens in which order; and no look-up reads a whole table."""

import asyncio
import json
from dataclasses import replace

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule
from query_plans import recorded, whole_reads
from sqlalchemy import delete, select
from told_clock import Clock

from lowcloud.storage.conversations import Conversation, ConversationStore
from lowcloud.storage.database import open_database
from lowcloud.storage.items import ItemPage, StoredItem
from lowcloud.storage.responses import KeepResponses, Kept, NewResponse, ResponseStore
from lowcloud.storage.tables import conversation_items, conversations, items, response_items, responses

ACCOUNT = "a" * 32
GRACE_S = 100.0
LOCK_S = 60.0
DAY_S = 86_400.0
WHOLE = ItemPage(10_000, is_descending=False)


def item(key):
    return StoredItem(key, f"id-{key}", json.dumps({"id": f"id-{key}"}))


def kept(name, output=(), **fields):
    return Kept(name, ACCOUNT, 1e9, "m", **({"status": "completed", "head": "{}"} | fields), output=tuple(output))


def nothing(_connection):
    """Beside a response that is queued."""


class Lists(RuleBasedStateMachine):
    """Chains grow, in and out of conversations, from contexts that were read a while ago; lists go, and are cleared."""

    url = ""  # of the test's database

    def __init__(self):
        super().__init__()
        self.clock = Clock()
        self.runner = asyncio.Runner()
        self.database = open_database(self.url)
        self.responses = ResponseStore(self.database, KeepResponses(days=1, grace_s=GRACE_S), self.clock)
        self.conversations = ConversationStore(self.database, clock=self.clock)
        self.listed = {}  # of each response that lives, its keys, and when it goes
        self.held = {}  # of each conversation, its keys
        self.read = []  # contexts, each with when it was read
        self.count = 0
        for table in (response_items, conversation_items, responses, conversations, items):
            self.run(self.database.writer.put(lambda connection, t=table: connection.execute(delete(t))))

    def run(self, work):
        return self.runner.run(work)

    def new(self):
        self.count += 1
        return f"n{self.count}"

    def one_of(self, things, data):
        return data.draw(st.sampled_from(sorted(things))) if things else None

    @rule(data=st.data(), is_kept_waiting=st.booleans())
    def read_a_response(self, data, is_kept_waiting):
        """For a response that is saved at once, or later."""
        name = self.one_of(self.listed, data)
        found = self.run(self.responses.context(ACCOUNT, name or "none"))
        context = [each.key for each in found[1]] if found else []
        if is_kept_waiting:
            self.read.append((self.clock.now, context))
        else:
            self.go_on(context)

    @rule(data=st.data())
    def go_on_late(self, data):
        fresh = [context for at, context in self.read if self.clock.now < at + GRACE_S]
        if fresh:
            self.go_on(data.draw(st.sampled_from(fresh)))

    def go_on(self, context, conversation=None):
        name, given, made = self.new(), item(self.new()), item(self.new())
        response = kept(name, [made], conversation_id=conversation)
        self.run(self.responses.save(NewResponse(response, tuple(context), (given,))))
        self.listed[name] = ([*context, given.key, made.key], self.clock.now + DAY_S)
        return [given.key, made.key]

    @rule(data=st.data(), status=st.sampled_from(["completed", "failed"]))
    def run_in_the_background(self, data, status):
        name, given, made = self.new(), item(self.new()), item(self.new())
        queued = kept(name, status="queued")
        self.run(self.responses.queue(NewResponse(queued, (), (given,)), nothing))
        assert self.run(self.responses.finish(replace(queued, status=status, output=(made,))))
        self.listed[name] = ([given.key, made.key], self.clock.now + DAY_S)

    @rule()
    def converse(self):
        name, first = self.new(), item(self.new())
        self.run(self.conversations.create(Conversation(name, ACCOUNT, self.clock.now, {}), [first]))
        self.held[name] = [first.key]

    @rule(data=st.data(), is_deleted_meanwhile=st.booleans())
    def go_on_in_a_conversation(self, data, is_deleted_meanwhile):
        if name := self.one_of(self.held, data):
            locked = self.run(self.conversations.lock(ACCOUNT, name, f"n{self.count + 1}", self.clock.now + LOCK_S))
            assert [each.key for each in locked] == self.held[name]
            if is_deleted_meanwhile:
                self.end_a_conversation(name)
            gained = self.go_on([each.key for each in locked], name)
            if name in self.held:
                self.held[name] += gained

    @rule(data=st.data())
    def remove_an_item(self, data):
        """Which may be a response's too."""
        if (name := self.one_of(self.held, data)) and (key := self.one_of(self.held[name], data)):
            assert self.run(self.conversations.remove_item(ACCOUNT, name, f"id-{key}"))
            self.held[name].remove(key)

    @rule(data=st.data())
    def delete_a_conversation(self, data):
        if name := self.one_of(self.held, data):
            self.end_a_conversation(name)

    def end_a_conversation(self, name):
        assert self.run(self.conversations.delete(ACCOUNT, name))
        del self.held[name]

    @rule(data=st.data(), cleared_after_s=st.sampled_from([None, 0.0, GRACE_S]))
    def delete_a_response(self, data, cleared_after_s):
        if name := self.one_of(self.listed, data):
            assert self.run(self.responses.delete(ACCOUNT, name))
            del self.listed[name]
        if cleared_after_s is not None:
            self.clear(cleared_after_s, 2)

    @rule(seconds=st.sampled_from([0.0, GRACE_S / 2, GRACE_S, DAY_S]), limit=st.integers(1, 3))
    def clear(self, seconds, limit):
        self.clock.now += seconds
        self.listed = {name: each for name, each in self.listed.items() if each[1] > self.clock.now}
        while self.run(self.responses.clear(limit)):
            pass

    @invariant()
    def every_list_is_whole(self):
        for name, (keys, _) in self.listed.items():
            assert [each.key for each in self.run(self.responses.context(ACCOUNT, name))[1]] == keys
        for name, keys in self.held.items():
            assert [each.key for each in self.run(self.conversations.items(ACCOUNT, name, WHOLE))] == keys
        found = self.run(self.responses.items(ACCOUNT, [f"id-n{n}" for n in range(self.count + 1)]))
        assert {each.key for each in found.values()} == self.wanted()

    def wanted(self):
        return {key for keys in (*(keys for keys, _ in self.listed.values()), *self.held.values()) for key in keys}

    def left(self):
        """Once all has gone that goes."""
        for _ in range(2):
            self.clear(GRACE_S, 100)
        return self.run(self.database.run(lambda connection: set(connection.execute(select(items.c.key)).scalars())))

    def teardown(self):
        """What nothing lists is gone in the end, and nothing else is."""
        assert self.left() == self.wanted()
        for name in tuple(self.listed):
            self.run(self.responses.delete(ACCOUNT, name))
        for name in tuple(self.held):
            self.end_a_conversation(name)
        self.listed = {}
        assert self.left() == set()
        self.database.close()
        self.runner.close()


def test_an_item_lives_as_long_as_something_lists_it_whatever_happens_when(url):
    Lists.url = url
    machine = type("Lists", (Lists,), {})
    machine.TestCase.settings = settings(max_examples=20, stateful_step_count=20, deadline=None)
    machine.TestCase().runTest()


@pytest.fixture
def stores(url):
    """With a chain of 50 responses in a conversation."""
    with open_database(url) as database:
        yield database, ResponseStore(database), ConversationStore(database)


async def filled(store, conversations):
    await conversations.create(Conversation("c", ACCOUNT, 1e9, {}), [item("first")])
    context = ["first"]
    for n in range(50):
        given, made = item(f"i{n}"), item(f"o{n}")
        await store.save(NewResponse(kept(f"r{n}", [made], conversation_id="c"), tuple(context), (given,)))
        context += [given.key, made.key]


@pytest.mark.anyio
async def test_one_query_has_a_response_with_its_output_and_one_the_whole_chain(stores):
    _, store, conversations = stores
    await filled(store, conversations)
    for look_up in (store.get, store.context):
        with recorded() as statements:
            await look_up(ACCOUNT, "r49")
        assert len(statements) == 1
    assert len((await store.context(ACCOUNT, "r49"))[1]) == 101


@pytest.mark.anyio
async def test_no_look_up_and_no_change_reads_a_whole_table(stores):
    database, store, conversations = stores
    await filled(store, conversations)
    with recorded() as statements:
        await store.get(ACCOUNT, "r49")
        await store.context(ACCOUNT, "r49")
        await store.input_items(ACCOUNT, "r49", ItemPage(20, "id-o9"))
        await store.items(ACCOUNT, ["id-i1", "id-o1"])
        await store.queue(NewResponse(kept("q", status="queued", conversation_id="c")), nothing)
        await store.start(ACCOUNT, "q")
        await store.finish(kept("q", [item("q")], conversation_id="c"))
        await store.cancel(ACCOUNT, "q")
        await store.delete(ACCOUNT, "q")
        await conversations.items(ACCOUNT, "c", ItemPage(20, "id-o9"))
        await conversations.item(ACCOUNT, "c", "id-o9")
        await conversations.lock(ACCOUNT, "c", "s", 2e12)
        await conversations.renew([("c", "s")], 2e12)
        await conversations.add(ACCOUNT, "c", [item("more")])
        await conversations.remove_item(ACCOUNT, "c", "id-more")
        await conversations.delete(ACCOUNT, "c")
    assert len(statements) > 30
    assert await whole_reads(database, statements) == []
