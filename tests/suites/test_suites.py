"""Other people's test suites against this server: each case does what its table says (docs/conformance.md)."""

import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import cloudflare
import live_server
import openai
import pytest
import suite_runner
import suite_table
from suite_runner import CLOUDFLARE, LLAMA_CPP, OPENAI, Did, Suite

pytestmark = [
    pytest.mark.live,
    pytest.mark.skipif(not OPENAI.home.is_dir(), reason="the suites are not here: run scripts/fetch_suites"),
]
SUITES = {"openai": OPENAI, "cloudflare": CLOUDFLARE, "llama.cpp": LLAMA_CPP}
TABLES = {name: suite_table.load(suite.table) for name, suite in SUITES.items()}
ENTRIES = [
    pytest.param(name, key, id=f"{name}:{key.partition('::')[2]}")
    for name, table in TABLES.items()
    for key in table.verdicts
]


@pytest.fixture(scope="module")
def did(server: str, data_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Mapping[str, Did]]:
    """What each case of each suite did, by suite and case id."""
    account = f"{server}/client/v4/accounts/{live_server.ACCOUNT}/ai/v1"
    database = f"sqlite:///{data_dir}/lowcloud.db"
    environments = {
        "openai": {"TEST_API_BASE_URL": account, "SUITE_DATABASE": database},
        "cloudflare": {"TEST_API_BASE_URL": f"{server}/client/v4", "SUITE_DATABASE": database},
        "llama.cpp": {"PORT": server.rpartition(":")[2], "DEBUG_EXTERNAL": "1"},
    }
    return {
        name: suite_runner.run(suite, environments[name], tmp_path_factory.mktemp(name))
        for name, suite in SUITES.items()
    }


@pytest.mark.parametrize("name", SUITES)
def test_every_case_of_a_suite_is_sorted_and_no_other(did, name):
    table = TABLES[name]
    assert [case for case in did[name] if table.key(case) is None] == []
    assert set(table.verdicts) - {table.key(case) for case in did[name]} == set()


@pytest.mark.parametrize(("name", "key"), ENTRIES)
def test_a_case_does_what_its_table_says(did, name, key):
    table = TABLES[name]
    cases = {case: entry for case, entry in did[name].items() if table.key(case) == key}
    said = [(case, suite_runner.mismatch(table.verdicts[key], entry)) for case, entry in cases.items()]
    assert [f"{case} {what}" for case, what in said if what] == []


@pytest.mark.parametrize(
    ("suite", "version"),
    [(OPENAI, openai.__version__), (CLOUDFLARE, cloudflare.__version__)],
    ids=["openai", "cloudflare"],
)
def test_the_suite_is_the_installed_package_s_own(suite: Suite, version: str):
    metadata = (suite.home / "pyproject.toml").read_text(encoding="utf-8")
    assert f'version = "{version}"' in metadata


def test_fetching_the_suites_again_needs_no_network():
    root = Path(suite_runner.HERE).parent.parent
    offline = {"PATH": "", "HTTPS_PROXY": "http://127.0.0.1:9", "PIP_NO_INDEX": "1", "HOME": str(root)}
    done = subprocess.run(
        [sys.executable, str(root / "scripts" / "fetch_suites")],
        env=offline,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, ""), done.stderr
    assert shutil.which("pip", path="") is None
