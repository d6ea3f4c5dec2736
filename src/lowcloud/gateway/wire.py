"""A gateway's settings as its management API has them, and what they mean here. Pure."""

from collections.abc import Mapping
from typing import Any

from lowcloud.gateway.config import GatewayConfig
from lowcloud.gateway.spend import Filter, Partition, Selector, SpendRule

# As ``default`` makes itself: authenticated, logged, neither cached nor limited.
DEFAULT_FIELDS: Mapping[str, object] = {
    "authentication": True,
    "cache_invalidate_on_update": False,
    "cache_ttl": 0,
    "collect_logs": True,
    "rate_limiting_interval": 0,
    "rate_limiting_limit": 0,
}


def config_of(gateway_id: str, fields: Mapping[str, Any], *, is_default: bool = False) -> GatewayConfig:
    """The settings in ``fields``, which were checked when they were stored; what isn't there is off."""
    return GatewayConfig(
        gateway_id,
        cache_ttl_s=fields.get("cache_ttl"),
        cache_invalidate_on_update=bool(fields.get("cache_invalidate_on_update")),
        collect_logs=fields.get("collect_logs") is not False,
        rate_limiting_limit=fields.get("rate_limiting_limit"),
        rate_limiting_interval_s=fields.get("rate_limiting_interval"),
        rate_limiting_technique=fields.get("rate_limiting_technique") or "fixed",
        authentication=bool(fields.get("authentication")),
        log_management=fields.get("log_management"),
        log_management_strategy=fields.get("log_management_strategy") or "DELETE_OLDEST",
        retry_max_attempts=fields.get("retry_max_attempts"),
        retry_delay_ms=fields.get("retry_delay"),
        retry_backoff=fields.get("retry_backoff"),
        spend_limits=_rules(fields.get("spend_limits")),
        zdr=bool(fields.get("zdr")),
        is_default=is_default,
    )


def _rules(limits: Mapping[str, Any] | None) -> tuple[SpendRule, ...]:
    if not limits or limits.get("enabled") is False:
        return ()
    return tuple(_rule(place, rule) for place, rule in enumerate(limits.get("rules") or ()))


def _rule(place: int, rule: Mapping[str, Any]) -> SpendRule:
    """One without an id is known by its place."""
    return SpendRule(
        rule.get("id") or f"rule-{place}",
        limit=float(rule["limit"]),
        window_s=int(rule["window"]),
        technique=rule.get("technique") or "fixed",
        enabled=rule.get("enabled") is not False,
        model=_selector(rule.get("model")),
        provider=_selector(rule.get("provider")),
        metadata={
            name: found for name, each in (rule.get("metadata") or {}).items() if (found := _selector(each)) is not None
        },
    )


def _selector(value: Mapping[str, Any] | None) -> Selector | None:
    if value is None:
        return None
    return Partition() if value["mode"] == "partition" else Filter(frozenset(value["values"]))
