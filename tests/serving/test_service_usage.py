"""One record a run, however it ends, by the price of the model that was asked for; and what limits refuse."""

from contextlib import aclosing
from dataclasses import replace

import anyio
import pytest
from caller import CALLER
from usage_sums import Sums, UsageTold

from lowcloud.core.errors import (
    BadRequest,
    DailyLimitReached,
    EngineFailed,
    LimitReached,
    ModelNotFound,
    Overloaded,
    PromptTooLong,
    RequestTimeout,
    Unavailable,
)
from lowcloud.core.events import Started, TextDelta, Usage
from lowcloud.core.messages import Text
from lowcloud.core.requests import Embed
from lowcloud.models.card import Task
from lowcloud.models.catalogue import CHAT_STAND_IN, EMBEDDING_STAND_IN, packaged_cards
from lowcloud.models.pricing import neurons
from lowcloud.serving.admission import Bounds
from lowcloud.serving.limits import Allowance
from lowcloud.serving.service import Limits
from lowcloud.serving.usage import Ledger
from lowcloud.storage.usage import UsageCounts, UsageKey, utc_day

pytestmark = pytest.mark.anyio
LLAMA = "@cf/meta/llama-3.2-1b-instruct"
BGE = "@cf/baai/bge-large-en-v1.5"
CARDS = {card.id: card for card in packaged_cards()}
NOW = 1_800_000_000.0
WORDS = Embed("e", (Text("I love matcha"), Text("tea")))


class Books:
    """A ledger, and what it has written."""

    def __init__(self, allowance: Allowance | None = None) -> None:
        self.sums, self.told = Sums(), UsageTold()
        self.ledger = Ledger(self.sums, self.told, allowance, lambda: NOW)

    async def rows(self) -> dict[tuple[str, str], UsageCounts]:
        """The sums by the model that was asked for and the one that answered; all are the caller's, today."""
        await self.ledger.flush()
        assert {(key.account_id, key.day) for key in self.sums.rows} <= {(CALLER.account_id, utc_day(NOW))}
        return {(key.model, key.answered_by): counts for key, counts in self.sums.rows.items()}

    async def only(self) -> tuple[str, UsageCounts]:
        """The outcome and the counts of the one run there was."""
        ((counts,), ((_, _, outcome, _),)) = (await self.rows()).values(), self.told.runs
        assert counts.requests == 1
        return outcome, counts


@pytest.fixture
def books():
    return Books()


async def test_a_generation_costs_what_the_asked_for_card_says_whoever_answers(rig, hello, books):
    async with rig(ledger=books.ledger) as r:
        events = await r.ask(hello, LLAMA)
    cost = neurons(CARDS[LLAMA], 4, 0, 3)
    assert cost == pytest.approx((4 * 2_457 + 3 * 18_252) / 1e6)
    assert events[-1] == Usage(4, 0, 3, neurons=cost)
    assert await books.rows() == {(LLAMA, CHAT_STAND_IN): UsageCounts(1, 0, 0, 4, 0, 3, cost)}
    assert books.told.runs == [(CHAT_STAND_IN, "Text Generation", "done", cost)]


async def test_a_local_model_without_a_price_costs_nothing_and_is_counted(rig, hello, books):
    async with rig(ledger=books.ledger) as r:
        events = await r.ask(hello)
    assert events[-1].neurons == 0
    assert await books.rows() == {(CHAT_STAND_IN, CHAT_STAND_IN): UsageCounts(1, 0, 0, 4, 0, 3, 0.0)}


async def test_the_neurons_are_known_without_a_ledger_too(rig, hello):
    async with rig() as r:
        assert (await r.ask(hello, LLAMA))[-1].neurons == neurons(CARDS[LLAMA], 4, 0, 3)
        assert (await r.service.embed(BGE, WORDS, CALLER)).neurons == neurons(CARDS[BGE], 4, 0, 0)


