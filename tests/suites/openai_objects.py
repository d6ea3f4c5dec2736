"""A pytest plugin for openai's suite: keeps the objects whose ids its cases use, through the server's own stores.

The cases name a stored completion ``completion_id``, a response by one of two ids, and a conversation ``conv_123`` with
a message ``msg_abc``; before each of them there are those. ``SUITE_DATABASE`` is the URL of the server's database. The
server knows nothing of it.
"""

import asyncio
import json
import os
import time
import uuid
from pathlib import PurePath

import live_server
import pytest

from lowcloud.storage.completions import CompletionStore, Keep, StoredCompletion
from lowcloud.storage.conversations import Conversation, ConversationStore
from lowcloud.storage.database import Database, open_database
from lowcloud.storage.items import StoredItem
from lowcloud.storage.responses import Kept, NewResponse, ResponseStore

CREATED = 1_800_000_000
MODEL = "gpt-6-astra"
COMPLETION = "completion_id"
ANSWER = {
    "id": COMPLETION,
    "object": "chat.completion",
    "created": CREATED,
    "model": MODEL,
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
RESPONSES = ("resp_677efb5139a88190b512bc3fef8e535d", "response_id")
HEAD = {
    "object": "response",
    "created_at": CREATED,
    "completed_at": CREATED,
    "status": "completed",
    "incomplete_details": None,
    "error": None,
    "model": MODEL,
    "previous_response_id": None,
    "instructions": None,
    "tools": [],
    "tool_choice": "auto",
    "truncation": "disabled",
    "parallel_tool_calls": True,
    "text": {"format": {"type": "text"}, "verbosity": "medium"},
    "temperature": 1.0,
    "top_p": 1.0,
    "presence_penalty": 0.0,
    "frequency_penalty": 0.0,
    "top_logprobs": 0,
    "reasoning": {"effort": None, "summary": None},
    "usage": {
        "input_tokens": 1,
        "input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0},
        "output_tokens": 2,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": 3,
    },
    "max_output_tokens": None,
    "max_tool_calls": None,
    "store": True,
    "background": True,  # else it can't be cancelled
    "service_tier": "default",
    "metadata": {},
    "safety_identifier": None,
    "prompt_cache_key": None,
}
SAID = {"type": "output_text", "text": "Beep.", "annotations": [], "logprobs": []}
CONVERSATION = "conv_123"
ASKED = {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "Hi."}]}


@pytest.fixture(autouse=True)
def objects(request: pytest.FixtureRequest) -> None:
    """What the case is to find."""
    keep = {"chat": keep_completion, "responses": keep_responses, "conversations": keep_conversation}
    parts = PurePath(request.node.nodeid.partition("::")[0]).with_suffix("").parts
    for name in (part.removeprefix("test_") for part in parts):
        if name in keep:
            with open_database(os.environ["SUITE_DATABASE"]) as database:
                asyncio.run(keep[name](database))


async def keep_completion(database: Database) -> None:
    store = CompletionStore(database, Keep(), time.time)
    await store.delete(live_server.ACCOUNT, COMPLETION)
    # the SDK's type of a stored message knows assistants' only
    messages = json.dumps([{"role": "assistant", "content": "Hi.", "refusal": None}])
    await store.save(StoredCompletion(COMPLETION, live_server.ACCOUNT, MODEL, {}, messages, json.dumps(ANSWER)))


async def keep_responses(database: Database) -> None:
    store = ResponseStore(database)
    for id_ in RESPONSES:
        await store.delete(live_server.ACCOUNT, id_)
        asked, said = item("msg_asked", ASKED), item("msg_said", {**ASKED, "role": "assistant", "content": [SAID]})
        head = json.dumps({"id": id_, **HEAD})
        pieces = json.dumps([[5]])
        kept = Kept(id_, live_server.ACCOUNT, CREATED, MODEL, "completed", head, pieces, output=(said,))
        await store.save(NewResponse(kept, input=(asked,)))


async def keep_conversation(database: Database) -> None:
    store = ConversationStore(database)
    await store.delete(live_server.ACCOUNT, CONVERSATION)
    conversation = Conversation(CONVERSATION, live_server.ACCOUNT, CREATED, {})
    await store.create(conversation, [item("msg_abc", ASKED)])


def item(id_: str, body: dict[str, object]) -> StoredItem:
    """A message that is whole."""
    return StoredItem(uuid.uuid4().hex, id_, json.dumps({"id": id_, "status": "completed", **body}))
