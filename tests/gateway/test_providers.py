"""Where calls go, and with whose key."""

import re
from urllib.parse import unquote, urlsplit

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from lowcloud.core.errors import BadRequest
from lowcloud.gateway.call import Call
from lowcloud.gateway.errors import InvalidProvider
from lowcloud.gateway.providers import (
    MAX_PATH_CHARS,
    PROVIDERS,
    CustomProvider,
    Provider,
    _says_who,
    aimed,
    brings_key,
    credentials_of,
    moved,
    provider_of,
    url_of,
    with_key,
)

CUSTOM = {"mine": CustomProvider("mine", "https://models.example.com/serving/")}
# Of the documentation: https://developers.cloudflare.com/ai-gateway/usage/providers/
DOCUMENTED = {
    "workers-ai", "openai", "anthropic", "azure-openai", "aws-bedrock", "google-ai-studio", "google-vertex-ai",
    "huggingface", "replicate", "groq", "cohere", "mistral", "grok", "openrouter", "deepseek", "cerebras", "cartesia",
    "elevenlabs", "perplexity-ai", "fireworks", "baseten", "parallel", "deepgram", "fal", "ideogram", "adobe-firefly",
}  # fmt: skip
VERTEX = "v1/projects/p/locations/{}/publishers/google/models/gemini-2.5-flash:generateContent"


def test_every_documented_provider_is_known():
    assert PROVIDERS.keys() == DOCUMENTED


@pytest.mark.parametrize(
    ("slug", "path", "url"),
    [
        ("openai", "chat/completions", "https://api.openai.com/v1/chat/completions"),
        ("openai", "/responses/resp_1", "https://api.openai.com/v1/responses/resp_1"),
        ("anthropic", "v1/messages", "https://api.anthropic.com/v1/messages"),
        (
            "azure-openai",
            "my-res/my.dep_1/chat/completions",
            "https://my-res.openai.azure.com/openai/deployments/my.dep_1/chat/completions",
        ),
        (
            "aws-bedrock",
            "bedrock-runtime/us-east-1/model/amazon.nova-lite-v1%3A0/invoke",
            "https://bedrock-runtime.us-east-1.amazonaws.com/model/amazon.nova-lite-v1%3A0/invoke",
        ),
        (
            "google-ai-studio",
            "v1/models/gemini-2.5-flash:generateContent",
            "https://generativelanguage.googleapis.com/v1/models/gemini-2.5-flash:generateContent",
        ),
        (
            "google-vertex-ai",
            VERTEX.format("us-east4"),
            f"https://us-east4-aiplatform.googleapis.com/{VERTEX.format('us-east4')}",
        ),
        ("google-vertex-ai", VERTEX.format("global"), f"https://aiplatform.googleapis.com/{VERTEX.format('global')}"),
        ("huggingface", "bigcode/starcoder", "https://router.huggingface.co/hf-inference/models/bigcode/starcoder"),
        ("replicate", "predictions", "https://api.replicate.com/v1/predictions"),
        ("groq", "chat/completions", "https://api.groq.com/openai/v1/chat/completions"),
        ("cohere", "v2/chat", "https://api.cohere.com/v2/chat"),
        ("cohere", "chat", "https://api.cohere.com/v1/chat"),
        ("cohere", "compatibility/v1/chat/completions", "https://api.cohere.com/compatibility/v1/chat/completions"),
        ("openrouter", "v1/chat/completions", "https://openrouter.ai/api/v1/chat/completions"),
        ("openrouter", "chat/completions", "https://openrouter.ai/api/v1/chat/completions"),
        ("grok", "v1/chat/completions", "https://api.x.ai/v1/chat/completions"),
        ("baseten", "v1/chat/completions", "https://inference.baseten.co/v1/chat/completions"),
        ("baseten", "model/abc123", "https://model-abc123.api.baseten.co/production/predict"),
        ("perplexity-ai", "chat/completions", "https://api.perplexity.ai/chat/completions"),
        ("custom-mine", "v1/x", "https://models.example.com/serving/v1/x"),
        ("custom-mine", "", "https://models.example.com/serving"),
    ],
)
def test_a_path_is_below_its_providers_base(slug, path, url):
    assert url_of(provider_of(slug, CUSTOM), path, "") == url


def test_a_query_goes_as_it_is():
    assert url_of(PROVIDERS["openai"], "files", "a=%2F&b=c d".replace(" ", "+")).endswith("/files?a=%2F&b=c+d")


@pytest.mark.parametrize("query", ["a=b c", "a#b", "a\\b", "a=\r\nHost: x", "a=é"])
def test_a_query_that_isnt_encoded_is_refused(query):
    with pytest.raises(BadRequest, match="must be percent-encoded"):
        url_of(PROVIDERS["openai"], "files", query)


@pytest.mark.parametrize("slug", ["", "nobody", "custom-", "custom-other", "mine", "OpenAI"])
def test_what_isnt_known_is_refused(slug):
    with pytest.raises(InvalidProvider, match="Invalid provider"):
        provider_of(slug, CUSTOM)