@pytest.mark.parametrize(
    ("point", "prompt", "completion"), [("prepare", 0, 0), ("start", 0, 0), ("token:0", 4, 0), ("token:2", 4, 2)]
)
async def test_of_a_client_that_leaves_the_tokens_so_far_are_counted(rig, hello, books, point, prompt, completion):
    async with rig(ledger=books.ledger) as r:
        r.chat.stage.hold(point)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(r.ask, hello, LLAMA)
            await r.chat.stage.reached(point)
            tasks.cancel_scope.cancel()
    cost = neurons(CARDS[LLAMA], prompt, 0, completion)
    assert await books.only() == ("client_gone", UsageCounts(1, 0, 1, prompt, 0, completion, cost))


@pytest.mark.parametrize("n_events", [1, 2, 4])
async def test_a_stream_that_is_closed_between_its_events_is_counted_once(rig, hello, books, n_events):
    async with rig(ledger=books.ledger) as r:
        events = r.service.generate(LLAMA, hello, CALLER)
        for _ in range(n_events):
            await anext(events)
        await events.aclose()
    outcome, counts = await books.only()
    assert (outcome, counts.prompt_tokens, counts.completion_tokens) == ("client_gone", 4, n_events - 1)


async def test_a_stream_that_nobody_began_to_read_is_no_run(rig, hello, books):
    async with rig(ledger=books.ledger) as r:
        await r.service.generate(LLAMA, hello, CALLER).aclose()
    assert await books.rows() == {}


async def test_a_client_that_leaves_after_the_usage_has_had_a_whole_run(rig, hello, books):
    async with rig(ledger=books.ledger) as r, aclosing(r.service.generate(LLAMA, hello, CALLER)) as events:
        async for event in events:
            if isinstance(event, Usage):
                break
    outcome, counts = await books.only()
    assert (outcome, counts.completion_tokens) == ("done", 3)


@pytest.mark.parametrize(("point", "prompt", "completion"), [("start", 0, 0), ("token:1", 4, 1)])
async def test_a_run_that_fails_is_counted_with_what_it_had_said(rig, hello, books, point, prompt, completion):
    async with rig(ledger=books.ledger) as r:
        r.chat.stage.fail(point, EngineFailed("three deaths"))
        with pytest.raises(EngineFailed):
            await r.ask(hello, LLAMA)
    cost = neurons(CARDS[LLAMA], prompt, 0, completion)
    assert await books.only() == ("failed", UsageCounts(1, 1, 0, prompt, 0, completion, cost))


async def test_a_run_past_its_deadline_has_failed(rig, hello, books):
    async with rig(limits=Limits(request_deadline_s=60), ledger=books.ledger) as r:
        events = r.service.generate(LLAMA, hello, CALLER)
        assert [type(await anext(events)) for _ in range(2)] == [Started, TextDelta]
        r.clock.now += 60
        with pytest.raises(RequestTimeout):
            await anext(events)
    outcome, counts = await books.only()
    assert (outcome, counts.completion_tokens) == ("failed", 1)


async def test_a_run_that_a_stopping_server_cuts_has_failed(rig, hello, books):
    async with rig(ledger=books.ledger) as r:
        events = r.service.generate(LLAMA, hello, CALLER)
        await anext(events)
        r.service.cut()
        with pytest.raises(Unavailable):
            await anext(events)
    assert (await books.only())[0] == "failed"


async def test_a_refused_request_costs_nothing(rig, hello, books):
    async with rig(ledger=books.ledger) as r:
        with pytest.raises(PromptTooLong):
            await r.ask(replace(hello, prompt=Text(" ".join("x" * 9000))), LLAMA)
    assert await books.only() == ("failed", UsageCounts(1, 1, 0, 0, 0, 0, 0.0))


