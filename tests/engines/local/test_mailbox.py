"""A mailbox carries every character, in few events where the reader is slow."""

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lowcloud.core.errors import EngineFailed
from lowcloud.core.events import (
    Alternative,
    Finished,
    ReasoningDelta,
    Started,
    TextDelta,
    TokenLogprob,
    ToolCallDelta,
    Usage,
)
from lowcloud.engines.local.mailbox import Mailbox

pytestmark = pytest.mark.anyio


def logprob(text):
    return TokenLogprob(Alternative(text, text.encode(), -1.0), ())


def delta(choice, text):
    return TextDelta(choice, text, (logprob(text),))


async def drain(box):
    box.close()
    events = []
    while (event := await box.get()) is not None:
        events.append(event)
    return events


async def test_events_come_out_in_order_and_the_end_after_them():
    box = Mailbox()
    events = [Started(1, 0, "w"), delta(0, "a"), delta(1, "b"), Finished(0, "stop"), Usage(1, 0, 2)]
    for event in events:
        box.put(event)
    assert await drain(box) == events


async def test_a_reader_waits_for_the_next_event():
    box = Mailbox()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(anyio.lowlevel.checkpoint)
        tasks.start_soon(_put_soon, box)
        assert await box.get() == delta(0, "a")
        assert await box.get() is None


async def _put_soon(box):
    await anyio.lowlevel.checkpoint()
    box.put(delta(0, "a"))
    await anyio.lowlevel.checkpoint()
    box.close()


async def test_an_error_comes_after_what_was_there_before_and_the_first_closing_counts():
    box = Mailbox()
    box.put(delta(0, "a"))
    box.close(EngineFailed("three deaths"))
    box.close()
    assert await box.get() == delta(0, "a")
    with pytest.raises(EngineFailed, match="three deaths"):
        await box.get()


async def test_a_full_box_merges_a_choices_deltas():
    box = Mailbox(capacity=3)
    for choice, text in [(0, "a"), (1, "x"), (0, "b"), (0, "c"), (1, "y"), (2, "!"), (2, "?")]:
        box.put(delta(choice, text))
    merged = [(event.choice, event.text, len(event.logprobs)) for event in await drain(box)]
    assert merged == [(0, "a", 1), (1, "xy", 2), (0, "bc", 2), (2, "!?", 2)]


async def test_a_full_box_merges_nothing_across_the_end_of_a_choice():
    box = Mailbox(capacity=1)
    events = [delta(0, "a"), Finished(0, "stop"), delta(0, "late")]
    for event in events:
        box.put(event)
    assert await drain(box) == events


@given(
    capacity=st.integers(1, 5),
    said=st.lists(st.tuples(st.integers(0, 2), st.text(min_size=1, max_size=2), st.booleans()), max_size=40),
)
async def test_however_slow_the_reader_no_character_is_lost_and_the_box_stays_small(capacity, said):
    box, taken = Mailbox(capacity), []
    for choice, text, reads in said:
        box.put(delta(choice, text))
        assert len(box) <= capacity + 3
        if reads:
            taken.append(await box.get())
    taken += await drain(box)
    for choice in range(3):
        pieces = [text for number, text, _ in said if number == choice]
        mine = [event for event in taken if event.choice == choice]
        assert "".join(event.text for event in mine) == "".join(pieces)
        assert [one.sampled.token for event in mine for one in event.logprobs] == pieces


async def test_a_full_box_merges_reasoning_and_the_pieces_of_one_call_each_with_its_own():
    box = Mailbox(capacity=1)
    for event in [
        Started(1, 0, "w"),
        ReasoningDelta(0, "h"),
        ReasoningDelta(0, "m"),
        ToolCallDelta(0, 0, id="a", name="f"),
        ToolCallDelta(0, 0, "{"),
        ToolCallDelta(0, 0, "}", is_complete=True),
        ToolCallDelta(0, 1, id="b", name="f"),
    ]:
        box.put(event)
    assert await drain(box) == [
        Started(1, 0, "w"),
        ReasoningDelta(0, "hm"),
        ToolCallDelta(0, 0, "{}", "a", "f", is_complete=True),
        ToolCallDelta(0, 1, id="b", name="f"),
    ]
