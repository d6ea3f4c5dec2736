"""``lowcloud workers``: what points a Worker's env.AI at Lowcloud."""

from pathlib import Path

import click

import lowcloud
from lowcloud.cli.capnp import capnp

# The JavaScript: the preload shim, wrangler's plugin, the helper for Vite. As it lies there it is an npm package too.
FOLDER = Path(lowcloud.__file__).absolute().parent / "workers"


@click.group()
def workers() -> None:
    """Cloudflare Workers on this machine: point their env.AI here."""


@workers.command()
def path() -> None:
    """Print the folder of the preload shim, wrangler's plugin and the Vite helper; npm can install it as a package."""
    click.echo(FOLDER)


workers.add_command(capnp)
