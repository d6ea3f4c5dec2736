"""A Redis for the limits that several servers count together."""

import os

import pytest
from redis_server import program, redis_server


@pytest.fixture(scope="session")
def redis_url() -> str:
    """Of the tests' own server; without one they are skipped, but where REQUIRE_REDIS says that there must be one."""
    path = program()
    if path is None:
        complaint = "there is no Redis server here; on Debian: apt-get install redis-server"
        if os.environ.get("REQUIRE_REDIS"):
            pytest.fail(complaint)
        pytest.skip(complaint)
    with redis_server(path) as url:
        yield url
