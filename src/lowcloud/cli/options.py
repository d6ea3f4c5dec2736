"""What several commands share: the option that names the settings file, and how a command fails."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn

import click

from lowcloud.inventory import RemoteModel, models_here, remote_models
from lowcloud.models.store import Found
from lowcloud.settings import Settings, SettingsError, load
from lowcloud.storage.errors import DatabaseUnusable

BAD_SETTINGS = 2

config_option = click.option(
    "--config",
    type=click.Path(path_type=Path, dir_okay=False),
    envvar="LOWCLOUD_CONFIG",
    help="The settings file (TOML); also LOWCLOUD_CONFIG.",
)


class BadSettingsError(click.ClickException):
    """Settings that can't be: one line each, naming the key. Exit status 2."""

    exit_code = BAD_SETTINGS


def settings_of(config: Path | None, flags: Mapping[str, Mapping[str, object]] | None = None) -> Settings:
    """The settings, or the end of the command with what is wrong with them."""
    try:
        return load(config, flags=flags)
    except SettingsError as error:
        refuse(error)


def local_models(settings: Settings) -> Found:
    """The models on this machine, or the end of the command with what is wrong with a configured one."""
    try:
        return models_here(settings)
    except SettingsError as error:
        refuse(error)


def upstreams(settings: Settings) -> tuple[RemoteModel, ...]:
    """The remote models, or the end of the command with what is wrong with one."""
    try:
        return remote_models(settings)
    except SettingsError as error:
        refuse(error)


@contextmanager
def database_errors() -> Iterator[None]:
    """A database that can't be used, or its file, ends the command with what is wrong with it."""
    try:
        yield
    except (DatabaseUnusable, OSError) as error:
        raise click.ClickException(str(error)) from error


def refuse(error: SettingsError) -> NoReturn:
    """End the command with what is wrong with the settings."""
    raise BadSettingsError(str(error)) from error
