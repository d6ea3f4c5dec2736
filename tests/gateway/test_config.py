"""A gateway's settings."""

import pytest

from lowcloud.gateway.config import DEFAULT, GatewayConfig
from lowcloud.gateway.windows import Window


def test_the_default_gateway_is_authenticated_and_logged_neither_cached_nor_limited():
    assert (DEFAULT.id, DEFAULT.is_default, DEFAULT.authentication, DEFAULT.collect_logs) == (
        "default",
        True,
        True,
        True,
    )
    assert (DEFAULT.cache_ttl_s, DEFAULT.rate_limit, DEFAULT.spend_limits) == (None, None, ())


@pytest.mark.parametrize(("limit", "interval_s"), [(None, None), (0, 60), (10, 0), (10, None), (None, 60)])
def test_requests_are_not_limited_where_limit_or_interval_is_unset(limit, interval_s):
    assert GatewayConfig("g", rate_limiting_limit=limit, rate_limiting_interval_s=interval_s).rate_limit is None


def test_a_limit_of_requests_is_a_window():
    config = GatewayConfig("g", rate_limiting_limit=10, rate_limiting_interval_s=60, rate_limiting_technique="sliding")
    assert config.rate_limit == Window(10, 60, "sliding")
