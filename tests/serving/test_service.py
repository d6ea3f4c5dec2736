"""The service's generations: who answers, what is said of it, what is counted, and that everything is given back."""

from contextlib import aclosing
from dataclasses import replace

import anyio
import pytest
from caller import CALLER

from lowcloud.core.errors import (
    BadRequest,
    EngineFailed,
    ModelNotFound,
    Overloaded,
    PromptTooLong,
    RequestTimeout,
    Unavailable,
)
from lowcloud.core.events import Started, TextDelta, ToolCallDelta, Usage
from lowcloud.core.messages import Text
from lowcloud.core.requests import Embed
from lowcloud.engines.scripted import Said, SaidCall
from lowcloud.models.catalogue import CHAT_STAND_IN, EMBEDDING_STAND_IN
from lowcloud.serving.admission import Bounds
from lowcloud.serving.service import Limits

pytestmark = pytest.mark.anyio
LLAMA = "@cf/meta/llama-3.1-8b-instruct"


async def test_a_generation_is_started_deltas_finished_usage(rig, hello):
    async with rig() as r:
        events = await r.ask(hello)
    assert [type(event).__name__ for event in events] == ["Started", *["TextDelta"] * 3, "Finished", "Usage"]
    assert events[0] == Started(4, 0, "scripted", stand_in=None, default_max_tokens=512)
    assert r.chat.finished == ["hello"]


async def test_a_stand_in_is_marked(rig, hello):
    async with rig() as r:
        events = await r.ask(hello, LLAMA)
    assert events[0].stand_in == CHAT_STAND_IN


async def test_a_mapped_model_is_no_stand_in(rig, hello):
    async with rig(mapping={LLAMA: CHAT_STAND_IN, "*": CHAT_STAND_IN}, stand_ins=False) as r:
        assert (await r.ask(hello, LLAMA))[0].stand_in is None
        assert (await r.ask(hello, "gpt-4o"))[0].stand_in is None


async def test_an_unknown_model_and_one_for_another_task_are_refused_by_name(rig, hello):
    async with rig() as r:
        with pytest.raises(ModelNotFound):
            await r.ask(hello, "nobody")
        with pytest.raises(BadRequest, match="is a model for Text Embeddings, not Text Generation") as refused:
            await r.ask(hello, EMBEDDING_STAND_IN)
    assert refused.value.param == "model"
    assert r.meter.queues == []


async def test_a_prompt_beyond_a_stand_ins_context_names_the_stand_in_and_both_counts(rig, hello):
    async with rig() as r:
        too_long = replace(hello, prompt=Text(" ".join("x" * 9000)))
        with pytest.raises(PromptTooLong, match=f"8192.*9000.*answered here by the stand-in {CHAT_STAND_IN}"):
            await r.ask(too_long, LLAMA)
        with pytest.raises(PromptTooLong) as refused:
            await r.ask(too_long)
    assert "stand-in" not in str(refused.value)
    assert r.meter.queues[-1] == (CHAT_STAND_IN, 0, 0)


async def test_a_request_waits_in_the_queue_until_it_is_started(rig, hello):
    async with rig() as r:
        r.chat.stage.hold("start")
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(r.ask, hello)
            await r.chat.stage.reached("start")
            assert r.meter.queues == [(CHAT_STAND_IN, 1, 0), (CHAT_STAND_IN, 1, 4)]
            r.chat.stage.hold("token:0")
            r.chat.stage.open("start")
            await r.chat.stage.reached("token:0")
            assert r.meter.queues[-1] == (CHAT_STAND_IN, 0, 0)
            r.chat.stage.open("token:0")


async def test_a_full_queue_is_overloaded_with_a_time_to_retry(rig, hello):
    async with rig(limits=Limits(Bounds(requests=1, tokens=100))) as r:
        r.chat.stage.hold("start")
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(r.ask, hello)
            await r.chat.stage.reached("start")
            with pytest.raises(Overloaded) as refused:
                await r.ask(replace(hello, id="second"), LLAMA)
            assert refused.value.retry_after_s == 5
            r.chat.stage.open("start")
    assert r.chat.finished == ["hello"]


