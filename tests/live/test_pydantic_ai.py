"""pydantic-ai's agents on the real small model. What must hold does so whatever the model says."""

from collections.abc import AsyncIterator, Iterator
from typing import Literal

import openai
import pytest
from live_server import LiveServer, running
from pydantic import BaseModel, Field
from pydantic_ai import Agent, ModelSettings, NativeOutput, RunContext
from pydantic_ai.capabilities import AbstractCapability
from pydantic_ai.messages import ModelResponse
from pydantic_ai.models.openai import OpenAIChatModel
from pydantic_ai.providers.openai import OpenAIProvider

pytestmark = [pytest.mark.live, pytest.mark.anyio]
CHAT = "@local/smollm2-135m-instruct"
WAIT_S = 120


class Person(BaseModel):
    """Someone who doesn't exist."""

    name: str = Field(max_length=20)
    age: int = Field(ge=0, le=120)
    mood: Literal["glad", "sad"]


class CallsFirst(AbstractCapability):
    """A tool must be called in the first step, and none can be in the next: the loop ends whatever the model likes."""

    def get_model_settings(self):
        def settings(context: RunContext) -> ModelSettings:
            return ModelSettings(temperature=0, tool_choice="required" if context.run_step == 1 else "none")

        return settings


@pytest.fixture(scope="module")
def server(tmp_path_factory) -> Iterator[LiveServer]:
    with running(["dev"], tmp_path_factory.mktemp("data")) as server:
        yield server


@pytest.fixture
async def model(server: LiveServer) -> AsyncIterator[OpenAIChatModel]:
    async with openai.AsyncOpenAI(base_url=server.base, api_key="any", max_retries=0, timeout=WAIT_S) as client:
        yield OpenAIChatModel(CHAT, provider=OpenAIProvider(openai_client=client))


@pytest.mark.parametrize("is_streamed", [False, True], ids=["whole", "streamed"])
async def test_a_forced_tool_loop_calls_the_tool_and_ends_with_text(model, is_streamed):
    called = []
    agent = Agent(model, capabilities=[CallsFirst()])

    @agent.tool_plain
    def weather(city: str, unit: Literal["celsius", "fahrenheit"]) -> str:
        """The weather of a city."""
        called.append((city, unit))
        return f"4 degrees {unit} in {city}"

    if is_streamed:
        async with agent.run_stream("What is the weather in Oslo, in celsius?") as run:
            output = await run.get_output()
    else:
        run = await agent.run("What is the weather in Oslo, in celsius?")
        output = run.output
    assert output
    assert len(called) >= 1
    assert {unit for _, unit in called} <= {"celsius", "fahrenheit"}
    answers = [message for message in run.all_messages() if isinstance(message, ModelResponse)]
    assert [answer.finish_reason for answer in answers] == ["tool_call", "stop"]


@pytest.mark.parametrize("output", [Person, NativeOutput(Person)], ids=["tool", "native"])
@pytest.mark.parametrize("temperature", [0, 1])
async def test_a_structured_output_validates_at_the_first_try(model, output, temperature):
    agent = Agent(model, output_type=output, retries=0, model_settings={"temperature": temperature, "seed": 4})
    result = await agent.run("Invent a person.")
    assert isinstance(result.output, Person)
    assert result.usage.requests == 1
