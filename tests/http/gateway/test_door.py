"""The gateway's own URLs over HTTP: where they lead, who may, and what comes back."""

import json
from collections.abc import AsyncGenerator

import anyio
import pytest
from asgi_socket import knocking

from lowcloud.core.errors import ExpiredToken
from lowcloud.core.principal import Permission, Principal
from lowcloud.gateway.call import Reply
from lowcloud.gateway.errors import FellBehind, NoReply
from lowcloud.http.auth import OpenAuth, TokenAuth
from lowcloud.http.gateway.door import METHODS, PATH, reply_with
from lowcloud.http.settings import HttpSettings
from lowcloud.models.catalogue import CHAT_STAND_IN, EMBEDDING_STAND_IN
from lowcloud.storage.completions import CompletionStore, Keep

pytestmark = pytest.mark.anyio
ACCOUNT = "a" * 32
CHAT = {"model": "gpt-4o", "messages": [{"role": "user", "content": "hello there"}]}
OWN_CHAT = {**CHAT, "model": CHAT_STAND_IN}
EVENTS = (("content-type", "text/event-stream"),)
PATHS = {
    "openai/chat/completions": "https://api.openai.com/v1/chat/completions",
    "anthropic/v1/messages": "https://api.anthropic.com/v1/messages",
    "azure-openai/res/dep/chat/completions": "https://res.openai.azure.com/openai/deployments/dep/chat/completions",
    "aws-bedrock/bedrock-runtime/us-east-1/model/m/invoke": (
        "https://bedrock-runtime.us-east-1.amazonaws.com/model/m/invoke"
    ),
    "google-ai-studio/v1/models/m:generateContent": (
        "https://generativelanguage.googleapis.com/v1/models/m:generateContent"
    ),
    "google-vertex-ai/v1/projects/p/locations/us-east4/publishers/google/models/m:predict": (
        "https://us-east4-aiplatform.googleapis.com/v1/projects/p/locations/us-east4/publishers/google/models/m:predict"
    ),
    "huggingface/a/b": "https://router.huggingface.co/hf-inference/models/a/b",
    "replicate/predictions": "https://api.replicate.com/v1/predictions",
    "groq/chat/completions": "https://api.groq.com/openai/v1/chat/completions",
    "cohere/v2/chat": "https://api.cohere.com/v2/chat",
    "mistral/v1/chat/completions": "https://api.mistral.ai/v1/chat/completions",
    "grok/v1/chat/completions": "https://api.x.ai/v1/chat/completions",
    "openrouter/chat/completions": "https://openrouter.ai/api/v1/chat/completions",
    "deepseek/chat/completions": "https://api.deepseek.com/chat/completions",
    "cerebras/chat/completions": "https://api.cerebras.ai/v1/chat/completions",
    "cartesia/tts/bytes": "https://api.cartesia.ai/tts/bytes",
    "elevenlabs/v1/text-to-speech/x": "https://api.elevenlabs.io/v1/text-to-speech/x",
    "perplexity-ai/chat/completions": "https://api.perplexity.ai/chat/completions",
    "fireworks/chat/completions": "https://api.fireworks.ai/inference/v1/chat/completions",
    "baseten/v1/chat/completions": "https://inference.baseten.co/v1/chat/completions",
    "parallel/v1/search": "https://api.parallel.ai/v1/search",
    "deepgram/v1/listen": "https://api.deepgram.com/v1/listen",
    "fal/fal-ai/flux": "https://fal.run/fal-ai/flux",
    "ideogram/v1/generate": "https://api.ideogram.ai/v1/generate",
    "adobe-firefly/v3/images/generate": "https://firefly-api.adobe.io/v3/images/generate",
}
KEYS = {
    "anthropic": ("x-api-key", "sk"),
    "azure-openai": ("api-key", "sk"),
    "google-ai-studio": ("x-goog-api-key", "sk"),
    "cartesia": ("x-api-key", "sk"),
    "elevenlabs": ("xi-api-key", "sk"),
    "parallel": ("x-api-key", "sk"),
    "deepgram": ("authorization", "Token sk"),
    "fal": ("authorization", "Key sk"),
    "ideogram": ("api-key", "sk"),
}


class Tokens:
    """Tokens by name: all permissions, the gateway's alone, the models' alone, none; and another account's.

    ``lowcloud_``, as real ones begin with, may stand before a name.
    """

    async def verify(self, token: str) -> Principal | None:
        known = {
            "all": frozenset(Permission),
            "run": frozenset({Permission.AI_GATEWAY_RUN}),
            "models": frozenset({Permission.WORKERS_AI_READ}),
            "none": frozenset[Permission](),
        }
        token = token.removeprefix("lowcloud_")
        if token == "expired":
            raise ExpiredToken("Invalid API Token: it is expired or revoked.")
        if token == "foreign":
            return Principal("foreign", "b" * 32, frozenset(Permission))
        return Principal(token, ACCOUNT, known[token]) if token in known else None


def bearer(token: str, header: str = "cf-aig-authorization") -> dict[str, str]:
    return {header: f"Bearer {token}"}


