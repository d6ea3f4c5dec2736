"""Verifying tokens, as Cloudflare's SDKs and wrangler do."""

import pytest

from lowcloud.core.principal import Permission, Principal
from lowcloud.http.auth import TokenAuth
from lowcloud.http.settings import HttpSettings

pytestmark = pytest.mark.anyio
ACCOUNT = "0123456789abcdef0123456789abcdef"
USER = "/client/v4/user/tokens/verify"
OF_ACCOUNT = f"/client/v4/accounts/{ACCOUNT}/tokens/verify"


class Expiring:
    """A token store with a token that expires in 2027, and may do nothing."""

    async def verify(self, token: str) -> Principal | None:
        return Principal("t9", ACCOUNT, frozenset[Permission](), 1798761600.0) if token == "until" else None


@pytest.mark.parametrize("path", [USER, OF_ACCOUNT])
async def test_a_good_token_is_active_whatever_it_may_do(make_world, tokens, path):
    async with make_world(auth=TokenAuth(tokens), settings=HttpSettings()) as world:
        for token, token_id in {"good": "t1", "powerless": "t3"}.items():
            answer = await world.ask("GET", path, headers={"authorization": f"Bearer {token}"})
            assert answer.json == {
                "result": {"id": token_id, "status": "active"},
                "success": True,
                "errors": [],
                "messages": [{"code": 10000, "message": "This API Token is valid and active", "type": None}],
            }


async def test_when_it_expires_is_said(make_world):
    async with make_world(auth=TokenAuth(Expiring()), settings=HttpSettings()) as world:
        answer = await world.ask("GET", USER, headers={"authorization": "Bearer until"})
        assert answer.json["result"]["expires_on"] == "2027-01-01T00:00:00Z"


@pytest.mark.parametrize("path", [USER, OF_ACCOUNT])
@pytest.mark.parametrize(
    ("token", "expected"),
    [
        (None, (401, 9106)),
        ("Basic x", (400, 6003)),
        ("Bearer nobody", (401, 1000)),
        ("Bearer expired", (401, 1000)),
    ],
)
async def test_a_token_that_is_not_good_says_why(make_world, tokens, path, token, expected):
    async with make_world(auth=TokenAuth(tokens), settings=HttpSettings()) as world:
        answer = await world.ask("GET", path, headers={} if token is None else {"authorization": token})
        assert (answer.status, answer.json["errors"][0]["code"], answer.json["result"]) == (*expected, None)


async def test_the_older_pair_of_headers_is_a_token_too(make_world, tokens):
    async with make_world(auth=TokenAuth(tokens), settings=HttpSettings()) as world:
        pair = {"x-auth-email": "me@example.com", "x-auth-key": "good"}
        assert (await world.ask("GET", USER, headers=pair)).json["result"]["id"] == "t1"
        assert (await world.ask("GET", USER, headers={**pair, "x-auth-key": ""})).status == 401


async def test_in_dev_whatever_is_sent_is_good(world):
    assert (await world.ask("GET", USER, headers={"authorization": "Bearer x"})).json["result"]["status"] == "active"
