"""``lowcloud workers capnp``: the file that workerd's configuration imports."""

import re

import pytest
from click.testing import CliRunner

from lowcloud.cli.capnp import capnp_file
from lowcloud.cli.main import main
from lowcloud.storage.folder import claim
from lowcloud.storage.secret_files import binding_secret


@pytest.fixture
def printed(tmp_path):
    """What the command prints with these variables and flags."""

    def invoke(*flags: str, **variables: str) -> str:
        environ = {"LOWCLOUD_STORAGE__DATA_DIR": str(tmp_path), "LOWCLOUD_SERVER__PORT": "8780", **variables}
        result = CliRunner(env=environ).invoke(main, ["workers", "capnp", *flags])
        assert result.exit_code == 0, result.output
        return result.stdout

    return invoke


def address(text: str) -> str:
    return re.search('address = "(.*)",', text)[1]


def test_it_has_the_secret_of_the_data_folder(printed, tmp_path):
    text = printed()
    assert f'(name = "lowcloud-binding-secret", value = "{binding_secret(tmp_path, {})}")' in text
    assert text == printed() == capnp_file("127.0.0.1:8780", binding_secret(tmp_path, {}))


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({}, "127.0.0.1:8780"),
        ({"LOWCLOUD_SERVER__HOST": "0.0.0.0", "LOWCLOUD_SERVER__PORT": "9"}, "127.0.0.1:9"),
        ({"LOWCLOUD_SERVER__HOST": "::"}, "[::1]:8780"),
        ({"LOWCLOUD_SERVER__HOST": "::1"}, "[::1]:8780"),
        ({"LOWCLOUD_SERVER__HOST": "192.0.2.1"}, "192.0.2.1:8780"),
        ({"LOWCLOUD_BINDING__LISTEN": "0.0.0.0:8781"}, "127.0.0.1:8781"),
        ({"LOWCLOUD_BINDING__LISTEN": "[::]:8781"}, "[::1]:8781"),
        ({"LOWCLOUD_BINDING__LISTEN": "unix:/run/a.sock"}, "unix:/run/a.sock"),
    ],
)
def test_the_address_is_where_workers_on_this_machine_reach_the_server(printed, variables, expected):
    assert address(printed(**variables)) == expected


def test_the_address_of_a_server_that_runs_is_its_own(printed, tmp_path):
    with claim(tmp_path) as folder:
        folder.announce("http://127.0.0.1:4567")
        assert address(printed()) == "127.0.0.1:4567"


def test_an_address_that_is_given_is_taken_and_cannot_end_its_string(printed):
    assert address(printed("--address", "lowcloud:8781")) == "lowcloud:8781"
    assert address(printed("--address", 'a"b\\')) == 'a\\"b\\\\'


def test_a_secret_that_cannot_be_one_ends_it_with_the_variables_name(tmp_path):
    environ = {"LOWCLOUD_STORAGE__DATA_DIR": str(tmp_path), "LOWCLOUD_BINDING_SECRET": "x"}
    result = CliRunner(env=environ).invoke(main, ["workers", "capnp"])
    assert (result.exit_code, "LOWCLOUD_BINDING_SECRET" in result.stderr) == (2, True)
    (tmp_path / "file").touch()
    environ = {"LOWCLOUD_STORAGE__DATA_DIR": str(tmp_path / "file")}
    result = CliRunner(env=environ).invoke(main, ["workers", "capnp"])
    assert (result.exit_code, str(tmp_path / "file") in result.stderr) == (1, True)
