"""What all routes of the gateway's management API do alike."""

import pytest
from gateway_fields import FIELDS

pytestmark = pytest.mark.anyio
CALL = {"model": "gpt-4o", "messages": []}
KEY = {"provider_slug": "openai", "alias": "main", "default_config": True, "secret": "sk-own"}
OWN = {"name": "Own", "slug": "own", "base_url": "https://own.example"}
GATEWAY = "/gateways/g"
# In this order each is there: what is made is shown, changed and deleted by the id that it was answered with.
ASKED = [
    ("POST", "/gateways", {"id": "own", **FIELDS}),
    ("GET", "/gateways", None),
    ("GET", GATEWAY, None),
    ("PUT", GATEWAY, FIELDS),
    ("GET", f"{GATEWAY}/url/openai", None),
    ("POST", f"{GATEWAY}/provider_configs", KEY),
    ("GET", f"{GATEWAY}/provider_configs", None),
    ("GET", f"{GATEWAY}/provider_configs/{{made}}", None),
    ("PUT", f"{GATEWAY}/provider_configs/{{made}}", {"alias": "other"}),
    ("DELETE", f"{GATEWAY}/provider_configs/{{made}}", None),
    ("POST", "/custom-providers", OWN),
    ("GET", "/custom-providers", None),
    ("GET", "/custom-providers/{made}", None),
    ("PATCH", "/custom-providers/{made}", {"name": "Other"}),
    ("DELETE", "/custom-providers/{made}", None),
    ("GET", f"{GATEWAY}/logs", None),
    ("GET", f"{GATEWAY}/logs/export", None),
    ("GET", f"{GATEWAY}/logs/{{log}}", None),
    ("GET", f"{GATEWAY}/logs/{{log}}/request", None),
    ("GET", f"{GATEWAY}/logs/{{log}}/response", None),
    ("PATCH", f"{GATEWAY}/logs/{{log}}", {"feedback": 1}),
    ("DELETE", GATEWAY, None),
]


async def test_a_parameter_that_nobody_knows_is_named_whatever_is_asked(desk):
    call = await desk.ask("POST", "/g/openai/chat/completions", CALL)
    names = {"log": call.headers["cf-aig-log-id"], "made": ""}
    for method, path, body in ASKED:
        answer = await desk.manage(method, f"{path.format(**names)}?colour=red", body)
        assert (answer.status, answer.headers.get("lowcloud-ignored")) == (200, "colour"), (method, path, answer.body)
        if method == "POST":
            names["made"] = answer.json["result"]["id"]


async def test_a_parameter_is_named_beside_the_fields_and_filters_where_there_are_none(desk):
    answer = await desk.manage("PUT", f"{GATEWAY}?per_page=1", FIELDS | {"colour": "red"})
    assert answer.headers["lowcloud-ignored"] == "colour, per_page"
    answer = await desk.manage("GET", f"{GATEWAY}/url/openai?filters=[]")
    assert answer.headers["lowcloud-ignored"] == "filters"


async def test_nothing_is_named_where_all_is_read(desk):
    read = "filters.key=model&filters.operator=eq&filters.value=b&per_page=3"
    assert "lowcloud-ignored" not in (await desk.manage("GET", f"{GATEWAY}/logs?{read}")).headers
