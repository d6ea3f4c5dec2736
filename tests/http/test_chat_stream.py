"""The stream and the whole answer are the same answer, however the events are cut."""

import json
from collections.abc import Sequence
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lowcloud.core.events import (
    Alternative,
    Event,
    Finished,
    ReasoningDelta,
    Started,
    TextDelta,
    TokenLogprob,
    ToolCallDelta,
    Usage,
)
from lowcloud.http.openai import schemas
from lowcloud.http.openai.chat_answer import Head, Shape, WholeAnswer
from lowcloud.http.openai.chat_stream import PAD_BYTES, ChunkWriter

HEAD = Head("chatcmpl-1", 1, "@cf/a/b", "fp_w")
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
LOGPROB = st.builds(
    Alternative, TEXT, st.binary(max_size=4), st.floats(max_value=0, allow_nan=False) | st.just(float("-inf"))
)
TOKEN = st.builds(TokenLogprob, LOGPROB, st.lists(LOGPROB, max_size=2).map(tuple))
CUSTOM = "shell"
NAMES = st.sampled_from(["f", "get.weather", CUSTOM])
CALL = st.tuples(NAMES, st.lists(TEXT, min_size=1, max_size=3))
CHOICE = st.tuples(
    st.lists(TEXT, max_size=2),
    st.lists(st.tuples(TEXT, st.lists(TOKEN, max_size=2).map(tuple)), max_size=4),
    st.lists(CALL, max_size=2),
    st.sampled_from(["stop", "length"]),
)


def call_events(choice: int, index: int, call: tuple[str, list[str]], *, is_cut: bool = False) -> list[Event]:
    """A call in pieces; one that is cut never ends."""
    name, pieces = call
    first = ToolCallDelta(choice, index, pieces[0], f"call_{choice}_{index}", name)
    rest = [ToolCallDelta(choice, index, piece) for piece in pieces[1:]]
    return [first, *rest, *([] if is_cut else [ToolCallDelta(choice, index, is_complete=True)])]


def choice_events(choice: int, drawn: tuple) -> list[Event]:
    """Reasoning, text and calls; where the length cuts, it cuts the last call."""
    thoughts, texts, calls, reason = drawn
    said = [event for index, call in enumerate(calls) for event in call_events(choice, index, call)]
    if calls and reason == "length":
        said.pop()
    elif calls:
        reason = "tool_calls"
    return [
        *(ReasoningDelta(choice, thought) for thought in thoughts),
        *(TextDelta(choice, text, logprobs) for text, logprobs in texts),
        *said,
        Finished(choice, reason),
    ]


@st.composite
def generations(draw: st.DrawFn) -> list[Event]:
    """Events of up to three choices, interleaved in any way."""
    drawn = draw(st.lists(CHOICE, min_size=1, max_size=3))
    lines = [choice_events(index, choice) for index, choice in enumerate(drawn)]
    events: list[Event] = [Started(3, 1, "w")]
    while any(lines):
        index = draw(st.sampled_from([index for index, line in enumerate(lines) if line]))
        events.append(lines[index].pop(0))
    return [*events, Usage(3, 1, 9, 2)]


def shape(choices: int, **fields: object) -> Shape:
    return Shape(choices, has_logprobs=True, include_usage=True, custom=frozenset({CUSTOM}), **fields)


def folded(events: Sequence[Event], of: Shape) -> dict:
    answer = WholeAnswer(HEAD, of)
    for event in events:
        answer.feed(event)
    return json.loads(answer.body())


def streamed(events: Sequence[Event], of: Shape) -> list[dict]:
    writer = ChunkWriter(HEAD, of)
    data = b"".join(writer.feed(event) for event in events).decode()
    assert data.endswith("\n\n")
    return [json.loads(line.removeprefix("data: ")) for line in data.split("\n\n")[:-1]]


