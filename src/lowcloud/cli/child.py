"""The command that ``lowcloud run`` runs: what its environment says, its signals, and how it ends."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

import click

from lowcloud.core.principal import DEV_ACCOUNT

NOT_FOUND, NOT_EXECUTABLE, SIGNALLED = 127, 126, 128  # as shells say it
KEYBOARD = (signal.SIGINT, signal.SIGQUIT)
FORWARDED = (*KEYBOARD, signal.SIGTERM, signal.SIGHUP)
LOOPBACK = "localhost,127.0.0.1,::1"
# Empty rather than absent: wrangler reads a .env file, which doesn't replace what is there.
WITHHELD = (
    "CLOUDFLARE_API_KEY",
    "CLOUDFLARE_EMAIL",
    "CF_API_TOKEN",
    "CF_API_KEY",
    "CF_EMAIL",
    "CF_ACCOUNT_ID",
    "CF_API_BASE_URL",
    "WRANGLER_CF_AUTHORIZATION_TOKEN",
    "WRANGLER_R2_SQL_AUTH_TOKEN",
    "WRANGLER_BASIN_SQL_AUTH_TOKEN",
)


@dataclass(frozen=True, slots=True)
class Target:
    """The server that answers env.AI, and the secret of its bindings."""

    url: str
    secret: str


def environment(environ: Mapping[str, str], target: Target, shim: Path) -> dict[str, str]:
    """``environ`` with what a Worker's tools need, and without a way to anybody's account.

    Where wrangler insists on a remote session, it opens one with the server: its API base and token say so. The pair
    of Access keeps it from asking the Worker's public address whether that is protected.
    """
    ours = {
        "LOWCLOUD_URL": target.url,
        "LOWCLOUD_BINDING_SECRET": target.secret,
        "NODE_OPTIONS": f"{environ.get('NODE_OPTIONS', '')} --require {_quoted(shim)}".strip(),
        "CLOUDFLARE_API_BASE_URL": f"{target.url}/client/v4",
        "CLOUDFLARE_API_TOKEN": target.secret,
        "CLOUDFLARE_ACCOUNT_ID": DEV_ACCOUNT,
        "CLOUDFLARE_ACCESS_CLIENT_ID": "lowcloud",
        "CLOUDFLARE_ACCESS_CLIENT_SECRET": "lowcloud",
    }
    unproxied = {name: f"{environ[name]},{LOOPBACK}" for name in ("NO_PROXY", "no_proxy") if environ.get(name)}
    return {**environ, **dict.fromkeys(WITHHELD, ""), **ours, **unproxied}


def _quoted(path: Path) -> str:
    """As Node reads its options: spaces within quotes, and backslashes before what ends them."""
    escaped = str(path).replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def run_to_its_end(command: Sequence[str], environ: Mapping[str, str]) -> int:
    """The command's exit status, 128 and its number where a signal ended it. Signals that come here go on to it."""
    is_terminal = sys.stdin is not None and sys.stdin.isatty()
    try:
        # A terminal sends its signals to the whole foreground group; elsewhere the command and its own get one.
        child = subprocess.Popen(command, env=environ, process_group=None if is_terminal else 0)  # noqa: S603 - it's why we are here
    except FileNotFoundError as error:
        click.echo(f"There is no command {command[0]}.", err=True)
        raise click.exceptions.Exit(NOT_FOUND) from error
    except OSError as error:
        click.echo(f"{command[0]}: {error.strerror}", err=True)
        raise click.exceptions.Exit(NOT_EXECUTABLE) from error
    with _forwarding(child, is_terminal=is_terminal):
        status = child.wait()
    return status if status >= 0 else SIGNALLED - status


@contextmanager
def ended_by_signals() -> Iterator[None]:
    """A signal that would end this process at once ends it by SystemExit, so that what it has started is stopped."""

    def leave(number: int, _frame: FrameType | None) -> None:
        sys.exit(SIGNALLED + number)

    with _handled((signal.SIGTERM, signal.SIGHUP), leave):
        yield


@contextmanager
def _forwarding(child: subprocess.Popen[bytes], *, is_terminal: bool) -> Iterator[None]:
    def forward(number: int, _frame: FrameType | None) -> None:
        if not is_terminal:
            os.killpg(child.pid, number)
        elif number not in KEYBOARD:
            child.send_signal(number)

    with _handled(FORWARDED, forward):
        yield


@contextmanager
def _handled(numbers: Sequence[signal.Signals], handler: Callable[[int, FrameType | None], None]) -> Iterator[None]:
    before = {number: signal.signal(number, handler) for number in numbers}
    try:
        yield
    finally:
        for number, earlier in before.items():
            signal.signal(number, earlier)
