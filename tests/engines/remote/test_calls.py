"""Tool calls come out with one id, one name and JSON arguments, whatever form their deltas have."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lowcloud.engines.remote.calls import BadCallError, CallReader

ARGUMENTS = st.dictionaries(st.text(max_size=4), st.text(max_size=6) | st.integers(), min_size=1, max_size=3)


def function(name=None, arguments=None, **around) -> dict:
    given = {"name": name, "arguments": arguments}
    return {"function": {key: value for key, value in given.items() if value is not None}} | around


def read(deltas, *, at_most_one=False, is_cut=False) -> list[tuple]:
    """Each call as (id, name, arguments, is complete)."""
    numbers = iter(range(100))
    reader = CallReader(0, lambda: f"new_{next(numbers)}", at_most_one=at_most_one)
    calls: list[list] = []
    for event in [*(event for delta in deltas for event in reader.take(delta)), *reader.close(is_cut=is_cut)]:
        if event.call == len(calls):
            calls.append([event.id, event.name, "", False])
        else:
            assert (event.id, event.name) == (None, None)
        calls[event.call][2] += event.arguments
        calls[event.call][3] |= event.is_complete
    return [tuple(call) for call in calls]


@st.composite
def calls_and_deltas(draw) -> tuple[list[tuple], list[dict]]:
    """Calls, and the deltas of a server that gives indices, ids or both, and may repeat what it said."""
    has_index, has_id = draw(st.sampled_from([(True, True), (True, False), (False, True)]))
    repeats = draw(st.booleans())
    calls, deltas = [], []
    for number, arguments in enumerate(draw(st.lists(ARGUMENTS, min_size=1, max_size=3))):
        text, own = json.dumps(arguments), f"id_{number}"
        cut = draw(st.integers(0, len(text) - 1))
        around = {"index": number} if has_index else {}
        around |= {"id": own} if has_id else {}
        rest = around if repeats or not has_index else {"index": number}
        deltas += [function("f", text[:cut], **around), function("f" if repeats else None, text[cut:], **rest)]
        calls.append((own if has_id else f"new_{number}", "f", text, True))
    return calls, deltas


@given(calls_and_deltas())
def test_calls_in_pieces_are_put_together(case):
    calls, deltas = case
    assert read(deltas) == calls


@given(st.lists(ARGUMENTS, min_size=1, max_size=4), st.sampled_from([{}, {"index": 0}, {"index": None, "id": ""}]))
def test_whole_calls_without_an_id_are_told_apart(arguments, around):
    deltas = [function("f", json.dumps(each), **around) for each in arguments]
    assert [call[2] for call in read(deltas)] == [json.dumps(each) for each in arguments]
    assert len({call[0] for call in read(deltas)}) == len(arguments)


def test_an_id_that_comes_twice_is_given_to_one_call_only():
    deltas = [function("f", "{}", id="0", index=0), function("g", "{}", id="0", index=1)]
    assert read(deltas) == [("0", "f", "{}", True), ("new_0", "g", "{}", True)]


def test_arguments_that_come_before_the_name_wait_for_it():
    deltas = [function(None, '{"a"', index=0), function("f", ":1}", index=0)]
    assert read(deltas) == [("new_0", "f", '{"a":1}', True)]


@pytest.mark.parametrize("arguments", [None, "", " "])
def test_a_call_without_arguments_has_an_object_of_none(arguments):
    ((_, _, text, is_complete),) = read([function("f", arguments, id="1")])
    assert (json.loads(text), is_complete) == ({}, True)


def test_a_call_that_the_length_cuts_has_no_end_but_those_before_it_have():
    deltas = [function("f", "{}", id="1", index=0), function("f", '{"a', id="2", index=1)]
    assert read(deltas, is_cut=True) == [("1", "f", "{}", True), ("2", "f", '{"a', False)]


def test_where_one_call_may_be_made_the_second_is_dropped():
    deltas = [function("f", "{}", id="1", index=0), function("g", "{}", id="2", index=1)]
    assert read(deltas, at_most_one=True) == [("1", "f", "{}", True)]


@pytest.mark.parametrize(
    ("deltas", "complaint"),
    [
        ([function("f", '{"a":', id="1")], "calls f with arguments that are no JSON object"),
        ([function("f", "[1]", id="1")], "calls f with arguments that are no JSON object"),
        ([function(None, "{}", id="1")], "calls a tool without saying which"),
        (
            [function("f", "{}", index=0), function("g", "", index=1), function(None, "x", index=0)],
            "mixes its tool calls",
        ),
    ],
)
def test_a_call_that_is_none_is_an_error(deltas, complaint):
    with pytest.raises(BadCallError, match=complaint):
        read(deltas)


def test_a_custom_tools_input_is_any_text():
    deltas = [
        {"index": 0, "id": "1", "type": "custom", "custom": {"name": "sh", "input": "l"}},
        {"index": 0, "custom": {"input": "s"}},
    ]
    assert read(deltas) == [("1", "sh", "ls", True)]
