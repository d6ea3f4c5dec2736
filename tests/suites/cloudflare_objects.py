"""A pytest plugin for cloudflare's suite: keeps the objects whose ids its cases use, through the server's own stores.

The cases name a gateway ``my-gateway``, a log ``id`` and a custom provider by its id; before each of them there are
those, but not the one that the case makes itself. ``SUITE_DATABASE`` is the URL of the server's database. The server
knows nothing of it.
"""

import asyncio
import json
import os
import time
from collections.abc import Iterator

import pytest

from lowcloud.storage.database import Database, open_database
from lowcloud.storage.gateway_logs import LogRow, LogStore, NewLog
from lowcloud.storage.gateways import CustomProviderRow, CustomProviderStore, GatewayStore

ACCOUNTS = ("3ebbcb006d4d46d7bb6a8c7f14676cb0", "0d37909e38d3e99c29fa2cd343ac421a")
GATEWAY, LOG = "my-gateway", "id"
JSON = "application/json"
PROVIDER = "182bd5e5-6e1a-4fe4-a799-aa6d9a6ab26e"


@pytest.fixture(scope="session")
def database() -> Iterator[Database]:
    """The server's."""
    with open_database(os.environ["SUITE_DATABASE"]) as opened:
        yield opened


@pytest.fixture(autouse=True)
def objects(request: pytest.FixtureRequest) -> None:
    """What the case is to find."""
    name = request.node.nodeid
    if "ai_gateway" in name:
        database = request.getfixturevalue("database")
        makes = "_create" in name
        asyncio.run(keep(database, has_gateway=not (makes and "test_ai_gateway" in name), has_provider=not makes))


async def keep(database: Database, *, has_gateway: bool, has_provider: bool) -> None:
    gateways, providers = GatewayStore(database), CustomProviderStore(database)
    for account in ACCOUNTS:
        await gateways.delete(account, GATEWAY)
        for row in (await providers.list(account))[0]:
            await providers.delete(account, row.id)
        if has_gateway:
            await gateways.create(account, GATEWAY, json.dumps({"collect_logs": True}))
    row = LogRow(LOG, ACCOUNTS[1], GATEWAY, time.time(), request_content_type=JSON, response_content_type=JSON)
    await LogStore(database).add([NewLog(row, b"{}", b"{}")])
    if has_provider:
        now = time.time()
        place = (PROVIDER, ACCOUNTS[0], "kept", "name", "https://example.com")
        await providers.create(CustomProviderRow(*place, json.dumps({"beta": False}), True, now, now))
