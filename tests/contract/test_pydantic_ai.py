"""pydantic-ai's agents as clients: tool loops, structured outputs and their retries, over scripted engines."""

import json
from collections.abc import AsyncIterator
from typing import Literal

import openai
import pytest
from pydantic import BaseModel
from pydantic_ai import Agent, AgentRunResult, NativeOutput
from pydantic_ai.messages import ModelResponse, ThinkingPart, ToolCallPart, ToolReturnPart
from pydantic_ai.models.openai import OpenAIChatModel
from pydantic_ai.providers.openai import OpenAIProvider
from scripted_server import LLAMA, Served

from lowcloud.core.messages import Message
from lowcloud.core.output import JsonSchema
from lowcloud.engines.scripted import Said, SaidCall, Turn

pytestmark = pytest.mark.anyio
ASK = "What is the weather in Oslo?"
OSLO = SaidCall("weather", '{"city": "Oslo", "unit": "celsius"}')
KELVIN = SaidCall("weather", '{"city": "Oslo", "unit": "kelvin"}')
CALLING = Said("Let me look.", reasoning="They ask for weather.", calls=(OSLO,))


class City(BaseModel):
    """What is asked for."""

    name: str
    people: int


@pytest.fixture
async def model(served: Served) -> AsyncIterator[OpenAIChatModel]:
    async with openai.AsyncOpenAI(base_url=served.base, api_key="x", max_retries=0, timeout=20) as client:
        yield OpenAIChatModel(LLAMA, provider=OpenAIProvider(openai_client=client))


def weather_agent(model: OpenAIChatModel) -> tuple[Agent[None, str], list[tuple[str, str]]]:
    """An agent with one tool, and what the tool was called with."""
    agent, called = Agent(model), []

    @agent.tool_plain
    def weather(city: str, unit: Literal["celsius", "fahrenheit"]) -> str:
        """The weather of a city."""
        called.append((city, unit))
        return f"4 degrees {unit} in {city}"

    return agent, called


def told(turn: Turn) -> str | None:
    """What a tool has answered last."""
    _, *results = turn.prompt.removesuffix("\n<assistant>").split("\n<tool> ")
    return results[-1] if results else None


def calls_until_told(turn: Turn) -> str | Said:
    """A call, and once the tool has answered its words."""
    result = told(turn)
    return CALLING if result is None else f"It is {result}."


def parts_of(result: AgentRunResult[str], kind: type) -> list:
    """The parts of that kind in the whole conversation."""
    return [part for message in result.all_messages() for part in message.parts if isinstance(part, kind)]


def asked(served: Served) -> list[tuple[Message, ...]]:
    """The conversation of each request."""
    return [request.prompt.messages for request in served.chat.requests]


async def test_an_agent_calls_its_tool_and_ends_with_the_models_text(served, model):
    served.reply = calls_until_told
    agent, called = weather_agent(model)
    result = await agent.run(ASK)
    assert result.output == "It is 4 degrees celsius in Oslo."
    assert called == [("Oslo", "celsius")]
    assert result.usage.requests == 2
    (call,), (answer,) = parts_of(result, ToolCallPart), parts_of(result, ToolReturnPart)
    assert call.tool_call_id == answer.tool_call_id


async def test_the_reasoning_is_a_thinking_part_and_comes_back_with_the_call(served, model):
    served.reply = calls_until_told
    agent, _ = weather_agent(model)
    result = await agent.run(ASK)
    (thought,) = parts_of(result, ThinkingPart)
    assert thought.content == CALLING.reasoning
    _, said, answer = asked(served)[1]
    assert (said.reasoning, said.text) == (CALLING.reasoning, CALLING.text)
    assert json.loads(said.calls[0].arguments) == json.loads(OSLO.arguments)
    assert (answer.role, answer.call_id) == ("tool", said.calls[0].id)


async def test_the_tools_schema_reaches_the_engine(served, model):
    served.reply = "Hello."
    agent, _ = weather_agent(model)
    await agent.run(ASK)
    (tool,) = served.chat.requests[-1].tools.tools
    assert (tool.name, tool.description) == ("weather", "The weather of a city.")
    assert tool.parameters["properties"]["unit"]["enum"] == ["celsius", "fahrenheit"]


async def test_arguments_that_dont_validate_are_told_to_the_model_which_calls_again(served, model):
    def corrects_itself(turn: Turn) -> str | Said:
        result = told(turn)
        if result is None:
            return Said(calls=(KELVIN,))
        return f"It is {result}." if "degrees" in result else Said(calls=(OSLO,))

    served.reply = corrects_itself
    agent, called = weather_agent(model)
    result = await agent.run(ASK)
    assert called == [("Oslo", "celsius")]
    assert result.output == "It is 4 degrees celsius in Oslo."
    complaint = asked(served)[1][-1]
    assert complaint.role == "tool"
    assert "kelvin" in complaint.text


async def test_a_structured_output_is_a_forced_call_of_a_tool(served, model):
    served.reply = Said(calls=(SaidCall("final_result", '{"name": "Rome", "people": 2800000}'),))
    result = await Agent(model, output_type=City).run("The biggest city of Italy?")
    assert result.output == City(name="Rome", people=2_800_000)
    plan = served.chat.requests[-1].tools
    assert ([tool.name for tool in plan.tools], plan.mode) == (["final_result"], "required")


async def test_a_native_output_is_a_closed_schema(served, model):
    served.reply = '{"name": "Rome", "people": 2800000}'
    result = await Agent(model, output_type=NativeOutput(City)).run("The biggest city of Italy?")
    assert result.output == City(name="Rome", people=2_800_000)
    output = served.chat.requests[-1].output
    assert isinstance(output, JsonSchema)
    assert (output.is_strict, output.schema["required"]) == (True, ["name", "people"])


async def test_a_streamed_run_of_calls_alone_ends_with_the_text_in_pieces(served, model):
    served.reply = lambda turn: Said(calls=(OSLO,)) if told(turn) is None else calls_until_told(turn)
    agent, called = weather_agent(model)
    async with agent.run_stream(ASK) as run:
        pieces = [piece async for piece in run.stream_text(delta=True, debounce_by=None)]
    assert called == [("Oslo", "celsius")]
    assert "".join(pieces) == "It is 4 degrees celsius in Oslo."
    assert len(pieces) > 1
    assert [message.finish_reason for message in run.all_messages() if isinstance(message, ModelResponse)] == [
        "tool_call",
        "stop",
    ]
