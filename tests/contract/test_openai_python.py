"""The official openai package for Python as a client, over a real loopback server."""

import asyncio
import json
import struct
import threading

import openai
import pytest
from scripted_server import ACCOUNT, BGE, HELLO, LLAMA, Served

from lowcloud.core.errors import EngineFailed, Overloaded, Unavailable
from lowcloud.models.catalogue import CHAT_STAND_IN, EMBEDDING_STAND_IN


def client_of(served: Served, api_key: str = "anything") -> openai.OpenAI:
    return served.owned(openai.OpenAI(base_url=served.base, api_key=api_key, max_retries=0, timeout=20))


with_tokens = pytest.mark.parametrize("served", [False], indirect=True, ids=["serve"])


def test_the_seeds_own_example(served):
    with client_of(served) as client:
        completion = client.chat.completions.create(model=LLAMA, messages=HELLO)
        embedded = client.embeddings.create(model=BGE, input="I love matcha")
    choice = completion.choices[0]
    assert (choice.message.content, choice.message.role, choice.finish_reason) == (
        "beep boop whirr",
        "assistant",
        "stop",
    )
    assert (completion.model, completion.system_fingerprint) == (LLAMA, "fp_scripted")
    assert completion.usage.completion_tokens == 3
    assert completion._request_id
    assert (len(embedded.data[0].embedding), embedded.model) == (1024, BGE)


def test_the_short_base_is_the_same(served):
    with openai.OpenAI(base_url=f"{served.url}/v1", api_key="x", max_retries=0) as client:
        assert client.chat.completions.create(model=LLAMA, messages=HELLO).choices[0].message.content


def test_a_stream_is_chunks_and_ends(served):
    with client_of(served) as client:
        stream = client.chat.completions.create(
            model=LLAMA, messages=HELLO, stream=True, stream_options={"include_usage": True}, n=2
        )
        chunks = list(stream)
    assert {chunk.id for chunk in chunks} == {chunks[0].id}
    text = {0: "", 1: ""}
    for chunk in chunks:
        for choice in chunk.choices:
            text[choice.index] += choice.delta.content or ""
    assert text == {0: "beep boop whirr", 1: "beep boop whirr"}
    assert (chunks[0].choices[0].delta.role, chunks[-1].choices, chunks[-1].usage.completion_tokens) == (
        "assistant",
        [],
        6,
    )


def test_the_stream_helper_accumulates_the_same_completion(served):
    with (
        client_of(served) as client,
        client.chat.completions.stream(model=LLAMA, messages=HELLO, logprobs=True) as stream,
    ):
        events = [event.type for event in stream]
        completion = stream.get_final_completion()
    assert completion.choices[0].message.content == "beep boop whirr"
    assert [token.token for token in completion.choices[0].logprobs.content] == ["beep", " boop", " whirr"]
    assert {"chunk", "content.delta", "content.done"} <= set(events)


def test_raw_responses_show_the_headers(served):
    with client_of(served) as client:
        raw = client.chat.completions.with_raw_response.create(
            model=LLAMA, messages=HELLO, user="me", extra_body={"top_k": 5, "unheard_of": 1}
        )
        streaming = client.chat.completions.with_streaming_response
        with streaming.create(model=LLAMA, messages=HELLO, stream=True) as response:
            lines = [line for line in response.iter_lines() if line]
    assert raw.headers["lowcloud-ignored"] == "user, unheard_of"
    assert raw.headers["lowcloud-stand-in"] == CHAT_STAND_IN
    assert raw.headers["lowcloud-default-max-tokens"] == "512"
    assert raw.headers["x-request-id"] == raw.headers["cf-ai-req-id"] == raw.request_id
    assert raw.parse().choices[0].message.refusal is None
    assert lines[-1] == "data: [DONE]"
    assert json.loads(lines[0].removeprefix("data: "))["object"] == "chat.completion.chunk"


def test_the_async_client_runs_many_at_once(served):
    async def run() -> list[str]:
        async with openai.AsyncOpenAI(base_url=served.base, api_key="x", max_retries=0) as client:

            async def one(number: int) -> str:
                stream = await client.chat.completions.create(
                    model=LLAMA, messages=[{"role": "user", "content": f"{number}"}], stream=True
                )
                return "".join([chunk.choices[0].delta.content or "" async for chunk in stream])

            return await asyncio.gather(*(one(number) for number in range(16)))

    assert asyncio.run(run()) == ["beep boop whirr"] * 16
    assert served.chat.running == []


