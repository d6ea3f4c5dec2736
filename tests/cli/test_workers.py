"""``lowcloud workers path``: the folder of the JavaScript, which is an npm package as it lies there."""

import json
import re
from pathlib import Path

import pytest
from click.testing import CliRunner

from lowcloud import __version__
from lowcloud.cli.main import main


@pytest.fixture
def folder():
    result = CliRunner().invoke(main, ["workers", "path"])
    assert result.exit_code == 0
    return Path(result.stdout.removesuffix("\n"))


@pytest.fixture
def package(folder):
    return json.loads((folder / "package.json").read_text("utf-8"))


def test_it_has_the_version_of_the_program(package):
    assert package["version"] == __version__


def test_the_package_has_every_file_of_the_folder(folder, package):
    here = {file.name for file in folder.iterdir() if file.is_file()}
    assert here == {*package["files"], "package.json"}
    exported = {target.removeprefix("./") for target in package["exports"].values()}
    assert {package["main"], *exported} <= here


def test_it_depends_on_nothing_but_node_and_itself(folder, package):
    assert not {"dependencies", "peerDependencies"} & set(package)
    wanted = {
        name for file in folder.glob("*.cjs") for name in re.findall(r'require\("(.+?)"\)', file.read_text("utf-8"))
    }
    assert all(name.startswith("node:") or (folder / name).is_file() for name in wanted)
