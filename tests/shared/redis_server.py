"""A Redis of the tests' own, behind a socket in a folder that goes with it: no TCP port, nothing on the disk."""

import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager


def program() -> str | None:
    """A server of Redis or of Valkey, wherever one is on the path."""
    return shutil.which("redis-server") or shutil.which("valkey-server")


@contextmanager
def redis_server(path: str) -> Iterator[str]:
    """The URL of one that runs until the block ends."""
    with tempfile.TemporaryDirectory(prefix="lowcloud-redis-") as folder:
        url = f"{folder}/socket"
        settings = ["--port", "0", "--unixsocket", url, "--save", "", "--appendonly", "no", "--dir", folder]
        with subprocess.Popen([path, *settings], stdout=subprocess.PIPE, text=True) as process:
            try:
                assert process.stdout is not None
                ready = next((line for line in process.stdout if "eady to accept connections" in line), None)
                assert ready, "the server ended before it was ready"
                yield f"unix://{url}"
            finally:
                process.kill()
