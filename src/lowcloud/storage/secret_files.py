"""Secrets of a data folder, made when they are first asked for, by a server or without one.

One lets Workers' bindings in; of the other comes the key of what only this server may read again.
"""

import os
import re
import secrets
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from lowcloud.settings import SettingsError

BINDING = ("binding-secret", "LOWCLOUD_BINDING_SECRET")
SERVER = ("server-secret", "LOWCLOUD_SERVER_SECRET")
_SECRET = re.compile(r"[A-Za-z0-9_-]{20,200}")  # it stands in headers and in paths


def binding_secret(folder: Path, environ: Mapping[str, str] = os.environ) -> str:
    """The variable's, else that of the folder's file. Raises SettingsError for what can't be a secret, OSError."""
    return _secret(folder, *BINDING, environ)


def server_secret(folder: Path, environ: Mapping[str, str] = os.environ) -> str:
    """The same. Servers that share a database must have the same one. Raises as ``secret_files`` does."""
    return _secret(folder, *SERVER, environ)


def _secret(folder: Path, name: str, variable: str, environ: Mapping[str, str]) -> str:
    if given := environ.get(variable):
        return _checked(given, variable)
    file = folder / name
    with suppress(FileNotFoundError):
        return _checked(file.read_text("utf-8", "replace").strip(), str(file))
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    _make(file)
    return _checked(file.read_text("utf-8", "replace").strip(), str(file))


def _make(file: Path) -> None:
    """All at once, and never over one that another process has just made; mkstemp makes the file 0600."""
    handle, name = tempfile.mkstemp(dir=file.parent, prefix=file.name)
    try:
        with os.fdopen(handle, "w") as made:
            made.write(secrets.token_urlsafe(32) + "\n")
        with suppress(FileExistsError):
            os.link(name, file)
    finally:
        Path(name).unlink()


def _checked(secret: str, where: str) -> str:
    if not _SECRET.fullmatch(secret):
        raise SettingsError(f"{where}: must be 20 to 200 letters, digits, - and _")
    return secret