async def test_a_full_queue_is_a_run_that_failed(rig, hello, books):
    async with rig(limits=Limits(Bounds(requests=1)), ledger=books.ledger) as r:
        r.chat.stage.hold("start")
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(r.ask, hello, LLAMA)
            await r.chat.stage.reached("start")
            with pytest.raises(Overloaded):
                await r.ask(replace(hello, id="second"), LLAMA)
            r.chat.stage.open("start")
    assert [outcome for _, _, outcome, _ in books.told.runs] == ["failed", "done"]


async def test_what_no_model_answers_is_no_run(rig, hello, books):
    async with rig(ledger=books.ledger) as r:
        with pytest.raises(ModelNotFound):
            await r.ask(hello, "nobody")
        with pytest.raises(BadRequest, match="not Text Generation"):
            await r.ask(hello, EMBEDDING_STAND_IN)
        r.service.stop_accepting()
        with pytest.raises(Unavailable):
            await r.ask(hello)
    assert await books.rows() == {}


async def test_embeddings_cost_their_tokens_by_the_asked_for_card(rig, books):
    async with rig(ledger=books.ledger) as r:
        embedded = await r.service.embed(BGE, WORDS, CALLER)
    cost = neurons(CARDS[BGE], 4, 0, 0)
    assert embedded.neurons == cost == pytest.approx(4 * 18_582 / 1e6)
    assert await books.rows() == {(BGE, EMBEDDING_STAND_IN): UsageCounts(1, 0, 0, 4, 0, 0, cost)}
    assert books.told.runs == [(EMBEDDING_STAND_IN, "Text Embeddings", "done", cost)]


async def test_an_embedding_that_is_left_or_fails_is_counted(rig, books):
    async with rig(limits=Limits(request_deadline_s=60), ledger=books.ledger) as r:
        r.embedder.stage.hold("embed")
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(r.service.embed, BGE, WORDS, CALLER)
            await r.embedder.stage.reached("embed")
            tasks.cancel_scope.cancel()
        r.embedder.stage.open("embed")
        with pytest.raises(BadRequest):
            await r.service.embed(BGE, Embed("long", (Text(" ".join("x" * 257)),)), CALLER)
    cost = neurons(CARDS[BGE], 4, 0, 0)  # of what the engine had begun to work on
    assert await books.rows() == {(BGE, EMBEDDING_STAND_IN): UsageCounts(2, 1, 1, 4, 0, 0, cost)}


async def test_what_a_limit_refuses_is_no_run_takes_no_place_and_reaches_no_engine(rig, hello):
    books = Books(Allowance(requests_per_minute={Task.TEXT_GENERATION: 1, Task.TEXT_EMBEDDINGS: 1}))
    async with rig(ledger=books.ledger) as r:
        await r.ask(hello)
        queued = list(r.meter.queues)
        with pytest.raises(LimitReached) as refused:
            await r.ask(replace(hello, id="second"))
        assert (r.chat.finished, r.meter.queues) == (["hello"], queued)
        await r.service.embed(BGE, WORDS, CALLER)
        with pytest.raises(LimitReached):
            await r.service.embed(BGE, WORDS, CALLER)
    assert refused.value.retry_after_s == 60
    assert len(books.told.runs) == len(r.embedder.requests) + len(r.chat.finished) == 2
    assert books.told.refusals == ["requests_per_minute"] * 2


async def test_a_reply_that_passes_the_limit_is_not_cut_and_the_next_is_refused(rig, hello):
    books = Books(Allowance(neurons_per_day=0.01))
    async with rig(ledger=books.ledger) as r:
        assert isinstance((await r.ask(hello, LLAMA))[-1], Usage)
        with pytest.raises(DailyLimitReached):
            await r.ask(replace(hello, id="second"), LLAMA)
        await r.ask(replace(hello, id="local"))
    assert r.chat.finished == ["hello", "local"]
    day = utc_day(NOW)
    assert set(books.sums.rows) <= {UsageKey(CALLER.account_id, day, model, CHAT_STAND_IN) for model in CARDS}
