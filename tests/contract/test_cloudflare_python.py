"""The official cloudflare package for Python as a client: its paths below ``/client/v4``, and its errors."""

from urllib.parse import quote

import cloudflare
import pytest
from cloudflare import Cloudflare
from scripted_server import ACCOUNT, BGE, HELLO, LLAMA, Served

from lowcloud.core.errors import Overloaded

CHAT = f"/accounts/{ACCOUNT}/ai/v1/chat/completions"


def client_of(served: Served, key: str = "anything") -> Cloudflare:
    return Cloudflare(base_url=f"{served.url}/client/v4", api_token=key, max_retries=0, timeout=20)


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


def test_the_sdks_own_methods_find_no_route_yet_and_are_told_so(served):
    with client_of(served) as client:
        with pytest.raises(cloudflare.NotFoundError) as run:
            client.ai.run(LLAMA, account_id=ACCOUNT, prompt="Make some robot noises")
        with pytest.raises(cloudflare.NotFoundError) as listed:
            client.ai.models.list(account_id=ACCOUNT)
    path = f"/client/v4/accounts/{ACCOUNT}/ai/run/{quote(LLAMA, safe='@')}"
    assert told(run.value) == [(7000, f"No route for {path}.")]
    ((code, message),) = told(listed.value)
    assert (code, "/ai/models/search" in message) == (7000, True)


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
    assert [told(error.value)[0][0] for error in (unknown, powerless)] == [10000, 9109]
    with client_of(served, "sk-good") as client:
        assert client.post(CHAT, body=body, cast_to=object)["object"] == "chat.completion"
