"""Streams as several servers send them, whole and cut anywhere, are the same events of ours."""

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from remote_model import UPSTREAM, asked

from lowcloud.core.events import Event, Finished, ReasoningDelta, TextDelta, ToolCallDelta, Usage
from lowcloud.core.tools import Tool, ToolPlan
from lowcloud.engines.remote.reply import Reply
from lowcloud.engines.remote.sse import SseReader

TRANSCRIPTS = Path(__file__).with_name("transcripts")
TOOLS = ToolPlan((Tool("weather"),), "auto")


@dataclass
class Said:
    """A fold of one choice. A call is [id, name, arguments, how many of its deltas were its end]."""

    text: str = ""
    reasoning: str = ""
    calls: list[list[object]] = field(default_factory=list)
    reason: str = ""
    usage: tuple[int, int, int, int] = (0, 0, 0, 0)


def folded(events: Iterable[Event]) -> Said:
    said = Said()
    for event in events:
        assert not said.reason or isinstance(event, Usage), "nothing comes after the end"
        match event:
            case TextDelta(text=text):
                said.text += text
            case ReasoningDelta(text=text):
                said.reasoning += text
            case ToolCallDelta(call=number, arguments=arguments, id=own, name=name, is_complete=is_complete):
                if number == len(said.calls):
                    said.calls.append([own, name, "", 0])
                else:
                    assert (own, name) == (None, None), "said once"
                said.calls[number][2] += arguments
                said.calls[number][3] += is_complete
            case Finished(reason=reason):
                said.reason = reason
            case Usage(prompt, cached, completion, reasoning):
                said.usage = (prompt, cached, completion, reasoning)
    return said


def events_of(pieces: Iterable[bytes], **fields: object) -> list[Event]:
    """What becomes of a stream, without any I/O."""
    numbers = iter(range(100))
    reply = Reply(UPSTREAM, asked(**fields), 7, lambda: f"new_{next(numbers)}")
    reader, events, is_done = SseReader(), [], False
    for piece in pieces:
        for data in reader.feed(piece):
            is_done = is_done or data == "[DONE]"
            events += [] if is_done else reply.take(json.loads(data))
    return [*events, *reply.end(is_whole=is_done)]


EXPECTED = {
    "llama_server": Said(
        "",
        "Where is it?",
        [["V1wQ8", "weather", '{"city":"Gödel"}', 1]],
        "tool_calls",
        (150, 149, 22, 2),
    ),
    "ollama": Said(
        "",
        "Two cities.",
        [["call_a", "weather", '{"city":"Rome"}', 1], ["call_b", "weather", '{"city":"Oslo"}', 1]],
        "tool_calls",
        (160, 0, 48, 2),
    ),
    "vllm": Said("\n\nTea", "Hm", [["chatcmpl-tool-9f", "brew", '{"cups": 2}', 1]], "tool_calls", (12, 0, 28, 1)),
    "workers_ai": Said(
        "So",
        "",
        [["new_0", "weather", '{"city": "Rome"}', 1], ["new_1", "now", "{}", 1]],
        "tool_calls",
        (30, 0, 9, 0),
    ),
    "openai": Said(
        "",
        "",
        [["call_1", "weather", '{"city":"Rome"}', 1], ["call_2", "shell", "ls -l", 1]],
        "tool_calls",
        (80, 64, 40, 17),
    ),
    "deepseek": Said("2", "1+1", [], "stop", (5, 0, 3, 2)),
    "repeats": Said("", "", [["77", "weather", '{"city":"Rome"}', 1]], "tool_calls", (7, 0, 3, 0)),
    "mistral": Said("Yes.", "Let me see.", [], "length", (4, 0, 6, 1)),
}


@pytest.mark.parametrize("name", sorted(path.stem for path in TRANSCRIPTS.glob("*.sse")))
def test_a_servers_stream_is_what_it_says(name):
    stream = (TRANSCRIPTS / f"{name}.sse").read_bytes()
    assert folded(events_of([stream], tools=TOOLS)) == EXPECTED[name]


@pytest.mark.parametrize("name", sorted(EXPECTED))
@pytest.mark.parametrize("size", [1, 2, 7, 64])
def test_how_a_stream_is_cut_changes_nothing(name, size):
    stream = (TRANSCRIPTS / f"{name}.sse").read_bytes()
    pieces = [stream[at : at + size] for at in range(0, len(stream), size)]
    assert events_of(pieces, tools=TOOLS) == events_of([stream], tools=TOOLS)


@given(st.data())
def test_a_whole_answer_is_read_as_a_stream_of_one_chunk_is(data):
    text = data.draw(st.text(min_size=1))
    whole = {"choices": [{"message": {"role": "assistant", "content": text}, "finish_reason": "stop"}]}
    reply = Reply(UPSTREAM, asked(), 7, lambda: "new")
    assert folded([*reply.take(whole), *reply.end(is_whole=True)]) == Said(text, reason="stop", usage=(7, 0, 1, 0))
