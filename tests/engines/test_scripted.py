"""The scripted engines keep the engines' promises, so that what is tested with them holds."""

import struct
from contextlib import aclosing

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lowcloud.core.errors import BadRequest, EngineFailed, PromptTooLong, Unsupported
from lowcloud.core.events import Event, Finished, ReasoningDelta, Started, TextDelta, ToolCallDelta, Usage
from lowcloud.core.messages import Image, Message, Messages, Text, Tokens
from lowcloud.core.requests import Embed, Generate, Sampling
from lowcloud.engines.scripted import Said, SaidCall, ScriptedEmbedder, ScriptedEngine, unit_vector, words
from lowcloud.models.card import Card, Defaults, Task

pytestmark = pytest.mark.anyio
CHAT = Card(id="chat", task=Task.TEXT_GENERATION, owned_by="me", context_window=32)
EMBEDDING = Card(id="embedding", task=Task.TEXT_EMBEDDINGS, owned_by="me", dimensions=8, max_input_tokens=4)
HELLO = Messages((Message("user", "hello there"),))


async def answer(engine: ScriptedEngine, request: Generate) -> list[Event]:
    async with aclosing(engine.generate(await engine.prepare(request))) as events:
        return [event async for event in events]


def text_of(events: list[Event], choice: int = 0) -> str:
    return "".join(event.text for event in events if isinstance(event, TextDelta) and event.choice == choice)


@given(st.text())
def test_the_tokens_of_a_text_are_the_text(text: str):
    assert "".join(words(text)) == text


async def test_events_come_in_the_order_that_core_events_promises():
    events = await answer(ScriptedEngine(CHAT, "one two"), Generate("r", HELLO))
    assert events == [
        Started(4, 0, "scripted"),
        TextDelta(0, "one"),
        TextDelta(0, " two"),
        Finished(0, "stop"),
        Usage(4, 0, 2),
    ]


async def test_choices_are_interleaved_and_their_tokens_add_up():
    engine = ScriptedEngine(CHAT, lambda turn: " ".join(["x"] * (turn.choice + 1)))
    events = await answer(engine, Generate("r", HELLO, choices=3))
    assert [event.choice for event in events if isinstance(event, TextDelta)] == [0, 1, 2, 1, 2, 2]
    assert [event.choice for event in events if isinstance(event, Finished)] == [0, 1, 2]
    assert events[-1] == Usage(4, 0, 6)


async def test_the_same_seed_gives_the_same_reply_and_choices_differ():
    seeded = Generate("r", HELLO, choices=2, sampling=Sampling(seed=7))
    first, second = await answer(ScriptedEngine(CHAT), seeded), await answer(ScriptedEngine(CHAT), seeded)
    other = await answer(ScriptedEngine(CHAT), Generate("r", HELLO, sampling=Sampling(seed=8)))
    assert first == second
    assert text_of(first, 0) != text_of(first, 1)
    assert text_of(first) != text_of(other)


async def test_at_temperature_0_every_choice_is_the_same_whatever_the_seed():
    greedy = Generate("r", HELLO, choices=2, sampling=Sampling(temperature=0, seed=7))
    events = await answer(ScriptedEngine(CHAT), greedy)
    assert text_of(events, 0) == text_of(events, 1) == text_of(await answer(ScriptedEngine(CHAT), greedy))


THOUGHTFUL = Said("so then", "well well", (SaidCall("f", '{"a": 1}', "call_1"), SaidCall("g", "")))


async def test_reasoning_text_and_calls_come_in_this_order_and_are_counted():
    *events, last, usage = await answer(ScriptedEngine(CHAT, THOUGHTFUL), Generate("r", HELLO))
    assert events[1:7] == [
        ReasoningDelta(0, "well"),
        ReasoningDelta(0, " well"),
        TextDelta(0, "so"),
        TextDelta(0, " then"),
        ToolCallDelta(0, 0, '{"a":', "call_1", "f"),
        ToolCallDelta(0, 0, " 1}", is_complete=True),
    ]
    (empty,) = events[7:]
    assert (empty.name, empty.arguments, empty.is_complete) == ("g", "", True)
    assert empty.id.startswith("call_")
    assert (last, usage) == (Finished(0, "tool_calls"), Usage(4, 0, 7, 2))


async def test_a_call_that_the_length_cuts_has_no_end():
    events = await answer(ScriptedEngine(CHAT, THOUGHTFUL), Generate("r", HELLO, max_tokens=5))
    assert events[-3:] == [ToolCallDelta(0, 0, '{"a":', "call_1", "f"), Finished(0, "length"), Usage(4, 0, 5, 2)]