def failure(answer) -> tuple[int, int | None, str]:
    """An error's status, code and message, in Cloudflare's shape."""
    told = answer.json
    assert (told["success"], told["result"], told["messages"], told["name"]) == (False, [], [], "AiGatewayError")
    assert told["error"] == [{"code": told["internalCode"], "message": told["message"]}]
    assert (told["httpCode"], told["description"]) == (answer.status, told["message"])
    return answer.status, told["internalCode"], told["message"]


async def said(*pieces: bytes | Exception) -> AsyncGenerator[bytes, None]:
    for piece in pieces:
        if isinstance(piece, Exception):
            raise piece
        yield piece


def spoken(*pieces: bytes | Exception, status: int = 200, headers=EVENTS) -> Reply:
    return Reply(status, headers, said(*pieces))


# --- where URLs lead


@pytest.mark.parametrize(
    ("named", "url"),
    [
        ("https://fal.run/fal-ai/flux?a=1", "https://fal.run/fal-ai/flux?a=1"),
        ("https://queue.fal.run/fal-ai/flux", "https://queue.fal.run/fal-ai/flux"),
        ("https://rest.alpha.fal.ai/storage", "https://rest.alpha.fal.ai/storage"),
    ],
)
async def test_fals_own_client_names_the_whole_url_in_a_header(desk, named, url):
    sent = {"x-fal-target-url": named, "authorization": "Key sk"}
    assert (await desk.ask("POST", "/g/fal", {"prompt": "tea"}, sent)).status == 200
    target = desk.upstream.sent[0][1]
    assert (target.url, dict(target.headers)) == (url, {"authorization": "Key sk"})
    (row,) = await desk.logged()
    assert row.model in ("fal-ai/flux", "storage")


@pytest.mark.parametrize("named", ["https://evil.example/x", "http://fal.run/x", "https://fal.run.evil.example/x", "x"])
async def test_a_url_in_that_header_is_fals(desk, named):
    status, _, message = failure(await desk.ask("POST", "/g/fal", {}, {"x-fal-target-url": named}))
    assert (status, message.partition(":")[0]) == (400, "x-fal-target-url")
    assert desk.upstream.sent == []


@pytest.mark.parametrize("slash", ["", "/"])
@pytest.mark.parametrize("path", PATHS)
async def test_a_providers_path_leads_there_with_its_own_key_query_and_body(desk, path, slash):
    name, key = KEYS.get(path.partition("/")[0], ("authorization", "Bearer sk"))
    sent = {name: key, "cf-aig-metadata": '{"a": 1}', "cf-aig-authorization": "Bearer x", "accept": "a/b"}
    answer = await desk.ask("POST", f"/g/{path}{slash}?a=%2F&b", CHAT, sent)
    assert answer.status == 200
    ((call, target),) = desk.upstream.sent
    assert target.url == PATHS[path] + slash + "?a=%2F&b"
    assert dict(target.headers) == {name: key, "accept": "a/b"}
    assert (json.loads(call.body), target.is_checked) == (CHAT, True)


def test_the_paths_above_are_every_provider_but_ours():
    from lowcloud.gateway.providers import PROVIDERS

    assert {path.partition("/")[0] for path in PATHS} == PROVIDERS.keys() - {"workers-ai"}


@pytest.mark.parametrize("method", ["GET", "PUT", "PATCH", "DELETE", "HEAD"])
async def test_every_method_passes_and_a_body_where_there_may_be_one(desk, method):
    body = b"data" if method in ("PUT", "PATCH") else None
    assert (await desk.ask(method, "/g/openai/files/f1", body)).status == 200
    assert [(call.method, call.path, call.body) for call, _ in desk.upstream.sent] == [
        (method, "files/f1", body or b"")
    ]


@pytest.mark.parametrize(
    ("path", "body"),
    [
        (f"workers-ai/{CHAT_STAND_IN}", {"prompt": "hello"}),
        (f"workers-ai/run/{CHAT_STAND_IN}", {"prompt": "hello"}),
        (f"workers-ai/run/{CHAT_STAND_IN.replace('@', '%40').replace('/', '%2F')}/", {"prompt": "hello"}),
        ("workers-ai/v1/chat/completions", OWN_CHAT),
        ("workers-ai/v1/chat/completions/", OWN_CHAT),
        ("workers-ai/v1/embeddings", {"model": EMBEDDING_STAND_IN, "input": "tea"}),
        ("workers-ai/v1/messages", OWN_CHAT | {"max_tokens": 5}),
    ],
)
async def test_our_own_models_answer_as_they_do_elsewhere(desk, path, body):
    answer = await desk.ask("POST", f"/g/{path}", body)
    assert answer.status == 200, answer.body
    assert answer.headers["cf-aig-step"] == "0"
    (row,) = await desk.logged()
    assert (row.provider, row.status_code, row.success, row.id) == (
        "workers-ai",
        200,
        True,
        answer.headers["cf-aig-log-id"],
    )
    assert row.tokens_in > 0
    assert desk.upstream.sent == []


async def test_our_own_models_list_is_there_too(desk):
    assert (await desk.ask("GET", "/g/workers-ai/v1/models")).json["object"] == "list"


