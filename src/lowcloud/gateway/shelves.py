"""What the gateway keeps, as the database has it: entries of the cache, logs."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from lowcloud.gateway.cache import Entry
from lowcloud.gateway.errors import NoSuchGateway
from lowcloud.gateway.record import Record
from lowcloud.storage.gateway_cache import CacheRow, CacheStore
from lowcloud.storage.gateway_logs import LogCount, LogRow, LogStore, NewLog

HEAD_BYTES = 1_024
MOST_BYTES = 2**62  # a bound in logs has none in bytes


@dataclass(frozen=True, slots=True)
class LogBound:
    """How many logs a gateway keeps. ``stops``: it takes no more then; else the oldest go."""

    logs: int
    stops: bool


class Bounds(Protocol):
    """Knows gateways' bounds."""

    async def log_bound(self, account_id: str, gateway_id: str) -> LogBound | None:
        """None: there is none. Raises NoSuchGateway."""


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


class LogSink:
    """``spool.Sink``. ``bounds`` say how many logs a gateway keeps, and what is done where there are more."""

    def __init__(self, store: LogStore, bounds: Bounds) -> None:
        self._store, self._bounds = store, bounds

    async def add(self, records: Sequence[Record]) -> None:
        """Each once, by its id. A gateway that is full and keeps the oldest takes no more; one that is gone, none."""
        taken: list[Record] = []
        bounds: dict[tuple[str, str], LogBound] = {}
        for place in dict.fromkeys((each.account_id, each.gateway_id) for each in records):
            theirs = [each for each in records if (each.account_id, each.gateway_id) == place]
            try:
                bound = await self._bounds.log_bound(*place)
            except NoSuchGateway:  # deleted after the call began, with its logs
                continue
            if bound is not None and bound.stops:
                theirs = await self._fitting(place, theirs, bound.logs)
            elif bound is not None:
                bounds[place] = bound
            taken += theirs
        await self._store.add(map(log_of, taken))
        for place, bound in bounds.items():
            await trim(self._store, *place, bound)

    async def _fitting(self, place: tuple[str, str], records: Sequence[Record], most: int) -> list[Record]:
        """Those that a gateway which keeps the oldest still takes; what it has already, as after a crash, needs no
        room."""
        known = await self._store.known([each.id for each in records])
        new = {each.id: each for each in records if each.id not in known}
        room = max(0, most - (await self._store.count(*place)).logs)
        return list(new.values())[:room]


async def trim(store: LogStore, account_id: str, gateway_id: str, bound: LogBound | None) -> None:
    """The oldest that a gateway has beyond its bound go, unless it keeps those."""
    if bound is not None and not bound.stops:
        await store.trim(account_id, gateway_id, LogCount(bound.logs, MOST_BYTES))


def log_of(record: Record) -> NewLog:
    """A record as the database has it, with its times in whole milliseconds."""
    request_head, is_request_whole = _head(record.request, record.request_size)
    response_head, is_response_whole = _head(record.response, record.response_size)
    row = LogRow(
        id=record.id,
        account_id=record.account_id,
        gateway_id=record.gateway_id,
        created_at=round(record.created_at, 3),
        provider=record.provider,
        model=record.model,
        model_type=record.model_type,
        path=record.path,
        status_code=record.status_code,
        success=record.success,
        cached=record.cached,
        duration_ms=round(record.duration_ms),
        step=record.step,
        tokens_in=record.tokens_in,
        tokens_out=record.tokens_out,
        cost=record.cost,
        custom_cost=record.custom_cost,
        metadata=json.dumps(dict(record.metadata)) if record.metadata else "{}",
        request_type=record.request_type,
        request_content_type=record.request_content_type,
        response_content_type=record.response_content_type,
        request_size=record.request_size,
        request_head=request_head,
        request_head_complete=is_request_whole,
        response_size=record.response_size,
        response_head=response_head,
        response_head_complete=is_response_whole,
        event_id=record.event_id,
        user_agent=record.user_agent,
        authentication=record.authenticated,
        compatibility_mode=record.source == "compat",
    )
    return NewLog(row, record.request, record.response)


def _head(body: bytes | None, size: int) -> tuple[str, bool]:
    """The beginning of a body, and whether that is all of it; none of one that isn't kept."""
    if body is None:
        return "", size == 0
    return body[:HEAD_BYTES].decode("utf-8", "replace"), len(body) <= HEAD_BYTES
