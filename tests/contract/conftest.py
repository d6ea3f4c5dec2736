"""A server on scripted engines for each test of an SDK."""

from collections.abc import Iterator

import pytest
from scripted_server import Served, scripted_server


@pytest.fixture(params=[True], ids=["dev"])
def served(request: pytest.FixtureRequest) -> Iterator[Served]:
    """``dev``; with the parameter False ``serve``, which wants a token."""
    with scripted_server(is_open=request.param) as running:
        yield running