@pytest.mark.parametrize(
    "path",
    [
        "..",
        "../x",
        "a/../../x",
        "a/./b",
        "%2e%2e/x",
        "a/%2E%2e%2fx",
        "a/..%2f..%2fx",
        "%252e%252e/x",
        "a%5c..%5cb",
        "a\\..\\b",
        "a/..;/b",
        "a?b",
        "a#b",
        "a b",
        "a\r\nb",
        "a%0d%0ab",
        "a%00",
        "é",
        "%25252525252e",
        "a" * (MAX_PATH_CHARS + 1),
    ],
)
@pytest.mark.parametrize("slug", ["openai", "custom-mine", "azure-openai"])
def test_a_path_that_may_lead_elsewhere_is_refused(slug, path):
    with pytest.raises(BadRequest, match="must not lead out of it"):
        url_of(provider_of(slug, CUSTOM), path, "")


@pytest.mark.parametrize(
    ("slug", "path"),
    [
        ("azure-openai", "chat/"),
        ("azure-openai", "evil.example.com%2f/dep/chat/completions"),
        ("azure-openai", "evil.example.com/dep/chat/completions"),
        ("azure-openai", "a@b/dep/chat/completions"),
        ("azure-openai", ""),
        ("aws-bedrock", "bedrock-runtime/evil.example.com/model"),
        ("aws-bedrock", "s3/us-east-1/bucket"),
        ("google-vertex-ai", VERTEX.format("evil.example.com")),
        ("google-vertex-ai", VERTEX.format("us@evil")),
        ("google-vertex-ai", "v1/models"),
    ],
)
def test_a_place_that_isnt_one_of_the_providers_is_refused(slug, path):
    with pytest.raises(BadRequest, match="doesn't say where it leads"):
        url_of(PROVIDERS[slug], path, "")


HOSTS = re.compile(
    r"([a-z0-9-]+\.openai\.azure\.com|bedrock(-agent)?-runtime\.[a-z0-9-]+\.amazonaws\.com"
    r"|([a-z0-9-]+-)?aiplatform\.googleapis\.com|model-[a-z0-9]+\.api\.baseten\.co)"
)
TRICKS = st.lists(
    st.sampled_from(
        ["..", ".", "/", "//", "%2e", "%2F", "%25", "\\", "@", ":", "evil.example.com", "a", "v1", "#", "?", ";"]
    ),
    max_size=12,
).map("".join)


@given(st.sampled_from([*PROVIDERS, "custom-mine"]), TRICKS | st.text(max_size=30))
@example("custom-mine", "//evil.example.com/x")
@example("openai", "@evil.example.com/x")
@example("openai", "https://evil.example.com/x")
def test_whatever_the_path_is_the_host_and_the_base_are_the_providers(slug, path):
    provider = provider_of(slug, CUSTOM)
    try:
        url = url_of(provider, path, "")
    except BadRequest:
        return
    parts, base = urlsplit(url), urlsplit(provider.base_url)
    assert parts.netloc == base.netloc or HOSTS.fullmatch(parts.netloc)
    assert parts.username is None
    if parts.netloc == base.netloc:
        assert url.startswith(provider.base_url)
    assert ".." not in unquote(unquote(parts.path)).split("/")


def headers(**values: str) -> tuple[tuple[str, str], ...]:
    return (("content-type", "application/json"), *((name.replace("_", "-"), value) for name, value in values.items()))


@pytest.mark.parametrize(
    ("slug", "sent", "query", "is_brought"),
    [
        ("openai", headers(authorization="Bearer abc"), "", True),
        ("openai", headers(authorization="bearer  abc "), "", True),
        ("openai", headers(authorization="Bearer"), "", False),
        ("openai", headers(authorization=""), "", False),
        ("openai", headers(), "key=abc", False),
        ("openai", headers(x_session_id="abc", idempotency_key="abc"), "", False),
        ("anthropic", headers(x_api_key="abc"), "", True),
        ("anthropic", headers(authorization="Bearer oauth", x_api_key=""), "", True),
        ("azure-openai", headers(api_key="abc"), "", True),
        ("elevenlabs", headers(xi_api_key="abc"), "", True),
        ("deepgram", headers(authorization="Token abc"), "", True),
        ("fal", headers(authorization="Key a:b"), "", True),
        ("google-ai-studio", headers(x_goog_api_key="abc"), "", True),
        ("google-ai-studio", headers(), "alt=sse&key=a%2Fbc", True),
        ("google-ai-studio", headers(), "alt=sse", False),
        ("aws-bedrock", headers(authorization="AWS4-HMAC-SHA256 Credential=A"), "", True),
        ("deepseek", headers(x_api_key="abc"), "", True),
        ("custom-mine", headers(api_key="abc"), "", True),
    ],
)
def test_a_key_that_a_client_sends_is_found_wherever_its_clients_put_it(slug, sent, query, is_brought):
    assert brings_key(provider_of(slug, CUSTOM), sent, query) is is_brought


