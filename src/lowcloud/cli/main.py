"""The command ``lowcloud``. Each subcommand is a file of its own, imported when it runs: a server loads no client."""

import importlib

import click

from lowcloud import __version__

COMMANDS = {
    "dev": "lowcloud.cli.serve",
    "serve": "lowcloud.cli.serve",
    "tokens": "lowcloud.cli.tokens",
    "db": "lowcloud.cli.db",
    "run": "lowcloud.cli.run",
    "workers": "lowcloud.cli.workers",
    "chat": "lowcloud.cli.chat",
    "doctor": "lowcloud.cli.doctor",
    "prepare": "lowcloud.cli.prepare",
}


class _Commands(click.Group):
    """The subcommands by name, in the order in which a person meets them."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        module = COMMANDS.get(cmd_name)
        if module is None:
            return None
        command: click.Command = getattr(importlib.import_module(module), cmd_name)
        return command


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="lowcloud")
def main() -> None:
    """An open, self-hosted Workers AI: the same URLs and SDK calls, answered by models that you run."""
