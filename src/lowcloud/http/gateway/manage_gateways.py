"""Gateways: made, read, changed and deleted by their owners."""

import json
from collections.abc import Mapping
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, JsonValue
from starlette.responses import Response

from lowcloud.gateway.config import DEFAULT_ID, GATEWAY_ID
from lowcloud.gateway.errors import FeatureUnsupported
from lowcloud.gateway.options import MAX_ATTEMPTS, MAX_GATEWAY_DELAY_MS, MAX_TTL_S, MIN_TTL_S
from lowcloud.gateway.shelves import trim
from lowcloud.http.call import Call
from lowcloud.http.gateway.manage import AlreadyThere, Desk, PageQuery, account_of, answered, iso, listed, refuse_later
from lowcloud.http.workers_ai.catalogue_query import Page, asked
from lowcloud.storage.gateways import GatewayRow

MAX_RULES = 20
MAX_LOGS = 10_000_000
MAX_SPAN_S = 366 * 86_400
# Fields of what isn't done yet; a value that asks for nothing is accepted.
LATER: Mapping[str, str] = {
    "dlp": "nothing is searched for sensitive data here yet",
    "guardrails": "nothing is judged here yet",
    "log_classification": "logs aren't classified here yet",
    "logpush": "logs aren't pushed anywhere yet; they can be exported",
    "logpush_public_key": "logs aren't pushed anywhere yet; they can be exported",
    "otel": "traces aren't sent anywhere yet",
    "store_id": "there is no secrets store; provider_configs keeps keys",
    "stripe": "usage isn't reported to anybody",
}


class _Strict(BaseModel):
    model_config = ConfigDict(strict=True)


class _Whole(BaseModel):
    """Part of a rule, where a misspelt name would loosen it."""

    model_config = ConfigDict(strict=True, extra="forbid")


class PartitionBody(_Whole):
    """Each value counts by itself."""

    mode: Literal["partition"]


class FilterBody(_Whole):
    """The rule is for these values."""

    mode: Literal["filter"]
    values: Annotated[list[str], Field(min_length=1, max_length=100)]


SelectorBody: TypeAlias = Annotated[PartitionBody | FilterBody, Field(discriminator="mode")]


class SpendRuleBody(_Whole):
    """At most ``limit`` dollars in ``window`` seconds."""

    id: Annotated[str, Field(min_length=1, max_length=64)] | None = None
    enabled: bool = True
    limit: float = Field(gt=0, le=1e9, allow_inf_nan=False)
    limit_type: Literal["cost"] = Field(alias="limitType")
    window: int = Field(ge=1, le=MAX_SPAN_S)
    technique: Literal["fixed", "sliding"] = "fixed"
    model: SelectorBody | None = None
    provider: SelectorBody | None = None
    metadata: dict[str, SelectorBody] = Field(default_factory=dict)


def _distinct(rules: list[SpendRuleBody]) -> list[SpendRuleBody]:
    ids = [rule.id or f"rule-{place}" for place, rule in enumerate(rules)]
    if len(set(ids)) < len(ids):
        raise ValueError("no two may have the same id")
    return rules


class SpendLimitsBody(_Whole):
    """Rules, each of which must let a call through."""

    enabled: bool = True
    rules: Annotated[list[SpendRuleBody], Field(max_length=MAX_RULES), AfterValidator(_distinct)] = Field(
        default_factory=list
    )


def _ttl(seconds: int) -> int:
    if seconds != 0 and not MIN_TTL_S <= seconds <= MAX_TTL_S:
        raise ValueError(f"must be 0, which is off, or from {MIN_TTL_S} to {MAX_TTL_S} seconds")
    return seconds


class GatewayFields(_Strict):
    """A gateway's settings."""

    cache_invalidate_on_update: bool
    cache_ttl: Annotated[int, AfterValidator(_ttl)] | None = Field(description="seconds; 0 and null: off")
    collect_logs: bool
    rate_limiting_interval: Annotated[int, Field(ge=0, le=MAX_SPAN_S)] | None = Field(description="seconds")
    rate_limiting_limit: Annotated[int, Field(ge=0, le=10**9)] | None = Field(description="requests")
    rate_limiting_technique: Literal["fixed", "sliding"] | None = None
    authentication: bool = False
    byok_only: bool = False
    log_management: Annotated[int, Field(ge=1, le=MAX_LOGS)] | None = Field(None, description="how many logs are kept")
    log_management_strategy: Literal["STOP_INSERTING", "DELETE_OLDEST"] | None = None
    retry_backoff: Literal["constant", "linear", "exponential"] | None = None
    retry_delay: Annotated[int, Field(ge=0, le=MAX_GATEWAY_DELAY_MS)] | None = Field(None, description="milliseconds")
    retry_max_attempts: Annotated[int, Field(ge=1, le=MAX_ATTEMPTS)] | None = None
    spend_limits: SpendLimitsBody | None = None
    workers_ai_billing_mode: Literal["postpaid", "unified"] = "postpaid"
    zdr: bool = False
    dlp: JsonValue = None
    guardrails: JsonValue = None
    log_classification: JsonValue = None
    logpush: JsonValue = None
    logpush_public_key: JsonValue = None
    otel: JsonValue = None
    store_id: JsonValue = None
    stripe: JsonValue = None


