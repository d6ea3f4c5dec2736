"""What of Cloudflare's management API isn't here says so, in the envelope and by its name."""

import re
from pathlib import Path

import pytest

from lowcloud.http.gateway.manage import asks_nothing
from lowcloud.http.gateway.manage_absent import ABSENT
from lowcloud.http.gateway.manage_schemas import ManageErrors

pytestmark = pytest.mark.anyio
PAGE = Path(__file__).parents[3] / "docs" / "gateway" / "management.md"


@pytest.mark.parametrize(
    ("method", "path", "named"),
    [
        ("GET", "/billing/credit-balance", "billing"),
        ("POST", "/billing/topup/status", "billing"),
        ("DELETE", "/billing/spending-limit", "billing"),
        ("GET", "/evaluation-types", "evaluations"),
        ("POST", "/gateways/g/datasets", "datasets"),
        ("PUT", "/gateways/g/datasets/x", "datasets"),
        ("DELETE", "/gateways/g/evaluations/x", "evaluations"),
        ("GET", "/gateways/g/routes", "dynamic routes"),
        ("GET", "/gateways/g/routes/x/versions/y", "dynamic routes"),
        ("POST", "/gateways/g/routes/x/deployments", "dynamic routes"),
        ("PUT", "/gateways/g/policies/x", "policies"),
        ("GET", "/gateways/g/run/x/resume?from=3", "resumable runs"),
    ],
)
async def test_what_is_not_here_is_refused_by_its_name(desk, method, path, named):
    answer = await desk.manage(method, path, {} if method in ("POST", "PUT") else None)
    ManageErrors.model_validate(answer.json)
    (error,) = answer.json["errors"]
    assert (answer.status, error["code"], error["message"].partition(":")[0]) == (400, 7001, named)


async def test_a_path_of_nothing_is_no_route_and_a_method_that_a_path_has_not_is_named(desk):
    assert (await desk.manage("GET", "/nothing")).status == 404
    answer = await desk.manage("DELETE", "/gateways")
    assert (answer.status, answer.json["errors"][0]["code"]) == (405, 7001)


@pytest.mark.parametrize("value", [None, False, "", [], {}, {"a": {}, "b": None}, {"enabled": False, "x": ["y"]}])
def test_what_asks_for_nothing(value):
    assert asks_nothing(value)


@pytest.mark.parametrize("value", [True, 0, 1, "x", [None], {"a": "x"}, {"enabled": True}, {"a": {"b": [1]}}])
def test_what_asks_for_something(value):
    assert not asks_nothing(value)


async def test_every_route_is_documented(desk):
    answer = await desk.world.ask("GET", "/openapi.json")
    base = "/client/v4/accounts/{account_id}/ai-gateway"
    paths = [path.removeprefix(base) for path in answer.json["paths"] if path.startswith(base)]
    assert len(paths) > 20
    text = PAGE.read_text("utf-8")
    assert [path for path in paths if f"`{path}`" not in text] == []


async def test_every_field_and_parameter_is_documented(desk):
    document = (await desk.world.ask("GET", "/openapi.json")).json
    names = set()
    for path, methods in document["paths"].items():
        if "/ai-gateway/" in path:
            for operation in methods.values():
                names |= {each["name"] for each in operation.get("parameters", ()) if each["in"] == "query"}
    for schema in ("GatewayBody", "ProviderConfigBody", "CustomProviderBody", "LogObject", "SpendRuleBody"):
        names |= set(document["components"]["schemas"][schema]["properties"])
    assert {"cache_ttl", "rate_limit", "base_url", "limitType", "meta_info"} <= names
    written = set(re.findall(r"`([\w.]+)`", PAGE.read_text("utf-8")))
    assert names - written == set()


def test_each_absent_thing_has_one_reason_a_path():
    assert len({path for path, *_ in ABSENT}) == len(ABSENT)
