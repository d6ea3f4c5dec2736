"""An account's own providers, as they are added, changed and called."""

import pytest
from sqlalchemy import insert

from lowcloud.gateway.directory import MAX_CUSTOM
from lowcloud.http.gateway.manage_schemas import CustomProviderList, ManageErrors, OneCustomProvider, ProviderUrl
from lowcloud.storage.tables import custom_providers

pytestmark = pytest.mark.anyio
CALL = {"model": "m", "messages": []}
PROVIDERS = "/custom-providers"
OWN = {"name": "Own", "slug": "own", "base_url": "https://own.example/v1", "enable": True}


def refusal(answer) -> tuple[int, int, str]:
    ManageErrors.model_validate(answer.json)
    (error,) = answer.json["errors"]
    return answer.status, error["code"], error["message"].split()[0]


async def added(desk, **fields: object) -> dict[str, object]:
    answer = await desk.manage("POST", PROVIDERS, OWN | fields)
    assert answer.status == 200, answer.body
    OneCustomProvider.model_validate(answer.json)
    return answer.json["result"]


async def called(desk, slug: str = "own") -> str:
    """Where a call goes; the error's code where it goes nowhere."""
    answer = await desk.ask("POST", f"/g/custom-{slug}/chat/completions", CALL)
    return desk.upstream.sent[-1][1].url if answer.status == 200 else str(answer.json["internalCode"])


async def test_a_provider_is_called_at_once_where_it_is_enabled(desk):
    assert await called(desk) == "2008"
    result = await added(desk, description="ours", beta=True)
    assert (result["slug"], result["enable"], result["beta"], result["description"]) == ("own", True, True, "ours")
    assert await called(desk) == "https://own.example/v1/chat/completions"
    await added(desk, slug="off", enable=False)
    assert await called(desk, "off") == "2008"


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"base_url": "http://own.example"}, "base_url:"),
        ({"base_url": "ftp://own.example"}, "base_url:"),
        ({"base_url": "own.example/v1"}, "base_url:"),
        ({"base_url": "https://user:secret@own.example"}, "base_url:"),
        ({"base_url": "https://own.example?key=1"}, "base_url:"),
        ({"base_url": "https://own.example/#x"}, "base_url:"),
        ({"base_url": "https://own.example:99999"}, "base_url:"),
        ({"base_url": "https://[::1"}, "base_url:"),
        ({"base_url": "https://"}, "base_url:"),
        ({"slug": "Own"}, "slug:"),
        ({"slug": "-own"}, "slug:"),
        ({"slug": "a" * 65}, "slug:"),
        ({"base_url": "https://own.example/" + "a" * 1_981}, "base_url:"),
        ({"name": ""}, "name:"),
        ({"name": "a" * 201}, "name:"),
        ({"headers": '{"x-key":"secret"}'}, "headers:"),
    ],
)
async def test_a_provider_that_cannot_be_is_refused_by_its_field(desk, fields, named):
    assert refusal(await desk.manage("POST", PROVIDERS, OWN | fields)) == (400, 7001, named)


async def test_plain_http_is_for_hosts_that_the_operator_allows(desk):
    await added(desk, base_url="http://models.internal:8000/v1")
    assert await called(desk) == "http://models.internal:8000/v1/chat/completions"


async def test_an_account_has_so_many_providers_and_no_more(desk, database):
    row = {"account_id": desk.account, "name": "n", "base_url": "https://x", "about": "{}", "enabled": True}
    times = {"created_at": 0.0, "modified_at": 0.0}
    rows = [{"id": f"i{n}", "slug": f"s{n}", **row, **times} for n in range(MAX_CUSTOM)]
    await database.writer.put(lambda connection: connection.execute(insert(custom_providers), rows))
    assert refusal(await desk.manage("POST", PROVIDERS, OWN)) == (400, 7001, "There")


async def test_two_providers_cannot_have_one_slug(desk):
    await added(desk)
    assert refusal(await desk.manage("POST", PROVIDERS, OWN)) == (409, 7001, "slug:")
    other = await added(desk, slug="other")
    answer = await desk.manage("PATCH", f"{PROVIDERS}/{other['id']}", {"slug": "own"})
    assert refusal(answer) == (409, 7001, "slug:")


async def test_a_change_leaves_what_it_does_not_name(desk):
    provider = f"{PROVIDERS}/{(await added(desk, description='ours'))['id']}"
    answer = await desk.manage("PATCH", provider, {"base_url": "https://new.example", "position": 3, "colour": 1})
    OneCustomProvider.model_validate(answer.json)
    result = answer.json["result"]
    assert (result["name"], result["description"], result["position"]) == ("Own", "ours", 3)
    assert answer.headers["lowcloud-ignored"] == "colour"
    assert (await desk.manage("GET", provider)).json == answer.json
    assert await called(desk) == "https://new.example/chat/completions"
    await desk.manage("PATCH", provider, {"enable": False})
    assert await called(desk) == "2008"
    assert refusal(await desk.manage("PATCH", provider, {"base_url": "http://new.example"})) == (400, 7001, "base_url:")


