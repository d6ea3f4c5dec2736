"""The stream's nesting, and that a response is the fold of its own events."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lowcloud.core.errors import BadRequest, EngineFailed, Overloaded
from lowcloud.core.events import (
    Alternative,
    Event,
    Finished,
    ReasoningDelta,
    TextDelta,
    TokenLogprob,
    ToolCallDelta,
    Usage,
)
from lowcloud.http.responses.builder import Builder, Plan, error_fields, replayed

NOW = 1_800_000_000.5
HEAD = {"id": "resp_abc", "object": "response", "created_at": 1_800_000_000, "model": "m", "background": False}
USAGE = Usage(prompt=9, cached=4, completion=5, reasoning=2, neurons=0.25)


def folded(events: list[dict[str, Any]]) -> dict[str, Any]:
    """What a client makes of a stream that trusts the deltas alone, but for what only the ends of items bring."""
    output: list[dict[str, Any]] = []
    for event in events:
        kind, place = event["type"], event.get("output_index")
        if kind == "response.output_item.added":
            output.append(json.loads(json.dumps(event["item"])))
        elif kind == "response.content_part.added":
            output[place]["content"].append(json.loads(json.dumps(event["part"])))
        elif kind in ("response.output_text.delta", "response.reasoning_text.delta"):
            part = output[place]["content"][event["content_index"]]
            part["text"] += event["delta"]
            part.get("logprobs", []).extend(event.get("logprobs", []))
        elif kind == "response.function_call_arguments.delta":
            output[place]["arguments"] += event["delta"]
        elif kind == "response.custom_tool_call_input.delta":
            output[place]["input"] += event["delta"]
        elif kind == "response.output_item.done":
            ends = {"status", "encrypted_content"}
            output[place] |= {name: value for name, value in event["item"].items() if name in ends}
            assert output[place] == event["item"]
    return {**events[-1]["response"], "output": output}


def made(events: list[Event], head: dict[str, Any] = HEAD, **plan: Any) -> tuple[list[dict[str, Any]], Builder]:
    builder = Builder(Plan(head, **plan))
    told = builder.begin()
    for event in events:
        told += builder.feed(event)
    closing, response = builder.finished(NOW)
    return [*told, *closing, builder.last(response)], builder


def kinds(events: list[dict[str, Any]]) -> list[str]:
    return [event["type"].removeprefix("response.") for event in events]


def call(place: int, name: str = "look", *pieces: str) -> list[Event]:
    begin = ToolCallDelta(0, place, id="x", name=name)
    return [begin, *(ToolCallDelta(0, place, piece) for piece in pieces), ToolCallDelta(0, place, is_complete=True)]


def test_a_text_is_one_message_of_one_part():
    events, _ = made([TextDelta(0, "He"), TextDelta(0, "llo"), Finished(0, "stop"), USAGE])
    assert kinds(events) == [
        "created",
        "in_progress",
        "output_item.added",
        "content_part.added",
        "output_text.delta",
        "output_text.delta",
        "output_text.done",
        "content_part.done",
        "output_item.done",
        "completed",
    ]
    last = events[-1]["response"]
    part = {"type": "output_text", "text": "Hello", "annotations": [], "logprobs": []}
    message = {"type": "message", "id": "msg_abc000", "status": "completed", "role": "assistant", "content": [part]}
    assert last["output"] == [message]
    assert (last["status"], last["completed_at"], last["incomplete_details"]) == ("completed", 1_800_000_000, None)
    assert last["usage"] == {
        "input_tokens": 9,
        "input_tokens_details": {"cached_tokens": 4, "cache_write_tokens": 0},
        "output_tokens": 5,
        "output_tokens_details": {"reasoning_tokens": 2},
        "total_tokens": 14,
        "neurons": 0.25,
    }


def test_an_answer_without_a_word_is_an_empty_message():
    events, _ = made([Finished(0, "stop"), USAGE])
    assert events[-1]["response"]["output"][0]["content"][0]["text"] == ""


def test_what_is_done_in_the_background_is_queued_first():
    events, _ = made([Finished(0, "stop"), USAGE], {**HEAD, "background": True})
    assert kinds(events)[:3] == ["created", "queued", "in_progress"]
    assert [event["response"]["status"] for event in events[:3]] == ["queued", "queued", "in_progress"]


def test_reasoning_text_and_calls_are_items_of_their_own_in_the_order_in_which_they_come():
    events, _ = made(
        [
            ReasoningDelta(0, "Hm."),
            TextDelta(0, "Wait."),
            *call(0, "look", '{"at":', '"x"}'),
            *call(1, "grep", "a+b"),
            Finished(0, "tool_calls"),
            USAGE,
        ],
        custom=frozenset({"grep"}),
    )
    output = events[-1]["response"]["output"]
    assert [item["type"] for item in output] == ["reasoning", "message", "function_call", "custom_tool_call"]
    assert output[0]["content"] == [{"type": "reasoning_text", "text": "Hm."}]
    assert output[0]["summary"] == []
    assert (output[2]["name"], output[2]["arguments"]) == ("look", '{"at":"x"}')
    assert (output[3]["name"], output[3]["input"]) == ("grep", "a+b")
    assert len({item["id"] for item in output} | {item["call_id"] for item in output[2:]}) == 6
    assert kinds(events)[-7:-1] == [
        "function_call_arguments.done",
        "output_item.done",
        "output_item.added",
        "custom_tool_call_input.delta",
        "custom_tool_call_input.done",
        "output_item.done",
    ]


def test_an_answer_that_was_cut_says_so_and_so_does_its_last_item():
    events, _ = made([TextDelta(0, "On and"), Finished(0, "length"), USAGE])
    last = events[-1]
    assert last["type"] == "response.incomplete"
    assert last["response"]["incomplete_details"] == {"reason": "max_output_tokens"}
    assert last["response"]["completed_at"] is None
    assert last["response"]["output"][0]["status"] == "incomplete"


def test_a_call_that_was_cut_is_there_and_isnt_complete():
    events, _ = made([*call(0, "look", '{"at":')[:-1], Finished(0, "length"), USAGE])
    assert events[-1]["response"]["output"][0]["status"] == "incomplete"
    assert events[-1]["response"]["output"][0]["arguments"] == '{"at":'


def test_calls_beyond_the_most_that_may_be_made_arent_shown():
    events, _ = made([*call(0), *call(1), *call(2), Finished(0, "tool_calls"), USAGE], max_tool_calls=2)
    assert len(events[-1]["response"]["output"]) == 2


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (BadRequest("no"), "invalid_prompt"),
        (Overloaded("full"), "rate_limit_exceeded"),
        (EngineFailed("dead"), "server_error"),
    ],
)
def test_a_failure_has_one_of_the_codes_that_the_sdks_know(error, code):
    assert error_fields(error) == {"code": code, "message": str(error)}


def test_a_failure_keeps_what_was_said_and_closes_it():
    builder = Builder(Plan(HEAD))
    told = [*builder.begin(), *builder.feed(TextDelta(0, "Half"))]
    closing, response = builder.failed(EngineFailed("The engine died."))
    events = [*told, *closing, builder.last(response)]
    assert kinds(events)[-4:] == ["output_text.done", "content_part.done", "output_item.done", "failed"]
    assert response["error"] == {"code": "server_error", "message": "The engine died."}
    assert folded(events) == response


def test_reasoning_is_sealed_where_that_is_asked_for():
    events, _ = made(
        [ReasoningDelta(0, "Se"), ReasoningDelta(0, "cret"), TextDelta(0, "Hi"), Finished(0, "stop"), USAGE],
        seal=lambda text: f"sealed {text}",
    )
    assert events[-1]["response"]["output"][0]["encrypted_content"] == "sealed Secret"


texts = st.text(max_size=6)
logprobs = st.lists(
    st.builds(TokenLogprob, st.builds(Alternative, texts, st.binary(max_size=3), st.just(-0.5)), st.just(())),
    max_size=2,
)


@st.composite
def generations(draw: st.DrawFn) -> list[Event]:
    events: list[Event] = []
    n_calls = 0
    for kind in draw(st.lists(st.sampled_from(["text", "reasoning", "call"]), max_size=6)):
        if kind == "text":
            events += [TextDelta(0, draw(texts), tuple(draw(logprobs))) for _ in range(draw(st.integers(1, 3)))]
        elif kind == "reasoning":
            events += [ReasoningDelta(0, draw(texts)) for _ in range(draw(st.integers(1, 3)))]
        else:
            made_call = call(n_calls, draw(st.sampled_from(["look", "grep"])), *draw(st.lists(texts, max_size=3)))
            events += made_call if draw(st.booleans()) else made_call[:-1]
            n_calls += 1
    return [*events, Finished(0, draw(st.sampled_from(["stop", "length", "tool_calls"]))), USAGE]


@given(generations(), st.booleans(), st.booleans())
def test_folding_any_stream_gives_the_object_that_its_last_event_carries(events, has_logprobs, is_background):
    told, _ = made(events, {**HEAD, "background": is_background}, custom=frozenset({"grep"}), has_logprobs=has_logprobs)
    assert [event["sequence_number"] for event in told] == list(range(len(told)))
    assert folded(told) == told[-1]["response"]


@given(generations(), st.booleans())
def test_a_response_and_its_pieces_give_its_events_again(events, has_logprobs):
    told, builder = made(
        events, custom=frozenset({"grep"}), has_logprobs=has_logprobs, seal=lambda text: f"sealed {text}"
    )
    kept = json.loads(json.dumps(told[-1]["response"]))
    assert replayed(kept, json.loads(json.dumps(builder.pieces))) == told