async def test_stop_strings_are_looked_for_in_the_text_alone():
    events = await answer(ScriptedEngine(CHAT, THOUGHTFUL), Generate("r", HELLO, stop=("well", '"a"')))
    assert events[-2] == Finished(0, "tool_calls")
    events = await answer(ScriptedEngine(CHAT, THOUGHTFUL), Generate("r", HELLO, stop=("then",)))
    assert events[-3:] == [TextDelta(0, " "), Finished(0, "stop", "then"), Usage(4, 0, 4, 2)]


async def test_ids_of_calls_differ_from_choice_to_choice_and_from_request_to_request():
    engine = ScriptedEngine(CHAT, Said(calls=(SaidCall("f"), SaidCall("f"))))
    events = [*await answer(engine, Generate("r", HELLO, choices=2)), *await answer(engine, Generate("s", HELLO))]
    ids = [event.id for event in events if isinstance(event, ToolCallDelta)]
    assert (len(ids), len(set(ids))) == (6, 6)


@pytest.mark.parametrize("param", ["", "input[0].content[1].image_url"])
def test_only_a_card_that_sees_takes_images(param):
    seen = Generate("r", Messages((Message("user", "look", images=(Image(b"x", "image/png", param=param),)),)))
    ScriptedEngine(CHAT.model_copy(update={"vision": True})).check(seen)
    with pytest.raises(Unsupported) as raised:
        ScriptedEngine(CHAT).check(seen)
    assert raised.value.param == (param or "messages[0].content")


async def test_what_of_a_schema_is_not_enforced_is_what_it_was_told():
    events = await answer(ScriptedEngine(CHAT, "one", loosened=("a.b",)), Generate("r", HELLO))
    assert events[0].loosened == ("a.b",)


async def test_max_tokens_cuts_with_length():
    events = await answer(ScriptedEngine(CHAT, "one two three"), Generate("r", HELLO, max_tokens=2))
    assert text_of(events) == "one two"
    assert events[-2:] == [Finished(0, "length"), Usage(4, 0, 2)]


async def test_the_cards_default_bounds_the_reply_and_says_so():
    card = CHAT.model_copy(update={"defaults": Defaults(max_tokens=1, temperature=0.0)})
    engine = ScriptedEngine(card, "one two")
    prepared = await engine.prepare(Generate("r", HELLO))
    events = await answer(engine, Generate("r", HELLO))
    assert (prepared.default_max_tokens, prepared.request.sampling.temperature) == (1, 0.0)
    assert events[0] == Started(4, 0, "scripted", default_max_tokens=1)
    assert text_of(events) == "one"


async def test_without_a_default_the_reply_has_what_the_context_leaves():
    prepared = await ScriptedEngine(CHAT).prepare(Generate("r", HELLO))
    assert (prepared.prompt_tokens, prepared.max_tokens, prepared.default_max_tokens) == (4, 28, None)


@pytest.mark.parametrize("stop", [("two",), ("o thr",), ("zzz", "two three"), ("ne two",), ("four",)])
async def test_a_stop_string_ends_the_reply_before_itself_across_tokens(stop: tuple[str, ...]):
    events = await answer(ScriptedEngine(CHAT, "one two three four"), Generate("r", HELLO, stop=stop))
    assert text_of(events) == "one two three four".partition(stop[-1])[0]
    assert Finished(0, "stop", stop[-1]) in events


async def test_ignoring_the_end_fills_max_tokens():
    events = await answer(ScriptedEngine(CHAT, "one two"), Generate("r", HELLO, max_tokens=5, ignore_eos=True))
    assert text_of(events) == "one twoone twoone"
    assert events[-2:] == [Finished(0, "length"), Usage(4, 0, 5)]


async def test_an_empty_reply_still_finishes():
    events = await answer(ScriptedEngine(CHAT, ""), Generate("r", HELLO))
    assert events == [Started(4, 0, "scripted"), Finished(0, "stop"), Usage(4, 0, 0)]


async def test_every_token_has_its_log_probability_and_as_many_alternatives_as_asked():
    events = await answer(ScriptedEngine(CHAT, "one two"), Generate("r", HELLO, top_logprobs=20))
    deltas = [event for event in events if isinstance(event, TextDelta)]
    assert [delta.logprobs[0].sampled.token for delta in deltas] == ["one", " two"]
    top = [alternative.logprob for alternative in deltas[0].logprobs[0].top]
    assert len(top) == 20
    assert top == sorted(top, reverse=True)
    none = await answer(ScriptedEngine(CHAT, "one"), Generate("r", HELLO, top_logprobs=0))
    assert none[1].logprobs[0].top == ()


async def test_a_prompt_beyond_the_context_is_refused_with_both_counts():
    engine = ScriptedEngine(CHAT)
    with pytest.raises(PromptTooLong, match=r"32 tokens.*40 tokens"):
        await engine.prepare(Generate("r", Text(" ".join("x" * 40))))
    with pytest.raises(PromptTooLong, match=r"32 tokens; 4 .*29 .*33"):
        await engine.prepare(Generate("r", HELLO, max_tokens=29))


