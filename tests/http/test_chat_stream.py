"""The stream and the whole answer are the same answer, however the events are cut."""

import json
from collections.abc import Sequence
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lowcloud.core.events import Alternative, Event, Finished, Started, TextDelta, TokenLogprob, Usage
from lowcloud.http.openai.chat_stream import ChunkWriter, Head, WholeAnswer

HEAD = Head("chatcmpl-1", 1, "@cf/a/b", "fp_w")
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
LOGPROB = st.builds(
    Alternative, TEXT, st.binary(max_size=4), st.floats(max_value=0, allow_nan=False) | st.just(float("-inf"))
)
TOKEN = st.builds(TokenLogprob, LOGPROB, st.lists(LOGPROB, max_size=2).map(tuple))
DELTA = st.tuples(TEXT, st.lists(TOKEN, max_size=2).map(tuple))
CHOICES = st.lists(st.tuples(st.lists(DELTA, max_size=4), st.sampled_from(["stop", "length"])), min_size=1, max_size=3)


@st.composite
def generations(draw: st.DrawFn) -> list[Event]:
    """Events of up to three choices, interleaved in any way."""
    lines: list[list[Event]] = [
        [*(TextDelta(index, text, logprobs) for text, logprobs in deltas), Finished(index, reason)]
        for index, (deltas, reason) in enumerate(draw(CHOICES))
    ]
    events: list[Event] = [Started(3, 1, "w")]
    while any(lines):
        index = draw(st.sampled_from([index for index, line in enumerate(lines) if line]))
        events.append(lines[index].pop(0))
    return [*events, Usage(3, 1, 9)]


def folded(events: Sequence[Event], choices: int) -> dict:
    answer = WholeAnswer(HEAD, choices, has_logprobs=True)
    for event in events:
        answer.feed(event)
    return json.loads(answer.body())


def streamed(events: Sequence[Event], choices: int, *, include_usage: bool = True) -> list[dict]:
    writer = ChunkWriter(HEAD, choices, include_usage=include_usage)
    data = b"".join(writer.feed(event) for event in events).decode()
    assert data.endswith("\n\n")
    return [json.loads(line.removeprefix("data: ")) for line in data.split("\n\n")[:-1]]


def accumulated(chunks: Sequence[dict], choices: int) -> dict:
    """What a client makes of a stream."""
    messages = [{"role": None, "content": "", "refusal": None} for _ in range(choices)]
    reasons: list[str | None] = [None] * choices
    logprobs: list[list] = [[] for _ in range(choices)]
    for chunk in chunks:
        for choice in chunk["choices"]:
            index = choice["index"]
            messages[index]["role"] = choice["delta"].get("role", messages[index]["role"])
            messages[index]["content"] += choice["delta"].get("content", "")
            logprobs[index] += (choice["logprobs"] or {"content": []})["content"]
            assert reasons[index] is None, "nothing comes after the finish"
            reasons[index] = choice["finish_reason"]
    shown = [
        {
            "index": index,
            "message": messages[index],
            "logprobs": {"content": logprobs[index], "refusal": None},
            "finish_reason": reasons[index],
        }
        for index in range(choices)
    ]
    first = {name: chunks[0][name] for name in ("id", "created", "model", "system_fingerprint")}
    return {**first, "object": "chat.completion", "choices": shown, "usage": chunks[-1]["usage"]}


def count_of(events: Sequence[Event]) -> int:
    return sum(isinstance(event, Finished) for event in events)


@given(generations())
def test_a_whole_answer_is_the_fold_of_the_stream(events):
    choices = count_of(events)
    assert accumulated(streamed(events, choices), choices) == folded(events, choices)


@given(st.text(st.characters(exclude_categories=["Cs"])), st.lists(st.integers(0, 40), max_size=6))
def test_any_split_of_a_text_folds_to_the_same_answer(text, cuts):
    borders = sorted({0, len(text), *(min(cut, len(text)) for cut in cuts)})
    pieces = [text[start:end] for start, end in pairwise(borders)]
    tail = [Finished(0, "stop"), Usage(1, 0, 1)]
    split = [Started(1, 0, "w"), *(TextDelta(0, piece) for piece in pieces), *tail]
    whole = [Started(1, 0, "w"), TextDelta(0, text), *tail]
    assert folded(split, 1) == folded(whole, 1) == accumulated(streamed(split, 1), 1)


@given(generations())
def test_each_event_is_one_line_for_any_client(events):
    writer = ChunkWriter(HEAD, count_of(events), include_usage=True)
    for event in events:
        for block in writer.feed(event).decode().split("\n\n")[:-1]:
            assert len(block.splitlines()) == 1


def test_an_event_that_shows_nothing_becomes_no_chunk():
    writer = ChunkWriter(HEAD, 1, include_usage=False)
    assert writer.feed(TextDelta(0, "")) == writer.feed(Usage(1, 0, 1)) == b""


def test_a_token_that_cannot_come_has_the_logprob_that_openai_gives_it():
    token = TokenLogprob(Alternative("a", b"a", float("-inf")), ())
    chunk = streamed([TextDelta(0, "", (token,))], 1)[0]
    assert chunk["choices"][0]["logprobs"]["content"][0]["logprob"] == -9999.0


@pytest.mark.parametrize("events", [[Finished(0, "stop")], [Usage(1, 0, 1)]])
def test_events_that_end_too_early_are_our_bug(events):
    with pytest.raises(RuntimeError):
        folded(events, 1)
