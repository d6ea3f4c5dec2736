"""``lowcloud dev`` and ``lowcloud serve``: from flags to settings, and to people when a server can't start."""

import errno
import sys
from pathlib import Path
from typing import Literal

import click

from lowcloud.cli.options import config_option, refuse, settings_of
from lowcloud.settings import Settings, SettingsError
from lowcloud.storage.errors import DatabaseUnusable
from lowcloud.storage.folder import FolderInUseError

host_option = click.option("--host", help="The address to listen on; default: server.host, 127.0.0.1.")
port_option = click.option(
    "--port", type=click.IntRange(0, 65_535), help="The port; 0: any free one; default: server.port, 8780."
)


@click.command()
@host_option
@port_option
@config_option
def dev(host: str | None, port: int | None, config: Path | None) -> None:
    """Serve one person on this machine: any token, any account id, stand-ins, nothing to configure.

    On a --host that other machines reach, a token is made, printed and required.
    """
    _start(settings_of(config, {"server": {"host": host, "port": port}}), "dev")


@click.command()
@host_option
@port_option
@config_option
@click.option(
    "--insecure-loopback",
    is_flag=True,
    default=None,
    help="Let callers in without a token; on a loopback address only.",
)
def serve(host: str | None, port: int | None, config: Path | None, insecure_loopback: bool | None) -> None:
    """Serve a team: tokens are required (lowcloud tokens create), and only models that are here answer."""
    flags = {"server": {"host": host, "port": port, "insecure_loopback": insecure_loopback}}
    _start(settings_of(config, flags), "serve")


def _start(settings: Settings, mode: Literal["dev", "serve"]) -> None:
    from lowcloud.app import run  # noqa: PLC0415 - loads everything, which --help and the other commands don't need

    try:
        status = run(settings, mode, click.echo)
    except SettingsError as error:
        refuse(error)
    except (FolderInUseError, DatabaseUnusable) as error:
        raise click.ClickException(str(error)) from error
    except OSError as error:
        raise click.ClickException(why_not(error, settings.server.host, settings.server.port)) from error
    sys.exit(status)


def why_not(error: OSError, host: str, port: int) -> str:
    """What to do about a server that can't listen, or can't use its files."""
    match error.errno:
        case errno.EADDRINUSE:
            return f"Port {port} on {host} is in use. Choose another with --port, or end what listens there."
        case errno.EACCES if error.filename is None:
            return f"Port {port} on {host} needs rights that this user lacks. Choose one above 1023 with --port."
        case errno.EADDRNOTAVAIL:
            return f"{host} is not an address of this machine. Choose another with --host."
        case _:
            return str(error)