async def test_compat_calls_ours_and_others_by_the_model(desk):
    own = await desk.ask("POST", "/g/compat/chat/completions", OWN_CHAT | {"model": f"workers-ai/{CHAT_STAND_IN}"})
    assert own.json["choices"][0]["message"]["content"] == "one two three"
    embedded = await desk.ask(
        "POST", "/g/compat/embeddings/", {"model": f"workers-ai/{EMBEDDING_STAND_IN}", "input": "tea"}
    )
    assert embedded.json["object"] == "list"
    for model, url in [
        ("openai/gpt-4o", PATHS["openai/chat/completions"]),
        ("grok/g", PATHS["grok/v1/chat/completions"]),
    ]:
        await desk.ask("POST", "/g/compat/chat/completions", CHAT | {"model": model}, {"authorization": "Bearer sk"})
        call, target = desk.upstream.sent[-1]
        assert (target.url, json.loads(call.body)["model"]) == (url, model.partition("/")[2])
    assert {row.compatibility_mode for row in await desk.logged()} == {True}


@pytest.mark.parametrize("model", ["gpt-4o", "nobody/x", "anthropic/claude", "custom-none/x"])
async def test_compat_refuses_by_name_what_it_cant_do(desk, model):
    status, code, message = failure(await desk.ask("POST", "/g/compat/chat/completions", CHAT | {"model": model}))
    assert (status, code) == (400, 2008)
    assert message.startswith("Invalid provider")


async def test_compat_and_the_universal_endpoint_take_posts_alone(desk):
    for path in ("/g/compat/embeddings", "/g", "/g/"):
        answer = await desk.ask("GET", path)
        assert (answer.status, answer.headers["allow"]) == (405, "POST, OPTIONS")


@pytest.mark.parametrize("path", ["v1/x", "v1/x/"])
async def test_a_custom_provider_is_called_by_its_slug_at_the_path_as_it_stands(desk, path):
    made = {"name": "Mine", "slug": "mine", "base_url": "https://mine.example/base", "enable": True}
    assert (await desk.manage("POST", "/custom-providers", made)).status == 200
    await desk.ask("POST", f"/g/custom-mine/{path}", CHAT)
    assert desk.upstream.sent[-1][1].url == f"https://mine.example/base/{path}"


async def test_the_gateways_own_run_is_refused_by_name(desk):
    status, number, message = failure(await desk.ask("POST", "/g/run", {"model": "@cf/x", "input": {}}))
    assert (status, number) == (400, 7001)
    assert "run" in message


async def test_an_unknown_provider_and_an_unknown_gateway_are_errors(desk):
    assert failure(await desk.ask("POST", "/g/nobody/x", CHAT))[:2] == (400, 2008)
    assert failure(await desk.ask("POST", "/g/custom-none/x", CHAT))[:2] == (400, 2008)
    assert failure(await desk.ask("POST", "/other/openai/x", CHAT))[:2] == (400, 2001)
    assert failure(await desk.ask("GET", f"/{'n' * 60_000}/openai/x"))[:2] == (400, 2001)
    for path in ("", "/"):
        assert failure(await desk.ask("POST", path, CHAT))[0] == 400


@pytest.mark.parametrize("path", ["openai/../x", "openai/%2e%2e/x", "openai/a%3Fb/%252e%252e/x"])
async def test_a_path_doesnt_lead_out_of_its_provider(desk, path):
    assert failure(await desk.ask("POST", f"/g/{path}", CHAT))[0] == 400
    assert desk.upstream.sent == []


async def test_default_makes_itself_with_the_first_call_that_is_authenticated(make_desk):
    async with make_desk(auth=TokenAuth(Tokens()), settings=HttpSettings(), is_open=False) as desk:
        assert failure(await desk.ask("POST", "/default/openai/x", CHAT))[:2] == (401, 2009)
        assert await desk.shelves.gateways.get(ACCOUNT, "default") is None
        assert (await desk.ask("POST", "/default/openai/x", CHAT, bearer("run"))).status == 200
        assert await desk.shelves.gateways.get(ACCOUNT, "default") is not None
        assert len(await desk.logged("default")) == 1


async def test_under_v1_only_32_hex_digits_are_an_account(desk):
    for account in ("a" * 31, "a" * 33, "g" * 32, "chat"):
        answer = await desk.world.ask("POST", f"/v1/{account}/g/openai/x", CHAT)
        assert (answer.status, "error" in answer.json and isinstance(answer.json["error"], dict)) == (404, True)
    assert (await desk.world.ask("POST", "/v1/chat/completions", OWN_CHAT)).status == 200
    assert (await desk.world.ask("POST", f"/v1/{'A' * 32}/g/openai/x", CHAT)).status == 200


async def test_no_route_of_ours_can_be_taken_for_a_gateways(desk):
    described = (await desk.world.ask("GET", "/openapi.json")).json["paths"]
    assert len(described) > 50
    for template in described:
        if template.startswith("/v1/"):
            first = template.split("/")[2]
            assert not first.startswith("{"), f"{template} may begin with an account"
            assert PATH.fullmatch(f"/v1/{first}") is None


# --- the universal endpoint


def step(provider: str = "openai", endpoint: str = "chat/completions", **fields: object) -> dict[str, object]:
    return {
        "provider": provider,
        "endpoint": endpoint,
        "headers": {"Authorization": "Bearer sk"},
        "query": CHAT,
    } | fields


