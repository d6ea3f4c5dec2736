"""Streams of responses byte for byte. A change in a transcript is a change of the API: read the difference first.

``LOWCLOUD_RECORD=1 pytest tests/http/responses/test_golden_responses.py`` writes them anew.
"""

import os
from pathlib import Path

import pytest

from lowcloud.core.errors import EngineFailed
from lowcloud.engines.scripted import Said, SaidCall, Stage

pytestmark = pytest.mark.anyio
GOLDEN = Path(__file__).parents[2] / "golden" / "responses"
TOOLS = [{"type": "function", "name": "weather", "parameters": {"type": "object"}}, {"type": "custom", "name": "shell"}]
CALLS = (SaidCall("weather", '{"city": "São Paulo"}'), SaidCall("shell", "ls -l\n"))
CASES: dict[str, tuple[str | Said, dict[str, object]]] = {
    "text": ('naïve "ø" 日本語 😀 line\u2028end', {}),
    "tools": (Said("Let me look.", calls=CALLS), {"tools": TOOLS}),
    "reasoning": (Said("Four.", reasoning="Two and two"), {"reasoning": {"effort": "low"}}),
    "incomplete": ("one two three", {"max_output_tokens": 2}),
    "tool_cut": (Said(calls=CALLS), {"tools": TOOLS, "tool_choice": "required", "max_output_tokens": 3}),
    "logprobs": ("one two three", {"top_logprobs": 1, "max_output_tokens": 2}),
    "background": ("one", {"background": True}),
}


def compare(name: str, body: bytes) -> None:
    path = GOLDEN / f"{name}.sse"
    if os.environ.get("LOWCLOUD_RECORD"):
        path.write_bytes(body)
    assert body.decode() == path.read_bytes().decode()


@pytest.mark.parametrize("name", CASES)
async def test_a_stream_is_its_transcript(make_desk, name):
    reply, asked = CASES[name]
    async with make_desk(reply=reply, cached_tokens=1, runs=True) as desk:
        answer = await desk.answer({"stream": True, **asked})
        kept = await desk.get("resp_id2", "?stream=true")
    compare(name, answer.body)
    assert kept.body == answer.body


async def test_a_stream_that_fails_is_its_transcript(make_desk):
    stage = Stage()
    stage.fail("token:1", EngineFailed("The model's process died three times."))
    async with make_desk(stage=stage) as desk:
        compare("failed", (await desk.answer({"stream": True})).body)
