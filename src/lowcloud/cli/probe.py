"""Starts a model's worker once, as the server would, to see what comes of it; converts and self-tests on the way.

What the worker needs is an extra: whether that is here is asked first, and only then is anything of it imported.
"""

import os
import signal
import socket
import subprocess
import sys
from contextlib import suppress
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import IO, TYPE_CHECKING

from lowcloud.engines.local.spec import WorkerSpec

if TYPE_CHECKING:
    from lowcloud.engines.local.frames import Ready

# The extra "local", by the names of its distributions, and the one for models that see.
EXTRA = ("openvino", "tokenizers", "llguidance", "numpy", "msgpack", "gguf", "safetensors")
VISION = ("openvino-genai", "pillow")
INSTALL = "Install the extra: pip install 'lowcloud[local]'."
_END_S = 10


@dataclass(frozen=True, slots=True)
class Outcome:
    """``ready`` None: the model can't be served, for the reason in ``note``."""

    ready: "Ready | None"
    note: str


def missing() -> list[str]:
    """What of the extra isn't installed."""
    return [package for package in EXTRA if installed(package) is None]


def installed(package: str) -> str | None:
    """The version of a distribution; None where it isn't here."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def start_once(spec: WorkerSpec, timeout_s: float, log: int | IO[bytes] | None = subprocess.DEVNULL) -> Outcome:
    """Load the model of ``spec`` in a process of its own and end that. ``log`` is where its lines go. Blocking."""
    if absent := missing():
        return Outcome(None, f"{', '.join(absent)} not installed. {INSTALL}")
    ours, theirs = socket.socketpair()
    with ours, theirs:
        worker = subprocess.Popen(  # noqa: S603 - our own module
            [sys.executable, "-P", "-m", "lowcloud.engines.local.worker", spec.to_json(), str(theirs.fileno())],
            pass_fds=[theirs.fileno()],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
        theirs.close()
        ours.settimeout(timeout_s)
        try:
            return _first_word(ours)
        except TimeoutError:
            return Outcome(None, f"not loaded within {timeout_s:.0f} s")
        finally:
            ours.close()
            _end(worker)


def _first_word(sock: socket.socket) -> Outcome:
    from lowcloud.engines.local.frames import Failed, Ready, received  # noqa: PLC0415 - see above

    for frame in received(sock):
        match frame:
            case Ready():
                return Outcome(frame, frame.note)
            case Failed():
                return Outcome(None, frame.message)
    return Outcome(None, "its process ended while it loaded")


def _end(worker: subprocess.Popen[bytes]) -> None:
    """A worker ends when its socket closes; one that is deep in native code is killed, with what it started."""
    try:
        worker.wait(_END_S)
    except subprocess.TimeoutExpired:
        with suppress(ProcessLookupError):
            os.killpg(worker.pid, signal.SIGKILL)
        worker.wait()
