"""``lowcloud run``: a command whose Workers' env.AI is answered here, by a server that lives as long as the command."""

import json
import os
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

import click

from lowcloud.cli.child import Target, ended_by_signals, environment, run_to_its_end
from lowcloud.cli.deploys import judge
from lowcloud.cli.options import config_option, refuse, settings_of
from lowcloud.cli.run_server import LOOK_S, START_S, Own, attached, embedded
from lowcloud.cli.workers import FOLDER
from lowcloud.settings import Settings, SettingsError
from lowcloud.storage.folder import holder
from lowcloud.storage.secret_files import binding_secret

STOP_S = 10.0  # beyond the grace that running requests have
folder_type = click.Path(path_type=Path, file_okay=False)


@click.command(context_settings={"allow_interspersed_args": False})
@click.option("--url", envvar="LOWCLOUD_URL", help="The server; default: the one that runs here, else a new one.")
@click.option(
    "--model-map",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="A TOML or JSON file with a table map, as the settings have it; for a new server.",
)
@click.option("--record", type=folder_type, help="A folder to write each call and its answer to; for a new server.")
@click.option("--replay", type=folder_type, help="A folder that was recorded, to answer from without any model.")
@config_option
@click.argument("command", nargs=-1, required=True, type=click.UNPROCESSED)
def run(
    *,
    url: str | None,
    model_map: Path | None,
    record: Path | None,
    replay: Path | None,
    config: Path | None,
    command: tuple[str, ...],
) -> None:
    """Run COMMAND, such as `npx wrangler dev`, with env.AI of its Workers answered here, and no way to Cloudflare.

    A server is started for it unless one runs, and stopped after it. The exit status is COMMAND's.
    """
    _check(command)
    settings = settings_of(config)
    secret = _secret(settings)
    own = Own(model_map, record, replay)
    if record and replay:
        raise click.UsageError("--record, --replay: one of them.")
    running = (url or ("" if replay else _running(settings))).rstrip("/")
    if running and own.names():
        raise click.UsageError(f"{own.names()}: for a new server, and {running} is used.")
    stop_s = settings.server.shutdown_grace_s + STOP_S
    with ended_by_signals(), attached(running) if running else embedded(own, config, secret, stop_s) as server:
        click.echo(_line(server, own), err=True)
        status = run_to_its_end(command, environment(os.environ, Target(server, secret), FOLDER / "register.cjs"))
    sys.exit(status)


def _check(command: tuple[str, ...]) -> None:
    verdict = judge(command, _scripts(Path("package.json")))
    if verdict.refused:
        raise click.UsageError(f"`{verdict.refused}` changes a Cloudflare account. Run it without `lowcloud run`.")
    if verdict.unseen:
        click.echo(f"Note: what the script {verdict.unseen} runs can't be seen; a deploy in it fails.", err=True)


def _scripts(package: Path) -> Mapping[str, str]:
    with suppress(OSError, ValueError):
        match json.loads(package.read_text("utf-8")):
            case {"scripts": dict(scripts)}:
                return {name: text for name, text in scripts.items() if isinstance(text, str)}
    return {}


def _secret(settings: Settings) -> str:
    try:
        return binding_secret(settings.storage.data_dir)
    except SettingsError as error:
        refuse(error)


def _running(settings: Settings) -> str:
    """The URL of the server that owns the data folder, once it listens; empty: there is none."""
    end = time.monotonic() + START_S
    while (server := holder(settings.storage.data_dir)) and not server.url and time.monotonic() < end:
        time.sleep(LOOK_S)
    return server.url if server else ""


def _line(server: str, own: Own) -> str:
    """Where env.AI goes."""
    how = ""
    if own.replay:
        how = f", which answers as recorded in {own.replay}"
    elif own.record:
        how = f", is recorded in {own.record}"
    return f"env.AI goes to Lowcloud at {server}{how}, and nothing goes to Cloudflare: other remote bindings are off."
