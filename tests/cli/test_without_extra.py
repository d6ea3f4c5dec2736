"""The commands where the extra ``local`` isn't installed: they say so."""

import os
import re
import subprocess
import sys
import sysconfig
from importlib.metadata import requires
from pathlib import Path

import pytest

from lowcloud.cli.probe import EXTRA, VISION


@pytest.fixture(scope="module")
def core(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What is installed here without the packages of the extra, as links."""
    folder = tmp_path_factory.mktemp("core")
    gone = {name.replace("-", "_") for name in EXTRA}
    for entry in Path(sysconfig.get_paths()["purelib"]).iterdir():
        if entry.name.split("-")[0].lower() not in gone:
            (folder / entry.name).symlink_to(entry)
    return folder


def lowcloud(core: Path, scratch: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """``-S`` keeps out what is installed; the links are found by their path."""
    start = f"import sys; sys.path.append({str(core)!r}); from lowcloud.cli.main import main; main()"
    env = {name: value for name, value in os.environ.items() if name == "PYTHONPATH"} | {
        "LOWCLOUD_STORAGE__DATA_DIR": str(scratch),
        "LOWCLOUD_SERVER__PORT": "0",
        "XDG_CACHE_HOME": str(scratch),
        "HOME": str(scratch),
    }
    command = [sys.executable, "-S", "-c", start, *arguments]
    return subprocess.run(command, env=env, capture_output=True, text=True, timeout=60, check=False)


@pytest.mark.parametrize(("extra", "packages"), [("local", EXTRA), ("vision", VISION)])
def test_what_counts_as_an_extra_is_what_the_package_declares(extra, packages):
    declared = [line for line in requires("lowcloud") or () if f"extra == '{extra}'" in line]
    assert {re.match(r"[\w-]+", line).group() for line in declared} == set(packages)


def test_the_doctor_names_what_is_missing_and_how_to_install_it(core, tmp_path):
    done = lowcloud(core, tmp_path, "doctor")
    assert (done.returncode, done.stderr) == (1, "")
    told = re.findall(r"^WRONG +(\S+) +(.*)\n +-> (.*)$", done.stdout, re.MULTILINE)
    assert told == [("packages", f"missing: {', '.join(EXTRA)}", "Install the extra: pip install 'lowcloud[local]'.")]


def test_prepare_says_why_no_model_can_be_prepared(core, tmp_path):
    done = lowcloud(core, tmp_path, "prepare")
    assert done.returncode == 1
    lines = done.stderr.splitlines()
    assert lines
    assert all("msgpack" in line and "pip install 'lowcloud[local]'" in line for line in lines)
