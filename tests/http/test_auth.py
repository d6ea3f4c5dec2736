import pytest

from lowcloud.core.principal import DEV_ACCOUNT, Permission
from lowcloud.http.auth import OpenAuth, TokenAuth
from lowcloud.http.settings import HttpSettings

pytestmark = pytest.mark.anyio
ACCOUNT = "0123456789abcdef0123456789abcdef"
OTHER = "f" * 32


@pytest.fixture
async def guarded(make_world, tokens):
    async with make_world(auth=TokenAuth(tokens), settings=HttpSettings()) as world:
        yield world


async def models(world, token, account=None):
    base = "/v1" if account is None else f"/client/v4/accounts/{account}/ai/v1"
    headers = {} if token is None else {"authorization": token}
    return await world.ask("GET", f"{base}/models", headers=headers)


MISSING, MALFORMED, UNKNOWN, EXPIRED = 9106, 6003, 10000, 1000


@pytest.mark.parametrize(
    ("token", "number"),
    [
        (None, MISSING),
        ("", MISSING),
        ("Bearer ", MALFORMED),
        ("Bearer", MALFORMED),
        ("Basic dTpw", MALFORMED),
        ("good", MALFORMED),
        ("Bearer unknown", UNKNOWN),
        ("Bearer \xff", UNKNOWN),
        ("Bearer expired", EXPIRED),
    ],
)
async def test_without_a_good_token_the_answer_is_401_and_says_why(guarded, token, number):
    answer = await models(guarded, token)
    assert (answer.status, answer.json["error"]["code"]) == (401, "invalid_api_key")
    assert (answer.headers["www-authenticate"], answer.json["errors"][0]["code"]) == ("Bearer", number)


@pytest.mark.parametrize("token", ["Bearer good", "bearer good", "Bearer  good "])
async def test_a_known_token_is_let_in_on_the_short_base_and_its_own_account(guarded, token):
    assert (await models(guarded, token)).status == 200
    assert (await models(guarded, token, ACCOUNT)).status == 200
    assert (await models(guarded, token, ACCOUNT.upper())).status == 200


async def test_another_account_is_a_403(guarded):
    answer = await models(guarded, "Bearer good", OTHER)
    assert (answer.status, answer.json["error"]["code"]) == (403, "permission_denied")
    assert answer.json["errors"][0]["code"] == 9109


async def test_one_of_the_permissions_is_enough_and_none_is_a_403(guarded):
    assert (await models(guarded, "Bearer reader")).status == 200
    answer = await models(guarded, "Bearer powerless")
    assert (answer.status, answer.json["errors"][0]["code"]) == (403, 10000)
    assert "Workers AI Read or Workers AI Write" in answer.json["error"]["message"]


async def test_an_unknown_route_is_a_404_without_a_token(guarded):
    assert (await guarded.ask("GET", "/v1/nope")).status == 404


@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/metrics", "/openapi.json", "/docs"])
async def test_operations_need_no_token_from_this_machine_and_one_from_elsewhere(make_world, tokens, path):
    settings = HttpSettings(allowed_hosts=("models.example",))
    async with make_world(auth=TokenAuth(tokens), settings=settings) as world:
        assert (await world.ask("GET", path)).status == 200
        elsewhere = {"host": "models.example"}
        assert (await world.ask("GET", path, headers=elsewhere)).status == 401
        assert (await world.ask("GET", path, headers={**elsewhere, "authorization": "Bearer good"})).status == 200
        for behind_a_proxy in ("192.0.2.7", "unknown"):
            assert (await world.ask("GET", path, over={"client": (behind_a_proxy, 0)})).status == 401


async def test_no_token_is_ever_logged(guarded):
    await models(guarded, "Bearer good")
    assert "good" not in repr(guarded.logs.calls)
    assert guarded.logs.calls[0].kwargs["token_id"] == "t1"


async def test_the_open_door_lets_everyone_in_as_the_account_of_the_path():
    principal = await OpenAuth().principal({}, "mine", frozenset())
    assert (principal.account_id, principal.permissions) == ("mine", frozenset(Permission))
    assert (await OpenAuth().principal({}, None, frozenset())).account_id == DEV_ACCOUNT


async def test_a_token_of_dev_is_good_for_any_account(make_world, tokens):
    settings = HttpSettings(any_account=True)
    async with make_world(auth=TokenAuth(tokens, any_account=True), settings=settings) as world:
        assert (await models(world, "Bearer good", "anything")).status == 200
        assert world.logs.calls[0].kwargs["account"] == "anything"
        assert (await models(world, "Bearer unknown", "anything")).status == 401
        assert (await models(world, "Bearer good", "a" * 200)).status == 200
        assert (await models(world, "Bearer good", "a" * 201)).status == 404