@pytest.mark.parametrize(
    ("slug", "expected"),
    [
        ("openai", ("authorization", "Bearer stored")),
        ("anthropic", ("x-api-key", "stored")),
        ("azure-openai", ("api-key", "stored")),
        ("google-ai-studio", ("x-goog-api-key", "stored")),
        ("deepgram", ("authorization", "Token stored")),
        ("fal", ("authorization", "Key stored")),
    ],
)
def test_a_stored_key_takes_the_place_of_the_clients(slug, expected):
    sent = headers(authorization="Bearer theirs", x_api_key="theirs", api_key="theirs", x_goog_api_key="theirs")
    assert with_key(PROVIDERS[slug], sent, "stored") == (*headers(), expected)


@given(st.sampled_from(list(PROVIDERS)), st.from_regex(r"[A-Za-z0-9_:.-]+", fullmatch=True))
def test_a_key_that_was_put_in_is_found_again(slug, key):
    provider = PROVIDERS[slug]
    assert brings_key(provider, with_key(provider, headers(), key), "")


@pytest.mark.parametrize(
    "name",
    [
        "authorization",
        "x-api-key",
        "api-key",
        "apikey",
        "x-goog-api-key",
        "x-auth-token",
        "x-amz-security-token",
        "ocp-apim-subscription-key",
        "cf-access-client-secret",
        "x-session",
    ],
)
def test_whoever_asks_by_another_key_is_somebody_else_whatever_header_it_is_in(name):
    one, two = (credentials_of((("accept", "*/*"), (name, value))) for value in ("alice", "bob"))
    assert one != two != ()


def test_a_header_whose_name_is_too_long_to_be_read_may_be_a_key_and_isnt_kept():
    asked = _says_who.cache_info().misses
    assert credentials_of((("n" * 257, "x"),)) == (f"{'n' * 257}: x",)
    assert _says_who.cache_info().misses == asked


def test_what_is_no_key_makes_nobody_somebody_else():
    said = {"user-agent": "x", "idempotency-key": "1", "content-type": "a/b", "x-stainless-retry-count": "1"}
    assert credentials_of(tuple(said.items())) == ()


@given(st.permutations([("authorization", "a"), ("x-api-key", "b"), ("api-key", "c")]))
def test_the_order_of_keys_makes_no_difference(sent):
    assert credentials_of(tuple(sent)) == credentials_of(tuple(sorted(sent)))


@pytest.mark.parametrize("provider", list(PROVIDERS.values()), ids=lambda each: each.slug)
def test_every_base_is_https_without_a_slash_at_its_end(provider: Provider):
    bases = [provider.base_url, *(place.base_url for place in provider.places)]
    assert all(base.startswith("https://") and not base.endswith("/") for base in bases if base)
    assert provider.base_url or provider.places or provider.slug == "workers-ai"


def test_a_provider_that_the_operator_moved_has_its_form_and_its_key_at_one_other_base():
    table = moved({"anthropic": "http://proxy.internal/a/", "azure-openai": "https://azure.example"})
    provider = provider_of("anthropic", CUSTOM, table)
    assert url_of(provider, "v1/messages", "beta=1") == "http://proxy.internal/a/v1/messages?beta=1"
    assert (provider.is_moved, provider.form, provider.credential) == (
        True,
        "anthropic",
        PROVIDERS["anthropic"].credential,
    )
    azure = provider_of("azure-openai", CUSTOM, table)
    assert url_of(azure, "resource/deployment/chat", "") == "https://azure.example/resource/deployment/chat"
    assert provider_of("openai", CUSTOM, table) is PROVIDERS["openai"]


@pytest.mark.parametrize("slug", ["workers-ai", "nobody", "custom-mine"])
def test_what_isnt_in_the_table_or_is_ours_cant_be_moved(slug):
    with pytest.raises(KeyError, match=slug):
        moved({slug: "https://a.example"})


@pytest.mark.parametrize(
    ("named", "path", "query"),
    [("fal.run/fal-ai/flux?a=1", "fal-ai/flux", "a=1"), ("queue.fal.run/fal-ai/flux", "queue.fal.run/fal-ai/flux", "")],
)
def test_fals_target_is_its_path(named, path, query):
    call = Call("fal", "POST", "", "", (("x-fal-target-url", f"https://{named}"), ("a", "b")), b"")
    assert aimed(call) == Call("fal", "POST", path, query, (("a", "b"),), b"")
    assert url_of(PROVIDERS["fal"], path, query) == f"https://{named}"


@pytest.mark.parametrize(
    "named", ["https://fal.run.evil.example/x", "https://evil.example/fal.run/", "http://fal.run/x"]
)
def test_fals_target_is_one_of_its_hosts(named):
    call = Call("fal", "POST", "", "", (("x-fal-target-url", named),), b"")
    with pytest.raises(BadRequest, match="x-fal-target-url"):
        aimed(call)
    assert aimed(call._replace(provider="openai")).header("x-fal-target-url") == named
