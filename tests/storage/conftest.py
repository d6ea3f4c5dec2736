"""Every test of the storage runs on SQLite and on PostgreSQL."""

import os

import pytest
from postgres_server import PostgresServer, postgres_server, programs
from told_clock import Clock

from lowcloud.storage.database import open_database


@pytest.fixture(scope="session")
def postgres() -> PostgresServer:
    """The tests' own server; without one they are skipped, but where REQUIRE_POSTGRES says that there must be one."""
    bin_folder = programs()
    if bin_folder is None:
        complaint = "there is no PostgreSQL server here; on Debian: apt-get install postgresql"
        if os.environ.get("REQUIRE_POSTGRES"):
            pytest.fail(complaint)
        pytest.skip(complaint)
    with postgres_server(bin_folder) as server:
        yield server


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request, tmp_path):
    """Of a new database."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path}/state/lowcloud.db"
    else:
        server = request.getfixturevalue("postgres")
        with server.database() as name:
            yield server.url(name)


@pytest.fixture
def database(url):
    with open_database(url) as database:
        yield database


@pytest.fixture
def clock() -> Clock:
    return Clock()
