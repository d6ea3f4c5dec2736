"""Gateways, as their owners make, read, change and delete them."""

import pytest
from gateway_fields import FIELDS

from lowcloud.core.principal import Permission, Principal
from lowcloud.http.auth import TokenAuth
from lowcloud.http.gateway.manage_schemas import GatewayList, ManageErrors, OneGateway

pytestmark = pytest.mark.anyio
CALL = {"model": "gpt-4o", "messages": []}
RULE = {"limit": 1.5, "limitType": "cost", "window": 60}


def refusal(answer) -> tuple[int, int, str]:
    """The status, the code and the first word of an error, in its envelope."""
    ManageErrors.model_validate(answer.json)
    (error,) = answer.json["errors"]
    return answer.status, error["code"], error["message"].split()[0]


async def made(desk, **fields: object) -> dict[str, object]:
    answer = await desk.manage("POST", "/gateways", {"id": "own", **FIELDS, **fields})
    assert answer.status == 200, answer.body
    OneGateway.model_validate(answer.json)
    return answer.json["result"]


async def test_a_gateway_is_made_and_answers_calls_at_once(desk):
    assert (await desk.ask("POST", "/own/openai/chat/completions", CALL)).json["internalCode"] == 2001
    result = await made(desk, zdr=True)
    assert (result["id"], result["zdr"], result["authentication"], result["is_default"]) == ("own", True, False, False)
    assert result["created_at"] == result["modified_at"] == "2027-01-15T08:00:00.000Z"
    assert (await desk.ask("POST", "/own/openai/chat/completions", CALL)).status == 200


async def test_two_gateways_cannot_have_one_id(desk):
    await made(desk)
    answer = await desk.manage("POST", "/gateways", {"id": "own", **FIELDS})
    assert refusal(answer) == (409, 7001, "id:")
    assert answer.headers["x-should-retry"] == "false"


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"id": "a b"}, "id:"),
        ({"id": "a" * 65}, "id:"),
        ({"cache_ttl": 59}, "cache_ttl:"),
        ({"cache_ttl": 30 * 86_400 + 1}, "cache_ttl:"),
        ({"cache_ttl": "60"}, "cache_ttl:"),
        ({"rate_limiting_limit": -1}, "rate_limiting_limit:"),
        ({"rate_limiting_technique": "leaky"}, "rate_limiting_technique:"),
        ({"log_management": 10_000_001}, "log_management:"),
        ({"retry_max_attempts": 6}, "retry_max_attempts:"),
        ({"retry_delay": 60_001}, "retry_delay:"),
        ({"retry_delay": -1}, "retry_delay:"),
        ({"spend_limits": {"rules": [RULE] * 21}}, "spend_limits.rules:"),
        ({"spend_limits": {"rules": [RULE | {"limit": 0}]}}, "spend_limits.rules[0].limit:"),
        ({"spend_limits": {"rules": [RULE | {"id": "x"}, RULE | {"id": "x"}]}}, "spend_limits.rules:"),
        ({"spend_limits": {"rules": [RULE | {"enable": False}]}}, "spend_limits.rules[0].enable:"),
        ({"workers_ai_billing_mode": "unified"}, "workers_ai_billing_mode:"),
    ],
)
async def test_a_field_out_of_bounds_is_named(desk, fields, named):
    answer = await desk.manage("POST", "/gateways", {"id": "own", **FIELDS, **fields})
    assert refusal(answer) == (400, 7001, named)


async def test_retries_wait_for_up_to_a_minute(desk):
    assert (await made(desk, retry_delay=60_000))["retry_delay"] == 60_000
    assert (await desk.directory.find(desk.account, "own")).config.retry_delay_ms == 60_000


@pytest.mark.parametrize("field", sorted(FIELDS))
async def test_the_five_fields_that_are_required_must_be_there(desk, field):
    body = {name: value for name, value in {"id": "own", **FIELDS}.items() if name != field}
    answer = await desk.manage("POST", "/gateways", body)
    assert (answer.status, answer.json["errors"][0]["message"]) == (400, f"Missing required parameter: {field}.")


