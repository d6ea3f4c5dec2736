"""An account's own providers, which calls name ``custom-{slug}``."""

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Annotated
from urllib.parse import SplitResult, urlsplit

from pydantic import BaseModel, ConfigDict, Field, JsonValue
from starlette.types import ASGIApp

from lowcloud.core.errors import BadRequest
from lowcloud.gateway.directory import MAX_CUSTOM
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
from lowcloud.storage.gateways import CustomProviderRow

MAX_NAME_CHARS, MAX_URL_CHARS = 200, 2_000  # what the columns hold
MAX_TEXT_CHARS = 10_000
LATER: Mapping[str, str] = {"headers": "a provider gets the headers of the call, and no further ones yet"}
ABOUT = ("description", "link", "beta", "curl_example", "js_example", "position")

Slug = Annotated[str, Field(pattern=r"^[a-z0-9](?:[a-z0-9-]{0,62}[a-z0-9])?$")]
Name = Annotated[str, Field(min_length=1, max_length=MAX_NAME_CHARS)]
BaseUrl = Annotated[str, Field(min_length=1, max_length=MAX_URL_CHARS)]
Text = Annotated[str, Field(max_length=MAX_TEXT_CHARS)]


class _Described(BaseModel):
    model_config = ConfigDict(strict=True)

    description: Text | None = None
    link: Text | None = None
    beta: bool = False
    curl_example: Text | None = None
    js_example: Text | None = None
    position: Annotated[int, Field(ge=0, le=10**6)] | None = None
    headers: JsonValue = None


class CustomProviderBody(_Described):
    """A new provider. Calls reach it once it is enabled."""

    name: Name
    slug: Slug
    base_url: BaseUrl
    enable: bool = False


class CustomProviderChange(_Described):
    """What changes in one."""

    name: Name | None = None
    slug: Slug | None = None
    base_url: BaseUrl | None = None
    enable: bool | None = None


class CustomProvidersQuery(PageQuery):
    """A page of providers."""

    search: str = Field("", description="a part of the id, the name or the slug, in any case")
    beta: bool | None = None
    enable: bool | None = None


class CustomProviders:
    """Handles an account's custom providers."""

    def __init__(self, on: Desk) -> None:
        self._on = on
        self._store = on.kept.shelves.custom

    async def index(self, call: Call) -> ASGIApp:
        """A page of those that are asked for, the oldest first."""
        query, _ = asked(CustomProvidersQuery, call.query)
        rows, _ = await self._store.list(account_of(call), per_page=MAX_CUSTOM)
        found = [each for row in rows if _is_asked(each := shown(row), query)]
        return listed(cut(found, query).map(lambda each: each))

    async def create(self, call: Call) -> ASGIApp:
        """A new one. Raises AlreadyThere."""
        body, ignored = await self._on.body(CustomProviderBody, call)
        refuse_later(body, LATER)
        self._check(body.base_url)
        account_id, now = account_of(call), self._on.clock()
        if (await self._store.list(account_id, per_page=1))[1] >= MAX_CUSTOM:
            raise BadRequest(f"There are {MAX_CUSTOM} custom providers already, and no more are kept.")
        about = json.dumps({name: getattr(body, name) for name in ABOUT})
        place = (self._on.new_id(), account_id, body.slug, body.name, body.base_url)
        row = CustomProviderRow(*place, about, body.enable, now, now)
        if not await self._store.create(row):
            raise _taken(body.slug)
        await self._changed(row)
        return answered(shown(row), ignored)

    async def show(self, call: Call) -> ASGIApp:
        """One of them."""
        return answered(shown(await self._row(call)))

    async def update(self, call: Call) -> ASGIApp:
        """It as it is then; what the body leaves out stays as it is. What was cached is asked for again."""
        body, ignored = await self._on.body(CustomProviderChange, call)
        refuse_later(body, LATER)
        row = await self._row(call)
        given = body.model_dump(exclude_unset=True)
        about = json.loads(row.about) | {name: value for name, value in given.items() if name in ABOUT}
        own = {name: given[name] for name in ("name", "slug", "base_url") if given.get(name) is not None}
        is_enabled = row.enabled if body.enable is None else body.enable
        row = replace(row, **own, about=json.dumps(about), enabled=is_enabled, modified_at=self._on.clock())
        self._check(row.base_url)
        if not await self._store.update(row):
            raise _taken(row.slug)
        await self._changed(row)
        return answered(shown(row), ignored)

    async def delete(self, call: Call) -> ASGIApp:
        """It as it was, gone."""
        row = await self._row(call)
        await self._store.delete(row.account_id, row.id)
        await self._changed(row)
        return answered(shown(row))

    async def _row(self, call: Call) -> CustomProviderRow:
        provider_id = call.params["provider_id"]
        row = await self._store.get(account_of(call), provider_id)
        if row is None:
            raise NotManaged("custom provider", provider_id, "provider_id")
        return row

    async def _changed(self, row: CustomProviderRow) -> None:
        await self._on.kept.shelves.gateways.forget_caches(row.account_id)
        self._on.kept.directory.forget(row.account_id)

    def _check(self, base_url: str) -> None:
        """Raises BadRequest. Where a name leads is looked at when it is called."""
        url = _parsed(base_url)
        if url is None:
            raise BadRequest("base_url: must be an https URL of a host and a path, without more.", param="base_url")
        allowed = {host.lower().strip("[]") for host in self._on.kept.allowed_hosts}
        if url.scheme != "https" and url.hostname not in allowed:
            raise BadRequest(
                "base_url: must begin with https://; http is for hosts that the server's operator allows.",
                param="base_url",
            )


def _parsed(base_url: str) -> SplitResult | None:
    """None: it isn't one that calls can go to."""
    if not base_url.isascii() or not base_url.isprintable() or any(each in base_url for each in ' \\?#@"<>'):
        return None
    try:
        url = urlsplit(base_url)
        is_good = url.scheme in ("http", "https") and bool(url.hostname) and url.port != 0
    except ValueError:
        return None
    return url if is_good else None


def _is_asked(provider: Mapping[str, object], query: CustomProvidersQuery) -> bool:
    texts = (str(provider[name]).casefold() for name in ("id", "name", "slug"))
    return (
        any(query.search.casefold() in text for text in texts)
        and query.beta in (None, provider["beta"])
        and query.enable in (None, provider["enable"])
    )


def _taken(slug: str) -> AlreadyThere:
    return AlreadyThere(f"slug: the account has a custom provider {slug} already.", param="slug")


def shown(row: CustomProviderRow) -> dict[str, object]:
    """A provider as the API has it."""
    own = {"id": row.id, "name": row.name, "slug": row.slug, "base_url": row.base_url, "enable": row.enabled}
    times = {"created_at": iso(row.created_at), "modified_at": iso(row.modified_at)}
    return {**own, **json.loads(row.about), "headers": None, "logo": None, **times}
