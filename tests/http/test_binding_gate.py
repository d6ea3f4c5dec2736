"""Who is let in as a Worker's binding: who bears the secret, from this machine or over a listener for bindings."""

from collections.abc import AsyncGenerator
from dataclasses import replace

import pytest
from asgi_socket import knocking
from worker_binding import ACCOUNT, BINDING, HOST, SECRET, SETTINGS, direct, envelope, proxy, said, sent

from lowcloud.http.auth import TokenAuth
from lowcloud.http.settings import HttpSettings

pytestmark = pytest.mark.anyio
MODELS = "/ai-api/models/search?search=bge-large&per_page=1"
HERE = {"client": ("127.0.0.1", 5), "server": ("127.0.0.1", 8780)}
ELSEWHERE = {"client": ("192.0.2.7", 5), "server": ("192.0.2.1", 8780)}
SUBDOMAIN = "/client/v4/accounts/mine/workers/subdomain"
PREVIEWS = [
    ("GET", SUBDOMAIN, {"subdomain": "lowcloud"}),
    ("GET", f"{SUBDOMAIN}/edge-preview", {"token": "lowcloud"}),
    ("POST", "/client/v4/accounts/mine/workers/scripts/main/edge-preview", {"preview_token": "lowcloud"}),
]
FORMS = pytest.mark.parametrize("form", [direct, envelope, proxy])


@pytest.fixture
async def world(make_world) -> AsyncGenerator:
    """One that answers bindings."""
    async with make_world(settings=SETTINGS) as made:
        yield made


def other(secret, request):
    """The same request with another secret, or with none."""
    headers = {name: value.replace(SECRET, secret) for name, value in request.headers.items()}
    return replace(request, path=request.path.replace(SECRET, secret), headers=headers)


@FORMS
@pytest.mark.parametrize("secret", ["", SECRET[:-1], SECRET + "x", SECRET.lower(), "\xe9" * 32])
async def test_without_the_secret_it_is_a_403_that_says_where_the_secret_is(world, form, secret):
    answer = await sent(world, other(secret, form("GET", MODELS)))
    assert (answer.status, answer.json["internalCode"]) == (403, 9109)
    assert "binding-secret" in said(answer)
    assert SECRET not in answer.body.decode()
    assert ("is missing" if not secret else "is another one") in said(answer)


@pytest.mark.parametrize("host", [HOST, f"{HOST}:80", HOST.upper()])
async def test_the_bindings_host_without_its_header_is_a_403_and_not_a_matter_of_allowed_hosts(world, host):
    answer = await world.ask("POST", "/run?version=3", {}, {"host": host})
    assert (answer.status, "is missing" in said(answer), "allowed_hosts" in said(answer)) == (403, True, False)


async def test_an_api_token_is_no_secret_and_the_secret_no_api_token(make_world, tokens):
    async with make_world(settings=SETTINGS, auth=TokenAuth(tokens)) as world:
        answer = await sent(world, other("good", proxy("GET", MODELS)))
        assert (answer.status, "is another one" in said(answer)) == (403, True)
        answer = await world.ask("GET", "/v1/models", headers={"authorization": f"Bearer {SECRET}"})
        assert answer.status == 401
        assert (await sent(world, direct("GET", MODELS))).status == 200


@FORMS
@pytest.mark.parametrize("origin", ["http://localhost:3000", "null", "https://evil.example", ""])
async def test_a_web_page_is_never_let_in_though_it_had_the_secret(world, form, origin):
    request = form("GET", MODELS)
    answer = await sent(world, replace(request, headers={**request.headers, "origin": origin}))
    assert (answer.status, "web pages" in said(answer)) == (403, True)
    assert "access-control-allow-origin" not in answer.headers


async def test_the_origin_that_a_worker_passes_on_within_the_envelope_is_its_own_affair(world):
    answer = await sent(world, envelope("GET", MODELS, headers={"origin": "https://app.example"}))
    assert answer.status == 200


@FORMS
async def test_whatever_the_host_who_bears_the_secret_is_let_in(world, form):
    request = form("GET", MODELS)
    answer = await sent(world, replace(request, headers={**request.headers, "host": "api.example:81"}), HERE)
    assert answer.status == 200


@FORMS
@pytest.mark.parametrize("address", ["192.0.2.7", "10.0.0.1", "fe80::1%eth0", "unknown"])
async def test_from_elsewhere_the_secret_opens_nothing(world, form, address):
    answer = await sent(world, form("GET", MODELS), {**ELSEWHERE, "client": (address, 5)})
    assert (answer.status, "binding.listen" in said(answer)) == (403, True)


@pytest.mark.parametrize("over", [HERE, {"client": ("::1", 5)}, {"client": None, "server": ("/run/a.sock", None)}])
async def test_from_this_machine_it_does(world, over):
    assert (await sent(world, direct("GET", MODELS), over)).status == 200