@pytest.mark.parametrize(
    ("field", "wanted", "nothing"),
    [
        ("dlp", {"enabled": True, "action": "BLOCK", "profiles": ["x"]}, {"enabled": False, "profiles": ["x"]}),
        ("guardrails", {"prompt": {"S1": "BLOCK"}, "response": {}}, {"prompt": {}, "response": {}}),
        ("log_classification", True, False),
        ("logpush", True, False),
        ("logpush_public_key", "key", ""),
        ("otel", [{"url": "https://x", "headers": {}}], []),
        ("store_id", "x", None),
        ("stripe", {"authorization": "x", "usage_events": []}, {"authorization": "", "usage_events": []}),
    ],
)
async def test_what_is_not_done_yet_is_refused_by_name_unless_it_asks_for_nothing(desk, field, wanted, nothing):
    answer = await desk.manage("POST", "/gateways", {"id": "own", **FIELDS, field: wanted})
    assert refusal(answer) == (400, 7001, f"{field}:")
    await made(desk, **{field: nothing})


async def test_a_field_that_nobody_knows_is_named_as_ignored(desk):
    answer = await desk.manage("POST", "/gateways", {"id": "own", **FIELDS, "colour": "red"})
    assert (answer.status, answer.headers["lowcloud-ignored"]) == (200, "colour")


async def test_an_update_leaves_what_it_does_not_name(desk):
    await made(desk, authentication=True, spend_limits={"rules": [RULE]})
    answer = await desk.manage("PUT", "/gateways/own", {**FIELDS, "cache_ttl": 300})
    OneGateway.model_validate(answer.json)
    assert (answer.json["result"]["cache_ttl"], answer.json["result"]["authentication"]) == (300, True)
    assert answer.json["result"]["spend_limits"] == {"rules": [RULE]}
    assert answer.json == (await desk.manage("GET", "/gateways/own")).json


async def test_limits_of_requests_and_dollars_hold_from_the_update_on(desk):
    limits = {"rate_limiting_limit": 1, "rate_limiting_interval": 60}
    await desk.manage("PUT", "/gateways/g", FIELDS | limits)
    statuses = [(await desk.ask("POST", "/g/openai/chat/completions", CALL)).status for _ in range(2)]
    assert statuses == [200, 429]
    await desk.manage("PUT", "/gateways/g", {**FIELDS, "spend_limits": {"rules": [RULE | {"limit": 1e-9}]}})
    assert (await desk.ask("POST", "/g/openai/chat/completions", CALL)).status == 200
    answer = await desk.ask("POST", "/g/openai/chat/completions", CALL)
    assert (answer.status, answer.json["error"]["message"]) == (429, "Spending limit exceeded")


@pytest.mark.parametrize(("invalidates", "calls"), [(True, 2), (False, 1)])
async def test_an_update_forgets_what_was_cached_where_that_is_asked_for(desk, invalidates, calls):
    fields = FIELDS | {"cache_ttl": 300, "cache_invalidate_on_update": invalidates}
    await desk.manage("PUT", "/gateways/g", fields)
    await desk.ask("POST", "/g/openai/chat/completions", CALL)
    await desk.manage("PUT", "/gateways/g", fields)
    await desk.ask("POST", "/g/openai/chat/completions", CALL)
    assert len(desk.upstream.sent) == calls


@pytest.mark.parametrize(("strategy", "kept"), [("DELETE_OLDEST", 2), ("STOP_INSERTING", 3)])
async def test_logs_beyond_a_lowered_bound_go_at_once_unless_the_oldest_are_kept(desk, strategy, kept):
    for _ in range(3):
        await desk.ask("POST", "/g/openai/chat/completions", CALL)
    before = await desk.logged()
    bound = {"log_management": 2, "log_management_strategy": strategy}
    assert (await desk.manage("PUT", "/gateways/g", FIELDS | bound)).status == 200
    assert await desk.logged() == before[:kept]