async def test_the_queue_is_bounded_in_prompt_tokens_and_max_tokens_do_not_count(rig, hello):
    async with rig(limits=Limits(Bounds(requests=9, tokens=7))) as r:
        r.chat.stage.hold("start")
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(r.ask, replace(hello, max_tokens=5000))
            await r.chat.stage.reached("start")
            with pytest.raises(Overloaded):
                await r.ask(replace(hello, id="second"))
            r.chat.stage.open("start")


async def test_requests_wait_in_the_queue_while_the_model_loads(rig, hello):
    async with rig() as r:
        r.runtime.stage.hold("load")
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(r.ask, hello)
            tasks.start_soon(r.ask, replace(hello, id="second"))
            await r.runtime.stage.reached("load")
            await anyio.wait_all_tasks_blocked()
            assert r.meter.queues[-1] == (CHAT_STAND_IN, 2, 8)
            r.runtime.stage.open("load")
    assert sorted(r.chat.finished) == ["hello", "second"]


async def test_past_the_load_wait_a_request_is_unavailable_and_leaves_the_queue(rig, hello):
    async with rig(load_wait_s=0.01) as r:
        r.runtime.stage.hold("load")
        with pytest.raises(Unavailable) as refused:
            await r.ask(hello)
        assert refused.value.retry_after_s == 10
        assert r.meter.queues[-1] == (CHAT_STAND_IN, 0, 0)


@pytest.mark.parametrize("point", ["prepare", "start", "token:0", "token:2", "finish"])
async def test_a_client_that_leaves_at_any_point_gives_everything_back(rig, hello, point):
    async with rig() as r:
        r.chat.stage.hold(point)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(r.ask, hello)
            await r.chat.stage.reached(point)
            tasks.cancel_scope.cancel()
        assert (r.chat.running, r.chat.cancelled) == ([], ["hello"])
        assert r.meter.queues[-1] == (CHAT_STAND_IN, 0, 0)


async def test_a_client_that_leaves_while_the_model_loads_leaves_the_queue(rig, hello):
    async with rig() as r:
        r.runtime.stage.hold("load")
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(r.ask, hello)
            await r.runtime.stage.reached("load")
            tasks.cancel_scope.cancel()
        assert r.meter.queues[-1] == (CHAT_STAND_IN, 0, 0)
        assert (r.chat.running, r.runtime.state) == ([], "starting")


@pytest.mark.parametrize("n_events", [0, 1, 2, 5])
async def test_closing_the_generator_between_events_cancels_the_sequences(rig, hello, n_events):
    async with rig() as r:
        events = r.service.generate(CHAT_STAND_IN, hello, CALLER)
        for _ in range(n_events):
            await anext(events)
        await events.aclose()
        assert (r.chat.running, r.chat.cancelled) == ([], ["hello"] if n_events else [])
        assert r.meter.queues[-1:] == ([(CHAT_STAND_IN, 0, 0)] if n_events else [])


async def test_tokens_are_counted_once_also_for_a_request_that_was_cancelled(rig, hello):
    async with rig() as r:
        await r.ask(hello)
        async with aclosing(r.service.generate(CHAT_STAND_IN, replace(hello, top_logprobs=0), CALLER)) as events:
            for _ in range(3):
                await anext(events)
        async with aclosing(r.service.generate(CHAT_STAND_IN, hello, CALLER)) as events:
            await anext(events)
    assert r.meter.counted == [(CHAT_STAND_IN, 4, 0, 3), (CHAT_STAND_IN, 4, 0, 2), (CHAT_STAND_IN, 4, 0, 0)]


async def test_a_request_that_never_started_counts_no_tokens(rig, hello):
    async with rig() as r:
        r.chat.stage.fail("start", EngineFailed("no"))
        with pytest.raises(EngineFailed):
            await r.ask(hello)
        assert r.meter.counted == []
        assert r.meter.queues[-1] == (CHAT_STAND_IN, 0, 0)


async def test_a_failure_within_the_stream_is_raised_from_it(rig, hello):
    async with rig() as r:
        r.chat.stage.fail("token:1", EngineFailed("three deaths"))
        with pytest.raises(EngineFailed, match="three deaths"):
            await r.ask(hello)
    assert [type(event) for event in r.events] == [Started, TextDelta]
    assert r.meter.counted == [(CHAT_STAND_IN, 4, 0, 1)]


