"""Which failures are tried again, when, and how long an attempt may wait for its first byte. Pure.

Attempts count from 1. Source: Cloudflare docs, AI Gateway › Request handling, read 2026-11.
"""

import re
from datetime import UTC
from email.utils import parsedate_to_datetime
from typing import TypeAlias

from lowcloud.gateway.errors import NoReplyKind
from lowcloud.gateway.options import Settled

Failure: TypeAlias = int | NoReplyKind  # a reply's status, or why there is none

PATIENCE_S = 60.0  # a provider that asks for more has failed


def is_retried(failure: Failure) -> bool:
    """Whether the same call may fare better; a host that isn't allowed never is."""
    if isinstance(failure, int):
        return failure in {408, 429} or 500 <= failure <= 599
    return failure in {"no_connection", "timeout"}


def delay_s(attempt: int, options: Settled, retry_after_s: float | None) -> float | None:
    """Seconds until the next attempt, after ``attempt`` has failed; None: there is none, the step has failed.

    ``retry_after_s``, the provider's wish, counts where it is longer than our own delay, which is no longer than
    ``PATIENCE_S`` however it grows.
    """
    if attempt >= options.max_attempts or (retry_after_s or 0.0) > PATIENCE_S:
        return None
    growth = {"constant": 1, "linear": attempt, "exponential": 1 << attempt - 1}[options.backoff]
    return max(min(options.retry_delay_ms / 1_000 * growth, PATIENCE_S), retry_after_s or 0.0)


def timeout_s(attempt: int, options: Settled) -> float | None:
    """The caller's bound for an attempt's first byte; None: none is set, or it is the last of several attempts."""
    is_last_of_several = attempt >= options.max_attempts > 1
    return None if options.request_timeout_ms is None or is_last_of_several else options.request_timeout_ms / 1_000


def parse_retry_after(value: str | None, now: float) -> float | None:
    """Seconds of a ``Retry-After``, which has them or a date of HTTP; None: there is none that can be read.

    ``now`` is in seconds since 1970.
    """
    text = (value or "").strip()
    if re.fullmatch(r"[0-9]+(\.[0-9]+)?", text):
        return float(text)
    try:
        date = parsedate_to_datetime(text)
    except (ValueError, OverflowError):  # the latter for numbers that C hasn't
        return None
    moment = date if date.tzinfo is not None else date.replace(tzinfo=UTC)
    return max(0.0, moment.timestamp() - now)
