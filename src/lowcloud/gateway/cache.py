"""Replies that are kept, by their keys: in memory, bounded in bytes, and behind that in the database."""

from collections import OrderedDict
from dataclasses import dataclass
from typing import Protocol

from lowcloud.gateway.call import Headers

MEMORY_BYTES = 64 * 2**20
ENTRY_BYTES = 512  # beside its body, about


@dataclass(frozen=True, slots=True)
class Entry:
    """A whole reply; times are seconds since 1970."""

    key: str
    account_id: str
    gateway_id: str
    status: int
    headers: Headers
    body: bytes
    created_at: float
    expires_at: float


class EntryStore(Protocol):
    """Where entries outlive this process."""

    async def get(self, account_id: str, gateway_id: str, key: str) -> Entry | None:
        """One whose time isn't over."""

    async def put(self, entry: Entry) -> None:
        """In the place of an older one."""


class Cache:
    """Entries in memory, the ones that rested longest go first; ``store`` has all of them."""

    def __init__(self, store: EntryStore, memory_bytes: int = MEMORY_BYTES) -> None:
        self._store = store
        self._memory_bytes = memory_bytes
        self._entries: OrderedDict[str, Entry] = OrderedDict()
        self._size = 0
        self._storing = 0  # bytes that the store hasn't taken yet

    async def get(self, account_id: str, gateway_id: str, key: str, now: float) -> Entry | None:
        """The entry, if its time isn't over."""
        entry = self._held(key, now)
        if entry is not None:
            return entry
        found = await self._store.get(account_id, gateway_id, key)
        if found is None:
            return self._held(key, now)  # which was put there while the store was asked
        self._hold(found)
        return found

    async def put(self, entry: Entry) -> None:
        """Keep it; in memory alone where the store is so far behind that the memory would hold as much again."""
        self._hold(entry)
        size = _size(entry)
        if self._storing > self._memory_bytes:
            return
        self._storing += size
        try:
            await self._store.put(entry)
        finally:
            self._storing -= size

    def forget(self, account_id: str, gateway_id: str) -> None:
        """Drop a gateway's entries from memory; their keys are asked for no more."""
        theirs = (account_id, gateway_id)
        for key in [key for key, one in self._entries.items() if (one.account_id, one.gateway_id) == theirs]:
            self._drop(key)

    def _held(self, key: str, now: float) -> Entry | None:
        entry = self._entries.get(key)
        if entry is None or entry.expires_at <= now:
            self._drop(key)
            return None
        self._entries.move_to_end(key)
        return entry

    def _hold(self, entry: Entry) -> None:
        self._drop(entry.key)
        size = _size(entry)
        if size > self._memory_bytes // 4:
            return
        self._entries[entry.key] = entry
        self._size += size
        while self._size > self._memory_bytes:
            self._drop(next(iter(self._entries)))

    def _drop(self, key: str) -> None:
        entry = self._entries.pop(key, None)
        if entry is not None:
            self._size -= _size(entry)


def _size(entry: Entry) -> int:
    return ENTRY_BYTES + len(entry.body)
