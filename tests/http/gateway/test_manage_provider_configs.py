"""Keys that a gateway keeps for providers: used, and never shown again."""

import pytest

from lowcloud.http.gateway.manage_schemas import ManageErrors, OneProviderConfig, ProviderConfigList

pytestmark = pytest.mark.anyio
CALL = {"model": "gpt-4o", "messages": []}
CONFIGS = "/gateways/g/provider_configs"
SECRET = "sk-proj-secret-of-the-account-wxyz"
KEY = {"provider_slug": "openai", "alias": "main", "default_config": True, "secret": SECRET}


def refusal(answer) -> tuple[int, int, str]:
    ManageErrors.model_validate(answer.json)
    (error,) = answer.json["errors"]
    return answer.status, error["code"], error["message"].split()[0]


async def kept(desk, **fields: object) -> dict[str, object]:
    answer = await desk.manage("POST", CONFIGS, KEY | fields)
    assert answer.status == 200, answer.body
    OneProviderConfig.model_validate(answer.json)
    assert SECRET.encode() not in answer.body
    return answer.json["result"]


async def sent_key(desk, **headers: str) -> str | None:
    """The key that a call without one is sent with."""
    await desk.ask("POST", "/g/openai/chat/completions", CALL, headers)
    return dict(desk.upstream.sent[-1][1].headers).get("authorization")


async def test_a_key_is_used_at_once_by_calls_that_bring_none(desk):
    assert await sent_key(desk) is None
    result = await kept(desk)
    assert (result["gateway_id"], result["provider_slug"], result["alias"]) == ("g", "openai", "main")
    assert (result["default_config"], result["secret_id"]) == (True, result["id"])
    assert await sent_key(desk) == f"Bearer {SECRET}"
    assert await sent_key(desk, authorization="Bearer own") == "Bearer own"


async def test_a_key_is_never_shown_again_and_is_not_in_the_database_file(desk, tmp_path):
    result = await kept(desk)
    assert result["secret_preview"] == "****wxyz"
    shown = [(await desk.manage("GET", path)).body for path in (CONFIGS, f"{CONFIGS}/{result['id']}")]
    assert [SECRET.encode() in body for body in shown] == [False, False]
    files = list(tmp_path.glob("lowcloud.db*"))
    assert files
    assert [file for file in files if SECRET.encode() in file.read_bytes()] == []


async def test_of_a_short_key_nothing_is_shown(desk):
    assert (await kept(desk, secret="short"))["secret_preview"] == "****"


async def test_an_alias_chooses_the_key_and_the_default_is_one_of_them(desk):
    await kept(desk)
    await kept(desk, alias="other", secret="sk-other", default_config=False)
    assert await sent_key(desk) == f"Bearer {SECRET}"
    assert await sent_key(desk, **{"cf-aig-byok-alias": "other"}) == "Bearer sk-other"
    await kept(desk, alias="third", secret="sk-third")
    assert await sent_key(desk) == "Bearer sk-third"
    answer = await desk.manage("GET", f"{CONFIGS}?per_page=2")
    ProviderConfigList.model_validate(answer.json)
    assert [(each["alias"], each["default_config"]) for each in answer.json["result"]] == [
        ("main", False),
        ("other", False),
    ]
    assert answer.json["result_info"]["total_count"] == 3


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"secret_id": "x"}, "secret_id:"),
        ({"rate_limit": 5, "rate_limit_period": 60}, "rate_limit:"),
        ({"secret": "two\nlines"}, "secret:"),
        ({"secret": " space"}, "secret:"),
        ({"secret": ""}, "secret:"),
        ({"alias": "a b"}, "alias:"),
        ({"provider_slug": "nobody"}, "provider_slug:"),
        ({"provider_slug": "custom-nobody"}, "provider_slug:"),
        ({"provider_slug": "workers-ai"}, "provider_slug:"),
    ],
)
async def test_a_key_that_cannot_be_kept_is_refused_by_its_field(desk, fields, named):
    answer = await desk.manage("POST", CONFIGS, KEY | fields)
    assert refusal(answer) == (400, 7001, named)
    assert SECRET.encode() not in answer.body


async def test_a_refusal_never_repeats_the_key(desk):
    answer = await desk.manage("POST", CONFIGS, KEY | {"secret": [SECRET], "colour": SECRET})
    assert (answer.status, SECRET.encode() in answer.body) == (400, False)


async def test_two_keys_of_a_provider_cannot_have_one_alias(desk):
    first = await kept(desk)
    assert refusal(await desk.manage("POST", CONFIGS, KEY)) == (409, 7001, "alias:")
    await kept(desk, alias="other")
    answer = await desk.manage("PUT", f"{CONFIGS}/{first['id']}", {"alias": "other"})
    assert refusal(answer) == (409, 7001, "alias:")


async def test_a_key_is_changed_in_place(desk):
    config = f"{CONFIGS}/{(await kept(desk))['id']}"
    answer = await desk.manage("PUT", config, {"secret": "sk-the-next-secret-abcd"})
    OneProviderConfig.model_validate(answer.json)
    assert (answer.json["result"]["alias"], answer.json["result"]["secret_preview"]) == ("main", "****abcd")
    assert await sent_key(desk) == "Bearer sk-the-next-secret-abcd"
    answer = await desk.manage("PUT", config, {"alias": "new", "default_config": False})
    assert (answer.json["result"]["alias"], answer.json["result"]["default_config"]) == ("new", False)
    assert await sent_key(desk) is None


async def test_a_key_that_is_deleted_is_used_no_more(desk):
    config = f"{CONFIGS}/{(await kept(desk))['id']}"
    assert (await desk.manage("DELETE", config)).json["result"]["alias"] == "main"
    assert await sent_key(desk) is None
    for method, body in (("GET", None), ("PUT", {}), ("DELETE", None)):
        assert refusal(await desk.manage(method, config, body)) == (404, 7002, "Not")


async def test_a_custom_provider_may_have_a_key(desk):
    body = {"name": "Own", "slug": "own", "base_url": "https://own.example/v1", "enable": True}
    await desk.manage("POST", "/custom-providers", body)
    assert (await kept(desk, provider_slug="custom-own"))["provider_slug"] == "custom-own"
    await desk.ask("POST", "/g/custom-own/chat/completions", CALL)
    assert dict(desk.upstream.sent[-1][1].headers)["authorization"] == f"Bearer {SECRET}"
