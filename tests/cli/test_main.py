"""The command ``lowcloud`` itself."""

import subprocess
import sys

from click.testing import CliRunner

from lowcloud import __version__
from lowcloud.cli.main import COMMANDS, main


def test_help_names_every_command():
    shown = CliRunner().invoke(main, ["--help"]).output
    assert all(f"  {name} " in shown for name in COMMANDS)


def test_an_unknown_command_is_refused():
    result = CliRunner().invoke(main, ["serv"])
    assert result.exit_code == 2
    assert "No such command 'serv'" in result.output


def test_the_version_is_the_packages():
    assert CliRunner().invoke(main, ["--version"]).output == f"lowcloud, version {__version__}\n"


def test_a_server_loads_no_client():
    code = "import sys, lowcloud.cli.serve; sys.exit('aiohttp' in sys.modules or 'alembic' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False, timeout=60).returncode == 0
