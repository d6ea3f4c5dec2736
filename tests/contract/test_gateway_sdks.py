"""The SDKs of OpenAI and Anthropic through the gateway, to our own models and to upstreams of their real form; and
Cloudflare's, for the logs of it."""

import json
import urllib.request
from collections.abc import Iterator

import anthropic
import cloudflare
import openai
import pytest
from provider_upstream import ProviderUpstream, provider_upstream
from scripted_server import ACCOUNT, BGE, HELLO, LLAMA, Served, scripted_server

from lowcloud.settings import Gateway

OURS = {"cf-aig-authorization": "Bearer sk-good"}
SAID = "beep boop whirr"


@pytest.fixture(scope="module")
def upstream() -> Iterator[ProviderUpstream]:
    with provider_upstream() as running:
        yield running


@pytest.fixture(scope="module")
def served(upstream) -> Iterator[Served]:
    """``serve``, whose OpenAI and Anthropic are the upstream, and where ``custom-mine`` is it too."""
    base_urls = {"openai": f"{upstream.url}/openai/v1", "anthropic": f"{upstream.url}/anthropic"}
    settings = Gateway(base_urls=base_urls, allowed_hosts=("127.0.0.1",))
    with scripted_server(is_open=False, responses=True, gateways=settings) as running:
        made = {"name": "Mine", "slug": "mine", "base_url": f"{upstream.url}/mine/v1", "enable": True}
        manage(running, "POST", "/custom-providers", made)
        yield running


def manage(served: Served, method: str, path: str, body: object = None) -> object:
    request = urllib.request.Request(  # noqa: S310 - loopback
        f"{served.url}/client/v4/accounts/{ACCOUNT}/ai-gateway{path}",
        data=None if body is None else json.dumps(body).encode(),
        headers={"authorization": "Bearer sk-good", "content-type": "application/json"},
        method=method,
    )
    with urllib.request.urlopen(request, timeout=20) as answer:  # noqa: S310 - loopback
        return json.load(answer)["result"]


def log_of(served: Served, headers) -> dict[str, object]:
    """The log that an answer names, as soon as it was read."""
    return manage(served, "GET", f"/gateways/default/logs/{headers['cf-aig-log-id']}")


def openai_at(served: Served, path: str, api_key: str, **more: object) -> openai.OpenAI:
    base = f"{served.url}/v1/{ACCOUNT}/default/{path}"
    return served.owned(openai.OpenAI(base_url=base, api_key=api_key, max_retries=0, timeout=20, **more))


def ask_ours(served: Served):
    """The raw answer of our own model to a chat completion."""
    client = openai_at(served, "workers-ai/v1", "sk-good")
    return client.chat.completions.with_raw_response.create(model=LLAMA, messages=HELLO)


def test_our_own_models_answer_openais_package_with_our_own_token(served):
    client, raw = openai_at(served, "workers-ai/v1", "sk-good"), ask_ours(served)
    assert raw.parse().choices[0].message.content == SAID
    log = log_of(served, raw.headers)
    assert (log["provider"], log["success"], log["tokens_out"]) == ("workers-ai", True, 3)
    chunks = list(client.chat.completions.create(model=LLAMA, messages=HELLO, stream=True))
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == SAID
    assert len(client.embeddings.create(model=BGE, input="tea").data[0].embedding) == 1024
    assert client.responses.create(model=LLAMA, input="hello").output_text == SAID


def test_a_bad_token_is_an_authentication_error_there(served):
    client = openai_at(served, "workers-ai/v1", "sk-bad")
    with pytest.raises(openai.AuthenticationError) as refused:
        client.chat.completions.create(model=LLAMA, messages=HELLO)
    assert refused.value.response.json()["internalCode"] == 2009


@pytest.mark.parametrize(
    ("path", "model", "provider", "at"),
    [
        ("compat", "openai/gpt-4o", "openai", "/openai/v1/"),
        ("compat", "custom-mine/gpt-4o", "custom-mine", "/mine/v1/"),
        ("openai", "gpt-4o", "openai", "/openai/v1/"),
        ("custom-mine", "gpt-4o", "custom-mine", "/mine/v1/"),
    ],
)
def test_openais_package_reaches_an_upstream_of_openais_form(served, upstream, path, model, provider, at):
    client = openai_at(served, path, "sk-openai", default_headers=OURS)
    raw = client.chat.completions.with_raw_response.create(model=model, messages=HELLO)
    completion = raw.parse()
    assert (completion.choices[0].message.content, completion.usage.total_tokens) == (SAID, 12)
    assert (completion._request_id, raw.headers["openai-organization"]) == ("req_openai", "org")
    where, headers, body = upstream.asked[-1]
    assert (where, body["model"]) == (f"{at}chat/completions", "gpt-4o")
    assert headers["authorization"] == "Bearer sk-openai"
    assert not any(name.startswith("cf-aig") for name in headers)
    log = log_of(served, raw.headers)
    assert (log["provider"], log["tokens_in"], log["tokens_out"], log["success"]) == (provider, 9, 3, True)
    chunks = list(client.chat.completions.create(model=model, messages=HELLO, stream=True))
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices) == SAID
    assert chunks[-1].usage.total_tokens == 12


