"""``lowcloud db``: the schema of the database, for those who migrate it themselves."""

from pathlib import Path

import click

from lowcloud.cli.options import config_option, database_errors, settings_of
from lowcloud.storage.database import Database
from lowcloud.storage.tables import REVISION


@click.group()
def db() -> None:
    """The database: show its schema, bring it up to date."""


@db.command()
@config_option
def current(config: Path | None) -> None:
    """Print the revision that the schema is at. Status 1: it isn't the one that this version needs."""
    with database_errors(), Database(settings_of(config).storage.url()) as database:
        revision = database.revision()
    click.echo(revision or "none")
    if revision != REVISION:
        click.echo(f"This version needs {REVISION}.", err=True)
        raise click.exceptions.Exit(1)


@db.command()
@config_option
def upgrade(config: Path | None) -> None:
    """Bring the schema up to date, all or nothing; servers of this version that start meanwhile wait."""
    with database_errors(), Database(settings_of(config).storage.url()) as database:
        has_changed = database.migrate()
    click.echo(f"The schema is at {REVISION}{'' if has_changed else ', as it was'}.")