def merge(message: dict, delta: dict) -> None:
    """What a client makes of a delta: strings are joined, calls go by their index."""
    for name, value in delta.items():
        if name == "tool_calls":
            for call in value:
                place = message.setdefault("tool_calls", {}).setdefault(call.pop("index"), {})
                merge(place, call)
        elif isinstance(value, dict):
            merge(message.setdefault(name, {}), value)
        elif name in ("id", "type", "name", "role"):
            assert name not in message, f"{name} comes once"
            message[name] = value
        else:
            message[name] = value if message.get(name) is None else message[name] + value


def accumulated(chunks: Sequence[dict], choices: int) -> dict:
    """What a client makes of a stream."""
    messages: list[dict] = [{} for _ in range(choices)]
    reasons: list[str | None] = [None] * choices
    logprobs: list[list] = [[] for _ in range(choices)]
    for chunk in chunks:
        for choice in chunk["choices"]:
            index = choice["index"]
            assert reasons[index] is None, "nothing comes after the finish"
            merge(messages[index], choice["delta"])
            logprobs[index] += (choice["logprobs"] or {"content": []})["content"]
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


def without_half_calls(answer: dict, events: Sequence[Event]) -> dict:
    """As a client sees it that drops the calls without an end, and has null for no text beside calls."""
    complete = {(e.choice, e.call) for e in events if isinstance(e, ToolCallDelta) and e.is_complete}
    for index, choice in enumerate(answer["choices"]):
        message = choice["message"]
        calls = [call for place, call in message.pop("tool_calls", {}).items() if (index, place) in complete]
        if calls:
            message["tool_calls"] = calls
            message["content"] = message["content"] or None
    return answer


def count_of(events: Sequence[Event]) -> int:
    return sum(isinstance(event, Finished) for event in events)


@given(generations())
def test_a_whole_answer_is_the_fold_of_the_stream(events):
    of = shape(count_of(events))
    client = without_half_calls(accumulated(streamed(events, of), of.choices), events)
    assert client == folded(events, of)


@given(generations())
def test_whole_answers_and_chunks_have_the_documented_shape(events):
    of = shape(count_of(events))
    schemas.ChatCompletion.model_validate(folded(events, of))
    for chunk in streamed(events, of):
        schemas.ChatCompletionChunk.model_validate(chunk)


@given(st.text(st.characters(exclude_categories=["Cs"])), st.lists(st.integers(0, 40), max_size=6))
def test_any_split_of_a_text_folds_to_the_same_answer(text, cuts):
    borders = sorted({0, len(text), *(min(cut, len(text)) for cut in cuts)})
    pieces = [text[start:end] for start, end in pairwise(borders)]
    tail = [Finished(0, "stop"), Usage(1, 0, 1)]
    split = [Started(1, 0, "w"), *(TextDelta(0, piece) for piece in pieces), *tail]
    whole = [Started(1, 0, "w"), TextDelta(0, text), *tail]
    assert folded(split, shape(1)) == folded(whole, shape(1)) == accumulated(streamed(split, shape(1)), 1)


@given(generations(), st.booleans())
def test_each_event_is_one_line_for_any_client(events, pads):
    writer = ChunkWriter(HEAD, shape(count_of(events), pads=pads))
    for event in events:
        for block in writer.feed(event).decode().split("\n\n")[:-1]:
            assert len(block.splitlines()) == 1


def test_an_event_that_shows_nothing_becomes_no_chunk():
    writer = ChunkWriter(HEAD, Shape())
    nothing = [TextDelta(0, ""), ReasoningDelta(0, ""), ToolCallDelta(0, 0, is_complete=True), Usage(1, 0, 1)]
    assert [writer.feed(event) for event in nothing] == [b""] * 4


def test_a_token_that_cannot_come_has_the_logprob_that_openai_gives_it():
    token = TokenLogprob(Alternative("a", b"a", float("-inf")), ())
    chunk = streamed([TextDelta(0, "", (token,))], shape(1))[0]
    assert chunk["choices"][0]["logprobs"]["content"][0]["logprob"] == -9999.0


@pytest.mark.parametrize("events", [[Finished(0, "stop")], [Usage(1, 0, 1)]])
def test_events_that_end_too_early_are_our_bug(events):
    with pytest.raises(RuntimeError):
        folded(events, shape(1))


