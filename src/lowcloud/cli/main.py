"""The command ``lowcloud``. Each subcommand is a file of its own; what it needs is imported when it runs."""

import click

from lowcloud import __version__
from lowcloud.cli.chat import chat
from lowcloud.cli.doctor import doctor
from lowcloud.cli.prepare import prepare
from lowcloud.cli.serve import dev, serve
from lowcloud.cli.tokens import tokens


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="lowcloud")
def main() -> None:
    """An open, self-hosted Workers AI: the same URLs and SDK calls, answered by models that you run."""


for command in (dev, serve, tokens, chat, doctor, prepare):
    main.add_command(command)
