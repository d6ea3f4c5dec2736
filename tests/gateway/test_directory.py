"""Gateways and kept keys: asked of the database, and remembered for a moment."""

import json
from collections.abc import Iterator
from dataclasses import replace

import anyio
import anyio.lowlevel
import pytest

from lowcloud.core.cipher import Cipher
from lowcloud.gateway import directory as module
from lowcloud.gateway.directory import FRESH_S, Shelves, StoredDirectory
from lowcloud.gateway.errors import NoSuchGateway
from lowcloud.gateway.providers import CustomProvider
from lowcloud.gateway.shelves import LogBound
from lowcloud.storage.database import Database, open_database
from lowcloud.storage.gateways import CustomProviderRow, CustomProviderStore, GatewayRow, GatewayStore
from lowcloud.storage.provider_keys import ProviderKeyRow, ProviderKeyStore

pytestmark = pytest.mark.anyio
NOW = 1_800_000_000.0
ACCOUNT = "a" * 32
CUSTOM = CustomProviderRow("c1", ACCOUNT, "mine", "Mine", "https://mine.example/v1", "{}", True, NOW, NOW)


@pytest.fixture
def database(tmp_path) -> Iterator[Database]:
    with open_database(f"sqlite:///{tmp_path}/lowcloud.db") as opened:
        yield opened


class Slow(GatewayStore):
    """Its answers wait for ``gate``."""

    gate: anyio.Event | None = None

    async def get(self, account_id: str, gateway_id: str) -> GatewayRow | None:
        found = await super().get(account_id, gateway_id)
        if self.gate is not None:
            await self.gate.wait()
        return found


class Desk:
    """A directory on a clock that a test sets."""

    def __init__(self, database: Database) -> None:
        self.now = 0.0
        self.gateways = Slow(database, lambda: NOW)
        cipher = Cipher("a-secret-of-twenty-letters", "provider keys")
        self.on = Shelves(self.gateways, CustomProviderStore(database), ProviderKeyStore(database), cipher)
        self.directory = StoredDirectory(self.on, lambda: self.now)

    async def keep_key(self, key: str, alias: str = "default") -> None:
        row = ProviderKeyRow(
            f"key-{alias}", ACCOUNT, "g", "openai", alias, alias == "default", "", "", None, None, NOW, NOW
        )
        assert await self.on.keys.create(replace(row, sealed=self.on.cipher.seal(key, ACCOUNT)))

    async def ttl_s(self) -> int | None:
        return (await self.directory.find(ACCOUNT, "g")).config.cache_ttl_s


@pytest.fixture
def desk(database) -> Desk:
    return Desk(database)


async def test_a_gateway_is_found_with_its_settings_and_its_accounts_providers(desk):
    await desk.gateways.create(ACCOUNT, "g", json.dumps({"cache_ttl": 60}))
    await desk.on.custom.create(CUSTOM)
    off = replace(CUSTOM, id="c2", slug="off", enabled=False)
    await desk.on.custom.create(off)
    account = await desk.directory.find(ACCOUNT, "g")
    assert (account.config.id, account.config.cache_ttl_s, account.is_made) == ("g", 60, True)
    assert account.custom == {"mine": CustomProvider("mine", "https://mine.example/v1")}


async def test_an_unknown_gateway_is_an_error_each_time(desk):
    for _ in range(2):
        with pytest.raises(NoSuchGateway):
            await desk.directory.find(ACCOUNT, "g")
    with pytest.raises(NoSuchGateway):
        await desk.directory.find("b" * 32, "other")


@pytest.mark.parametrize("gateway_id", ["", "g" * 65, "a b", "g\n", "日", "%67"])
async def test_an_id_that_no_gateway_can_have_is_neither_looked_up_nor_remembered(desk, gateway_id):
    await desk.gateways.create(ACCOUNT, gateway_id, "{}")
    with pytest.raises(NoSuchGateway):
        await desk.directory.find(ACCOUNT, gateway_id)
    assert not desk.directory._accounts._held


async def test_default_is_there_before_it_is_made_and_is_made_once(desk):
    account = await desk.directory.find(ACCOUNT, "default")
    assert (account.is_made, account.config.authentication, account.config.is_default) == (False, True, True)
    for _ in range(2):
        await desk.directory.make_default(ACCOUNT)
    made = await desk.directory.find(ACCOUNT, "default")
    assert (made.is_made, made.config.authentication, made.config.is_default) == (True, True, True)


async def test_what_is_known_is_believed_for_a_moment_and_then_asked_again(desk):
    await desk.gateways.create(ACCOUNT, "g", json.dumps({"cache_ttl": 60}))
    assert await desk.ttl_s() == 60
    await desk.gateways.update(ACCOUNT, "g", json.dumps({"cache_ttl": 90}))
    assert await desk.ttl_s() == 60
    desk.now += FRESH_S + 0.1
    assert await desk.ttl_s() == 90


async def test_a_change_that_was_made_here_counts_at_once(desk):
    await desk.gateways.create(ACCOUNT, "g", json.dumps({"cache_ttl": 60}))
    assert await desk.ttl_s() == 60
    await desk.gateways.update(ACCOUNT, "g", json.dumps({"cache_ttl": 90}))
    desk.directory.forget(ACCOUNT)
    assert await desk.ttl_s() == 90


async def test_an_answer_from_before_a_change_isnt_believed_after_it(desk):
    await desk.gateways.create(ACCOUNT, "g", json.dumps({"cache_ttl": 60}))
    desk.gateways.gate = anyio.Event()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(desk.ttl_s)
        await anyio.lowlevel.checkpoint()
        with anyio.fail_after(10):
            while not desk.gateways.gate.statistics().tasks_waiting:
                await anyio.lowlevel.checkpoint()
        await desk.gateways.update(ACCOUNT, "g", json.dumps({"cache_ttl": 90}))
        desk.directory.forget(ACCOUNT)
        desk.gateways.gate.set()
    assert await desk.ttl_s() == 90


async def test_a_kept_key_is_opened_by_its_alias(desk):
    await desk.keep_key("sk-one")
    await desk.keep_key("sk-two", "second")
    asked = [("openai", "default"), ("openai", "second"), ("openai", "third"), ("anthropic", "default")]
    for _ in range(2):
        assert [await desk.directory.key(ACCOUNT, "g", *each) for each in asked] == ["sk-one", "sk-two", None, None]
    assert await desk.directory.key("b" * 32, "g", "openai", "default") is None


@pytest.mark.parametrize(
    ("fields", "bound"),
    [
        ({}, None),
        ({"log_management": 10}, LogBound(10, stops=False)),
        ({"log_management": 10, "log_management_strategy": "STOP_INSERTING"}, LogBound(10, stops=True)),
    ],
)
async def test_a_gateways_bound_on_logs_is_its_settings(desk, fields, bound):
    await desk.gateways.create(ACCOUNT, "g", json.dumps(fields))
    assert await desk.directory.log_bound(ACCOUNT, "g") == bound
    for absent in ("gone", "default"):
        with pytest.raises(NoSuchGateway):
            await desk.directory.log_bound(ACCOUNT, absent)


async def test_what_is_remembered_is_bounded(desk, monkeypatch):
    monkeypatch.setattr(module, "MAX_HELD", 3)
    for number in range(5):
        with pytest.raises(NoSuchGateway):
            await desk.directory.find(ACCOUNT, f"g{number}")
    assert len(desk.directory._accounts._held) <= 3
