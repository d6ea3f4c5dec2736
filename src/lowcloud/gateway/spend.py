"""Limits of dollars: which rules a call comes under, what it may cost, and whether it may begin. Pure.

A rule counts calls together, or apart by what is partitioned: the model, the provider, entries of the metadata.
Each such part is a bucket with a window of its own. Source: Cloudflare docs, AI Gateway › Spend limits, read 2026-11.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

from lowcloud.gateway import windows
from lowcloud.gateway.errors import SpendLimitReached
from lowcloud.gateway.windows import Amounts, Held, Technique, Window

BYTES_PER_TOKEN = 4
DEFAULT_OUTPUT_TOKENS = 1_024
MAX_OUTPUT_TOKENS = 10_000_000
EVERYTHING = "all"


@dataclass(frozen=True, slots=True)
class Partition:
    """A bucket for each value. Calls without one share a bucket, so that leaving it out is no way around the rule."""


@dataclass(frozen=True, slots=True)
class Filter:
    """The rule is for these values alone."""

    values: frozenset[str]


Selector: TypeAlias = Partition | Filter
Key: TypeAlias = tuple[str, str]  # a rule's id, and a bucket


@dataclass(frozen=True, slots=True)
class SpendRule:
    """At most ``limit`` dollars in ``window_s`` seconds; ``metadata`` has selectors by the entry's name."""

    id: str
    limit: float
    window_s: int
    technique: Technique = "fixed"
    enabled: bool = True
    model: Selector | None = None
    provider: Selector | None = None
    metadata: Mapping[str, Selector] = field(default_factory=dict)

    @property
    def window(self) -> Window:
        """What its buckets count in."""
        return Window(self.limit, self.window_s, self.technique)


@dataclass(frozen=True, slots=True)
class Facts:
    """What rules select by."""

    provider: str
    model: str | None
    metadata: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Refusal:
    """The first rule that lets the call not begin. ``spent`` has what calls under way hold."""

    bucket: str
    spent: float
    limit: float
    retry_after_s: float

    def error(self) -> SpendLimitReached:
        """As the caller is told."""
        return SpendLimitReached(self.bucket, self.spent, self.limit, retry_after_s=self.retry_after_s)


def bucket_of(rule: SpendRule, facts: Facts) -> str | None:
    """Where a call is counted under a rule; None: the rule isn't for it."""
    if not rule.enabled:
        return None
    parts = []
    for name, selector, value in _selected(rule, facts):
        match selector:
            case Filter(values) if value not in values:
                return None
            case Partition():
                parts.append(f"{name}={json.dumps(value, ensure_ascii=False)}")
    return ";".join(parts) or EVERYTHING


def _selected(rule: SpendRule, facts: Facts) -> list[tuple[str, Selector | None, str | None]]:
    entries = [(f"metadata.{key}", each, _text(facts.metadata.get(key))) for key, each in sorted(rule.metadata.items())]
    return [("model", rule.model, facts.model), ("provider", rule.provider, facts.provider), *entries]


def _text(value: object) -> str | None:
    """A value of the metadata as filters write it."""
    return value if isinstance(value, str) or value is None else json.dumps(value)


def keys_of(rules: Sequence[SpendRule], facts: Facts) -> dict[Key, SpendRule]:
    """The buckets that a call is counted in."""
    found = {rule.id: (rule, bucket_of(rule, facts)) for rule in rules}
    return {(name, bucket): rule for name, (rule, bucket) in found.items() if bucket is not None}


def reserve(
    keys: Mapping[Key, SpendRule], ledger: Mapping[Key, Amounts], wanted: Held
) -> tuple[Refusal | None, dict[Key, Amounts]]:
    """Hold a call's estimate in all its buckets, or in none; the second is the buckets as they are then.

    A bucket that isn't in the ``ledger`` is empty.
    """
    changed = {}
    for key, rule in keys.items():
        before = ledger.get(key, Amounts())
        decision, changed[key] = windows.reserve(rule.window, before, wanted)
        if not decision.is_allowed:
            spent = windows.spent(rule.window, before, wanted.at)
            return Refusal(key[1], spent, rule.limit, decision.retry_after_s), {}
    return None, changed


def settle(
    keys: Mapping[Key, SpendRule], ledger: Mapping[Key, Amounts], call_id: str, amount: float, now: float
) -> dict[Key, Amounts]:
    """The buckets once a call has ended and cost ``amount`` dollars (0: it never ran)."""
    return {
        key: windows.settle(rule.window, ledger.get(key, Amounts()), call_id, amount, now) for key, rule in keys.items()
    }


def estimated_cost(n_prompt_bytes: int, max_tokens: int, per_token_in: float, per_token_out: float) -> float:
    """Dollars that a call may cost; prices are dollars a token."""
    return n_prompt_bytes / BYTES_PER_TOKEN * per_token_in + max_tokens * per_token_out


def max_tokens_of(body: object) -> int:
    """How many tokens a call's JSON body lets the model answer, all choices together."""
    if not isinstance(body, Mapping):
        return DEFAULT_OUTPUT_TOKENS
    config = body.get("generationConfig")
    asked = [body.get(name) for name in ("max_completion_tokens", "max_output_tokens", "max_tokens")]
    asked.append(config.get("maxOutputTokens") if isinstance(config, Mapping) else None)
    most = next((n for n in map(_count, asked) if n is not None), DEFAULT_OUTPUT_TOKENS)
    return min(most * (_count(body.get("n")) or 1), MAX_OUTPUT_TOKENS)


def _count(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else None