class GatewayBody(GatewayFields):
    """A new gateway."""

    id: str = Field(pattern=rf"^{GATEWAY_ID.pattern}$")


class GatewaysQuery(PageQuery):
    """A page of gateways."""

    search: str = Field("", description="a part of the id")


class Gateways:
    """Handles an account's gateways."""

    def __init__(self, on: Desk) -> None:
        self._on = on
        self._store = on.kept.shelves.gateways

    async def index(self, call: Call) -> Response:
        """A page of them, the oldest first."""
        query, _ = asked(GatewaysQuery, call.query)
        rows, total = await self._store.list(account_of(call), query.page, query.per_page, query.search)
        return listed(Page(rows, query.page, query.per_page, total).map(shown))

    async def create(self, call: Call) -> Response:
        """A new one. Raises AlreadyThere."""
        body, ignored = await self._on.body(GatewayBody, call)
        config, account_id = json.dumps(_kept(body)), account_of(call)
        row: GatewayRow | None
        if body.id == DEFAULT_ID and await self._store.get(account_id, DEFAULT_ID) is None:
            row = await self._store.ensure_default(account_id, config)
        else:
            row = await self._store.create(account_id, body.id, config)
        if row is None:
            raise AlreadyThere(f"id: there is a gateway {body.id} already.", param="id")
        self._on.kept.directory.forget(account_id)
        return answered(shown(row), ignored)

    async def show(self, call: Call) -> Response:
        """One of them."""
        return answered(shown(await self._on.gateway(call)))

    async def update(self, call: Call) -> Response:
        """It, with other settings; those that the body leaves out stay as they are. Logs beyond a bound go at once."""
        body, ignored = await self._on.body(GatewayFields, call)
        before = await self._on.gateway(call)
        config = {**json.loads(before.config), **_kept(body)}
        where = (before.account_id, before.id)
        row = await self._store.update(*where, json.dumps(config), forgets_cache=body.cache_invalidate_on_update)
        self._on.kept.directory.forget(before.account_id)
        if body.cache_invalidate_on_update:
            self._on.cache.forget(*where)
        if row is not None:
            await trim(self._on.logs, *where, await self._on.kept.directory.log_bound(*where))
        return answered(shown(row or await self._on.gateway(call)), ignored)

    async def delete(self, call: Call) -> Response:
        """It as it was, gone with its logs, cache, spend and keys."""
        row = await self._on.gateway(call)
        where = (row.account_id, row.id)
        await self._on.spool.move()
        await self._store.delete(*where)
        self._on.kept.directory.forget(row.account_id)
        self._on.cache.forget(*where)
        self._on.spending.forget(where)
        return answered(shown(row))


def _kept(body: GatewayFields) -> dict[str, Any]:
    """What the body says, as it is stored. Raises FeatureUnsupported."""
    refuse_later(body, LATER)
    if body.workers_ai_billing_mode == "unified":
        raise FeatureUnsupported("workers_ai_billing_mode: there are no credits here.", param="workers_ai_billing_mode")
    return body.model_dump(mode="json", by_alias=True, exclude_unset=True, exclude={"id", *LATER})


_OF_EVERY_GATEWAY: Mapping[str, object] = {
    "cache_invalidate_on_update": False,
    "cache_ttl": None,
    "collect_logs": True,
    "rate_limiting_interval": None,
    "rate_limiting_limit": None,
    "rate_limiting_technique": "fixed",
    "authentication": False,
    "byok_only": False,
    "log_management": None,
    "log_management_strategy": "DELETE_OLDEST",
    "retry_backoff": None,
    "retry_delay": None,
    "retry_max_attempts": None,
    "spend_limits": None,
    "workers_ai_billing_mode": "postpaid",
    "zdr": False,
}
_NONE: Mapping[str, object] = {**dict.fromkeys(LATER), "log_classification": False, "logpush": False, "otel": []}


def shown(row: GatewayRow) -> dict[str, object]:
    """A gateway as the API has it."""
    times = {"created_at": iso(row.created_at), "modified_at": iso(row.modified_at)}
    own = {"id": row.id, **times, "is_default": row.is_default}
    return {**own, **_OF_EVERY_GATEWAY, **_NONE, **json.loads(row.config)}