@pytest.mark.parametrize("path", ["/g", "/g/"])
async def test_a_single_object_is_one_step(desk, path):
    answer = await desk.ask("POST", path, step(endpoint="/files?a=%2F"), {"authorization": "Bearer other"})
    assert (answer.status, answer.headers["cf-aig-step"]) == (200, "0")
    ((call, target),) = desk.upstream.sent
    assert target.url == "https://api.openai.com/v1/files?a=%2F"
    assert dict(target.headers) == {"authorization": "Bearer sk", "content-type": "application/json"}
    assert (call.method, json.loads(call.body)) == ("POST", CHAT)


async def test_steps_are_tried_in_turn_and_ours_are_among_them(make_desk):
    async with make_desk(500) as desk:
        await desk.make_gateway()
        own = step("workers-ai", "v1/chat/completions", query=OWN_CHAT)
        answer = await desk.ask("POST", "/g", [step(config={"requestTimeout": 1_000}), own])
        assert (answer.status, answer.headers["cf-aig-step"]) == (200, "1")
        assert answer.json["choices"][0]["message"]["content"] == "one two three"
        (row,) = await desk.logged()
        assert (row.step, row.provider, len(desk.upstream.sent)) == (1, "workers-ai", 1)


@pytest.mark.parametrize(
    ("body", "path"),
    [
        ([], "array of 1 to 10 steps"),
        ("text", "array of 1 to 10 steps"),
        ([step()] * 11, "array of 1 to 10 steps"),
        ([1], "[0]"),
        ([step(), step(provider="")], "[1].provider"),
        ([step(provider=1)], "[0].provider"),
        ([step(endpoint=1)], "[0].endpoint"),
        ([step(headers=[1])], "[0].headers"),
        ([step(endpoint="@cf/meta/\u65e5\u672c")], "[0].endpoint"),
        ([step("workers-ai", "@cf/meta/\u65e5\u672c")], "[0].endpoint"),
        ([step("workers-ai", "%41" * 30_000)], "[0].endpoint"),
        ([step(headers={"a": "b\r\nc"})], "[0].headers.a"),
        ([step("workers-ai", headers={"\u65e5\u672c": "b"})], "[0].headers.\u65e5\u672c"),
        ([step(headers={"a b": "c"})], "[0].headers.a b"),
        ([step(headers={"a" * 257: "b"})], "[0].headers." + "a" * 100 + ":"),
        ([step(headers={"": "b"})], "[0].headers."),
        ([step(authorization="\u00e9")], "[0].authorization"),
        ([step(config={"maxAttempts": 9})], "[0].config.maxAttempts"),
        ([step(headers={"cf-aig-session-id": "x"})], "cf-aig-session-id"),
        (b"{", "JSON"),
    ],
)
async def test_what_is_no_step_is_refused_with_its_place(desk, body, path):
    status, _, message = failure(await desk.ask("POST", "/g", body))
    assert (status, path in message) == (400, True), message
    assert desk.upstream.sent == []


async def test_a_steps_key_may_stand_beside_its_headers(desk):
    await desk.ask("POST", "/g", step(headers={"x-n": 1, "x-t": True}, authorization="Bearer sk-2"))
    sent = dict(desk.upstream.sent[0][1].headers)
    assert (sent["authorization"], sent["x-n"], sent["x-t"]) == ("Bearer sk-2", "1", "true")


# --- who may


@pytest.fixture
async def serve(make_desk) -> AsyncGenerator:
    """As ``lowcloud serve``: tokens, and no gateway answers without one."""
    async with make_desk(auth=TokenAuth(Tokens()), settings=HttpSettings(), is_open=False) as made:
        await made.make_gateway(authentication=True)
        await made.make_gateway("open", authentication=False)
        yield made


@pytest.mark.parametrize("gateway", ["g", "open"])
@pytest.mark.parametrize(
    "headers",
    [{}, bearer("nobody"), bearer("foreign"), bearer("none"), bearer("models"), {"cf-aig-authorization": "x"}],
)
async def test_other_peoples_models_want_a_token_that_may_run_the_gateway(serve, gateway, headers):
    sent = {"authorization": "Bearer all", **headers}  # which is the provider's, not ours
    answer = await serve.ask("POST", f"/{gateway}/openai/chat/completions", CHAT, sent)
    assert failure(answer)[:2] == (401, 2009)
    assert serve.upstream.sent == []
    assert await serve.logged(gateway) == ()


async def test_a_good_token_lets_in_and_doesnt_go_to_the_provider(serve):
    sent = {**bearer("run"), "authorization": "Bearer sk"}
    assert (await serve.ask("POST", "/g/openai/chat/completions", CHAT, sent)).status == 200
    assert dict(serve.upstream.sent[0][1].headers) == {"authorization": "Bearer sk"}
    (row,) = await serve.logged()
    assert row.authentication


