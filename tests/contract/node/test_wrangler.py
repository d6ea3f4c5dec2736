"""wrangler as a client: it lists the models that the server knows, by CLOUDFLARE_API_BASE_URL."""

import json
import os
import subprocess
from pathlib import Path

import node_project
import pytest
from cloudflare import Cloudflare
from scripted_server import ACCOUNT, Served, scripted_server

pytestmark = pytest.mark.skipif(node_project.lacks("wrangler"), reason="no wrangler: run scripts/fetch_suites")
WRANGLER = node_project.HOME / "node_modules" / "wrangler" / "bin" / "wrangler.js"
TIMEOUT_S = 120


def list_models(served: Served, home: Path, token: str) -> subprocess.CompletedProcess[str]:
    """``wrangler ai models list --json``. It sends nothing to anybody else, and keeps its files in ``home``."""
    settings = {
        "PATH": os.environ["PATH"],
        "HOME": str(home),
        "XDG_CONFIG_HOME": str(home),
        "WRANGLER_LOG_PATH": str(home),
        "CLOUDFLARE_API_BASE_URL": f"{served.url}/client/v4",
        "CLOUDFLARE_API_TOKEN": token,
        "CLOUDFLARE_ACCOUNT_ID": ACCOUNT,
        "WRANGLER_SEND_METRICS": "false",
        "WRANGLER_HIDE_BANNER": "true",
        "npm_config_registry": "http://127.0.0.1:9",
        "NO_COLOR": "1",
        "CI": "true",
    }
    command = [node_project.node(), str(WRANGLER), "ai", "models", "list", "--json"]
    return subprocess.run(
        command, cwd=home, env=settings, capture_output=True, text=True, timeout=TIMEOUT_S, check=False
    )


@pytest.fixture(scope="module")
def served():
    with scripted_server(is_open=False) as running:
        yield running


def test_wrangler_lists_every_model_page_by_page(served, tmp_path):
    done = list_models(served, tmp_path, "sk-good")
    assert done.returncode == 0, done.stderr
    with Cloudflare(base_url=f"{served.url}/client/v4", api_token="sk-good", max_retries=0) as client:
        known = list(client.ai.models.list(account_id=ACCOUNT, per_page=1000))
    assert json.loads(done.stdout) == known
    assert len(known) > 50  # more than wrangler asks for at once


def test_wrangler_says_that_a_token_is_unknown(served, tmp_path):
    done = list_models(served, tmp_path, "sk-unknown")
    assert done.returncode == 1
    assert "[code: 10000]" in done.stdout + done.stderr
