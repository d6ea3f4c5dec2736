"""openai-agents as a client of the Responses API: an agent with a tool, whole and streamed, over scripted engines."""

import older_clients
import pytest
from scripted_server import LLAMA, scripted_server

from lowcloud.engines.scripted import Said, SaidCall, Turn

pytestmark = older_clients.needed


def script(turn: Turn) -> str | Said:
    """A call, and once the tool has answered its words."""
    _, _, result = turn.prompt.removesuffix("\n<assistant>").partition("\n<tool> ")
    return f"It is {result}." if result else Said(calls=(SaidCall("get_weather", '{"city": "Oslo"}'),))


@pytest.fixture(scope="module")
def ran():
    """What the agent did, and the requests that the model got."""
    with scripted_server(is_open=True, responses=True) as served:
        served.reply = script
        return older_clients.told("agent_loop.py", served.base, LLAMA), served.chat.requests


def test_the_runner_calls_the_tool_and_ends_with_the_model_s_text(ran):
    told, _ = ran
    assert told["items"] == ["tool_call_item", "tool_call_output_item", "message_output_item"]
    assert told["said"] == "It is 4 degrees in Oslo."
    assert told["called"] == ["Oslo", "Oslo"]  # once whole, once streamed


def test_a_streamed_run_tells_the_text_piece_by_piece(ran):
    told, _ = ran
    assert len(told["pieces"]) > 3
    assert "".join(told["pieces"]) == told["streamed"] == told["said"]


def test_the_model_sees_the_instructions_the_tool_and_what_it_answered(ran):
    _, requests = ran
    assert [[message.role for message in request.prompt.messages] for request in requests] == [
        ["system", "user"],
        ["system", "user", "assistant", "tool"],
    ] * 2
    assert {tool.name for request in requests for tool in request.prompt.tools} == {"get_weather"}
    assert all(tool.is_strict for request in requests for tool in request.prompt.tools)