@pytest.mark.parametrize(
    "headers",
    [
        bearer("models", "authorization"),
        bearer("run", "authorization"),
        bearer("models"),
        {"x-api-key": "models"},
        {**bearer("run"), "authorization": "Bearer nobody"},
    ],
)
async def test_our_own_models_take_our_own_token_where_it_stands(serve, headers):
    answer = await serve.ask("POST", "/g/workers-ai/v1/chat/completions", OWN_CHAT, headers)
    assert answer.status == 200, answer.body


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "chat/completions"),
        ("GET", "chat/completions/chatcmpl-1"),
        ("POST", "chat/completions/chatcmpl-1"),
        ("DELETE", "chat/completions/chatcmpl-1"),
        ("GET", "chat/completions/chatcmpl-1/messages"),
        ("GET", "models"),
    ],
)
async def test_a_token_for_gateways_runs_our_models_and_does_nothing_else_there(make_desk, database, method, path):
    kept = {"completions": CompletionStore(database, Keep())}
    async with make_desk(auth=TokenAuth(Tokens()), settings=HttpSettings(), is_open=False, **kept) as desk:
        await desk.make_gateway()
        own = "/g/workers-ai/v1/"
        assert (await desk.ask("POST", own + "chat/completions", OWN_CHAT, bearer("run"))).status == 200
        body = {"metadata": None} if method == "POST" else None
        sent = {"content-type": "application/json"}
        refused = await desk.ask(method, own + path, body, bearer("run") | sent)
        assert (refused.status, refused.json["errors"][0]["code"]) == (403, 10000)
        assert (await desk.ask(method, own + path, body, bearer("models") | sent)).status in (200, 404)


@pytest.mark.parametrize("token", ["nobody", "foreign", "none"])
async def test_our_own_models_refuse_any_other_token(serve, token):
    answer = await serve.ask("POST", "/g/workers-ai/v1/chat/completions", OWN_CHAT, bearer(token, "authorization"))
    assert failure(answer)[:2] == (401, 2009)


async def test_steps_of_ours_beside_others_want_a_token_that_may_run_the_gateway(serve):
    def steps(token: str) -> list[object]:
        own = step("workers-ai", "v1/chat/completions", query=OWN_CHAT, headers=bearer(token, "authorization"))
        return [step(), own]

    assert failure(await serve.ask("POST", "/g", steps("models")))[:2] == (401, 2009)
    assert (await serve.ask("POST", "/g", steps("run"))).status == 200


OWN_PLACES = {"openai": "authorization", "anthropic": "x-api-key", "google-ai-studio": "x-goog-api-key"}


@pytest.mark.parametrize("provider", OWN_PLACES)
@pytest.mark.parametrize("beside", [{}, bearer("run")])
async def test_our_token_in_the_place_of_a_providers_key_says_who_calls_and_the_kept_key_is_sent(
    serve, provider, beside
):
    await serve.keep_key(provider, "sk-kept")
    header = OWN_PLACES[provider]
    scheme = "Bearer " if header == "authorization" else ""
    sent = {**beside, header: f"{scheme}lowcloud_run"}
    assert (await serve.ask("POST", f"/g/{provider}/v1/x", CHAT, sent)).status == 200
    assert dict(serve.upstream.sent[0][1].headers) == {header: f"{scheme}sk-kept"}
    (row,) = await serve.logged()
    assert row.authentication


async def test_our_token_in_a_query_or_a_step_goes_to_no_provider(serve):
    assert (await serve.ask("POST", "/g/google-ai-studio/v1/m?key=lowcloud_run&alt=sse", CHAT)).status == 200
    steps = [step(headers=bearer("lowcloud_run", "authorization"))]
    assert (await serve.ask("POST", "/g", steps)).status == 200
    assert "lowcloud_" not in repr([target for _, target in serve.upstream.sent])
    assert serve.upstream.sent[0][1].url.endswith("/v1/m?alt=sse")


@pytest.mark.parametrize("token", ["lowcloud_models", "lowcloud_foreign", "lowcloud_expired"])
async def test_our_token_that_isnt_good_for_this_is_refused_and_goes_nowhere(serve, token):
    answer = await serve.ask("POST", "/g/openai/chat/completions", CHAT, bearer(token, "authorization"))
    assert failure(answer)[:2] == (401, 2009)
    assert serve.upstream.sent == []


async def test_a_token_of_another_server_like_this_one_is_a_key_as_any_other(serve):
    sent = {**bearer("run"), "authorization": "Bearer lowcloud_theirs"}
    assert (await serve.ask("POST", "/g/openai/chat/completions", CHAT, sent)).status == 200
    assert dict(serve.upstream.sent[0][1].headers) == {"authorization": "Bearer lowcloud_theirs"}


async def test_where_nobody_needs_a_token_ours_goes_to_no_provider_either(make_desk):
    async with make_desk(auth=OpenAuth(Tokens())) as desk:
        await desk.make_gateway()
        sent = bearer("lowcloud_run", "authorization")
        assert (await desk.ask("POST", "/g/openai/chat/completions", CHAT, sent)).status == 200
        assert dict(desk.upstream.sent[0][1].headers) == {}


