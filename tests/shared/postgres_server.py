"""A PostgreSQL of the tests' own, in a folder that goes with it: no TCP port, nothing flushed to the disk."""

import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

import psycopg

HASTE = ("fsync=off", "synchronous_commit=off", "full_page_writes=off", "listen_addresses=")


def programs() -> Path | None:
    """Where the programs of a PostgreSQL server are, on Debian or wherever they are on the path."""
    found = shutil.which("initdb")
    if found is not None:
        return Path(found).resolve().parent
    debians = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parts[-3]))
    return debians[-1].parent if debians else None


@dataclass(frozen=True)
class PostgresServer:
    """``folder`` has the socket."""

    folder: Path
    numbers: Iterator[int]

    def url(self, database: str, user: str = "postgres", password: str = "") -> str:
        return f"postgresql://{user}{':' if password else ''}{password}@/{database}?host={self.folder}"

    def execute(self, statement: str, database: str = "postgres") -> list[tuple[object, ...]]:
        with psycopg.connect(self.url(database), autocommit=True) as connection:
            cursor = connection.execute(statement)
            return cursor.fetchall() if cursor.description else []

    @contextmanager
    def database(self, options: str = "") -> Iterator[str]:
        """The name of a new database."""
        name = f"test{next(self.numbers)}"
        self.execute(f"CREATE DATABASE {name} {options}")
        yield name
        self.execute(f"DROP DATABASE {name} WITH (FORCE)")


@contextmanager
def postgres_server(bin_folder: Path) -> Iterator[PostgresServer]:
    """One that runs until the block ends. Its programs refuse to run as root, so they run as another user then."""
    owner = _owner()
    with tempfile.TemporaryDirectory(prefix="lowcloud-postgres-") as name:
        folder = Path(name)
        if owner:
            os.chown(folder, owner["user"], owner["group"])

        def run(program: str, *arguments: str) -> None:
            command = [bin_folder / program, f"--pgdata={folder}/data", *arguments]
            subprocess.run(command, cwd=folder, stdout=subprocess.DEVNULL, check=True, timeout=60, **owner)

        run("initdb", "--auth=trust", "--username=postgres", "--no-sync", "--encoding=UTF8", "--locale=C")
        (folder / "data" / "pg_hba.conf").write_text("local all guarded scram-sha-256\nlocal all all trust\n")
        options = " ".join(f"-c {option}" for option in (*HASTE, f"unix_socket_directories={folder}"))
        run("pg_ctl", "start", "--wait", f"--log={folder}/log", f"--options={options}")
        try:
            yield PostgresServer(folder, count())
        finally:
            run("pg_ctl", "stop", "--wait", "--mode=immediate")


def _owner() -> dict[str, Any]:
    if os.getuid() != 0:
        return {}
    names = {entry.pw_name: entry for entry in pwd.getpwall()}
    entry = names.get("postgres") or names["nobody"]
    return {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": []}