async def test_ttft_counts_from_the_arrival_and_inter_token_latency_by_choice(rig, hello):
    async with (
        rig(reply="one two") as r,
        aclosing(r.service.generate(CHAT_STAND_IN, replace(hello, choices=2), CALLER)) as events,
    ):
        async for event in events:
            r.clock.now += 3.0 if isinstance(event, Started) else 0.5
    assert r.meter.ttfts == [(CHAT_STAND_IN, 3.0)]
    assert r.meter.inter_tokens == [(CHAT_STAND_IN, 1.0), (CHAT_STAND_IN, 1.0)]


async def test_tokens_of_reasoning_and_of_calls_are_measured_like_those_of_the_text(rig, hello):
    said = Said("", reasoning="hm so", calls=(SaidCall("f", "{}"),))
    async with rig(reply=said) as r, aclosing(r.service.generate(CHAT_STAND_IN, hello, CALLER)) as events:
        async for event in events:
            r.clock.now += 3.0 if isinstance(event, Started) else 0.5
            if isinstance(event, ToolCallDelta):
                break
    assert r.meter.ttfts == [(CHAT_STAND_IN, 3.0)]
    assert r.meter.inter_tokens == [(CHAT_STAND_IN, 0.5)] * 2
    assert r.meter.counted == [(CHAT_STAND_IN, 4, 0, 3)]


@pytest.mark.parametrize("point", ["prepare", "start"])
async def test_past_its_deadline_a_request_that_has_not_started_times_out(rig, hello, point):
    async with rig(limits=Limits(request_deadline_s=0.2)) as r:
        async with r.pool.lease(CHAT_STAND_IN):
            r.chat.stage.hold(point)
        with pytest.raises(RequestTimeout, match=r"0\.2 s"):
            await r.ask(hello)
        assert (r.events, r.chat.running, r.chat.cancelled) == ([], [], ["hello"])
        assert r.meter.queues[-1] == (CHAT_STAND_IN, 0, 0)


async def test_past_its_deadline_a_stream_ends_with_the_timeout(rig, hello):
    async with rig(limits=Limits(request_deadline_s=600)) as r:
        r.chat.stage.hold("token:1")
        events = r.service.generate(CHAT_STAND_IN, hello, CALLER)
        assert [type(await anext(events)) for _ in range(2)] == [Started, TextDelta]
        r.clock.now += 599.99
        with pytest.raises(RequestTimeout):
            await anext(events)
        assert (r.chat.running, r.chat.cancelled) == ([], ["hello"])
        assert r.meter.counted == [(CHAT_STAND_IN, 4, 0, 1)]


async def test_the_deadline_also_ends_a_load_that_is_waited_for(rig, hello):
    async with rig(limits=Limits(request_deadline_s=0.02)) as r:
        r.runtime.stage.hold("load")
        with pytest.raises(RequestTimeout):
            await r.ask(hello)
        assert r.meter.queues[-1] == (CHAT_STAND_IN, 0, 0)


async def test_a_stream_that_never_pauses_ends_at_the_deadline_too(rig, hello):
    async with rig(limits=Limits(request_deadline_s=60)) as r:
        events = r.service.generate(CHAT_STAND_IN, hello, CALLER)
        await anext(events)
        r.clock.now += 60
        with pytest.raises(RequestTimeout):
            await anext(events)
        assert (r.chat.running, r.chat.cancelled) == ([], ["hello"])


async def test_a_timeout_of_the_engines_own_is_not_taken_for_the_deadline(rig, hello):
    async with rig() as r:
        r.chat.stage.fail("start", TimeoutError("inside"))
        with pytest.raises(TimeoutError, match="inside"):
            await r.ask(hello)


async def test_a_stopping_server_refuses_new_requests_and_lets_streams_end(rig, hello):
    async with rig() as r:
        r.chat.stage.hold("token:1")
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(r.ask, hello)
            await r.chat.stage.reached("token:1")
            assert r.service.is_ready()
            r.service.stop_accepting()
            assert not r.service.is_ready()
            with pytest.raises(Unavailable, match="stopping") as refused:
                await r.ask(replace(hello, id="late"))
            assert refused.value.retry_after_s == 5
            r.chat.stage.open("token:1")
    assert r.events[-1] == Usage(4, 0, 3, neurons=0.0)


