"""A model's own tokens and words over HTTP, by an engine that knows them."""

import threading
from collections.abc import AsyncIterator
from zlib import crc32

import pytest

from lowcloud.core.messages import Messages, Prompt, Text, Tokens
from lowcloud.engines.engine import Token
from lowcloud.engines.scripted import ScriptedEngine, words
from lowcloud.models.catalogue import CHAT_STAND_IN

pytestmark = pytest.mark.anyio
LLAMA = "@cf/meta/llama-3.1-8b-instruct"
HELLO = [{"role": "user", "content": "hello"}]
TOOL = {"type": "function", "function": {"name": "f"}}
OF_MESSAGES = ["/v1/tokenize", "/v1/apply-template", "/v1/chat/completions/input_tokens"]


class Worded(ScriptedEngine):
    """Knows its words, and keeps what it was asked."""

    asked: list[Prompt]
    known: list[Token] | None = None

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.asked = []

    async def count(self, prompt):
        return len(await self.tokens(prompt))

    async def tokens(self, prompt):
        self.asked.append(prompt)
        if self.known is not None:
            return self.known
        text = prompt.text if isinstance(prompt, Text) else "a conversation"
        return [Token(crc32(word.encode()) % 1000, word) for word in words(text)]

    async def text(self, ids):
        self.asked.append(Tokens(ids))
        return " ".join(map(str, ids))

    async def rendered(self, prompt):
        self.asked.append(prompt)
        return "a conversation"


@pytest.fixture
async def worded(make_world) -> AsyncIterator:
    async with make_world(engine=Worded) as world:
        yield world


async def ask(world, path: str, **fields: object):
    return await world.ask("POST", path, {"model": CHAT_STAND_IN} | fields)


async def test_a_text_has_tokens_by_either_name(worded):
    for name in ("prompt", "content"):
        answer = await ask(worded, "/v1/tokenize", **{name: "one two"}, return_token_strs=True)
        assert (answer.json["count"], answer.json["token_strs"]) == (2, ["one", " two"])
        assert "lowcloud-ignored" not in answer.headers
    assert worded.chat.asked == [Text("one two")] * 2


class Watched(list):
    """A list that knows in which threads it was read."""

    readers: set[str]

    def __iter__(self):
        self.readers.add(threading.current_thread().name)
        return super().__iter__()


@pytest.mark.parametrize(("n_tokens", "is_in_loop"), [(100, True), (100_000, False)])
@pytest.mark.parametrize("has_texts", [True, False])
async def test_an_answer_of_many_tokens_is_written_off_the_event_loop(worded, n_tokens, is_in_loop, has_texts):
    tokens = Watched([Token(7, "a")] * n_tokens)
    tokens.readers = set()
    worded.chat.known = tokens
    answer = await ask(worded, "/v1/tokenize", prompt="one", return_token_strs=has_texts)
    assert (answer.json["count"], answer.json["tokens"]) == (n_tokens, [7] * n_tokens)
    assert answer.json["token_strs"] == (["a"] * n_tokens if has_texts else None)
    assert (tokens.readers == {threading.current_thread().name}) == is_in_loop


async def test_a_long_text_comes_back_whole(worded):
    ids = [*range(60_000)]
    answer = await ask(worded, "/v1/detokenize", tokens=ids)
    assert answer.json["content"] == " ".join(map(str, ids))
    assert worded.chat.asked == [Tokens(tuple(ids))]


async def test_tokens_have_a_text_by_both_names(worded):
    answer = await ask(worded, "/v1/detokenize", tokens=[1, 2], zeta=1)
    assert answer.json == {"prompt": "1 2", "content": "1 2"}
    assert answer.headers["lowcloud-ignored"] == "zeta"


@pytest.mark.parametrize("path", OF_MESSAGES)
async def test_a_conversation_is_read_as_a_chat_completions_is(worded, path):
    options = {"enable_thinking": False}
    answer = await ask(
        worded, path, messages=HELLO, tools=[TOOL], reasoning_effort="high", chat_template_kwargs=options
    )
    assert answer.status == 200
    (prompt,) = worded.chat.asked
    assert isinstance(prompt, Messages)
    assert ([tool.name for tool in prompt.tools], prompt.effort, prompt.options) == (["f"], "high", options)
    await ask(worded, path, messages=HELLO, tools=[TOOL], tool_choice="none")
    assert worded.chat.asked[-1].tools == ()


@pytest.mark.parametrize("path", OF_MESSAGES)
async def test_what_doesnt_reach_a_prompt_is_named(worded, path):
    message = HELLO[0] | {"zeta": 1}
    answer = await ask(worded, path, messages=[message], temperature=1, service_tier="auto", user="me")
    assert answer.headers["lowcloud-ignored"] == "temperature, user, messages[].zeta"


async def test_what_asks_for_a_conversation_is_named_beside_a_text(worded):
    answer = await ask(worded, "/v1/tokenize", prompt="one", tools=[TOOL], reasoning_effort=None)
    assert answer.headers["lowcloud-ignored"] == "tools"


@pytest.mark.parametrize("path", OF_MESSAGES)
@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"chat_template": "x"}, "chat_template"),
        ({"add_generation_prompt": False}, "add_generation_prompt"),
        ({"chat_template_kwargs": {"messages": []}}, "chat_template_kwargs.messages"),
        ({"reasoning_effort": "hard"}, "reasoning_effort"),
        ({"tools": 5}, "tools"),
        ({"tools": [TOOL], "tool_choice": 5}, "tool_choice"),
        ({"messages": [5]}, "messages[0]"),
    ],
)
async def test_what_would_change_a_prompt_and_isnt_done_is_refused(worded, path, fields, param):
    answer = await ask(worded, path, **({"messages": HELLO} | fields))
    assert (answer.status, answer.json["error"]["param"]) == (400, param)


@pytest.mark.parametrize("name", ["add_special_tokens", "add_special", "parse_special", "with_pieces"])
async def test_control_tokens_and_pieces_are_refused(worded, name):
    assert (await ask(worded, "/v1/tokenize", prompt="x", **{name: False})).status == 200
    refused = await ask(worded, "/v1/tokenize", prompt="x", **{name: True})
    assert (refused.status, refused.json["error"]["param"]) == (400, name)


@pytest.mark.parametrize("path", ["/v1/apply-template", "/v1/chat/completions/input_tokens"])
@pytest.mark.parametrize("messages", [None, 5, []])
async def test_messages_are_a_list_of_at_least_one(worded, path, messages):
    answer = await ask(worded, path, messages=messages)
    assert (answer.status, answer.json["error"]["param"]) == (400, "messages")


@pytest.mark.parametrize("path", [*OF_MESSAGES, "/v1/detokenize"])
async def test_the_model_whose_words_these_are_is_named(worded, path):
    fields = {"tokens": [1]} if path == "/v1/detokenize" else {"messages": HELLO}
    assert (await ask(worded, path, model=LLAMA, **fields)).headers["lowcloud-stand-in"] == CHAT_STAND_IN
    assert "lowcloud-stand-in" not in (await ask(worded, path, **fields)).headers


async def test_an_engine_without_words_says_so(world):
    answer = await ask(world, "/v1/tokenize", prompt="x")
    assert (answer.status, answer.json["error"]["param"]) == (400, "model")
