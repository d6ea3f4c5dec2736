"""The server that ``lowcloud run`` uses: one that runs already, or one of its own, for as long as the command runs."""

import http.client
import json
import os
import subprocess
import sys
import threading
import time
import tomllib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from urllib.parse import urlsplit

import click

START_S = 60.0
READY_S = 600.0  # preloaded models may have to be converted first
LOOK_S = 0.05
LOWCLOUD = (sys.executable, "-c", "from lowcloud.cli.main import main; main()")
NEW = ("dev", "--host", "127.0.0.1", "--port", "0")


@dataclass(frozen=True, slots=True)
class Own:
    """What only a server of its own can be told."""

    model_map: Path | None = None
    record: Path | None = None
    replay: Path | None = None

    def names(self) -> str:
        """The flags that were given."""
        given = {"--model-map": self.model_map, "--record": self.record, "--replay": self.replay}
        return ", ".join(flag for flag, value in given.items() if value)


@contextmanager
def attached(url: str) -> Iterator[str]:
    """The server at ``url``, once it is ready."""
    if urlsplit(url).scheme != "http" or not urlsplit(url).hostname:
        raise click.UsageError(f"--url: must be like http://127.0.0.1:8780, and is {url}")
    _wait_until_ready(url)
    yield url


@contextmanager
def embedded(own: Own, config: Path | None, secret: str, stop_s: float) -> Iterator[str]:
    """A ``lowcloud dev`` of its own on a free port. Its session is another, so that no terminal stops it early.

    A replay has no state: it needs no data folder, and disturbs no server that has one.
    """
    with TemporaryDirectory(prefix="lowcloud-") as scratch:
        process = subprocess.Popen(  # noqa: S603 - ourselves
            [*LOWCLOUD, *NEW, *(["--config", str(config)] if config else [])],
            env={**os.environ, "LOWCLOUD_BINDING_SECRET": secret, **_variables(own, scratch)},
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
            _stop(process, stop_s)


def _variables(own: Own, scratch: str) -> Mapping[str, str]:
    """The settings of the new server."""
    variables = {} if os.environ.get("LOWCLOUD_LOGS__LEVEL") else {"LOWCLOUD_LOGS__LEVEL": "warning"}
    if own.model_map:
        variables["LOWCLOUD_MAP"] = _with_map(own.model_map)
    if own.record:
        variables["LOWCLOUD_BINDING__RECORD"] = str(own.record.absolute())
    if own.replay:
        variables["LOWCLOUD_BINDING__REPLAY"] = str(own.replay.absolute())
        variables |= {"LOWCLOUD_STORAGE__DATA_DIR": scratch, "LOWCLOUD_STORAGE__DATABASE_URL": ""}
    return variables


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
