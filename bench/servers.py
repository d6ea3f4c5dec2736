"""Starts servers for the benchmarks, each in a process of its own, and runs the load generator against them."""

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).parent


@dataclass(frozen=True)
class Server:
    """A running server. ``started`` is the clock's reading just before its process was started."""

    name: str
    port: int
    process: subprocess.Popen[bytes]
    started: float

    def load(self, path: str, bodies: list[dict], in_flight: int, total: int = 0) -> dict:
        """Run the load generator in its own process; its result."""
        job = {
            "host": "127.0.0.1",
            "port": self.port,
            "path": path,
            "bodies": bodies,
            "in_flight": in_flight,
            "total": total or in_flight,
        }
        return load_job(job)

    def rss_mib(self) -> float:
        """Resident memory of the server's own process, without its workers."""
        pages = int(Path(f"/proc/{self.process.pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def load_job(job: dict) -> dict:
    """Run the load generator in its own process; its result."""
    done = subprocess.run(
        [sys.executable, str(HERE / "load.py")], input=json.dumps(job).encode(), capture_output=True, check=False
    )
    if done.returncode:
        raise RuntimeError(done.stderr.decode()[-800:])
    return json.loads(done.stdout)


def free_port() -> int:
    """A port that was free a moment ago."""
    with socket.create_server(("127.0.0.1", 0)) as sock:
        return sock.getsockname()[1]


@contextmanager
def started(
    name: str, command: list[str], port: int, ready: str, env: Mapping[str, str] | None = None
) -> Iterator[Server]:
    """Run ``command`` until the block ends; enter it when ``GET ready`` answers 200 (120 s at most)."""
    with tempfile.TemporaryFile() as log:
        begin = time.perf_counter()
        process = subprocess.Popen(
            command, stdout=log, stderr=log, env={**os.environ, **(env or {})}, start_new_session=True
        )
        try:
            _wait(process, port, ready, begin, log)
            yield Server(name, port, process, begin)
        finally:
            os.killpg(process.pid, signal.SIGTERM)
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()


def _wait(process: subprocess.Popen[bytes], port: int, ready: str, begin: float, log) -> None:
    while time.perf_counter() < begin + 120:
        if process.poll() is not None:
            log.seek(0)
            raise RuntimeError(f"it ended at once: {log.read().decode('utf-8', 'replace')[-1500:]}")
        try:
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
            connection.request("GET", ready)
            if connection.getresponse().status == 200:
                return
        except OSError:
            pass
        time.sleep(0.005)
    raise TimeoutError("it wasn't ready within 120 s")


@contextmanager
def lowcloud(settings: str = "") -> Iterator[Server]:
    """``lowcloud dev`` with a data folder of its own; ``settings`` are lines of TOML, given as LOWCLOUD_* would be."""
    port = free_port()
    with tempfile.TemporaryDirectory() as data:
        env = {"LOWCLOUD_STORAGE__DATA_DIR": data, **dict(line.split("=", 1) for line in settings.split())}
        command = [str(Path(sys.executable).with_name("lowcloud")), "dev", "--port", str(port)]
        with started("lowcloud", command, port, "/healthz", env) as server:
            yield server
