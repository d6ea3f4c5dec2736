"""A server with the AI Gateway on a database of the test's own, in front of an upstream that says what a test wrote."""

import json
from collections.abc import AsyncGenerator, Callable, Iterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import anyio
import pytest

from lowcloud.core.cipher import Cipher
from lowcloud.gateway.cache import Cache
from lowcloud.gateway.call import Call, Headers, Reply, Target
from lowcloud.gateway.directory import Shelves, StoredDirectory
from lowcloud.gateway.limiter import MemoryLimiter
from lowcloud.gateway.prices import Price
from lowcloud.gateway.settlements import Settlements
from lowcloud.gateway.shelves import Entries, LogSink
from lowcloud.gateway.spending import Spending
from lowcloud.gateway.spool import Spool
from lowcloud.http.gateway.build import GatewayParts
from lowcloud.http.gateway.manage import Kept
from lowcloud.storage.database import Database, open_database
from lowcloud.storage.gateway_cache import CacheStore
from lowcloud.storage.gateway_logs import LogStore
from lowcloud.storage.gateway_spend import SpendStore
from lowcloud.storage.gateways import CustomProviderStore, GatewayStore
from lowcloud.storage.provider_keys import ProviderKeyRow, ProviderKeyStore

NOW = 1_800_000_000.0
ALLOWED = ("models.internal",)
ANSWER = b'{"model":"gpt-4o","usage":{"prompt_tokens":10,"completion_tokens":5}}'
JSON: Headers = (("content-type", "application/json"), ("content-length", str(len(ANSWER))))


async def pieces(*parts: bytes) -> AsyncGenerator[bytes, None]:
    """A body that comes in so many pieces."""
    for part in parts:
        yield part


@dataclass
class ScriptedUpstream:
    """Answers with what is in ``script``, in turns, the last one again and again: a status, a reply, or an error."""

    script: list[object] = field(default_factory=lambda: [200])
    sent: list[tuple[Call, Target]] = field(default_factory=list)

    async def send(self, call: Call, target: Target, _first_byte_s: float | None) -> Reply:
        self.sent.append((call, target))
        what = self.script.pop(0) if len(self.script) > 1 else self.script[0]
        if isinstance(what, Exception):
            raise what
        if isinstance(what, Reply):
            return what
        assert isinstance(what, int)
        return Reply(what, JSON, pieces(ANSWER))


class Losses:
    """No log may be lost."""

    def logs_lost(self, logs: int) -> None:
        raise AssertionError(f"{logs} logs were lost")


@dataclass
class Desk:
    """A server under test. ``world`` is the usual one of ``tests/http``. Logs move to the database when asked for."""

    world: Any
    upstream: ScriptedUpstream
    shelves: Shelves
    directory: StoredDirectory
    logs: LogStore
    spool: Spool
    cache: Cache
    account: str = "a" * 32

    async def ask(self, method: str, path: str, body: object = None, headers: Mapping[str, str] | None = None) -> Any:
        """The answer at a gateway's URL, ``/v1/{account}`` and the path."""
        return await self.world.ask(method, f"/v1/{self.account}{path}", body, headers)

    async def manage(
        self, method: str, path: str, body: object = None, headers: Mapping[str, str] | None = None
    ) -> Any:
        """The answer of the management API, which begins with ``/client/v4/accounts/{account}/ai-gateway``."""
        base = f"/client/v4/accounts/{self.account}/ai-gateway"
        sent = {"content-type": "application/json"} if body is not None else {}
        return await self.world.ask(method, base + path, body, {**sent, **(headers or {})})

    async def make_gateway(self, gateway_id: str = "g", **fields: object) -> None:
        """A gateway with these fields, as its management API has them."""
        assert await self.shelves.gateways.create(self.account, gateway_id, json.dumps(fields)) is not None
        self.directory.forget(self.account)

    async def keep_key(self, provider: str, key: str, gateway_id: str = "g", alias: str = "default") -> None:
        """A provider's key."""
        sealed = self.shelves.cipher.seal(key, self.account)
        place = (f"key-{alias}", self.account, gateway_id, provider, alias)
        row = ProviderKeyRow(*place, alias == "default", sealed, "...", None, None, NOW, NOW)
        assert await self.shelves.keys.create(row)
        self.directory.forget(self.account)

    async def logged(self, gateway_id: str = "g") -> tuple[Any, ...]:
        """The logs of a gateway, the newest first."""
        await self.spool.move()
        return (await self.logs.search(self.account, gateway_id)).rows


MakeDesk = Callable[..., AbstractAsyncContextManager[Desk]]


@pytest.fixture
def database(tmp_path) -> Iterator[Database]:
    with open_database(f"sqlite:///{tmp_path}/lowcloud.db") as opened:
        yield opened


@pytest.fixture
def make_desk(make_world, database, tmp_path) -> MakeDesk:
    """``async with make_desk(200, is_open=True) as desk``: the upstream's script, and the rest as ``make_world``."""

    @asynccontextmanager
    async def make(*script: object, is_open: bool = True, **world: Any) -> AsyncGenerator[Desk, None]:
        upstream = ScriptedUpstream(list(script) or [200])
        shelves = Shelves(
            GatewayStore(database, lambda: NOW),
            CustomProviderStore(database),
            ProviderKeyStore(database),
            Cipher("a-secret-of-twenty-letters", "provider keys"),
        )
        directory = StoredDirectory(shelves, lambda: 0.0)
        logs = LogStore(database, clock=lambda: NOW)
        spool = Spool(tmp_path / "spool", LogSink(logs, directory), Losses())
        spool.open()
        cache = Cache(Entries(CacheStore(database, clock=lambda: NOW)))
        settlements = Settlements(tmp_path / "spend")
        settlements.open()
        spending = Spending(SpendStore(database, lambda: NOW), settlements)
        prices = {"openai": {"gpt-4o": Price(2.5, 10.0)}}
        async with anyio.create_task_group() as tasks:
            shared = (cache, MemoryLimiter(), spending, spool, logs, prices, tasks)
            parts = GatewayParts(directory, upstream, *shared, is_open, Kept(shelves, directory, ALLOWED))
            async with make_world(gateway=parts, **world) as made:
                yield Desk(made, upstream, shelves, directory, logs, spool, cache)
            tasks.cancel_scope.cancel()
        spool.close()

    return make


@pytest.fixture
async def desk(make_desk) -> AsyncGenerator[Desk, None]:
    """The usual one: whoever calls is let in, the upstream answers with 200, and there is a gateway ``g``."""
    async with make_desk() as made:
        await made.make_gateway()
        yield made