async def test_without_authentication_a_gateway_answers_only_where_the_settings_allow_it(make_desk):
    async with make_desk(auth=TokenAuth(Tokens()), settings=HttpSettings(), is_open=True) as desk:
        await desk.make_gateway("open", authentication=False)
        await desk.make_gateway("closed", authentication=True)
        assert (await desk.ask("POST", "/open/openai/x", CHAT)).status == 200
        assert failure(await desk.ask("POST", "/open/openai/x", CHAT, bearer("nobody")))[:2] == (401, 2009)
        assert failure(await desk.ask("POST", "/closed/openai/x", CHAT))[:2] == (401, 2009)
        assert failure(await desk.ask("POST", f"/open/workers-ai/{CHAT_STAND_IN}", {"prompt": "x"}))[:2] == (401, 2009)


# --- errors


async def test_a_limit_of_requests_says_when_to_come_back(desk):
    await desk.make_gateway("limited", rate_limiting_limit=1, rate_limiting_interval=60)
    await desk.ask("POST", "/limited/openai/x", CHAT)
    answer = await desk.ask("POST", "/limited/openai/x", CHAT)
    assert failure(answer)[:2] == (429, 2003)
    assert 1 <= int(answer.headers["retry-after"]) <= 60
    assert "x-should-retry" not in answer.headers


async def test_a_limit_of_dollars_says_that_it_isnt_worth_a_retry(desk):
    rule = {"id": "r", "limit": 0.00001, "window": 3600}
    await desk.make_gateway("spent", spend_limits={"rules": [rule]})
    assert (await desk.ask("POST", "/spent/openai/chat/completions", CHAT)).status == 200
    answer = await desk.ask("POST", "/spent/openai/chat/completions", CHAT)
    assert (answer.status, answer.headers["x-should-retry"]) == (429, "false")
    assert int(answer.headers["retry-after"]) >= 1
    told = answer.json["error"]
    assert (answer.json["success"], told["bucket"], told["limit"]) == (False, "all", 0.00001)
    assert told["spent"] >= told["limit"]


async def test_a_provider_that_gives_no_reply_and_an_option_that_cant_be_read_have_their_codes(make_desk):
    async with make_desk(NoReply(kind="no_connection")) as desk:
        await desk.make_gateway()
        assert failure(await desk.ask("POST", "/g/openai/x", CHAT))[:2] == (400, 2005)
        for name, value in [("cf-aig-cache-ttl", "soon"), ("cf-aig-session-id", "x")]:
            status, code, message = failure(await desk.ask("POST", "/g/openai/x", CHAT, {name: value}))
            assert (status, code, name in message) == (400, 7001, True)
        assert [row.status_code for row in await desk.logged()] == [400]


async def test_a_bug_is_told_by_the_id_of_its_request_alone(make_desk):
    async with make_desk(RuntimeError("secret")) as desk:
        await desk.make_gateway()
        answer = await desk.ask("POST", "/g/openai/x", CHAT)
        assert failure(answer)[0] == 500
        assert b"secret" not in answer.body


async def test_the_database_has_a_log_without_its_secrets(desk):
    secret = "sk-proj-abcdefghijklmnopqrstuvwx"
    assert (await desk.ask("POST", f"/g/openai/x?api_key={secret}", {"api_key": secret})).status == 200
    (row,) = await desk.logged()
    body = await desk.logs.body(desk.account, "g", row.id, "request")
    assert (json.loads(body), secret in repr(row)) == ({"api_key": "[redacted]"}, False)


async def test_readiness_tells_of_logs_that_wait_and_that_are_lost_and_is_there_all_the_same(desk):
    async def health() -> dict[str, int]:
        answer = await desk.world.ask("GET", "/readyz")
        assert (answer.status, answer.json["ready"]) == (200, True)
        return answer.json["gateway"]

    assert await health() == {"logs_lost": 0, "spool_bytes": 0}
    await desk.ask("POST", "/g/openai/chat/completions", CHAT)
    assert (await health())["spool_bytes"] > 0
    await desk.spool.move()
    desk.spool.n_lost = 2
    assert await health() == {"logs_lost": 2, "spool_bytes": 0}


async def test_bodies_are_bounded(make_desk):
    async with make_desk(settings=HttpSettings(any_account=True, max_body_bytes=10)) as desk:
        await desk.make_gateway()
        answer = await desk.ask("POST", "/g/openai/x", b"x" * 11)
        assert failure(answer)[0] == 413
        assert answer.headers["connection"] == "close"


# --- what passes


async def test_a_stream_passes_event_by_event_as_it_comes(make_desk):
    more = anyio.Event()
    pieces = [b": hi\n\nda", b"ta: \xff\n\n", b"\n\n", b"data: [DONE]"]

    async def slow() -> AsyncGenerator[bytes, None]:
        for number, piece in enumerate(pieces):
            if number == 2:
                await more.wait()
            yield piece

    async with make_desk(Reply(200, EVENTS, slow())) as desk:
        await desk.make_gateway()
        exchange = desk.world.exchange("POST", f"/v1/{ACCOUNT}/g/openai/chat/completions", CHAT)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(exchange.run)
            with anyio.fail_after(10):
                answer = await exchange.until(lambda answer: len(answer.pieces) == 2)
            assert answer.pieces == pieces[:2]
            more.set()
        assert answer.pieces == pieces
        assert answer.headers["content-type"] == "text/event-stream"


