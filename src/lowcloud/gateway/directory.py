"""Knows the gateways and the kept keys: asked of the database, and remembered for a moment."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

from lowcloud.core.cipher import Cipher
from lowcloud.gateway.config import DEFAULT, DEFAULT_ID, GATEWAY_ID
from lowcloud.gateway.errors import NoSuchGateway
from lowcloud.gateway.pipeline import Account
from lowcloud.gateway.providers import CustomProvider
from lowcloud.gateway.shelves import LogBound
from lowcloud.gateway.wire import DEFAULT_FIELDS, config_of
from lowcloud.storage.gateways import CustomProviderStore, GatewayStore
from lowcloud.storage.provider_keys import ProviderKeyStore

FRESH_S = 1.0  # another server's change is seen after that
MAX_HELD = 10_000
MAX_CUSTOM = 1_000
T = TypeVar("T")


class _Held(Generic[T]):
    """Answers that are believed for ``FRESH_S``."""

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self._monotonic = monotonic
        self.n_changes = 0  # an answer from before the last one isn't believed
        self._held: dict[tuple[str, ...], tuple[float, T]] = {}

    def get(self, key: tuple[str, ...]) -> tuple[T] | None:
        """The answer in a tuple, as it may be None."""
        held = self._held.get(key)
        if held is None:
            return None
        now = self._monotonic()
        if now - held[0] > FRESH_S:
            self._held[key] = (now, held[1])  # for those who ask while this one looks it up
            return None
        return (held[1],)

    def put(self, key: tuple[str, ...], value: T, n_changes: int) -> T:
        """Hold an answer to what was asked after so many changes."""
        if n_changes != self.n_changes:
            return value
        if len(self._held) >= MAX_HELD:
            self._held.clear()
        self._held[key] = (self._monotonic(), value)
        return value

    def forget(self, *prefix: str) -> None:
        """All whose key begins so."""
        self.n_changes += 1
        for key in [key for key in self._held if key[: len(prefix)] == prefix]:
            del self._held[key]


@dataclass(frozen=True, slots=True)
class Shelves:
    """Where gateways, custom providers and keys are kept; ``cipher`` opens the keys."""

    gateways: GatewayStore
    custom: CustomProviderStore
    keys: ProviderKeyStore
    cipher: Cipher


class StoredDirectory:
    """The gateways of a database, as ``pipeline.Directory``."""

    def __init__(self, shelves: Shelves, monotonic: Callable[[], float]) -> None:
        self._on = shelves
        self._accounts: _Held[Account | None] = _Held(monotonic)
        self._keys: _Held[str | None] = _Held(monotonic)

    async def find(self, account_id: str, gateway_id: str) -> Account:
        """Raises NoSuchGateway."""
        if not GATEWAY_ID.fullmatch(gateway_id):
            raise NoSuchGateway(gateway_id[:64])
        held = self._accounts.get((account_id, gateway_id))
        account = held[0] if held else await self._look_up(account_id, gateway_id)
        if account is None:
            raise NoSuchGateway(gateway_id)
        return account

    async def make_default(self, account_id: str) -> None:
        """Make it, unless it is there."""
        await self._on.gateways.ensure_default(account_id, json.dumps(dict(DEFAULT_FIELDS)))
        self._accounts.forget(account_id, DEFAULT_ID)

    async def key(self, account_id: str, gateway_id: str, provider: str, alias: str | None) -> str | None:
        """The key that is kept for a provider, under an alias or as the default; None: there is none."""
        where = (account_id, gateway_id, provider, alias or "")
        held = self._keys.get(where)
        if held is not None:
            return held[0]
        n_changes = self._keys.n_changes
        row = await self._on.keys.lookup(account_id, gateway_id, provider, alias)
        return self._keys.put(where, None if row is None else self._on.cipher.open(row.sealed, account_id), n_changes)

    async def log_bound(self, account_id: str, gateway_id: str) -> LogBound | None:
        """How many logs a gateway keeps; None: there is no bound. Raises NoSuchGateway, also for a ``default`` that
        hasn't made itself."""
        account = await self.find(account_id, gateway_id)
        if not account.is_made:
            raise NoSuchGateway(gateway_id)
        config = account.config
        most = config.log_management
        return None if most is None else LogBound(most, config.log_management_strategy == "STOP_INSERTING")

    def forget(self, account_id: str) -> None:
        """Something of the account was changed here."""
        self._accounts.forget(account_id)
        self._keys.forget(account_id)

    async def _look_up(self, account_id: str, gateway_id: str) -> Account | None:
        n_changes = self._accounts.n_changes
        row = await self._on.gateways.get(account_id, gateway_id)
        custom, _ = await self._on.custom.list(account_id, per_page=MAX_CUSTOM)
        providers = {each.slug: CustomProvider(each.slug, each.base_url) for each in custom if each.enabled}
        found: Account | None = None
        if row is not None:
            config = config_of(row.id, json.loads(row.config), is_default=row.is_default)
            found = Account(config, row.generation, providers)
        elif gateway_id == DEFAULT_ID:
            found = Account(DEFAULT, 0, providers, is_made=False)
        return self._accounts.put((account_id, gateway_id), found, n_changes)
