"""OpenAI's Node package, and the Vercel AI SDK with its provider, as clients; the tests are in the files named below.

OpenAI's run against ``lowcloud dev`` with the bundled models; the helpers' also, the provider's only, against a
scripted one.
"""

import live_server
import node_project
import pytest
from scripted_server import scripted_server

FILES = ("sdk.test.mjs", "helpers.test.mjs", "responses.test.mjs", "ai_sdk.test.mjs")
pytestmark = [
    pytest.mark.live,
    pytest.mark.skipif(
        node_project.lacks("@ai-sdk/openai", "ai", "openai", "zod"), reason="no Node client: run scripts/fetch_suites"
    ),
]


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory):
    """What each test did: name -> why it failed, or None."""
    scratch = tmp_path_factory.mktemp("node")
    with live_server.running(["dev"], scratch) as server, scripted_server(is_open=True, responses=True) as scripted:
        scripted.reply = node_project.script
        return node_project.outcomes(FILES, {"BASE_URL": server.url, "SCRIPTED_URL": scripted.url})


@pytest.mark.parametrize("name", node_project.names_of_tests(*FILES))
def test_node_sdk(outcomes, name):
    assert name in outcomes
    assert outcomes[name] is None, outcomes[name]
