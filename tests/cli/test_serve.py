"""``lowcloud dev`` and ``lowcloud serve``: what keeps a server from starting is said so that a person can act on it."""

import errno
import socket

import pytest
from click.testing import CliRunner

from lowcloud.cli.main import main
from lowcloud.cli.serve import why_not


@pytest.fixture
def run(tmp_path):
    def invoke(*arguments: str):
        folders = {"LOWCLOUD_STORAGE__DATA_DIR": str(tmp_path), "LOWCLOUD_LOCAL__CACHE_DIR": str(tmp_path / "cache")}
        return CliRunner(env=folders).invoke(main, list(arguments))

    return invoke


@pytest.mark.parametrize("command", ["dev", "serve"])
def test_bad_settings_end_with_status_2_and_the_key(run, tmp_path, command):
    config = tmp_path / "lowcloud.toml"
    config.write_text("[server]\nprot = 1\n")
    result = run(command, "--config", str(config))
    assert result.exit_code == 2
    assert result.output == f"Error: {config}: server.prot: unknown key; did you mean server.port?\n"


def test_a_mapping_to_no_model_is_a_bad_setting(run, tmp_path):
    config = tmp_path / "lowcloud.toml"
    config.write_text("[map]\n'@cf/x' = '@local/none'\n")
    result = run("dev", "--config", str(config), "--port", "0")
    assert result.exit_code == 2
    assert 'map."@cf/x"' in result.output


def test_a_limit_on_no_task_is_a_bad_setting(run, tmp_path):
    config = tmp_path / "lowcloud.toml"
    config.write_text("[limits.requests_per_minute]\ntext-generatoin = 1\n")
    result = run("serve", "--config", str(config), "--port", "0")
    assert result.exit_code == 2
    assert "limits.requests_per_minute.text-generatoin: no such task" in result.output


def test_tokens_are_not_lifted_off_loopback(run):
    result = run("serve", "--insecure-loopback", "--host", "0.0.0.0")
    assert result.exit_code == 2
    assert "server.insecure_loopback: 0.0.0.0 is not a loopback address" in result.output


def test_a_port_in_use_is_said_so(run):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        result = run("dev", "--port", str(port))
    assert result.exit_code == 1
    assert result.output.splitlines()[-1] == (
        f"Error: Port {port} on 127.0.0.1 is in use. Choose another with --port, or end what listens there."
    )


@pytest.mark.parametrize(
    ("listen", "complaint"),
    [
        ("127.0.0.1:8799", "must be another port than server.port"),
        ("unix:/nowhere/a.sock", "unix:/nowhere/a.sock: No such file or directory"),
    ],
)
def test_a_listener_for_bindings_that_cannot_be_is_a_bad_setting(run, tmp_path, listen, complaint):
    config = tmp_path / "lowcloud.toml"
    config.write_text(f"[binding]\nlisten = '{listen}'\n")
    result = run("dev", "--config", str(config), "--port", "8799")
    assert (result.exit_code, result.output.splitlines()[-1]) == (2, f"Error: binding.listen: {complaint}")


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (
            OSError(errno.EADDRINUSE, "x"),
            "Port 80 on h is in use. Choose another with --port, or end what listens there.",
        ),
        (
            PermissionError(errno.EACCES, "x"),
            "Port 80 on h needs rights that this user lacks. Choose one above 1023 with --port.",
        ),
        (OSError(errno.EADDRNOTAVAIL, "x"), "h is not an address of this machine. Choose another with --host."),
        (PermissionError(errno.EACCES, "Permission denied", "/data"), "[Errno 13] Permission denied: '/data'"),
    ],
)
def test_why_a_server_can_not_listen_says_what_to_do(error, message):
    assert why_not(error, "h", 80) == message
