"""Clients of the native API: Cloudflare's TypeScript SDK, and workers-ai-provider of the Vercel AI SDK.

The tests are in native.test.mjs and provider.test.mjs; they run against scripted models.
"""

import node_project
import pytest
from scripted_server import scripted_server

FILES = ("native.test.mjs", "provider.test.mjs")
pytestmark = pytest.mark.skipif(
    node_project.lacks("ai", "cloudflare", "workers-ai-provider", "zod"),
    reason="no Node clients: run scripts/fetch_suites",
)


@pytest.fixture(scope="module")
def outcomes():
    """What each test did: name -> why it failed, or None."""
    with (
        scripted_server(is_open=True, reranks=True, sees_images=True) as scripted,
        scripted_server(is_open=False) as guarded,
    ):
        scripted.reply = node_project.script
        return node_project.outcomes(FILES, {"SCRIPTED_URL": scripted.url, "GUARDED_URL": guarded.url})


@pytest.mark.parametrize("name", node_project.names_of_tests(*FILES))
def test_node_native(outcomes, name):
    assert name in outcomes
    assert outcomes[name] is None, outcomes[name]
