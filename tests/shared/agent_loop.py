"""One agent of openai-agents with one tool: ``agent_loop.py BASE MODEL``, in an environment that has it.

The model has to call the tool first; the agent then lets it choose, so a model that answers ends the run. What came of
it goes to standard output as JSON.
"""

import asyncio
import json
import sys

import openai
from agents import Agent, ModelSettings, OpenAIResponsesModel, Runner, function_tool, set_tracing_disabled

called: list[str] = []


@function_tool
def get_weather(city: str) -> str:
    """The weather of a city."""
    called.append(city)
    return f"4 degrees in {city}"


async def main(base: str, model: str) -> None:
    set_tracing_disabled(True)  # else it tells another service
    async with openai.AsyncOpenAI(base_url=base, api_key="any", max_retries=0, timeout=60) as client:
        settings = ModelSettings(tool_choice="required", temperature=0, max_tokens=100)
        speaks = OpenAIResponsesModel(model, client)
        agent = Agent(
            "Weatherman", instructions="Be brief.", tools=[get_weather], model=speaks, model_settings=settings
        )
        whole = await Runner.run(agent, "What is the weather in Oslo?", max_turns=3)
        streamed = Runner.run_streamed(agent, "What is the weather in Oslo?", max_turns=3)
        pieces = [event.data.delta async for event in streamed.stream_events() if is_text(event)]
    told = {"called": called, "said": whole.final_output, "items": [item.type for item in whole.new_items]}
    sys.stdout.write(json.dumps({**told, "pieces": pieces, "streamed": streamed.final_output}))


def is_text(event: object) -> bool:
    """A piece of the model's text, of the API's own events."""
    return event.type == "raw_response_event" and event.data.type == "response.output_text.delta"


asyncio.run(main(*sys.argv[1:]))
