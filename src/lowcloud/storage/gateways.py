"""Gateways and custom providers of accounts, as their owners set them. What they mean is the AI Gateway's business."""

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, Select, Table, and_, delete, func, select, update

from lowcloud.storage.database import Database
from lowcloud.storage.gateway_cache import remove_entries
from lowcloud.storage.gateway_logs import remove_all_logs, remove_count
from lowcloud.storage.gateway_spend import remove_spend
from lowcloud.storage.provider_keys import move_keys_of_custom, remove_keys, remove_keys_of_custom
from lowcloud.storage.tables import custom_providers, gateways
from lowcloud.storage.upsert import insert_new

STEP = 500  # logs and entries that go in one transaction
MAX_OFFSET = 2**62


@dataclass(frozen=True, slots=True)
class GatewayRow:
    """``config`` is JSON. ``generation`` goes up where the cache is to be forgotten, and is never one that a gateway
    of the same id had before. Times are seconds since 1970."""

    account_id: str
    id: str
    config: str
    generation: int
    created_at: float
    modified_at: float
    is_default: bool = False


@dataclass(frozen=True, slots=True)
class CustomProviderRow:
    """``slug`` is the account's only one; ``about`` is JSON. Times are seconds since 1970."""

    id: str
    account_id: str
    slug: str
    name: str
    base_url: str
    about: str
    enabled: bool
    created_at: float
    modified_at: float


class GatewayStore:
    """The gateways of one database. ``clock`` gives seconds since 1970."""

    def __init__(self, database: Database, clock: Callable[[], float] = time.time) -> None:
        self._database = database
        self._clock = clock

    async def create(self, account_id: str, gateway_id: str, config: str) -> GatewayRow | None:
        """A new one; None: there is one of that id."""
        row = self._new(account_id, gateway_id, config, is_default=False)
        return row if await self._database.writer.put(lambda connection: _insert(connection, gateways, row)) else None

    async def ensure_default(self, account_id: str, config: str, gateway_id: str = "default") -> GatewayRow:
        """The account's, made with ``config`` where there is none: once, whoever else asks at the same time."""
        found = await self.get(account_id, gateway_id)
        if found is not None:
            return found
        row = self._new(account_id, gateway_id, config, is_default=True)

        def ensure(connection: Connection) -> GatewayRow:
            if _insert(connection, gateways, row):
                return row
            return _gateway(connection.execute(select(gateways).where(_is(account_id, gateway_id))).one())

        return await self._database.writer.put(ensure)

    async def get(self, account_id: str, gateway_id: str) -> GatewayRow | None:
        """One of an account's."""
        query = select(gateways).where(_is(account_id, gateway_id))
        row = await self._database.run(lambda connection: connection.execute(query).one_or_none())
        return None if row is None else _gateway(row)

    async def list(
        self, account_id: str, page: int = 1, per_page: int = 20, search: str = ""
    ) -> tuple[tuple[GatewayRow, ...], int]:
        """A page, counted from 1, of those whose id has ``search`` in it, oldest first; and how many there are."""
        found = select(gateways).where(gateways.c.account_id == account_id)
        if search:
            found = found.where(gateways.c.id.icontains(search, autoescape=True))
        order = (gateways.c.created_at, gateways.c.id)
        rows, total = await self._database.run(
            lambda connection: _page(connection, found.order_by(*order), page, per_page)
        )
        return tuple(_gateway(row) for row in rows), total

    async def update(
        self, account_id: str, gateway_id: str, config: str, *, forgets_cache: bool = False
    ) -> GatewayRow | None:
        """It as it is now; None: there is none of that id."""
        mine = _is(account_id, gateway_id)
        generation = gateways.c.generation + (1 if forgets_cache else 0)
        change = update(gateways).where(mine)
        change = change.values(config=config, generation=generation, modified_at=self._clock())

        def change_it(connection: Connection) -> GatewayRow | None:
            connection.execute(change)
            row = connection.execute(select(gateways).where(mine)).one_or_none()
            return None if row is None else _gateway(row)

        return await self._database.writer.put(change_it)

    async def forget_caches(self, account_id: str) -> None:
        """What all of an account's have cached is asked for no more."""
        change = update(gateways).where(gateways.c.account_id == account_id)
        change = change.values(generation=gateways.c.generation + 1)
        await self._database.writer.put(lambda connection: connection.execute(change))

    async def delete(self, account_id: str, gateway_id: str) -> GatewayRow | None:
        """It as it was, gone with its logs, cache, spend and keys, in steps; None: there is none of that id.

        It is there until the last step, so that one that is cut short can be asked for again.
        """
        row = await self.get(account_id, gateway_id)
        if row is None:
            return None
        was_there: bool | None = None
        while was_there is None:
            was_there = await self._database.writer.put(
                lambda connection: _remove_step(connection, account_id, gateway_id)
            )
        return row if was_there else None

    def _new(self, account_id: str, gateway_id: str, config: str, *, is_default: bool) -> GatewayRow:
        """Its generation begins with the time in milliseconds, which is beyond those of one that was there before."""
        now = self._clock()
        return GatewayRow(account_id, gateway_id, config, int(now * 1000), now, now, is_default)


