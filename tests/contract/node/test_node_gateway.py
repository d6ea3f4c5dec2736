"""OpenAI's Node package through the gateway; the tests are in gateway.test.mjs."""

import json
import urllib.request

import node_project
import pytest
from provider_upstream import provider_upstream
from scripted_server import ACCOUNT, scripted_server

from lowcloud.settings import Gateway

FILES = ("gateway.test.mjs",)
TOKEN = "sk-good"
pytestmark = pytest.mark.skipif(node_project.lacks("openai"), reason="no Node client: run scripts/fetch_suites")


@pytest.fixture(scope="module")
def outcomes():
    """What each test did: name -> why it failed, or None."""
    with provider_upstream() as upstream:
        settings = Gateway(base_urls={"openai": f"{upstream.url}/openai/v1"}, allowed_hosts=("127.0.0.1",))
        with scripted_server(is_open=False, responses=True, gateways=settings) as served:
            made = {"name": "Mine", "slug": "mine", "base_url": f"{upstream.url}/mine/v1", "enable": True}
            request = urllib.request.Request(  # noqa: S310 - loopback
                f"{served.url}/client/v4/accounts/{ACCOUNT}/ai-gateway/custom-providers",
                data=json.dumps(made).encode(),
                headers={"authorization": f"Bearer {TOKEN}", "content-type": "application/json"},
            )
            urllib.request.urlopen(request, timeout=20).close()  # noqa: S310 - loopback
            gateway = f"{served.url}/v1/{ACCOUNT}/default"
            return node_project.outcomes(FILES, {"GATEWAY_URL": gateway, "OUR_TOKEN": TOKEN})


@pytest.mark.parametrize("name", node_project.names_of_tests(*FILES))
def test_node_gateway(outcomes, name):
    assert name in outcomes
    assert outcomes[name] is None, outcomes[name]
