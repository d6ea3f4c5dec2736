"""``lowcloud workers path``: the folder of the JavaScript, which is an npm package as it lies there."""

import json
import re
import subprocess
from pathlib import Path

import node_project
import pytest
from click.testing import CliRunner

from lowcloud import __version__
from lowcloud.cli.main import main
from lowcloud.storage.folder import claim
from lowcloud.storage.secret_files import binding_secret


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


def node(*words: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """What a script says that Node runs."""
    command = [node_project.node(), *words]
    return subprocess.run(command, env=variables, capture_output=True, text=True, timeout=60, check=True)


def found(folder: Path, **variables: str) -> dict[str, str]:
    """Where the JavaScript finds the server."""
    script = f"console.log(JSON.stringify(require({json.dumps(str(folder / 'server.cjs'))}).server()))"
    return json.loads(node("-e", script, **variables).stdout)


def test_the_server_is_found_where_the_data_folder_says(folder, tmp_path):
    assert found(folder, XDG_DATA_HOME=str(tmp_path)) == {"url": "http://127.0.0.1:8780", "secret": ""}
    secret = binding_secret(tmp_path / "lowcloud", {})
    with claim(tmp_path / "lowcloud") as claimed:
        claimed.announce("http://127.0.0.1:4567")
        expected = {"url": "http://127.0.0.1:4567", "secret": secret}
        assert found(folder, XDG_DATA_HOME=str(tmp_path)) == expected
        assert found(folder, LOWCLOUD_STORAGE__DATA_DIR=str(tmp_path / "lowcloud")) == expected
        assert found(folder, HOME=str(tmp_path), LOWCLOUD_STORAGE__DATA_DIR="~/lowcloud") == expected
        named = {"LOWCLOUD_URL": "unix:/a.sock", "LOWCLOUD_BINDING_SECRET": "mine"}
        assert found(folder, XDG_DATA_HOME=str(tmp_path), **named) == {"url": "unix:/a.sock", "secret": "mine"}


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("http://127.0.0.1:9", "127.0.0.1:9"),
        ("http://lowcloud", "lowcloud:80"),
        ("http://[::1]:9/", "[::1]:9"),
        ("unix:/run/a.sock", "unix:/run/a.sock"),
    ],
)
def test_workerd_is_told_the_address(folder, url, expected):
    script = f"console.log(require({json.dumps(str(folder / 'services.cjs'))}).services()[0].external.address)"
    assert node("-e", script, LOWCLOUD_URL=url).stdout == f"{expected}\n"


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("dev", "dev --local"),
        ("-c a.json --env=x dev --port 1", "-c a.json --env=x dev --local --port 1"),
        ("--cwd dev types", "--cwd dev types"),
        ("dev --no-local", "dev --no-local"),
        ("dev --local=false", "dev --local=false"),
        ("dev --remote", "dev --remote"),
        ("pages dev dist", "pages dev dist"),
        ("", ""),
    ],
)
def test_wrangler_dev_is_told_to_be_local_unless_it_is_told_where_to_be(folder, tmp_path, given, expected):
    program = tmp_path / "wrangler" / "wrangler-dist" / "cli.js"
    program.parent.mkdir(parents=True)
    program.write_text('console.log(process.argv.slice(2).join(" "))')
    said = node("--require", str(folder / "register.cjs"), str(program), *given.split())
    assert said.stdout == f"{expected}\n"


def test_a_miniflare_that_is_not_known_is_said_so(folder, tmp_path):
    miniflare = tmp_path / "miniflare" / "dist" / "src" / "index.js"
    miniflare.parent.mkdir(parents=True)
    miniflare.write_text("exports.Miniflare = class {};")
    said = node("--require", str(folder / "register.cjs"), "-e", f"require({json.dumps(str(miniflare))})")
    assert f"env.AI can't be redirected in {miniflare}" in said.stderr
