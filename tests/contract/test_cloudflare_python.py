"""The official cloudflare package for Python as a client: its paths below ``/client/v4``, and its errors."""

import json

import cloudflare
import pytest
from cloudflare import Cloudflare
from scripted_server import ACCOUNT, BGE, HELLO, LLAMA, Served

from lowcloud.core.errors import Overloaded

CHAT = f"/accounts/{ACCOUNT}/ai/v1/chat/completions"


def client_of(served: Served, key: str = "anything") -> Cloudflare:
    return served.owned(Cloudflare(base_url=f"{served.url}/client/v4", api_token=key, max_retries=0, timeout=20))


def told(error: cloudflare.APIStatusError) -> list[tuple[int, str]]:
    """The errors as the SDK has parsed them."""
    return [(each.code, each.message) for each in error.errors]


def test_a_chat_completion_and_embeddings_by_the_path_of_the_account(served):
    with client_of(served) as client:
        completion = client.post(CHAT, body={"model": LLAMA, "messages": HELLO}, cast_to=object)
        vectors = client.post(
            f"/accounts/{ACCOUNT}/ai/v1/embeddings", body={"model": BGE, "input": "I love matcha"}, cast_to=object
        )
    assert completion["choices"][0]["message"]["content"] == "beep boop whirr"
    assert len(vectors["data"][0]["embedding"]) == 1024


def test_a_bad_request_is_raised_with_the_number_and_the_message(served):
    with client_of(served) as client, pytest.raises(cloudflare.BadRequestError) as raised:
        client.post(CHAT, body={"model": LLAMA, "messages": HELLO, "temperature": 3}, cast_to=object)
    assert told(raised.value) == [(5006, "temperature: Input should be less than or equal to 2.")]
    assert raised.value.body["error"]["param"] == "temperature"


def test_a_model_that_is_not_there_is_a_404_with_its_number(served):
    with client_of(served) as client, pytest.raises(cloudflare.NotFoundError) as raised:
        client.post(CHAT, body={"model": "@cf/no/such", "messages": HELLO}, cast_to=object)
    ((code, message),) = told(raised.value)
    assert code == 5007
    assert "@cf/no/such" in message


def test_the_sdks_own_method_runs_a_model_whose_id_it_encodes_in_the_path(served):
    with client_of(served) as client:
        run = client.ai.run(LLAMA, account_id=ACCOUNT, prompt="Make some robot noises")
    assert run["response"] == "beep boop whirr"


def test_a_streamed_run_comes_as_the_events_that_it_is(served):
    with client_of(served) as client:
        asked = {"account_id": ACCOUNT, "prompt": "Make some robot noises", "stream": True}
        with client.ai.with_streaming_response.run(LLAMA, **asked) as response:
            *chunks, done = [line.removeprefix("data: ") for line in response.iter_lines() if line]
    assert response.headers["content-type"].startswith("text/event-stream")
    assert "".join(json.loads(chunk)["response"] for chunk in chunks) == "beep boop whirr"
    assert done == "[DONE]"


def test_the_models_come_page_by_page_to_the_last(served):
    with client_of(served) as client:
        paged = [model["name"] for model in client.ai.models.list(account_id=ACCOUNT, per_page=20)]
        whole = [model["name"] for model in client.ai.models.list(account_id=ACCOUNT, per_page=1000)]
    assert paged == whole
    assert len(set(paged)) == len(paged) > 60


def test_models_are_searched_by_every_parameter_of_the_sdk(served):
    with client_of(served) as client:
        found = client.ai.models.list(
            account_id=ACCOUNT,
            author="baai",
            task="Text Embeddings",
            search="LARGE",
            source=1,
            hide_experimental=True,
            include_deprecated=True,
            page=1,
            per_page=5,
        )
        market = client.ai.models.list(account_id=ACCOUNT, format="openrouter", search=LLAMA, include_deprecated=True)
        assert [model["name"] for model in found] == [BGE]
        assert LLAMA in [model["id"] for model in market]
    assert found.result_info.page == 1


def test_a_models_schema_and_its_error(served):
    with client_of(served) as client:
        schema = client.ai.models.schema.get(account_id=ACCOUNT, model=BGE)
        with pytest.raises(cloudflare.BadRequestError) as raised:
            client.ai.models.schema.get(account_id=ACCOUNT, model="@cf/no/such")
    assert schema.input.type == "object"
    ((code, message),) = told(raised.value)
    assert (code, "@cf/no/such" in message) == (5007, True)


def test_authors_and_tasks_are_lists(served):
    with client_of(served) as client:
        authors = [author["name"] for author in client.ai.authors.list(account_id=ACCOUNT)]
        tasks = {task["name"] for task in client.ai.tasks.list(account_id=ACCOUNT)}
    assert {"meta", "openai", "baai"} <= set(authors)
    assert {"Text Generation", "Text Embeddings"} <= tasks


def test_a_full_queue_is_its_rate_limit(served):
    served.chat.stage.fail("prepare", Overloaded("The queue is full.", retry_after_s=1.5))
    with client_of(served) as client, pytest.raises(cloudflare.RateLimitError) as raised:
        client.post(CHAT, body={"model": LLAMA, "messages": HELLO}, cast_to=object)
    assert told(raised.value) == [(3040, "The queue is full.")]


@pytest.mark.parametrize("served", [False], indirect=True, ids=["serve"])
def test_serve_wants_a_token_that_is_known_and_may_do_it(served):
    body = {"model": LLAMA, "messages": HELLO}
    with client_of(served, "sk-unknown") as client, pytest.raises(cloudflare.AuthenticationError) as unknown:
        client.post(CHAT, body=body, cast_to=object)
    with client_of(served, "sk-powerless") as client, pytest.raises(cloudflare.PermissionDeniedError) as powerless:
        client.post(CHAT, body=body, cast_to=object)
    assert [told(error.value)[0][0] for error in (unknown, powerless)] == [10000, 10000]
    with client_of(served, "sk-good") as client:
        assert client.post(CHAT, body=body, cast_to=object)["object"] == "chat.completion"