async def test_of_a_replys_headers_the_connections_and_this_servers_own_dont_pass(make_desk):
    given = (
        *EVENTS,
        *((name, "x") for name in ("connection", "keep-alive", "transfer-encoding", "server", "date", "upgrade")),
        ("access-control-allow-origin", "*"),
        ("cf-aig-log-id", "theirs"),
        ("x-request-id", "theirs"),
        ("x-ratelimit-remaining", "7"),
        ("content-encoding", "br"),
    )
    async with make_desk(Reply(200, given, said(b"x"))) as desk:
        await desk.make_gateway()
        answer = await desk.ask("POST", "/g/openai/x", CHAT, {"origin": "http://localhost:3000"})
    assert set(answer.headers) == {
        *("content-type", "content-encoding", "x-ratelimit-remaining", "x-request-id", "cf-ai-req-id"),
        *("cf-aig-log-id", "cf-aig-request-id", "cf-aig-event-id", "cf-aig-step"),
        *("access-control-allow-origin", "access-control-expose-headers", "vary", "x-content-type-options"),
    }
    assert (answer.headers["x-request-id"], answer.headers["x-ratelimit-remaining"]) == ("theirs", "7")
    assert answer.headers["access-control-allow-origin"] == "http://localhost:3000"
    assert answer.headers["cf-aig-log-id"] == answer.headers["cf-aig-event-id"] != "theirs"


@pytest.mark.parametrize(
    ("status", "length", "told"),
    [(200, "1", "1"), (200, "0" * 4_500 + "1", None), (304, "50", None), (204, "7", None)],
)
async def test_a_replys_length_is_told_where_it_is_that_of_its_body(make_desk, status, length, told):
    body = b"x" if status == 200 else b""
    async with make_desk(Reply(status, (("content-length", length), ("etag", "e")), said(body))) as desk:
        await desk.make_gateway()
        answer = await desk.ask("GET", "/g/openai/files/f")
    assert (answer.status, answer.body, answer.headers["etag"]) == (status, body, "e")
    assert answer.headers.get("content-length") == told


@pytest.mark.parametrize(
    ("types", "policy"),
    [
        (["text/html"], "sandbox"),
        (["Text/HTML; charset=utf-8"], "sandbox"),
        (["application/xhtml+xml"], "sandbox"),
        (["image/svg+xml"], "sandbox"),
        (["text/xml"], "sandbox"),
        (["multipart/x-mixed-replace; boundary=a"], "sandbox"),
        (["application/json", "text/html"], "sandbox"),
        (["application/json, text/html"], "sandbox"),
        (["application/json"], None),
        (["text/event-stream"], None),
        (["text/plain"], None),
        (["audio/mpeg"], None),
        ([], None),
    ],
)
async def test_no_reply_is_a_page_of_this_servers(make_desk, types, policy):
    given = (*(("content-type", each) for each in types), ("x-content-type-options", "none"))
    async with make_desk(Reply(200, given, said(b"<script>alert(1)</script>"))) as desk:
        await desk.make_gateway()
        answer = await desk.ask("GET", "/g/openai/files/f")
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers.get("content-security-policy") == policy


async def test_of_a_requests_headers_the_connections_the_gateways_and_the_clients_address_dont_pass(desk):
    sent = {
        "connection": "close, x-mine",
        "x-mine": "1",
        "cookie": "session=1",
        "x-forwarded-for": "10.0.0.1",
        "forwarded": "for=10.0.0.1",
        "x-real-ip": "10.0.0.1",
        "te": "trailers",
        "cf-aig-unheard-of": "1",
        "x-other": "1",
        "user-agent": "curl/8",
    }
    await desk.ask("POST", "/g/openai/x", CHAT, sent)
    assert dict(desk.upstream.sent[0][1].headers) == {"x-other": "1", "user-agent": "curl/8"}


async def test_an_error_of_the_provider_passes_as_it_is(make_desk):
    headers = (("content-type", "application/json"), ("retry-after", "7"))
    async with make_desk(Reply(429, headers, said(b'{"error":', b'"slow"}'))) as desk:
        await desk.make_gateway()
        answer = await desk.ask("POST", "/g/openai/x", CHAT)
        assert (answer.status, answer.body, answer.headers["retry-after"]) == (429, b'{"error":"slow"}', "7")


async def test_options_are_answered_here_and_pages_read_the_gateways_headers(desk):
    plain = await desk.ask("OPTIONS", "/g/openai/x")
    assert (plain.status, plain.headers["allow"]) == (204, ", ".join(METHODS))
    asked = {
        "origin": "http://localhost:3000",
        "access-control-request-method": "POST",
        "access-control-request-headers": "cf-aig-authorization, content-type",
    }
    preflight = await desk.ask("OPTIONS", "/g/openai/x", None, asked)
    assert preflight.headers["access-control-allow-headers"] == "cf-aig-authorization, content-type"
    answer = await desk.ask("POST", "/g/openai/x", CHAT, {"origin": "http://localhost:3000"})
    assert "cf-aig-log-id" in answer.headers["access-control-expose-headers"]
    assert (await desk.ask("POST", "/g/openai/x", CHAT, {"origin": "https://evil.example"})).status == 403
    assert len(desk.upstream.sent) == 1