async def test_a_cut_ends_streams_where_they_are(rig, hello):
    async with rig() as r:
        r.chat.stage.hold("token:1")
        waiting = r.service.generate(CHAT_STAND_IN, hello, CALLER)
        idle = r.service.generate(CHAT_STAND_IN, replace(hello, id="idle"), CALLER)
        assert [type(await anext(waiting)) for _ in range(2)] == [Started, TextDelta]
        assert isinstance(await anext(idle), Started)
        async with anyio.create_task_group() as tasks:

            async def goes_on() -> None:
                with pytest.raises(Unavailable, match="stopping"):
                    await anext(waiting)

            tasks.start_soon(goes_on)
            await anyio.wait_all_tasks_blocked()
            r.service.cut()
        with pytest.raises(Unavailable, match="stopping"):
            await anext(idle)
        assert (r.chat.running, sorted(r.chat.cancelled)) == ([], ["hello", "idle"])
        assert not r.service.is_ready()


@pytest.mark.parametrize("point", ["prepare", "start"])
async def test_a_cut_refuses_what_has_not_started(rig, hello, point):
    async with rig() as r:
        r.chat.stage.hold(point)
        async with anyio.create_task_group() as tasks:

            async def refused() -> None:
                with pytest.raises(Unavailable) as error:
                    await r.ask(hello)
                assert error.value.retry_after_s == 5

            tasks.start_soon(refused)
            await r.chat.stage.reached(point)
            r.service.cut()
        assert r.meter.queues[-1] == (CHAT_STAND_IN, 0, 0)


async def test_readiness_waits_for_preloaded_models(rig):
    async with rig(preload=(CHAT_STAND_IN,)) as r:
        assert not r.service.is_ready()
        async with r.pool.lease(CHAT_STAND_IN):
            assert r.service.is_ready()
        assert [(model.id, model.preload) for model in r.service.status()] == [
            (CHAT_STAND_IN, True),
            (EMBEDDING_STAND_IN, False),
        ]


async def test_the_models_are_those_that_would_answer(rig):
    async with rig(stand_ins=False) as r:
        assert [answer.card.id for answer in r.service.models()] == [CHAT_STAND_IN, EMBEDDING_STAND_IN]
        assert r.service.model(CHAT_STAND_IN).by.id == CHAT_STAND_IN
        with pytest.raises(ModelNotFound):
            r.service.model(LLAMA)


async def test_an_engine_of_another_kind_than_its_card_is_a_bug_that_is_not_hidden(rig, hello):
    async with rig(swapped=True) as r:
        with pytest.raises(TypeError, match="doesn't generate"):
            await r.ask(hello)
        with pytest.raises(TypeError, match="doesn't embed"):
            await r.service.embed(EMBEDDING_STAND_IN, Embed("e", (Text("a"),)), CALLER)


async def test_a_client_that_leaves_while_it_is_not_reading_gives_everything_back(rig, hello):
    async with rig() as r:
        is_writing, never = anyio.Event(), anyio.Event()

        async def write() -> None:
            async with aclosing(r.service.generate(CHAT_STAND_IN, hello, CALLER)) as events:
                async for event in events:
                    if isinstance(event, TextDelta):
                        is_writing.set()
                        await never.wait()

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(write)
            await is_writing.wait()
            tasks.cancel_scope.cancel()
        assert (r.chat.running, r.chat.cancelled) == ([], ["hello"])
        assert r.meter.queues[-1] == (CHAT_STAND_IN, 0, 0)


async def test_of_many_clients_those_that_stay_are_answered_and_nothing_is_left_of_the_others(rig, hello):
    async with rig() as r:
        scopes = {f"r{number}": anyio.CancelScope() for number in range(32)}

        async def visit(name: str, scope: anyio.CancelScope) -> None:
            with scope:
                await r.ask(replace(hello, id=name))

        r.chat.stage.hold("token:1")
        r.chat.stage.hold("finish")
        async with anyio.create_task_group() as tasks:
            for name, scope in scopes.items():
                tasks.start_soon(visit, name, scope)
            await r.chat.stage.reached("token:1", 32)
            leaving = list(scopes)[::2]
            for name in leaving:
                scopes[name].cancel()
            r.chat.stage.open("token:1")
            await r.chat.stage.reached("finish", 16)
            assert (sorted(r.chat.cancelled), len(r.chat.running)) == (sorted(leaving), 16)
            r.chat.stage.open("finish")
        assert sorted(r.chat.finished) == sorted(set(scopes) - set(leaving))
        assert (r.chat.running, r.meter.queues[-1]) == ([], (CHAT_STAND_IN, 0, 0))
