"""Streams byte for byte. A change in a transcript is a change of the API: read the difference before you accept it.

``LOWCLOUD_RECORD=1 pytest tests/http/test_golden.py`` writes them anew.
"""

import os
from pathlib import Path

import pytest

from lowcloud.core.errors import EngineFailed
from lowcloud.engines.scripted import Said, SaidCall

pytestmark = pytest.mark.anyio
GOLDEN = Path(__file__).parent.parent / "golden"
LLAMA = "@cf/meta/llama-3.1-8b-instruct"
TOOLS = [
    {"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}},
    {"type": "custom", "custom": {"name": "shell"}},
]
CASES = {
    "plain": {},
    "usage": {"stream_options": {"include_usage": True}, "max_tokens": 2},
    "choices": {"n": 2, "seed": 7},
    "logprobs": {"logprobs": True, "top_logprobs": 2, "max_tokens": 2},
    "stop": {"stop": [" three"]},
    "stand_in": {"model": LLAMA},
    "neurons": {"model": LLAMA, "stream_options": {"include_usage": True}, "max_tokens": 1},
    "unicode": {},
    "reasoning": {"stream_options": {"include_usage": True}},
    "tools": {"tools": TOOLS, "stream_options": {"include_usage": True}},
    "tool_named": {"tools": TOOLS, "tool_choice": {"type": "function", "function": {"name": "weather"}}},
    "tool_cut": {"tools": TOOLS, "tool_choice": "required", "max_tokens": 3},
    "functions": {"functions": [{"name": "weather"}]},
    "padded": {"stream_options": {"include_obfuscation": True}, "service_tier": "auto"},
}
CALLS = (SaidCall("weather", '{"city": "São Paulo"}'), SaidCall("shell", "ls -l\n", id="call_own"))
REPLIES = {
    "unicode": 'naïve "ø" 日本語 😀 line\u2028end\u0085 \\n\n\ttab',
    "reasoning": Said("Four.", reasoning="Two and two"),
    "tools": Said("Let me look.", reasoning="Weather?", calls=CALLS),
    "tool_named": Said(calls=CALLS[:1]),
    "tool_cut": Said(calls=CALLS),
    "functions": Said(calls=CALLS[:1]),
}


def compare(name: str, body: bytes) -> None:
    path = GOLDEN / f"{name}.sse"
    if os.environ.get("LOWCLOUD_RECORD"):
        path.write_bytes(body)
    assert body.decode() == path.read_bytes().decode()


@pytest.mark.parametrize("name", CASES)
async def test_a_stream_is_its_transcript(make_world, name):
    async with make_world(reply=REPLIES.get(name, "one two three"), cached_tokens=1) as world:
        answer = await world.chat_completion(stream=True, **CASES[name])
    compare(name, answer.body)


async def test_a_stream_that_fails_is_its_transcript(world):
    world.chat.stage.fail("token:1", EngineFailed("The model's process died three times."))
    compare("failed", (await world.chat_completion(stream=True)).body)
