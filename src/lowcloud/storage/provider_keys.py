"""Keys of providers that accounts have stored for their gateways: ciphertext, sealed and opened elsewhere."""

from dataclasses import asdict, dataclass
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, and_, delete, or_, select, update

from lowcloud.storage.database import Database
from lowcloud.storage.tables import provider_keys
from lowcloud.storage.upsert import insert_new

DEFAULT_ALIAS = "default"
CUSTOM = "custom-"  # before the slug of an account's own provider


@dataclass(frozen=True, slots=True)
class ProviderKeyRow:
    """``sealed`` is ciphertext; ``preview`` is what of the key may be shown. A gateway has one key of an alias for a
    provider, and at most one that ``is_default``. ``rate_limit`` counts in ``rate_limit_period``, seconds."""

    id: str
    account_id: str
    gateway_id: str
    provider_slug: str
    alias: str
    is_default: bool
    sealed: str
    preview: str
    rate_limit: int | None
    rate_limit_period: int | None
    created_at: float
    modified_at: float


class ProviderKeyStore:
    """The keys of one database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def create(self, row: ProviderKeyRow) -> bool:
        """A default one takes the place of the one before. False: the gateway has one of that alias."""

        def create(connection: Connection) -> bool:
            if connection.execute(insert_new(connection, provider_keys).values(asdict(row))).rowcount != 1:
                return False
            _unset_others(connection, row)
            return True

        return await self._database.writer.put(create)

    async def get(self, account_id: str, gateway_id: str, key_id: str) -> ProviderKeyRow | None:
        """One of a gateway's."""
        query = select(provider_keys).where(_is(account_id, gateway_id, key_id))
        row = await self._database.run(lambda connection: connection.execute(query).one_or_none())
        return None if row is None else _key(row)

    async def list(self, account_id: str, gateway_id: str) -> tuple[ProviderKeyRow, ...]:
        """All of a gateway's, by provider and alias."""
        query = select(provider_keys).where(_of(account_id, gateway_id))
        query = query.order_by(provider_keys.c.provider_slug, provider_keys.c.alias)
        rows = await self._database.run(lambda connection: connection.execute(query).all())
        return tuple(_key(row) for row in rows)

    async def lookup(
        self, account_id: str, gateway_id: str, provider_slug: str, alias: str | None = None
    ) -> ProviderKeyRow | None:
        """The key of that alias; without one the key that is the default, then the one that is so called.

        Where no key is called ``default``, that is the one that is it.
        """
        is_meant = provider_keys.c.alias == (alias or DEFAULT_ALIAS)
        order = [is_meant.desc(), provider_keys.c.is_default.desc()]
        if alias is None:
            order.reverse()
        if alias in (None, DEFAULT_ALIAS):
            is_meant = or_(is_meant, provider_keys.c.is_default)
        query = select(provider_keys).where(_of(account_id, gateway_id))
        query = query.where(provider_keys.c.provider_slug == provider_slug, is_meant)
        query = query.order_by(*order).limit(1)
        row = await self._database.run(lambda connection: connection.execute(query).one_or_none())
        return None if row is None else _key(row)

    async def update(self, row: ProviderKeyRow) -> bool:
        """All but its id, its gateway and when it was made. False: there is none, or another has the alias."""
        kept = ("id", "account_id", "gateway_id", "created_at")
        values = {name: value for name, value in asdict(row).items() if name not in kept}
        taken = select(provider_keys.c.id).where(_of_provider(row), provider_keys.c.alias == row.alias)
        taken = taken.where(provider_keys.c.id != row.id)
        change = update(provider_keys).where(_is(row.account_id, row.gateway_id, row.id)).values(values)

        def change_it(connection: Connection) -> bool:
            if connection.execute(taken).first() is not None or connection.execute(change).rowcount != 1:
                return False
            _unset_others(connection, row)
            return True

        return await self._database.writer.put(change_it)

    async def delete(self, account_id: str, gateway_id: str, key_id: str) -> bool:
        """False: there is none of that id."""
        change = delete(provider_keys).where(_is(account_id, gateway_id, key_id))
        return await self._database.writer.put(lambda connection: connection.execute(change).rowcount == 1)


def remove_keys(connection: Connection, account_id: str, gateway_id: str) -> None:
    """All of a gateway's."""
    connection.execute(delete(provider_keys).where(_of(account_id, gateway_id)))


def remove_keys_of_custom(connection: Connection, account_id: str, slug: str) -> None:
    """All that an account's gateways keep for its own provider of that slug."""
    connection.execute(delete(provider_keys).where(_of_custom(account_id, slug)))


def move_keys_of_custom(connection: Connection, account_id: str, slug: str, new_slug: str) -> None:
    """They are for the slug that the provider has now, in the place of what was left there."""
    remove_keys_of_custom(connection, account_id, new_slug)
    change = update(provider_keys).where(_of_custom(account_id, slug))
    connection.execute(change.values(provider_slug=CUSTOM + new_slug))


def _of_custom(account_id: str, slug: str) -> ColumnElement[bool]:
    return and_(provider_keys.c.account_id == account_id, provider_keys.c.provider_slug == CUSTOM + slug)


def _of(account_id: str, gateway_id: str) -> ColumnElement[bool]:
    return and_(provider_keys.c.account_id == account_id, provider_keys.c.gateway_id == gateway_id)


def _of_provider(row: ProviderKeyRow) -> ColumnElement[bool]:
    return and_(_of(row.account_id, row.gateway_id), provider_keys.c.provider_slug == row.provider_slug)


def _is(account_id: str, gateway_id: str, key_id: str) -> ColumnElement[bool]:
    return and_(provider_keys.c.id == key_id, _of(account_id, gateway_id))


def _unset_others(connection: Connection, row: ProviderKeyRow) -> None:
    if row.is_default:
        others = and_(_of_provider(row), provider_keys.c.id != row.id, provider_keys.c.is_default)
        connection.execute(update(provider_keys).where(others).values(is_default=False))


def _key(row: Row[Any]) -> ProviderKeyRow:
    return ProviderKeyRow(**row._mapping)