class CustomProviderStore:
    """The custom providers of one database. The keys that gateways keep for one are its own: they go with it, so that
    none is ever sent to another provider of the same slug."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def create(self, row: CustomProviderRow) -> bool:
        """It has no keys yet. False: the account has one of that slug."""

        def create(connection: Connection) -> bool:
            if not _insert(connection, custom_providers, row):
                return False
            remove_keys_of_custom(connection, row.account_id, row.slug)
            return True

        return await self._database.writer.put(create)

    async def get(self, account_id: str, provider_id: str) -> CustomProviderRow | None:
        """One of an account's."""
        return await self._one(_is_provider(account_id, provider_id))

    async def by_slug(self, account_id: str, slug: str) -> CustomProviderRow | None:
        """The one of an account's that calls name so, also where it isn't enabled."""
        return await self._one(and_(custom_providers.c.account_id == account_id, custom_providers.c.slug == slug))

    async def list(
        self, account_id: str, page: int = 1, per_page: int = 20, search: str = ""
    ) -> tuple[tuple[CustomProviderRow, ...], int]:
        """A page, counted from 1, of those with ``search`` in slug or name, oldest first; and how many there are."""
        table = custom_providers
        found = select(table).where(table.c.account_id == account_id)
        if search:
            columns = (table.c.slug, table.c.name)
            named = [column.icontains(search, autoescape=True) for column in columns]
            found = found.where(named[0] | named[1])
        found = found.order_by(table.c.created_at, table.c.id)
        rows, total = await self._database.run(lambda connection: _page(connection, found, page, per_page))
        return tuple(_provider(row) for row in rows), total

    async def update(self, row: CustomProviderRow) -> bool:
        """All but its id, its account and when it was made; its keys are its own under any slug.

        False: there is none, or another has the slug.
        """
        kept = ("id", "account_id", "created_at")
        values = {name: value for name, value in asdict(row).items() if name not in kept}
        taken = select(custom_providers.c.id).where(
            custom_providers.c.account_id == row.account_id,
            custom_providers.c.slug == row.slug,
            custom_providers.c.id != row.id,
        )
        change = update(custom_providers).where(_is_provider(row.account_id, row.id)).values(values)

        def change_it(connection: Connection) -> bool:
            slug = _slug(connection, row.account_id, row.id)
            if slug is None or connection.execute(taken).first() is not None:
                return False
            connection.execute(change)
            if slug != row.slug:
                move_keys_of_custom(connection, row.account_id, slug, row.slug)
            return True

        return await self._database.writer.put(change_it)

    async def delete(self, account_id: str, provider_id: str) -> bool:
        """With its keys. False: there is none of that id."""

        def remove(connection: Connection) -> bool:
            slug = _slug(connection, account_id, provider_id)
            if slug is None:
                return False
            connection.execute(delete(custom_providers).where(_is_provider(account_id, provider_id)))
            remove_keys_of_custom(connection, account_id, slug)
            return True

        return await self._database.writer.put(remove)

    async def _one(self, condition: ColumnElement[bool]) -> CustomProviderRow | None:
        query = select(custom_providers).where(condition)
        row = await self._database.run(lambda connection: connection.execute(query).one_or_none())
        return None if row is None else _provider(row)


def _is(account_id: str, gateway_id: str) -> ColumnElement[bool]:
    return and_(gateways.c.account_id == account_id, gateways.c.id == gateway_id)


def _is_provider(account_id: str, provider_id: str) -> ColumnElement[bool]:
    return and_(custom_providers.c.id == provider_id, custom_providers.c.account_id == account_id)


def _slug(connection: Connection, account_id: str, provider_id: str) -> str | None:
    """A custom provider's, which nobody else changes before this transaction ends; None: there is none."""
    query = select(custom_providers.c.slug).where(_is_provider(account_id, provider_id))
    slug: str | None = connection.execute(query.with_for_update()).scalar()
    return slug


def _insert(connection: Connection, table: Table, row: GatewayRow | CustomProviderRow) -> bool:
    """Whether there was none."""
    return connection.execute(insert_new(connection, table).values(asdict(row))).rowcount == 1


def _remove_step(connection: Connection, account_id: str, gateway_id: str) -> bool | None:
    """None: there is more to remove; else whether the gateway was there, which goes with the last of it."""
    gone = [remove(connection, account_id, gateway_id, STEP) for remove in (remove_all_logs, remove_entries)]
    if STEP in gone:
        return None
    for remove_all in (remove_count, remove_spend, remove_keys):
        remove_all(connection, account_id, gateway_id)
    return connection.execute(delete(gateways).where(_is(account_id, gateway_id))).rowcount == 1


def _page(connection: Connection, found: Select[Any], page: int, per_page: int) -> tuple[list[Row[Any]], int]:
    total = connection.execute(select(func.count()).select_from(found.order_by(None).subquery())).scalar_one()
    offset = min((page - 1) * per_page, MAX_OFFSET)
    return list(connection.execute(found.limit(per_page).offset(offset))), total


def _gateway(row: Row[Any]) -> GatewayRow:
    return GatewayRow(**row._mapping)


def _provider(row: Row[Any]) -> CustomProviderRow:
    return CustomProviderRow(**row._mapping)