def called(*calls: tuple[str, list[str]], reason: str = "tool_calls") -> list[Event]:
    """A generation that only calls."""
    said = [event for index, call in enumerate(calls) for event in call_events(0, index, call)]
    return [Started(3, 1, "w"), *said, Finished(0, reason), Usage(3, 1, 9)]


def test_a_call_has_its_id_and_name_once_and_its_arguments_in_pieces():
    chunks = streamed(called(("f", ['{"a"', ": 1}"]), (CUSTOM, ["ls", " -l"])), shape(1))
    assert [chunk["choices"][0]["delta"].get("tool_calls") for chunk in chunks[1:5]] == [
        [{"index": 0, "id": "call_0_0", "type": "function", "function": {"name": "f", "arguments": '{"a"'}}],
        [{"index": 0, "function": {"arguments": ": 1}"}}],
        [{"index": 1, "id": "call_0_1", "type": "custom", "custom": {"name": CUSTOM, "input": "ls"}}],
        [{"index": 1, "custom": {"input": " -l"}}],
    ]


def test_calls_without_text_have_null_as_content():
    message = folded(called(("f", ["{}"])), shape(1))["choices"][0]["message"]
    assert (message["content"], len(message["tool_calls"])) == (None, 1)


def test_a_call_that_the_length_cut_is_left_out_of_a_whole_answer():
    cut = [
        *call_events(0, 0, ("f", ["{}"])),
        *call_events(
            0,
            1,
            (
                "g",
                ['{"a'],
            ),
            is_cut=True,
        ),
    ]
    events = [Started(3, 1, "w"), *cut, Finished(0, "length"), Usage(3, 1, 9)]
    choice = folded(events, shape(1))["choices"][0]
    assert ([call["id"] for call in choice["message"]["tool_calls"]], choice["finish_reason"]) == (
        ["call_0_0"],
        "length",
    )
    assert streamed(events, shape(1))[-2]["choices"][0]["finish_reason"] == "length"


@pytest.mark.parametrize(
    ("fields", "reason"),
    [({}, "tool_calls"), ({"is_named": True}, "stop"), ({"is_legacy": True}, "function_call")],
)
def test_the_finish_reason_of_a_call_depends_on_who_chose_it(fields, reason):
    events = called(("f", ["{}"]))
    assert folded(events, shape(1, **fields))["choices"][0]["finish_reason"] == reason
    assert streamed(events, shape(1, **fields))[-2]["choices"][0]["finish_reason"] == reason


def test_a_request_with_functions_gets_a_function_call():
    events, of = called(("f", ['{"a"', ": 1}"])), shape(1, is_legacy=True)
    message = folded(events, of)["choices"][0]["message"]
    expected = {"name": "f", "arguments": '{"a": 1}'}
    assert (message["function_call"], "tool_calls" in message, message["content"]) == (expected, False, None)
    assert accumulated(streamed(events, of), 1)["choices"][0]["message"]["function_call"] == expected


def test_where_a_call_is_forced_the_role_comes_with_null_as_content():
    first = streamed(called(("f", ["{}"])), shape(1, is_forced=True))[0]
    assert first["choices"][0]["delta"] == {"role": "assistant", "content": None, "refusal": None}


@given(generations())
def test_padded_chunks_are_of_sizes_that_tell_little(events):
    of = shape(count_of(events), pads=True)
    writer = ChunkWriter(HEAD, of)
    for event in events:
        for block in filter(None, writer.feed(event).split(b"\n\n")):
            assert len(block + b"\n\n") % PAD_BYTES == 0 or isinstance(event, Usage)
    plain = streamed(events, shape(of.choices))
    padded = streamed(events, of)
    assert [chunk.pop("obfuscation", None) is not None for chunk in padded] == [bool(c["choices"]) for c in plain]
    assert padded == plain


def test_the_tier_is_shown_to_who_asked_for_one():
    head = Head("chatcmpl-1", 1, "m", "fp_w", "default")
    assert head.fields("chat.completion")["service_tier"] == "default"
    assert "service_tier" not in HEAD.fields("chat.completion")
