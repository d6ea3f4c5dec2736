"""Keys that a gateway keeps for providers: stored sealed, used for calls that bring none, and never shown again."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, JsonValue
from starlette.types import ASGIApp

from lowcloud.core.errors import BadRequest
from lowcloud.gateway.call import OURS
from lowcloud.gateway.providers import PROVIDERS
from lowcloud.http.call import Call
from lowcloud.http.gateway.manage import (
    AlreadyThere,
    Desk,
    NotManaged,
    PageQuery,
    account_of,
    answered,
    cut,
    iso,
    listed,
    refuse_later,
)
from lowcloud.http.workers_ai.catalogue_query import asked
from lowcloud.storage.provider_keys import CUSTOM, ProviderKeyRow

SHOWN_CHARS = 4
LEAST_CHARS = 16  # of a key whose end is shown
LATER: Mapping[str, str] = {
    "secret_id": "there is no secrets store; send the key itself as secret",
    "rate_limit": "calls aren't counted by key yet; a gateway's rate_limiting_limit counts them",
    "rate_limit_period": "calls aren't counted by key yet; a gateway's rate_limiting_interval is the span",
}


def _printable(secret: str) -> str:
    if not secret.isascii() or not secret.isprintable() or secret != secret.strip():
        raise ValueError("must be what a header can hold: printable ASCII, and no space around it")
    return secret


Alias = Annotated[str, Field(pattern=r"^[A-Za-z0-9_.-]{1,64}$")]
Secret = Annotated[str, Field(min_length=1, max_length=8_192), AfterValidator(_printable)]


class _Refused(BaseModel):
    model_config = ConfigDict(strict=True)

    secret_id: JsonValue = None
    rate_limit: JsonValue = None
    rate_limit_period: JsonValue = None


class ProviderConfigBody(_Refused):
    """A key to keep. The one with ``default_config`` is used where a call names no alias."""

    provider_slug: str
    alias: Alias
    default_config: bool
    secret: Secret


class ProviderConfigChange(_Refused):
    """What changes in one."""

    alias: Alias | None = None
    default_config: bool | None = None
    secret: Secret | None = None


class ProviderConfigsQuery(PageQuery):
    """A page of keys."""


class ProviderConfigs:
    """Handles the keys that an account's gateways keep."""

    def __init__(self, on: Desk) -> None:
        self._on = on
        self._store = on.kept.shelves.keys

    async def index(self, call: Call) -> ASGIApp:
        """A page of them, by provider and alias."""
        query, _ = asked(ProviderConfigsQuery, call.query)
        gateway = await self._on.gateway(call)
        rows = await self._store.list(gateway.account_id, gateway.id)
        return listed(cut(rows, query).map(shown))

    async def create(self, call: Call) -> ASGIApp:
        """Keep one. Raises AlreadyThere."""
        body, ignored = await self._on.body(ProviderConfigBody, call)
        refuse_later(body, LATER)
        gateway = await self._on.gateway(call)
        await self._check(gateway.account_id, body.provider_slug)
        now, key_id = self._on.clock(), self._on.new_id()
        place = (key_id, gateway.account_id, gateway.id, body.provider_slug, body.alias, body.default_config)
        row = ProviderKeyRow(*place, *self._sealed(gateway.account_id, body.secret), None, None, now, now)
        if not await self._store.create(row):
            raise _taken(body.provider_slug, body.alias)
        self._on.kept.directory.forget(gateway.account_id)
        return answered(shown(row), ignored)

    async def show(self, call: Call) -> ASGIApp:
        """One of them."""
        return answered(shown(await self._row(call)))

    async def update(self, call: Call) -> ASGIApp:
        """It, with another alias, another key, or as the default; what the body leaves out stays as it is."""
        body, ignored = await self._on.body(ProviderConfigChange, call)
        refuse_later(body, LATER)
        row = replace(await self._row(call), modified_at=self._on.clock())
        if body.alias is not None:
            row = replace(row, alias=body.alias)
        if body.default_config is not None:
            row = replace(row, is_default=body.default_config)
        if body.secret is not None:
            sealed, preview = self._sealed(row.account_id, body.secret)
            row = replace(row, sealed=sealed, preview=preview)
        if not await self._store.update(row):
            raise _taken(row.provider_slug, row.alias)
        self._on.kept.directory.forget(row.account_id)
        return answered(shown(row), ignored)

    async def delete(self, call: Call) -> ASGIApp:
        """It as it was, gone."""
        row = await self._row(call)
        await self._store.delete(row.account_id, row.gateway_id, row.id)
        self._on.kept.directory.forget(row.account_id)
        return answered(shown(row))

    async def _row(self, call: Call) -> ProviderKeyRow:
        key_id = call.params["config_id"]
        row = await self._store.get(account_of(call), call.params["gateway_id"], key_id)
        if row is None:
            raise NotManaged("provider config", key_id, "config_id")
        return row

    async def _check(self, account_id: str, slug: str) -> None:
        """Raises BadRequest for a provider that takes no key."""
        if slug in PROVIDERS and slug != OURS:
            return
        own = slug.removeprefix(CUSTOM)
        if slug.startswith(CUSTOM) and await self._on.kept.shelves.custom.by_slug(account_id, own) is not None:
            return
        why = "our own models need no key" if slug == OURS else "there is no such provider"
        raise BadRequest(f"provider_slug: {why}.", param="provider_slug")

    def _sealed(self, account_id: str, secret: str) -> tuple[str, str]:
        """What is stored of a key, and what is shown."""
        end = secret[-SHOWN_CHARS:] if len(secret) >= LEAST_CHARS else ""
        return self._on.kept.shelves.cipher.seal(secret, account_id), f"****{end}"


def _taken(provider: str, alias: str) -> AlreadyThere:
    return AlreadyThere(f"alias: the gateway keeps a key {alias} for {provider} already.", param="alias")


def shown(row: ProviderKeyRow) -> dict[str, object]:
    """A key as the API has it: never itself."""
    return {
        "id": row.id,
        "gateway_id": row.gateway_id,
        "provider_slug": row.provider_slug,
        "alias": row.alias,
        "default_config": row.is_default,
        "secret_id": row.id,
        "secret_preview": row.preview,
        "rate_limit": row.rate_limit,
        "rate_limit_period": row.rate_limit_period,
        "created_at": iso(row.created_at),
        "modified_at": iso(row.modified_at),
    }
