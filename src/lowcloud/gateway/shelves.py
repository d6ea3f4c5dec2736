"""What the gateway keeps, as the database has it: entries of the cache, dollars, logs."""

import json
from collections.abc import Callable, Mapping

from lowcloud.gateway.cache import Entry
from lowcloud.gateway.spend import Key
from lowcloud.storage.gateway_cache import CacheRow, CacheStore
from lowcloud.storage.gateway_spend import SpendRow
from lowcloud.storage.gateway_spend import SpendStore as SpendRows


class Entries:
    """``cache.EntryStore``."""

    def __init__(self, store: CacheStore) -> None:
        self._store = store

    async def get(self, account_id: str, gateway_id: str, key: str) -> Entry | None:
        row = await self._store.get(account_id, gateway_id, key)
        if row is None:
            return None
        headers = tuple((str(name), str(value)) for name, value in json.loads(row.headers))
        where = (row.key, row.account_id, row.gateway_id)
        return Entry(*where, row.status, headers, row.body, row.created_at, row.expires_at)

    async def put(self, entry: Entry) -> None:
        headers = json.dumps(entry.headers)
        where = (entry.key, entry.account_id, entry.gateway_id)
        row = CacheRow(*where, entry.status, headers, entry.body, entry.created_at, entry.expires_at)
        await self._store.put(row)


class Spent:
    """``spending.SpendStore``."""

    def __init__(self, store: SpendRows, clock: Callable[[], float]) -> None:
        self._store, self._clock = store, clock

    async def load(self, account_id: str, gateway_id: str) -> Mapping[Key, str]:
        return await self._store.load(account_id, gateway_id)

    async def save(self, account_id: str, gateway_id: str, amounts: Mapping[Key, str]) -> None:
        now = self._clock()
        await self._store.save(
            SpendRow(account_id, gateway_id, rule, bucket, text, now) for (rule, bucket), text in amounts.items()
        )