def test_a_stream_that_is_closed_early_cancels_the_generation(served):
    with client_of(served) as client:
        served.chat.stage.hold("token:1")
        stream = client.chat.completions.create(model=LLAMA, messages=HELLO, stream=True)
        assert next(stream).choices[0].delta.role == "assistant"
        stream.close()
        assert served.outcomes.get(timeout=20) == "client_left"
    assert (len(served.chat.cancelled), served.chat.running) == (1, [])


def test_embeddings_are_the_same_as_numbers_and_as_base64(served):
    with client_of(served) as client:
        default = client.embeddings.create(model=EMBEDDING_STAND_IN, input=["a", "b"])
        numbers = client.embeddings.create(model=EMBEDDING_STAND_IN, input=["a", "b"], encoding_format="float")
    assert [each.index for each in default.data] == [0, 1]
    for one, other in zip(default.data, numbers.data, strict=True):
        assert list(one.embedding) == list(struct.unpack("<384f", struct.pack("<384f", *other.embedding)))
    assert default.usage.prompt_tokens == 2


def test_models_are_listed_and_retrieved(served):
    with client_of(served) as client:
        listed = {model.id for model in client.models.list()}
        model = client.models.retrieve(LLAMA)
    assert {LLAMA, BGE, CHAT_STAND_IN, EMBEDDING_STAND_IN} <= listed
    assert (model.id, model.object, model.lowcloud["stand_in"]) == (LLAMA, "model", True)


def test_errors_become_the_sdks_classes(served):
    with client_of(served) as client:
        with pytest.raises(openai.BadRequestError) as bad:
            client.chat.completions.create(model=LLAMA, messages=HELLO, temperature=3)
        with pytest.raises(openai.NotFoundError) as unknown:
            client.chat.completions.create(model="gpt-4o", messages=HELLO)
        with pytest.raises(openai.BadRequestError) as audio:
            client.chat.completions.create(model=LLAMA, messages=HELLO, modalities=["text", "audio"])
    assert (bad.value.param, bad.value.code, bad.value.type) == (
        "temperature",
        "invalid_request",
        "invalid_request_error",
    )
    assert unknown.value.code == "model_not_found"
    assert (audio.value.param, audio.value.code) == ("modalities", "unsupported_parameter")


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (Overloaded("The queue is full.", retry_after_s=1.5), openai.RateLimitError),
        (Unavailable("The model is loading.", retry_after_s=3), openai.InternalServerError),
        (EngineFailed("The process died."), openai.InternalServerError),
    ],
)
def test_failures_before_the_stream_are_statuses(served, error, expected):
    served.chat.stage.fail("prepare", error)
    with client_of(served) as client, pytest.raises(expected) as raised:
        client.chat.completions.create(model=LLAMA, messages=HELLO, stream=True)
    assert (raised.value.status_code, raised.value.code) == (error.status, error.code)
    if error.retry_after_s:
        assert raised.value.response.headers["retry-after"] in ("2", "3")


def test_a_failure_within_a_stream_is_raised_by_the_sdk(served):
    served.chat.stage.fail("token:1", EngineFailed("The process died three times."))
    with client_of(served) as client:
        stream = client.chat.completions.create(model=LLAMA, messages=HELLO, stream=True)
        with pytest.raises(openai.APIError, match="died three times") as raised:
            list(stream)
    assert raised.value.code == "engine_failed"


def test_the_sdk_comes_back_when_it_is_told_to(served):
    served.chat.stage.fail("prepare", Overloaded("The queue is full.", retry_after_s=0.5))

    def mend() -> None:
        served.outcomes.get(timeout=20)
        served.chat.stage.fail("prepare", None)

    with openai.OpenAI(base_url=served.base, api_key="x", max_retries=1) as client:
        mender = threading.Thread(target=mend)
        mender.start()
        raw = client.chat.completions.with_raw_response.create(model=LLAMA, messages=HELLO)
        mender.join()
    assert raw.retries_taken == 1


@with_tokens
def test_serve_wants_a_token_that_is_known_and_may_do_it(served):
    with client_of(served, "sk-unknown") as client, pytest.raises(openai.AuthenticationError):
        client.models.list()
    with client_of(served, "sk-powerless") as client, pytest.raises(openai.PermissionDeniedError):
        client.models.list()
    with client_of(served, "sk-good") as client:
        assert client.models.list().data
    other = served.base.replace(ACCOUNT, "f" * 32)
    foreign = openai.OpenAI(base_url=other, api_key="sk-good", max_retries=0)
    with foreign as client, pytest.raises(openai.PermissionDeniedError):
        client.models.list()
