"""One server process owns a data folder: a file lock, and a state file that says who and where it is."""

import fcntl
import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

LOCK = "server.lock"
STATE = "server.json"


@dataclass(frozen=True, slots=True)
class Holder:
    """The server that owns a folder. ``url`` is empty until it listens."""

    pid: int
    url: str


class FolderInUseError(Exception):
    """Another server owns the data folder."""

    def __init__(self, folder: Path, holder: Holder | None) -> None:
        who = "another server" if holder is None else f"the server with pid {holder.pid}"
        where = f" at {holder.url}" if holder and holder.url else ""
        super().__init__(
            f"The data folder {folder} belongs to {who}{where}. Stop it, or set storage.data_dir to another."
        )
        self.holder = holder


class DataFolder:
    """A folder that this process owns."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def announce(self, url: str) -> None:
        """Say where this server listens."""
        _write_state(self.path, Holder(os.getpid(), url))


@contextmanager
def claim(path: Path) -> Iterator[DataFolder]:
    """Own ``path`` (made if it isn't there, for its owner only) until the block ends or the process dies, however.

    Raises FolderInUseError, OSError.
    """
    path.mkdir(parents=True, exist_ok=True, mode=0o700)
    lock = os.open(path / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise FolderInUseError(path, _state(path)) from None
        _write_state(path, Holder(os.getpid(), ""))
        try:
            yield DataFolder(path)
        finally:
            (path / STATE).unlink(missing_ok=True)
    finally:
        os.close(lock)


def holder(path: Path) -> Holder | None:
    """The running server that owns ``path``, if there is one."""
    state = _state(path)
    if state is None:
        return None
    try:
        with suppress(PermissionError):  # another user's process is one all the same
            os.kill(state.pid, 0)
    except ProcessLookupError:
        return None
    return state


def _state(path: Path) -> Holder | None:
    with suppress(OSError, ValueError):
        match json.loads((path / STATE).read_text("utf-8")):
            case {"pid": int(pid), "url": str(url)} if pid > 0:
                return Holder(pid, url)
    return None


def _write_state(path: Path, state: Holder) -> None:
    """All at once, so that a reader never sees half of it; mkstemp makes the file 0600."""
    handle, name = tempfile.mkstemp(dir=path, prefix=STATE)
    with os.fdopen(handle, "w") as file:
        json.dump({"pid": state.pid, "url": state.url}, file)
    Path(name).replace(path / STATE)