async def test_a_bias_outside_the_vocabulary_is_refused_by_name():
    with pytest.raises(BadRequest) as refused:
        await ScriptedEngine(CHAT).prepare(Generate("r", HELLO, sampling=Sampling(logit_bias=((32_768, 1.0),))))
    assert refused.value.param == "logit_bias"


async def test_each_form_of_prompt_is_counted():
    engine = ScriptedEngine(CHAT)
    engine.check(Generate("r", HELLO))
    assert [await engine.count(prompt) for prompt in (HELLO, Text("a b c"), Tokens((1, 2)))] == [4, 3, 2]


async def test_a_closed_generator_is_a_cancelled_request():
    engine = ScriptedEngine(CHAT, "one two")
    events = engine.generate(await engine.prepare(Generate("r", HELLO)))
    assert isinstance(await anext(events), Started)
    assert engine.running == ["r"]
    await events.aclose()
    assert (engine.running, engine.cancelled, engine.finished) == ([], ["r"], [])


@pytest.mark.parametrize("point", ["prepare", "start", "token:1", "finish"])
async def test_a_request_cancelled_at_any_point_is_recorded(point: str):
    engine = ScriptedEngine(CHAT, "one two")
    engine.stage.hold(point)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(answer, engine, Generate("r", HELLO))
        await engine.stage.reached(point)
        tasks.cancel_scope.cancel()
    assert (engine.running, engine.cancelled) == ([], ["r"])


async def test_a_held_point_lets_through_when_it_is_opened():
    engine = ScriptedEngine(CHAT, "one two")
    engine.stage.hold("token:1")
    seen: list[Event] = []

    async def ask() -> None:
        seen.extend(await answer(engine, Generate("r", HELLO)))

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(ask)
        await engine.stage.reached("token:1")
        assert (seen, engine.running) == ([], ["r"])
        engine.stage.open("token:1")
    assert text_of(seen) == "one two"


async def test_an_error_put_at_a_point_is_raised_there_until_it_is_taken_back():
    engine = ScriptedEngine(CHAT, "one two")
    engine.stage.fail("token:1", EngineFailed("gone"))
    events = engine.generate(await engine.prepare(Generate("r", HELLO)))
    assert [await anext(events), await anext(events)] == [Started(4, 0, "scripted"), TextDelta(0, "one")]
    with pytest.raises(EngineFailed, match="gone"):
        await anext(events)
    engine.stage.fail("token:1", None)
    assert text_of(await answer(engine, Generate("s", HELLO))) == "one two"
    assert engine.finished == ["s"]


@given(st.text(), st.integers(1, 64))
def test_a_vector_has_length_1_and_depends_on_the_text(text: str, dimensions: int):
    numbers = struct.unpack(f"<{dimensions}f", unit_vector(text, dimensions))
    assert abs(sum(number * number for number in numbers) - 1) < 1e-5
    assert unit_vector(text, 64) == unit_vector(text, 64) != unit_vector(text + "x", 64)


async def test_an_embedder_keeps_the_order_counts_and_pools():
    embedder = ScriptedEmbedder(EMBEDDING)
    both = await embedder.embed(Embed("r", (Text("a b"), Tokens((1, 2, 3)))))
    alone = await embedder.embed(Embed("r", (Text("a b"),)))
    pooled = await embedder.embed(Embed("r", (Text("a b"),), pooling="cls"))
    assert (both.prompt_tokens, len(both.vectors), len(both.vectors[0])) == (5, 2, 32)
    assert embedder.card is EMBEDDING
    assert both.vectors[0] == alone.vectors[0] != pooled.vectors[0]


async def test_an_embedder_truncates_only_when_asked():
    embedder = ScriptedEmbedder(EMBEDDING)
    long = Embed("r", (Text("ok"), Text("a b c d e")), names=("one", "named"))
    with pytest.raises(BadRequest, match="named has 5 tokens; this model takes at most 4") as refused:
        await embedder.embed(long)
    assert refused.value.param == "named"
    cut = await embedder.embed(Embed("r", long.inputs, truncate=True))
    assert cut.prompt_tokens == 5


async def test_an_embedder_records_what_was_cancelled():
    embedder = ScriptedEmbedder(EMBEDDING)
    embedder.stage.hold("embed")
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(embedder.embed, Embed("r", (Text("a"),)))
        await embedder.stage.reached("embed")
        tasks.cancel_scope.cancel()
    assert embedder.cancelled == ["r"]


def test_an_embedder_needs_a_card_with_dimensions():
    with pytest.raises(ValueError, match="chat has no dimensions"):
        ScriptedEmbedder(CHAT)