async def test_a_method_that_nobody_knows_is_refused(desk):
    assert failure(await desk.ask("BREW", "/g/openai/x"))[0] == 405


# --- those who leave, and those who fall behind


class Held:
    """A body that says one event and then waits until it is closed."""

    def __init__(self) -> None:
        self.closed = anyio.Event()

    async def body(self) -> AsyncGenerator[bytes, None]:
        try:
            yield b"data: one\n\n"
            await anyio.sleep_forever()
        finally:
            self.closed.set()


async def test_a_client_that_leaves_ends_the_call_and_is_logged(make_desk):
    held = Held()
    async with make_desk(Reply(200, EVENTS, held.body())) as desk:
        await desk.make_gateway()
        exchange = desk.world.exchange("POST", f"/v1/{ACCOUNT}/g/openai/x", CHAT)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(exchange.run)
            await exchange.until(lambda answer: bool(answer.pieces))
            exchange.leave()
            with anyio.fail_after(10):
                await held.closed.wait()
        (row,) = await desk.logged()
        assert (row.status_code, row.response_size) == (200, 11)


@pytest.mark.parametrize("provider", ["openai/x", "workers-ai/v1/chat/completions"])
async def test_a_client_that_takes_nothing_is_given_up(make_desk, provider):
    held = Held()
    settings = HttpSettings(any_account=True, write_timeout_s=0.05)
    async with make_desk(Reply(200, EVENTS, held.body()), settings=settings) as desk:
        await desk.make_gateway()
        body = OWN_CHAT | {"stream": True}
        exchange = desk.world.exchange("POST", f"/v1/{ACCOUNT}/g/{provider}", body)
        exchange.stalled = True
        with anyio.fail_after(10):
            await exchange.run()
        assert len(await desk.logged()) == 1  # though not even the head of the reply was taken
        assert desk.world.logs.calls[-1].kwargs["outcome"] == "write_timeout"


async def test_a_reply_whose_length_is_known_ends_behind_its_work_too():
    told: list[object] = []

    async def body():
        yield b"ab"
        told.append("the work is over")

    async def send(message) -> None:
        told.append(message.get("more_body", message["type"]))

    await reply_with(Reply(200, (("content-length", "2"),), body()), send)
    assert told == ["http.response.start", True, "the work is over", False]


async def test_a_stream_that_falls_behind_ends_with_an_error_and_never_silently(make_desk):
    async with make_desk(spoken(b"data: a\n\n", FellBehind())) as desk:
        await desk.make_gateway()
        answer = await desk.ask("POST", "/g/openai/x", CHAT)
        assert answer.pieces[0] == b"data: a\n\n"
        event, data = answer.pieces[1].decode().strip().split("\n")
        assert (event, json.loads(data.removeprefix("data: "))["error"]["code"]) == ("event: error", "fell_behind")
        assert desk.world.logs.calls[-1].kwargs["outcome"] == "failed"
        assert [row.success for row in await desk.logged()] == [False]


@pytest.mark.parametrize(
    "reply",
    [
        lambda: spoken(b"data: ha", FellBehind()),
        lambda: spoken(b"{", FellBehind(), headers=(("content-type", "application/json"),)),
        lambda: spoken(b"data: a\n\n", NoReply(kind="no_connection")),
    ],
)
async def test_what_cant_end_well_breaks_off(make_desk, reply):
    async with make_desk(reply()) as desk:
        await desk.make_gateway()
        answer = await desk.ask("POST", "/g/openai/x", CHAT)
        assert len(answer.pieces) == 1
        assert desk.world.logs.calls[-1].kwargs["outcome"] == "broken"
        assert [row.success for row in await desk.logged()] == [False]


async def test_a_websocket_is_refused_in_the_gateways_words(desk):
    async with knocking(desk.world.app, f"/v1/{ACCOUNT}/g") as socket:
        status, told = await socket.refusal()
    assert (status, told["name"]) == (400, "AiGatewayError")
    assert "WebSockets" in told["message"]


@pytest.mark.parametrize("path", ["/g", "/g/openai?model=x"])
async def test_so_is_one_that_comes_as_a_request(desk, path):
    sent = {"connection": "Upgrade", "upgrade": "websocket", "sec-websocket-version": "13"}
    status, code, message = failure(await desk.ask("GET", path, headers=sent))
    assert (status, code) == (400, 7001)
    assert "WebSockets" in message
    assert desk.upstream.sent == []


async def test_a_header_of_the_gateway_that_nobody_knows_is_named_as_ignored(desk):
    sent = {"cf-aig-colour": "blue", "x-colour": "blue"}
    answer = await desk.ask("POST", "/g/openai/chat/completions", CHAT, sent)
    assert (answer.status, answer.headers["lowcloud-ignored"]) == (200, "cf-aig-colour")
    assert "lowcloud-ignored" not in (await desk.ask("POST", "/g/openai/chat/completions", CHAT)).headers
    one = {**step(), "colour": 1, "config": {"colour": 1, "cacheTtl": 60}, "headers": {"cf-aig-colour": "blue"}}
    answer = await desk.ask("POST", "/g", [step(), one])
    assert answer.headers["lowcloud-ignored"] == "[1].colour, [1].headers.cf-aig-colour, [1].config.colour"