async def test_a_gateway_goes_with_its_logs_and_what_was_cached(desk):
    await desk.manage("PUT", "/gateways/g", FIELDS | {"cache_ttl": 300})
    await desk.ask("POST", "/g/openai/chat/completions", CALL)
    answer = await desk.manage("DELETE", "/gateways/g")
    assert (answer.status, answer.json["result"]["id"]) == (200, "g")
    assert (await desk.ask("POST", "/g/openai/chat/completions", CALL)).json["internalCode"] == 2001
    await desk.make_gateway("g", cache_ttl=300)
    assert await desk.logged() == ()
    await desk.ask("POST", "/g/openai/chat/completions", CALL)
    assert len(desk.upstream.sent) == 2


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE"])
async def test_a_gateway_that_is_not_there_is_not_found(desk, method):
    answer = await desk.manage(method, "/gateways/none", FIELDS if method == "PUT" else None)
    assert refusal(answer) == (404, 7002, "Not")


async def test_default_makes_itself_and_anew_after_it_was_deleted(desk):
    answer = await desk.manage("GET", "/gateways/default")
    assert (answer.json["result"]["is_default"], answer.json["result"]["authentication"]) == (True, True)
    answer = await desk.manage("PUT", "/gateways/default", FIELDS | {"authentication": False})
    assert answer.json["result"]["authentication"] is False
    assert (await desk.manage("DELETE", "/gateways/default")).status == 200
    assert (await desk.manage("GET", "/gateways/default")).json["result"]["authentication"] is True


async def test_default_may_be_made_with_settings_of_ones_own_once(desk):
    answer = await desk.manage("POST", "/gateways", {"id": "default", **FIELDS, "cache_ttl": 300})
    assert (answer.json["result"]["is_default"], answer.json["result"]["cache_ttl"]) == (True, 300)
    assert refusal(await desk.manage("POST", "/gateways", {"id": "default", **FIELDS})) == (409, 7001, "id:")


async def test_gateways_are_listed_by_pages_and_by_a_part_of_their_ids(desk):
    for name in ("b1", "b2", "c"):
        await desk.make_gateway(name)
    answer = await desk.manage("GET", "/gateways?per_page=3&page=2&colour=red")
    GatewayList.model_validate(answer.json)
    assert [each["id"] for each in answer.json["result"]] == ["g"]
    assert answer.json["result_info"] == {"page": 2, "per_page": 3, "count": 1, "total_count": 4, "total_pages": 2}
    assert answer.headers["lowcloud-ignored"] == "colour"
    found = await desk.manage("GET", "/gateways?search=B")
    assert [each["id"] for each in found.json["result"]] == ["b1", "b2"]
    assert refusal(await desk.manage("GET", "/gateways?page=0")) == (400, 7001, "page:")


async def test_another_account_has_gateways_of_its_own(desk):
    desk.account = "b" * 32
    assert refusal(await desk.manage("GET", "/gateways/g")) == (404, 7002, "Not")
    assert (await desk.manage("GET", "/gateways")).json["result"] == []


class Tokens:
    """One token for each permission, called by its last word in lower case."""

    async def verify(self, token: str) -> Principal | None:
        held = {each for each in Permission if each.startswith("AI Gateway") and each.lower().endswith(token)}
        return Principal(token, "a" * 32, frozenset(held)) if held else None


@pytest.mark.parametrize(("token", "reads", "changes"), [("read", 200, 403), ("edit", 200, 200), ("run", 403, 403)])
async def test_reading_and_changing_need_their_permissions(make_desk, token, reads, changes):
    async with make_desk(auth=TokenAuth(Tokens())) as desk:
        sent = {"authorization": f"Bearer {token}"}
        assert (await desk.manage("GET", "/gateways", headers=sent)).status == reads
        answer = await desk.manage("POST", "/gateways", {"id": "own", **FIELDS}, headers=sent)
        assert answer.status == changes


async def test_without_a_token_nothing_is_told(make_desk):
    async with make_desk(auth=TokenAuth(Tokens())) as desk:
        assert refusal(await desk.manage("GET", "/gateways")) == (401, 9106, "Missing")
        answer = await desk.manage("GET", "/gateways", headers={"authorization": "Basic x"})
        assert refusal(answer) == (400, 6003, "Invalid")
