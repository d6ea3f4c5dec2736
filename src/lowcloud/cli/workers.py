"""``lowcloud workers``: what Workers need to reach this server's models by their ``env.AI``."""

import click

from lowcloud.cli.capnp import capnp


@click.group()
def workers() -> None:
    """Cloudflare Workers on this machine: point their env.AI here."""


workers.add_command(capnp)