@FORMS
@pytest.mark.parametrize(
    ("own", "server"), [(8781, ("192.0.2.1", 8781)), ("/run/lowcloud.sock", ("/run/lowcloud.sock", None))]
)
async def test_over_a_listener_for_bindings_others_are_let_in_with_the_secret_alone(make_world, form, own, server):
    over = {"client": ("192.0.2.7", 5), "server": server}
    settings = HttpSettings(allowed_hosts=("*",), binding=replace(BINDING, own_listener=own))
    async with make_world(settings=settings) as world:
        assert (await sent(world, form("GET", MODELS), over)).status == 200
        assert (await sent(world, form("GET", MODELS), ELSEWHERE)).status == 403
        for path in ("/healthz", "/v1/models", "/"):
            answer = await world.ask("GET", path, over=over)
            assert (answer.status, "is missing" in said(answer)) == (403, True)
            assert (await world.ask("GET", path, over=ELSEWHERE)).status != 403


@FORMS
async def test_where_bindings_are_off_the_403_names_the_setting(make_world, form):
    async with make_world() as world:
        answer = await sent(world, form("GET", MODELS))
        assert (answer.status, "binding.enabled" in said(answer)) == (403, True)


@pytest.mark.parametrize(("method", "path", "result"), PREVIEWS)
async def test_wrangler_gets_what_it_asks_before_a_remote_session_with_the_secret_as_its_token(
    world, method, path, result
):
    bears = {"authorization": f"Bearer {SECRET}", "content-type": "multipart/form-data; boundary=x"}
    answer = await world.ask(method, path, b"--x--", bears)
    assert (answer.status, answer.json) == (200, {"result": result, "success": True, "errors": [], "messages": []})
    for token in ({}, {"authorization": "Bearer other"}, {"authorization": f"Basic {SECRET}"}):
        answer = await world.ask(method, path, b"--x--", token)
        assert (answer.status, answer.json["success"], answer.json["errors"][0]["code"]) == (403, False, 9109)


async def test_calls_run_on_the_account_of_the_setting_whatever_the_path_says(world):
    await sent(world, proxy("GET", MODELS))
    assert world.logs.calls[-1].kwargs["account"] == ACCOUNT


async def test_the_secret_is_never_logged_nor_shown(world):
    for form in (direct, envelope, proxy):
        await sent(world, form("GET", MODELS))
        await sent(world, other(SECRET[:-1], form("GET", MODELS)))
    assert SECRET[:-1] not in repr(world.logs.calls)
    assert SECRET not in repr(SETTINGS)
    assert [call.kwargs["path"] for call in world.logs.calls[2:4]] == ["/ai-api/models/search", "/binding"]


async def test_an_envelope_with_nothing_inside_is_a_404_as_miniflares_idle_websocket_needs(world):
    headers = {"upgrade": "websocket", "connection": "Upgrade"}
    for path in (f"/binding/{SECRET}/?MF-Binding=AI", f"/binding/{SECRET}"):
        answer = await world.ask("GET", path, headers=headers)
        assert (answer.status, "mf-url" in said(answer)) == (404, True)


@pytest.mark.parametrize("url", ["", "/run", "ftp://x/run", "https:///run", "http://[::1/run", "run"])
@pytest.mark.parametrize("name", ["MF-URL", "X-Forwarded"])
async def test_an_envelope_around_no_url_is_a_400_that_names_the_header(world, name, url):
    request = {"MF-URL": envelope, "X-Forwarded": proxy}[name]("GET", MODELS)
    answer = await sent(world, replace(request, headers={**request.headers, name: url}))
    assert (answer.status, said(answer).partition(":")[0]) == (400, name.lower())


async def test_the_path_inside_an_envelope_is_decoded_as_any_other(world):
    answer = await sent(world, envelope("GET", "/ai-api%2Fmodels/search"))
    assert answer.status == 404
    answer = await sent(world, envelope("GET", "/ai%2Dapi/models/search/?search=%62ge-large&per_page=1"))
    assert (answer.status, len(answer.json["result"])) == (200, 1)


async def test_of_the_envelopes_own_headers_those_of_the_connection_count_and_those_inside_the_rest(world):
    headers = {"cf-consn-model-id": "@cf/a/b", "content-length": "99999999999", "expect": "100-continue"}
    request = envelope("POST", "/run?version=3", {"inputs": {"prompt": "x"}}, headers)
    outside = {"content-length": "30", "cf-consn-model-id": "@cf/c/d", "content-encoding": "x"}
    answer = await sent(world, replace(request, headers={**request.headers, **outside}))
    assert (answer.status, "No such model @cf/a/b" in said(answer)) == (400, True)


async def test_other_paths_of_the_api_are_as_they_were(world):
    answer = await world.ask("POST", f"/client/v4/accounts/{ACCOUNT}/ai/run/@cf/a/b", {}, {"authorization": "Bearer x"})
    assert (answer.status, answer.json["errors"][0]["code"]) == (400, 5007)
    assert (await world.ask("GET", f"/client/v4/accounts/{ACCOUNT}/workers")).status == 404
    assert (await world.ask("GET", "/bindings/x")).status == 404


async def test_bindings_have_no_websocket(world):
    async with knocking(world.app, f"/binding/{SECRET}/") as socket:
        assert (await socket.refusal())[0] == 404