async def test_a_change_forgets_what_was_cached(desk):
    provider = f"{PROVIDERS}/{(await added(desk))['id']}"
    await desk.make_gateway("cached", cache_ttl=300)
    for path in ("/cached/custom-own/chat/completions",) * 2:
        await desk.ask("POST", path, CALL)
    assert len(desk.upstream.sent) == 1
    await desk.manage("PATCH", provider, {"description": "another"})
    await desk.ask("POST", "/cached/custom-own/chat/completions", CALL)
    assert len(desk.upstream.sent) == 2


async def test_a_provider_that_is_deleted_is_called_no_more(desk):
    provider = f"{PROVIDERS}/{(await added(desk))['id']}"
    assert (await desk.manage("DELETE", provider)).json["result"]["slug"] == "own"
    assert await called(desk) == "2008"
    for method, body in (("GET", None), ("PATCH", {}), ("DELETE", None)):
        assert refusal(await desk.manage(method, provider, body)) == (404, 7002, "Not")


async def test_a_key_is_never_sent_to_another_provider_of_the_same_slug(desk):
    async def sent_key(slug: str) -> str | None:
        await called(desk, slug)
        return dict(desk.upstream.sent[-1][1].headers).get("authorization")

    provider = f"{PROVIDERS}/{(await added(desk))['id']}"
    key = {"provider_slug": "custom-own", "alias": "main", "default_config": True, "secret": "sk-own"}
    assert (await desk.manage("POST", "/gateways/g/provider_configs", key)).status == 200
    assert await sent_key("own") == "Bearer sk-own"
    await desk.manage("PATCH", provider, {"slug": "moved"})
    assert await sent_key("moved") == "Bearer sk-own"
    await added(desk, base_url="https://other.example")
    assert await sent_key("own") is None
    await desk.manage("DELETE", provider)
    await added(desk, slug="moved")
    assert await sent_key("moved") is None
    assert (await desk.manage("GET", "/gateways/g/provider_configs")).json["result"] == []


@pytest.mark.parametrize(
    ("query", "slugs"),
    [
        ("", ["own", "two", "three"]),
        ("search=T", ["two", "three"]),
        ("search=third", ["three"]),
        ("enable=false", ["three"]),
        ("beta=true", ["two"]),
    ],
)
async def test_providers_are_listed(desk, query, slugs):
    await added(desk)
    await added(desk, slug="two", beta=True)
    await added(desk, slug="three", name="Third", enable=False)
    answer = await desk.manage("GET", f"{PROVIDERS}?{query}")
    CustomProviderList.model_validate(answer.json)
    assert sorted(each["slug"] for each in answer.json["result"]) == sorted(slugs)


async def test_providers_are_listed_by_pages(desk):
    for slug in ("a", "b", "c"):
        await added(desk, slug=slug)
    answers = [await desk.manage("GET", f"{PROVIDERS}?per_page=2&page={page}") for page in (1, 2, 3)]
    assert [len(answer.json["result"]) for answer in answers] == [2, 1, 0]
    assert answers[0].json["result_info"]["total_count"] == 3


@pytest.mark.parametrize(
    ("provider", "path"),
    [("openai", "/openai"), ("workers-ai", "/workers-ai"), ("compat", "/compat"), ("universal", "")],
)
async def test_the_url_of_a_provider_is_on_the_host_that_was_asked(desk, provider, path):
    answer = await desk.manage("GET", f"/gateways/g/url/{provider}", headers={"host": "127.0.0.1:9000"})
    ProviderUrl.model_validate(answer.json)
    assert answer.json["result"] == f"http://127.0.0.1:9000/v1/{desk.account}/g{path}"


async def test_the_url_is_one_at_which_calls_are_answered(desk):
    await added(desk)
    url = (await desk.manage("GET", "/gateways/g/url/custom-own")).json["result"]
    answer = await desk.world.ask("POST", url.removeprefix("http://127.0.0.1:8780") + "/chat/completions", CALL)
    assert answer.status == 200


async def test_there_is_no_url_of_nobody_and_of_no_gateway(desk):
    assert refusal(await desk.manage("GET", "/gateways/g/url/nobody")) == (400, 2008, "Invalid")
    assert refusal(await desk.manage("GET", "/gateways/none/url/openai")) == (404, 7002, "Not")
