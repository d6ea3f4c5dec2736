"""Streams byte for byte. A change in a transcript is a change of the API: read the difference before you accept it.

``LOWCLOUD_RECORD=1 pytest tests/http/test_golden.py`` writes them anew.
"""

import os
from pathlib import Path

import pytest

from lowcloud.core.errors import EngineFailed

pytestmark = pytest.mark.anyio
GOLDEN = Path(__file__).parent.parent / "golden"
LLAMA = "@cf/meta/llama-3.1-8b-instruct"
CASES = {
    "plain": {},
    "usage": {"stream_options": {"include_usage": True}, "max_tokens": 2},
    "choices": {"n": 2, "seed": 7},
    "logprobs": {"logprobs": True, "top_logprobs": 2, "max_tokens": 2},
    "stop": {"stop": [" three"]},
    "stand_in": {"model": LLAMA},
    "unicode": {},
}
REPLIES = {"unicode": 'naïve "ø" 日本語 😀 line\u2028end\u0085 \\n\n\ttab'}


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
