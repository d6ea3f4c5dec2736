"""``lowcloud run``: a command whose Workers' env.AI is answered here, by a server that lives as long as the command."""

import http.client
import json
import os
import subprocess
import sys
import threading
import time
import tomllib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.parse import urlsplit

import click

from lowcloud.cli.child import Target, environment, run_to_its_end
from lowcloud.cli.deploys import judge
from lowcloud.cli.options import config_option, refuse, settings_of
from lowcloud.cli.workers import FOLDER
from lowcloud.settings import Settings, SettingsError
from lowcloud.storage.binding_secret import binding_secret
from lowcloud.storage.folder import holder

START_S = 60.0
READY_S = 600.0  # preloaded models may have to be converted first
LOOK_S = 0.05
STOP_S = 10.0  # beyond the grace that running requests have


@click.command(context_settings={"allow_interspersed_args": False})
@click.option("--url", envvar="LOWCLOUD_URL", help="The server; default: the one that runs here, else a new one.")
@click.option(
    "--model-map",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="A TOML or JSON file with a table map, as the settings have it; for a new server.",
)
@config_option
@click.argument("command", nargs=-1, required=True, type=click.UNPROCESSED)
def run(url: str | None, model_map: Path | None, config: Path | None, command: tuple[str, ...]) -> None:
    """Run COMMAND, such as `npx wrangler dev`, with env.AI of its Workers answered here, and no way to Cloudflare.

    A server is started for it unless one runs, and stopped after it. The exit status is COMMAND's.
    """
    _check(command)
    settings = settings_of(config)
    running = (url or _running(settings)).rstrip("/")
    if running and model_map:
        raise click.UsageError(f"--model-map is for a new server, and {running} is used. Its settings have a [map].")
    with _attached(running) if running else _embedded(settings, config, model_map) as server:
        click.echo(
            f"env.AI goes to Lowcloud at {server}, and nothing goes to Cloudflare: other remote bindings are off.",
            err=True,
        )
        target = Target(server, _secret(settings))
        status = run_to_its_end(command, environment(os.environ, target, FOLDER / "register.cjs"))
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


@contextmanager
def _attached(url: str) -> Iterator[str]:
    if urlsplit(url).scheme != "http" or not urlsplit(url).hostname:
        raise click.UsageError(f"--url: must be like http://127.0.0.1:8780, and is {url}")
    _wait_until_ready(url)
    yield url


@contextmanager
def _embedded(settings: Settings, config: Path | None, model_map: Path | None) -> Iterator[str]:
    """A ``lowcloud dev`` of its own on a free port. Its session is another, so that no terminal stops it early."""
    quiet = {} if os.environ.get("LOWCLOUD_LOGS__LEVEL") else {"LOWCLOUD_LOGS__LEVEL": "warning"}
    mapped = {"LOWCLOUD_MAP": _with_map(model_map)} if model_map else {}
    process = subprocess.Popen(  # noqa: S603 - ourselves
        [
            sys.executable,
            "-c",
            "from lowcloud.cli.main import main; main()",
            "dev",
            "--host",
            "127.0.0.1",
            "--port",
            "0",
        ]
        + (["--config", str(config)] if config else []),
        env={**os.environ, **quiet, **mapped},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        url = _announced(process)
        _wait_until_ready(url)
        yield url
    finally:
        _stop(process, settings.server.shutdown_grace_s + STOP_S)


def _announced(process: subprocess.Popen[str]) -> str:
    """The URL in what the server prints first. It prints little more, which the pipe holds."""
    bound = threading.Timer(START_S, process.kill)
    bound.start()
    try:
        for line in process.stdout or ():
            _, is_it, url = line.strip().partition(" listens on ")
            if is_it:
                return url
    finally:
        bound.cancel()
    raise click.ClickException("The server didn't start.")


def _stop(process: subprocess.Popen[str], bound_s: float) -> None:
    process.terminate()
    try:
        process.wait(bound_s)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _wait_until_ready(url: str) -> None:
    parts = urlsplit(url)
    end = time.monotonic() + READY_S
    while True:
        connection = http.client.HTTPConnection(parts.hostname or "", parts.port or 80, timeout=START_S)
        try:
            connection.request("GET", "/readyz")
            status = connection.getresponse().status
        except (OSError, http.client.HTTPException) as error:
            raise click.ClickException(f"No server answers at {url} ({error}). Start one with: lowcloud dev") from error
        finally:
            connection.close()
        if status == http.client.OK:
            return
        if status != http.client.SERVICE_UNAVAILABLE or time.monotonic() > end:
            raise click.ClickException(f"The server at {url} isn't ready: /readyz says {status}.")
        time.sleep(LOOK_S)


def _with_map(file: Path) -> str:
    """``LOWCLOUD_MAP`` with what ``file`` maps, which wins."""
    try:
        text = file.read_text("utf-8")
        tree = json.loads(text) if file.suffix == ".json" else tomllib.loads(text)
        before = json.loads(os.environ.get("LOWCLOUD_MAP") or "{}")
    except (OSError, ValueError) as error:
        raise click.ClickException(f"{file}: {error}") from error
    if not isinstance(tree, dict) or set(tree) != {"map"} or not isinstance(tree["map"], dict):
        raise click.UsageError(f"--model-map: {file} must hold one table, map, from model ids to model ids.")
    return json.dumps(before | tree["map"])
