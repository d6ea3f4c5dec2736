"""Calls in OpenAI's form: the model names the provider, and nothing else changes."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lowcloud.core.errors import BadRequest
from lowcloud.gateway.compat import CompatCall, compat_call
from lowcloud.gateway.errors import FeatureUnsupported, InvalidProvider
from lowcloud.gateway.providers import PROVIDERS, CustomProvider

CUSTOM = {
    "mine": CustomProvider("mine", "https://models.example.com"),
    "versioned": CustomProvider("versioned", "https://models.example.com/v1/"),
}


@pytest.mark.parametrize(
    ("named", "provider", "path", "model"),
    [
        ("openai/gpt-4o-mini", "openai", "chat/completions", "gpt-4o-mini"),
        (
            "workers-ai/@cf/meta/llama-3.1-8b-instruct",
            "workers-ai",
            "v1/chat/completions",
            "@cf/meta/llama-3.1-8b-instruct",
        ),
        ("openrouter/openai/gpt-5-mini", "openrouter", "v1/chat/completions", "openai/gpt-5-mini"),
        ("cohere/command-r", "cohere", "compatibility/v1/chat/completions", "command-r"),
        ("perplexity/sonar", "perplexity-ai", "chat/completions", "sonar"),
        ("perplexity-ai/sonar", "perplexity-ai", "chat/completions", "sonar"),
        ("custom-mine/a/b", "custom-mine", "v1/chat/completions", "a/b"),
        ("custom-versioned/m", "custom-versioned", "chat/completions", "m"),
    ],
)
def test_a_model_names_its_provider(named, provider, path, model):
    body = json.dumps({"model": named, "messages": []}).encode()
    call = compat_call("chat/completions", body, CUSTOM)
    assert call == CompatCall(provider, path, json.dumps({"model": model, "messages": []}).encode(), model)


def test_embeddings_go_where_embeddings_are():
    assert compat_call("embeddings", b'{"model":"mistral/mistral-embed"}', {}).path == "v1/embeddings"


def test_every_other_byte_of_the_body_stays_as_it_is():
    body = '{ "seed":1.50e3,\r\n\t"model" :\t"openai\\/gpt-4o" , "messages":[{"content":"\\u00e9é model"}]}\n'
    expected = '{ "seed":1.50e3,\r\n\t"model" :\t"gpt-4o" , "messages":[{"content":"\\u00e9é model"}]}\n'
    assert compat_call("chat/completions", body.encode(), {}).body == expected.encode()


def test_a_model_that_is_named_twice_is_one_model():
    call = compat_call("chat/completions", b'{"model":"nobody/a","model":"groq/b","n":{"model":"openai/c"}}', {})
    assert (call.provider, call.body) == ("groq", b'{"model":"b","model":"b","n":{"model":"openai/c"}}')


@pytest.mark.parametrize(
    "named", ["gpt-4o", "nobody/gpt-4o", "custom-other/m", "openai/", "openai", "/gpt-4o", "OpenAI/a"]
)
def test_a_model_without_a_known_provider_is_refused(named):
    with pytest.raises(InvalidProvider, match="Invalid provider"):
        compat_call("chat/completions", json.dumps({"model": named}).encode(), CUSTOM)


@pytest.mark.parametrize("slug", [slug for slug, each in PROVIDERS.items() if each.openai_base is None])
def test_a_provider_of_another_form_is_refused_by_name(slug):
    with pytest.raises(InvalidProvider, match=f"{slug} doesn't speak OpenAI's form, and calls aren't translated yet"):
        compat_call("chat/completions", json.dumps({"model": f"{slug}/m"}).encode(), {})


@pytest.mark.parametrize(
    ("named", "says"),
    [
        ("dynamic/support", "Dynamic routes are not supported yet"),
        ("cloudflare/auto", "auto router .* not supported yet"),
    ],
)
def test_what_comes_later_says_so(named, says):
    with pytest.raises(FeatureUnsupported, match=says) as caught:
        compat_call("chat/completions", json.dumps({"model": named}).encode(), {})
    assert caught.value.param == "model"


@pytest.mark.parametrize(
    "body", [b"{}", b" { } ", b'{"model":null}', b'{"model":3}', b'{"model":""}', b'{"messages":[]}']
)
def test_a_body_without_a_model_is_refused(body):
    with pytest.raises(BadRequest, match=r"model must be a string: \{provider\}/\{model\}"):
        compat_call("chat/completions", body, {})


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"null",
        b"{",
        b'{"model"',
        b'{"model":',
        b'{"model":"openai/a"',
        b'{"model":"openai/a",}',
        b'{"model":"openai/a" "b":1}',
        b'{"model":"openai/a"} x',
        b"{} {}",
        b"{1:2}",
        b'{"a":' + b"[" * 100_000,
    ],
)
def test_a_body_that_is_no_object_is_refused(body):
    with pytest.raises(BadRequest, match="not a JSON object"):
        compat_call("chat/completions", body, {})


def test_a_body_that_is_no_text_is_refused():
    with pytest.raises(BadRequest, match="not UTF-8"):
        compat_call("chat/completions", b'{"model":"\xff"}', {})


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(st.characters(codec="utf-8")),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(st.characters(codec="utf-8")), inner, max_size=3)
    ),
    max_leaves=10,
)


@given(st.dictionaries(st.text(st.characters(codec="utf-8")), JSON, max_size=4), st.booleans())
def test_any_object_goes_on_with_its_members_but_for_the_model(fields, indented):
    body = json.dumps({**fields, "model": 'openai/é"m'}, indent=2 if indented else None).encode()
    call = compat_call("chat/completions", body, {})
    assert json.loads(call.body) == {**fields, "model": 'é"m'}
