"""The old completions through the official openai package, over a real loopback server."""

import openai
import pytest
from scripted_server import LLAMA, Served

from lowcloud.core.errors import EngineFailed
from lowcloud.core.messages import Text, Tokens
from lowcloud.core.output import Regex
from lowcloud.engines.scripted import UNBOUNDED_CONTEXT

ASKED = {"model": LLAMA, "prompt": "Robots say"}


@pytest.fixture
def client(served: Served):
    with openai.OpenAI(base_url=served.base, api_key="any", max_retries=0, timeout=20) as client:
        yield client


def test_a_text_is_gone_on_with(served, client):
    completion = client.completions.create(**ASKED, max_tokens=2)
    choice = completion.choices[0]
    assert (completion.object, choice.index, choice.text, choice.finish_reason) == (
        "text_completion",
        0,
        "beep boop",
        "length",
    )
    assert choice.logprobs is None
    assert completion.usage.completion_tokens == 2
    assert completion.id.startswith("cmpl-")
    assert served.chat.requests[-1].prompt == Text("Robots say")


def test_several_prompts_are_answered_in_their_order_with_n_texts_each(served, client):
    completion = client.completions.create(model=LLAMA, prompt=["a", "b", "c"], n=2)
    assert [choice.index for choice in completion.choices] == list(range(6))
    assert {choice.text for choice in completion.choices} == {"beep boop whirr"}
    assert completion.usage.completion_tokens == 18
    assert {request.prompt.text for request in served.chat.requests} == {"a", "b", "c"}
    assert len({request.id for request in served.chat.requests}) == 3


@pytest.mark.parametrize(
    ("prompt", "seen"), [([1, 2], [Tokens((1, 2))]), ([[1], [2, 3]], [Tokens((1,)), Tokens((2, 3))])]
)
def test_token_ids_are_a_prompt(served, client, prompt, seen):
    client.completions.create(model=LLAMA, prompt=prompt)
    assert sorted((request.prompt for request in served.chat.requests), key=str) == sorted(seen, key=str)


def test_a_stream_interleaves_the_prompts_and_ends_with_the_usage(client):
    stream = client.completions.create(
        model=LLAMA, prompt=["a", "b"], stream=True, stream_options={"include_usage": True}
    )
    chunks = list(stream)
    texts = {0: "", 1: ""}
    for chunk in chunks[:-1]:
        texts[chunk.choices[0].index] += chunk.choices[0].text
    assert texts == {0: "beep boop whirr", 1: "beep boop whirr"}
    assert [chunk.choices[0].finish_reason for chunk in chunks[:-1]].count("stop") == 2
    assert (chunks[-1].choices, chunks[-1].usage.completion_tokens) == ([], 6)


@pytest.mark.parametrize("is_stream", [False, True], ids=["whole", "stream"])
def test_the_prompt_is_echoed_where_that_is_asked_for(client, is_stream):
    answer = client.completions.create(**ASKED, echo=True, stream=is_stream)
    pieces = list(answer) if is_stream else [answer]
    assert "".join(piece.choices[0].text for piece in pieces) == "Robots saybeep boop whirr"


def test_log_probabilities_have_the_old_form(client):
    logprobs = client.completions.create(**ASKED, logprobs=2).choices[0].logprobs
    assert logprobs.tokens == ["beep", " boop", " whirr"]
    assert logprobs.text_offset == [0, 4, 9]
    assert [len(top) for top in logprobs.top_logprobs] == [2, 2, 2]
    assert all(number <= 0 for number in logprobs.token_logprobs)


def test_the_best_of_several_is_chosen_and_all_are_counted(served, client):
    completion = client.completions.create(**ASKED, best_of=4, n=1)
    assert len(completion.choices) == 1
    assert completion.choices[0].logprobs is None
    assert completion.usage.completion_tokens == 12
    assert served.chat.requests[-1].choices == 4


def test_the_extras_bind_the_text(served, client):
    client.completions.create(**ASKED, extra_body={"guided_regex": "[a-z]+"})
    assert served.chat.requests[-1].output == Regex("[a-z]+")


@pytest.mark.parametrize(
    ("change", "param"),
    [
        ({"prompt": []}, "prompt"),
        ({"prompt": [1, "a"]}, "prompt[0]"),
        ({"prompt": {"a": 1}}, "prompt"),
        ({"best_of": 1, "n": 2}, "best_of"),
        ({"best_of": 3, "stream": True}, "best_of"),
        ({"logprobs": 6}, "logprobs"),
        ({"echo": True, "logprobs": 1}, "echo"),
        ({"echo": True, "prompt": [1]}, "echo"),
        ({"suffix": " end."}, "suffix"),
        ({"extra_body": {"messages": []}}, "messages"),
        ({"max_tokens": UNBOUNDED_CONTEXT * 10}, "max_tokens"),
    ],
)
def test_what_cant_be_done_is_refused_and_named(client, change, param):
    with pytest.raises(openai.BadRequestError) as raised:
        client.completions.create(**{**ASKED, **change})
    assert raised.value.param == param


def test_a_prompt_that_fails_within_a_stream_ends_it_with_an_error(served, client):
    served.chat.stage.fail("token:1", EngineFailed("gone"))
    with pytest.raises(openai.APIError, match="gone"):
        list(client.completions.create(model=LLAMA, prompt=["a", "b"], stream=True))


def test_a_client_that_leaves_cancels_every_prompt(served, client):
    served.chat.stage.hold("token:1")
    stream = client.completions.create(model=LLAMA, prompt=["a", "b", "c"], stream=True)
    next(stream)
    stream.close()
    assert served.outcomes.get(timeout=20) == "client_left"
    assert len(served.chat.cancelled) == 3
