"""Whoever calls a service in tests that aren't about callers."""

from lowcloud.core.requests import Caller

CALLER = Caller("0" * 32)