def test_embeddings_pass_through_compat(served, upstream):
    client = openai_at(served, "compat", "sk-openai", default_headers=OURS)
    found = client.embeddings.create(model="openai/text-embedding-3-small", input="tea", encoding_format="float")
    assert found.data[0].embedding[0] == pytest.approx(0.0023064255)
    assert upstream.asked[-1][2]["model"] == "text-embedding-3-small"


def test_compat_says_by_name_what_it_cant_do(served):
    client = openai_at(served, "compat", "sk-openai", default_headers=OURS)
    with pytest.raises(openai.BadRequestError) as refused:
        client.chat.completions.create(model="anthropic/claude", messages=HELLO)
    assert refused.value.response.json()["message"].startswith("Invalid provider: anthropic doesn't speak")


def test_a_cached_stream_is_the_same_to_the_package(served, upstream):
    headers = OURS | {"cf-aig-cache-ttl": "60"}
    client = openai_at(served, "openai", "sk-openai", default_headers=headers)
    asked = {"model": "gpt-4o", "messages": [*HELLO, {"role": "user", "content": "cached"}], "stream": True}
    n_asked = len(upstream.asked)
    first, again = [[chunk.model_dump() for chunk in client.chat.completions.create(**asked)] for _ in range(2)]
    assert first == again
    assert len(upstream.asked) == n_asked + 1


def test_anthropics_package_reaches_an_upstream_of_its_form(served, upstream):
    base = f"{served.url}/v1/{ACCOUNT}/default/anthropic"
    client = served.owned(
        anthropic.Anthropic(base_url=base, api_key="sk-ant", max_retries=0, timeout=20, default_headers=OURS)
    )
    asked = {"model": "claude-next", "max_tokens": 50, "messages": HELLO}
    raw = client.messages.with_raw_response.create(**asked)
    message = raw.parse()
    assert (message.content[0].text, message.usage.output_tokens) == (SAID, 3)
    assert message._request_id == "req_anthropic"
    where, headers, _ = upstream.asked[-1]
    assert where.partition("?")[0] == "/anthropic/v1/messages"
    assert "sk-ant" in headers.get("x-api-key", headers.get("authorization"))
    assert headers["anthropic-version"]
    log = log_of(served, raw.headers)
    assert (log["provider"], log["model"], log["tokens_in"], log["tokens_out"]) == ("anthropic", asked["model"], 9, 3)
    with client.messages.stream(**asked) as stream:
        assert "".join(stream.text_stream) == SAID
        assert stream.get_final_message().usage.output_tokens == 3


def test_an_error_of_the_upstream_is_the_packages_own(served):
    client = openai_at(served, "openai", "sk-openai", default_headers=OURS)
    with pytest.raises(openai.NotFoundError, match="Unknown request URL"):
        client.moderations.create(input="x")


def test_without_our_token_nothing_reaches_the_upstream(served, upstream):
    n_asked = len(upstream.asked)
    client = openai_at(served, "openai", "sk-openai")
    with pytest.raises(openai.AuthenticationError):
        client.chat.completions.create(model="gpt-4o", messages=HELLO)
    assert len(upstream.asked) == n_asked


def test_cloudflares_package_finds_logs_by_two_filters_and_deletes_by_a_json_array_of_them(served):
    api = {"base_url": f"{served.url}/client/v4", "api_token": "sk-good", "max_retries": 0}
    logs = served.owned(cloudflare.Cloudflare(**api)).ai_gateway.logs
    log_id = log_of(served, ask_ours(served).headers)["id"]
    filters = [
        {"key": "id", "operator": "eq", "value": [log_id]},
        {"key": "success", "operator": "eq", "value": [True]},
    ]
    where = {"gateway_id": "default", "account_id": ACCOUNT}
    assert [log.id for log in logs.list(**where, filters=filters)] == [log_id]
    with pytest.raises(cloudflare.BadRequestError, match="JSON array"):
        logs.delete(**where, filters=filters)
    logs.delete(**where, extra_query={"filters": json.dumps(filters)})
    assert not list(logs.list(**where, filters=filters))
