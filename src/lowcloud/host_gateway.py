"""The AI Gateway with all that it keeps, from the settings, and what goes on beside it."""

from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from time import monotonic, time

import anyio
import structlog

from lowcloud.core.cipher import Cipher
from lowcloud.gateway.cache import Cache
from lowcloud.gateway.directory import Shelves, StoredDirectory
from lowcloud.gateway.http_upstream import HttpUpstream, UpstreamBounds
from lowcloud.gateway.limiter import Limiter, MemoryLimiter
from lowcloud.gateway.prices import SHIPPED, BadPricesError, Price, Prices, load
from lowcloud.gateway.providers import Provider, moved
from lowcloud.gateway.settlements import Settlements
from lowcloud.gateway.shelves import Entries, LogSink
from lowcloud.gateway.spending import Spending
from lowcloud.gateway.spool import LossMeter, Spool
from lowcloud.http.gateway.build import GatewayParts
from lowcloud.http.gateway.manage import Kept
from lowcloud.models.catalogue import Catalogue
from lowcloud.models.pricing import token_prices
from lowcloud.settings import Settings, SettingsError
from lowcloud.storage.database import Database
from lowcloud.storage.gateway_cache import CacheStore
from lowcloud.storage.gateway_logs import LogStore
from lowcloud.storage.gateway_spend import SpendStore
from lowcloud.storage.gateways import CustomProviderStore, GatewayStore
from lowcloud.storage.provider_keys import ProviderKeyStore
from lowcloud.storage.secret_files import server_secret

CLEAR_S = 60.0
SPEND_KEPT_S = 400 * 86_400.0


class HostedGateway:
    """Made before the event loop starts. ``is_open``: nobody needs a token here. Raises SettingsError, OSError."""

    def __init__(
        self, settings: Settings, database: Database, data_dir: Path, catalogue: Catalogue, *, is_open: bool
    ) -> None:
        own = settings.gateway
        self._settings = own
        self._is_open = is_open or own.allow_unauthenticated
        self._data_dir = data_dir
        self._prices = _prices(own.prices, catalogue)
        self._providers = _providers(own.base_urls)
        self._logs = LogStore(database, own.log_days)
        self._entries = CacheStore(database, own.cache_bytes)
        self._spend, self._is_shared = SpendStore(database), database.is_shared
        self._shelves = shelves = Shelves(
            GatewayStore(database),
            CustomProviderStore(database),
            ProviderKeyStore(database),
            Cipher(server_secret(data_dir), "provider keys"),
        )
        self._directory = StoredDirectory(shelves, monotonic)

    @asynccontextmanager
    async def running(self, meter: LossMeter) -> AsyncGenerator[GatewayParts, None]:
        """The gateway while it may be asked. What it has in memory is on the disk at the end."""
        own = self._settings
        upstream = HttpUpstream(UpstreamBounds(own.connections), own.allowed_hosts)
        spool = Spool(self._data_dir / "gateway-spool", LogSink(self._logs, self._directory), meter, own.spool_bytes)
        spool.open()
        settlements = Settlements(self._data_dir / "gateway-spend")
        settlements.open()
        spending = Spending(self._spend, settlements, is_shared=self._is_shared)
        await spending.recover()
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(upstream.connected())
            limiter = await stack.enter_async_context(_limiter(own.redis_url))
            tasks = await stack.enter_async_context(anyio.create_task_group())
            for work in (spool.run, spending.run, self._clear):
                tasks.start_soon(work)
            cache = Cache(Entries(self._entries), own.cache_memory_bytes)
            yield GatewayParts(
                self._directory,
                upstream,
                cache,
                limiter,
                spending,
                spool,
                self._logs,
                self._prices,
                tasks,
                self._is_open,
                Kept(self._shelves, self._directory, own.allowed_hosts),
                self._providers,
            )
            tasks.cancel_scope.cancel()
        spool.close()

    async def _clear(self, sleep: Callable[[float], Awaitable[None]] = anyio.sleep) -> None:
        """What isn't kept any more goes."""
        log = structlog.get_logger("lowcloud.gateway")
        while True:
            try:
                while await self._logs.delete_expired():
                    pass
                while await self._entries.delete_expired():
                    pass
                await self._spend.delete_old(time() - SPEND_KEPT_S)
            except Exception:  # the outermost loop: it may go the next time
                log.exception("what the gateway keeps no more can't be deleted")
            await sleep(CLEAR_S)


@asynccontextmanager
async def _limiter(redis_url: str) -> AsyncGenerator[Limiter, None]:
    """In this process, or in Redis, whose client is an extra."""
    if not redis_url:
        yield MemoryLimiter()
        return
    from lowcloud.gateway.redis_limiter import RedisLimiter, redis_client  # noqa: PLC0415

    client = redis_client(redis_url)
    try:
        yield RedisLimiter(client, MemoryLimiter())
    finally:
        await client.aclose()


def _providers(base_urls: Mapping[str, str]) -> Mapping[str, Provider]:
    try:
        return moved(base_urls)
    except KeyError as error:
        raise SettingsError(f"gateway.base_urls.{error.args[0]}: there is no such provider to be elsewhere") from None


def _prices(file: Path | None, catalogue: Catalogue) -> Prices:
    try:
        table = load(file or SHIPPED)
    except (OSError, BadPricesError) as error:
        raise SettingsError(f"gateway.prices: {error}") from None
    ours = {
        listing.card.id: Price(*prices)
        for listing in catalogue.listings()
        if (prices := token_prices(listing.card)) is not None
    }
    return {**table, "workers-ai": ours}
