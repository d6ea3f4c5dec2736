"""A pytest plugin for openai's suite: keeps the objects whose ids its cases use, through the server's own store.

The cases name a stored completion ``completion_id``; before each of them there is one. ``SUITE_DATABASE`` is the URL of
the server's database. The server knows nothing of it.
"""

import asyncio
import json
import os
import time

import live_server
import pytest

from lowcloud.storage.completions import CompletionStore, Keep, StoredCompletion
from lowcloud.storage.database import open_database

STORED = "completion_id"
ANSWER = {
    "id": STORED,
    "object": "chat.completion",
    "created": 1_800_000_000,
    "model": "gpt-6-astra",
    "choices": [
        {
            "index": 0,
            "message": {"role": "assistant", "content": "Beep.", "refusal": None},
            "logprobs": None,
            "finish_reason": "stop",
        }
    ],
    "usage": {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3},
}


@pytest.fixture(autouse=True)
def objects(request: pytest.FixtureRequest) -> None:
    """What the case is to find."""
    if "chat" in request.node.nodeid:
        asyncio.run(keep())


async def keep() -> None:
    with open_database(os.environ["SUITE_DATABASE"]) as database:
        store = CompletionStore(database, Keep(), time.time)
        await store.delete(live_server.ACCOUNT, STORED)
        # the SDK's type of a stored message knows assistants' only
        messages = json.dumps([{"role": "assistant", "content": "Hi.", "refusal": None}])
        await store.save(StoredCompletion(STORED, live_server.ACCOUNT, "gpt-6-astra", {}, messages, json.dumps(ANSWER)))
