"""What all tests share."""

import pytest
from hypothesis import HealthCheck, settings

# What a property proves is no speed: a busy machine may take its time for each example.
settings.register_profile("untimed", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("untimed")


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"
