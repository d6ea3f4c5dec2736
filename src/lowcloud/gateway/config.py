"""A gateway's settings, as its management API takes them. Pure."""

import re
from dataclasses import dataclass
from typing import Literal, TypeAlias

from lowcloud.gateway.spend import SpendRule
from lowcloud.gateway.windows import Technique, Window

LogStrategy: TypeAlias = Literal["STOP_INSERTING", "DELETE_OLDEST"]
Backoff: TypeAlias = Literal["constant", "linear", "exponential"]

GATEWAY_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")
DEFAULT_ID = "default"


@dataclass(frozen=True, slots=True)
class GatewayConfig:
    """One gateway of an account. What is None is off, or left to the request.

    ``log_management`` is how many logs are kept. ``created_at`` and ``modified_at`` are seconds since 1970. A limit of
    requests counts where both ``rate_limiting_limit`` and ``rate_limiting_interval_s`` are set, and not 0.
    """

    id: str
    cache_ttl_s: int | None = None
    cache_invalidate_on_update: bool = False
    collect_logs: bool = True
    rate_limiting_limit: int | None = None
    rate_limiting_interval_s: int | None = None
    rate_limiting_technique: Technique = "fixed"
    authentication: bool = False
    log_management: int | None = None
    log_management_strategy: LogStrategy = "DELETE_OLDEST"
    retry_max_attempts: int | None = None
    retry_delay_ms: int | None = None
    retry_backoff: Backoff | None = None
    spend_limits: tuple[SpendRule, ...] = ()
    zdr: bool = False
    created_at: float = 0.0
    modified_at: float = 0.0
    is_default: bool = False

    @property
    def rate_limit(self) -> Window | None:
        """Of requests; None: there is no limit."""
        if not self.rate_limiting_limit or not self.rate_limiting_interval_s:
            return None
        return Window(self.rate_limiting_limit, self.rate_limiting_interval_s, self.rate_limiting_technique)


# As it makes itself on the first authenticated request: authenticated, logged, neither cached nor limited.
DEFAULT = GatewayConfig(DEFAULT_ID, authentication=True, is_default=True)
