"""Calls become deltas: an id and a name once, then arguments."""

from itertools import count

from lowcloud.core.events import ToolCallDelta
from lowcloud.core.output import AnyText
from lowcloud.core.tools import Tool
from lowcloud.engines.calls import Calls, new_call_id
from lowcloud.text.channels import CallArguments, CallBegin, CallEnd

TOOLS = (Tool("add"), Tool("shell", input=AnyText()))


def deltas(*parts):
    numbers = count(1)
    calls = Calls(0, TOOLS, lambda: f"call_{next(numbers)}")
    return [delta for part in parts if (delta := calls.delta(part))], calls


def test_the_id_and_the_name_come_once_and_the_arguments_in_pieces():
    got, calls = deltas(CallBegin("add"), CallArguments('{"a":'), CallArguments(" 1}"), CallEnd())
    assert got == [
        ToolCallDelta(0, 0, id="call_1", name="add"),
        ToolCallDelta(0, 0, '{"a":'),
        ToolCallDelta(0, 0, " 1}"),
        ToolCallDelta(0, 0, is_complete=True),
    ]
    assert calls.n_complete == 1


def test_every_call_has_an_index_and_an_id_of_its_own_though_the_model_repeats_one():
    got, _ = deltas(CallBegin("add", "x"), CallEnd(), CallBegin("add", "x"), CallEnd())
    assert [(delta.call, delta.id) for delta in got if delta.id] == [(0, "x"), (1, "call_1")]


def test_a_custom_tools_input_comes_as_the_text_that_it_is():
    got, _ = deltas(CallBegin("shell"), CallArguments('{"input": "ls'), CallArguments(' -l\\n"}'), CallEnd())
    assert got[1:] == [ToolCallDelta(0, 0, "ls -l\n", is_complete=True)]


def test_a_call_that_is_cut_is_never_complete():
    got, calls = deltas(CallBegin("add"), CallArguments('{"a":'))
    assert not any(delta.is_complete for delta in got)
    assert calls.n_complete == 0


def test_ids_of_calls_are_unique():
    assert len({new_call_id() for _ in range(100)}) == 100
