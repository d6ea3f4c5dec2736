"""A call's way through the gateway: who may, from the cache or upstream, within limits, tried again, by steps; logged.

log( authenticate, steps( cache( limits once( spend( retry( upstream ))))) ), with usage and cost at the log's end.
"""

import json
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Any, NamedTuple, Protocol

import anyio

from lowcloud.core.errors import LowcloudError
from lowcloud.core.threads import Threads
from lowcloud.gateway.cache import Cache, Entry
from lowcloud.gateway.cache_key import cache_key, is_cacheable, tells_error
from lowcloud.gateway.call import OURS, Asked, Call, Reply, Step, Target, Upstream, begun, opened
from lowcloud.gateway.config import GatewayConfig
from lowcloud.gateway.errors import BadOption, GatewayUnauthorized, NoReply, RateLimited
from lowcloud.gateway.flight import Begin, Flights, Landed, Whole
from lowcloud.gateway.journal import Journal
from lowcloud.gateway.limiter import Limiter
from lowcloud.gateway.options import BYOK_ALIAS, Settled, merged
from lowcloud.gateway.prices import Prices, cost, price_of
from lowcloud.gateway.providers import (
    PROVIDERS,
    CustomProvider,
    Provider,
    brings_key,
    credentials_of,
    provider_of,
    url_of,
    with_key,
)
from lowcloud.gateway.retry import delay_s, is_retried, parse_retry_after, timeout_s
from lowcloud.gateway.spend import Facts, estimated_cost, max_tokens_of
from lowcloud.gateway.spending import Reservation, Spending
from lowcloud.gateway.spool import Spool
from lowcloud.gateway.usage import Facts as Said
from lowcloud.gateway.usage import UsageReader, request_facts
from lowcloud.gateway.windows import Held

MILLION = 1_000_000
MAX_THREADS = 2
FIRST_BYTE_S = 600.0  # the server's own bound, where the caller sets none


@dataclass(frozen=True, slots=True)
class Account:
    """A gateway, and what its account has beside it: custom providers, by slug.

    ``generation`` goes up where its cache is to be forgotten. One that isn't ``is_made`` is ``default``, before its
    first call.
    """

    config: GatewayConfig
    generation: int = 0
    custom: Mapping[str, CustomProvider] = field(default_factory=dict)
    is_made: bool = True


class Directory(Protocol):
    """Knows the gateways, and the keys that are kept for providers."""

    async def find(self, account_id: str, gateway_id: str) -> Account:
        """Raises NoSuchGateway."""

    async def make_default(self, account_id: str) -> None:
        """Make it, unless it is there."""

    async def key(self, account_id: str, gateway_id: str, provider: str, alias: str | None) -> str | None:
        """The key that is kept for a provider, under an alias or as the default; None: there is none."""


@dataclass(frozen=True, slots=True)
class Tools:
    """What the gateway works with. ``ours`` carries calls of our own models; ``clock`` gives seconds since 1970.

    ``is_open``: a gateway without authentication answers everybody. ``threads`` read and write large bodies.
    """

    directory: Directory
    upstream: Upstream
    ours: Upstream
    cache: Cache
    limiter: Limiter
    spending: Spending
    spool: Spool
    prices: Prices
    clock: Callable[[], float]
    monotonic: Callable[[], float]
    sleep: Callable[[float], Awaitable[None]] = anyio.sleep
    is_open: bool = False
    providers: Mapping[str, Provider] = field(default_factory=lambda: PROVIDERS)
    threads: Threads = field(default_factory=lambda: Threads(MAX_THREADS, "lowcloud.gateway"))


class Served(NamedTuple):
    """A step's reply and what is to be said of it. ``cache``: "HIT" or "MISS"; None: the cache wasn't asked."""

    reply: Reply
    cache: str | None = None
    reservation: Reservation | None = None


class Gateway:
    """Answers what is asked of gateways. ``flights`` carry calls that several wait for."""

    def __init__(self, tools: Tools, flights: Flights) -> None:
        self._on, self._flights = tools, flights

    async def answer(self, asked: Asked) -> Reply:
        """The reply, with the gateway's headers; its log is written before its last byte is taken.

        Raises NoSuchGateway, GatewayUnauthorized, RateLimited, SpendLimitReached, NoReply, BadRequest: of those that
        came after the authentication there is a log.
        """
        account = await self._on.directory.find(asked.account_id, asked.gateway_id)
        if (account.config.authentication or not self._on.is_open) and asked.principal is None:
            raise GatewayUnauthorized
        if not account.is_made:
            await self._on.directory.make_default(asked.account_id)
            account = await self._on.directory.find(asked.account_id, asked.gateway_id)  # with its own cache
        run = _Run(self._on, self._flights, asked, account)
        try:
            return await run.answer()
        except BaseException as error:
            await run.journal.failed(error)
            if isinstance(error, LowcloudError):
                error.headers = dict(run.told())
            raise


class _Run:
    """One call, through its steps."""

    def __init__(self, tools: Tools, flights: Flights, asked: Asked, account: Account) -> None:
        self._on, self._flights, self._asked, self._account = tools, flights, asked, account
        self._is_counted = False
        self._said = Said()  # by the step's request
        self.journal = Journal(asked, tools.clock(), tools.monotonic, tools.prices, tools.spool, tools.threads)

    async def answer(self) -> Reply:
        last = len(self._asked.steps) - 1
        for number, step in enumerate(self._asked.steps):
            settled = merged(step.options, self._asked.options, self._account.config)
            self.journal.begin(number, step.call, settled)
            try:
                served = await self._serve(step, settled)
            except RateLimited:  # the call is, whatever its step
                raise
            except LowcloudError:
                if number == last:
                    raise
                continue
            if served.reply.status < 400 or number == last:
                return await self._finished(served, number)
            self._settle(served.reservation, 0.0)
            await _close(served.reply)
        raise RuntimeError("a call has at least one step")

    async def _serve(self, step: Step, settled: Settled) -> Served:
        """A step's reply: kept, shared, or its own. Raises LowcloudError where the step can't have one."""
        call = step.call
        provider = provider_of(call.provider, self._account.custom, self._on.providers)
        read = partial(request_facts, provider, call.path, call.body)
        self._said = await self._on.threads.sized(len(call.body), read)
        self.journal.asks(self._said)
        if settled.cache_ttl_s == 0 or call.method != CACHED_METHOD:
            reply, held = await self._send(call, provider, settled)
            return Served(reply, None, held)
        target = await self._target(call, provider, settled)
        where = (self._asked.account_id, self._asked.gateway_id)
        credentials = credentials_of(target.headers)  # what stands in the query is in the call's
        key = cache_key(*where, self._account.generation, call, credentials, settled.cache_key)
        entry = await self._on.cache.get(*where, key, self._on.clock())
        if entry is not None:
            return Served(_played(entry), "HIT")

        async def begin() -> Reply:
            reply, held = await self._send(call, provider, settled, target)
            return reply if held is None else await self._paid(reply, held, call, provider, settled)

        landed = partial(self._land, key, settled.cache_ttl_s)
        reply, is_follower = await self._joined(key, begin, landed, settled)
        return Served(reply, "HIT" if is_follower else "MISS")

    async def _joined(self, key: str, begin: Begin, landed: Landed, settled: Settled) -> tuple[Reply, bool]:
        """The reply of the call that all share who ask the same, and whether another one began it: who did not waits
        for it as for an attempt of their own. Raises NoReply."""
        limit_s, began = timeout_s(1, settled), self._on.monotonic()
        try:
            reply, is_follower = await self._flights.join(key, begin, _may_be_kept, landed, limit_s)
        except TimeoutError:
            pass
        else:
            if limit_s is None or not is_follower:
                return reply, is_follower
            try:
                return await opened(reply, limit_s - self._on.monotonic() + began), True
            except NoReply as error:
                if error.kind != "timeout":
                    raise
        if settled.max_attempts == 1:
            raise NoReply(kind="timeout")
        return await begin(), False

    async def _send(
        self, call: Call, provider: Provider, settled: Settled, target: Target | None = None
    ) -> tuple[Reply, Reservation | None]:
        """The upstream's reply, within the limits, tried again where that may help. Raises NoReply."""
        target = target or await self._target(call, provider, settled)
        await self._count()
        held = await self._reserve(call, provider, settled)
        try:
            return await self._attempts(call, target, settled), held
        except BaseException:
            self._settle(held, 0.0)
            raise

    async def _attempts(self, call: Call, target: Target, settled: Settled) -> Reply:
        upstream = self._on.ours if call.provider == OURS else self._on.upstream
        attempt = 0
        while True:
            attempt += 1
            limit_s, began = timeout_s(attempt, settled), self._on.monotonic()
            try:
                reply = await upstream.send(call, target, limit_s or FIRST_BYTE_S)
                wait_s = self._wait_s(reply, attempt, settled)
                if wait_s is None:
                    return reply if limit_s is None else await opened(reply, limit_s - self._on.monotonic() + began)
            except NoReply as error:
                wait_s = delay_s(attempt, settled, None) if is_retried(error.kind) else None
                if wait_s is None:
                    raise
            else:
                await _close(reply)
            await self._on.sleep(wait_s)

    def _wait_s(self, reply: Reply, attempt: int, settled: Settled) -> float | None:
        """Seconds until a reply's call is tried again; None: it isn't."""
        if not is_retried(reply.status):
            return None
        return delay_s(attempt, settled, parse_retry_after(reply.header("retry-after"), self._on.clock()))

    async def _target(self, call: Call, provider: Provider, settled: Settled) -> Target:
        """Where the call goes, with the client's own key, else with the one that is kept."""
        if call.provider == OURS:
            if self._asked.principal is None:
                raise GatewayUnauthorized
            return Target("", call.headers, False, self._asked.account_id, self._asked.principal)
        headers = call.headers
        if not brings_key(provider, headers, call.query):
            where = (self._asked.account_id, self._asked.gateway_id, provider.slug)
            key = await self._on.directory.key(*where, settled.byok_alias)
            if key is not None:
                headers = with_key(provider, headers, key)
            elif settled.byok_alias is not None:
                raise BadOption(f"{BYOK_ALIAS}: no key is kept for {provider.slug} under that name.", param=BYOK_ALIAS)
        return Target(url_of(provider, call.path, call.query), headers, is_checked=not provider.is_moved)

    async def _count(self) -> None:
        """Once a call, when the first upstream call is due. Raises RateLimited."""
        window = self._account.config.rate_limit
        if self._is_counted or window is None:
            return
        key = f"{self._asked.account_id}/{self._asked.gateway_id}"
        now = self._on.clock()
        decision = await self._on.limiter.take(key, int(window.limit), window.interval_s, window.technique, now)
        self._is_counted = True
        if not decision.is_allowed:
            raise RateLimited(decision.retry_after_s)

    async def _reserve(self, call: Call, provider: Provider, settled: Settled) -> Reservation | None:
        """Raises SpendLimitReached."""
        rules = self._account.config.spend_limits
        if not rules:
            return None
        model = self._said.model
        price = price_of(self._on.prices, provider.slug, model)
        amount = 0.0
        if price is not None:
            per_in, per_out = price.tokens_in / MILLION, price.tokens_out / MILLION
            most = await self._on.threads.sized(len(call.body), lambda: max_tokens_of(_json(call.body)))
            amount = estimated_cost(len(call.body), most, per_in, per_out)
        wanted = Held(self._asked.id, self._on.clock(), amount)
        place = (self._asked.account_id, self._asked.gateway_id)
        return await self._on.spending.reserve(
            place, rules, Facts(provider.slug, model or None, settled.metadata), wanted
        )

    def _settle(self, held: Reservation | None, amount: float) -> None:
        if held is not None:
            self._on.spending.settle(held, amount, self._on.clock())

    async def _paid(self, reply: Reply, held: Reservation, call: Call, provider: Provider, settled: Settled) -> Reply:
        """A reply that settles what it cost at its end, whoever of its readers is left by then."""
        usage, said = UsageReader(), self._said

        async def metered() -> AsyncGenerator[bytes, None]:
            try:
                yield b""
                async for piece in reply.body:
                    usage.feed(piece)
                    yield piece
            finally:
                with anyio.CancelScope(shield=True):
                    used = await self._on.threads.sized(len(call.body), lambda: usage.used(call.body))
                model = said.model or used.model
                dollars = cost(self._on.prices, provider.slug, model, used, settled.custom_cost)
                self._settle(held, (dollars or 0.0) if reply.status < 400 else 0.0)
                await reply.body.aclose()

        return reply._replace(body=await begun(metered()))

    async def _land(self, key: str, ttl_s: int, whole: Whole) -> None:
        """Keep a reply. One that can't be kept was answered all the same."""
        if not is_cacheable(whole.status, whole.headers, len(whole.body)):
            return
        if await self._on.threads.sized(len(whole.body), partial(tells_error, whole.body)):
            return
        now = self._on.clock()
        entry = Entry(
            key,
            self._asked.account_id,
            self._asked.gateway_id,
            whole.status,
            tuple(each for each in whole.headers if each[0] in KEPT_HEADERS or each[0].startswith("lowcloud-")),
            whole.body,
            now,
            now + ttl_s,
        )
        with suppress(Exception):  # the store logs what it can't do
            await self._on.cache.put(entry)

    def told(self) -> list[tuple[str, str]]:
        """The headers that say which call it was."""
        return [
            ("cf-aig-log-id", self._asked.id),
            ("cf-aig-request-id", self._asked.id),
            ("cf-aig-event-id", self.journal.event_id),
        ]

    async def _finished(self, served: Served, number: int) -> Reply:
        """The step's reply as the client gets it, and its log at its end."""
        reply = served.reply
        settle = partial(self._settle, served.reservation)
        self.journal.answered(reply, is_hit=served.cache == "HIT", settle=settle)
        own = [*self.told(), ("cf-aig-step", str(number))]
        if served.cache is not None:
            own.append(("cf-aig-cache-status", served.cache))
        headers = tuple(each for each in reply.headers if not each[0].startswith("cf-aig-"))
        return Reply(reply.status, (*headers, *own), await begun(self.journal.logged(reply)))


# Others ask how something stands, or change it, and mean each time that they ask.
CACHED_METHOD = "POST"
# Of a kept reply, beside what ours says of itself; the rest was of the one exchange.
KEPT_HEADERS = frozenset({"content-type", "content-encoding", "content-language", "openai-model", "cf-ai-neurons"})


def _may_be_kept(reply: Reply) -> bool:
    return is_cacheable(reply.status, reply.headers, reply.length or 0)


def _played(entry: Entry) -> Reply:
    """A kept reply, a stream as a stream."""
    is_stream = any(name == "content-type" and value.startswith("text/event-stream") for name, value in entry.headers)
    length = () if is_stream else (("content-length", str(len(entry.body))),)
    return Reply(entry.status, (*entry.headers, *length), _pieces(entry.body))


async def _pieces(body: bytes) -> AsyncGenerator[bytes, None]:
    for start in range(0, max(1, len(body)), PIECE_BYTES):
        yield body[start : start + PIECE_BYTES]


PIECE_BYTES = 65_536


async def _close(reply: Reply) -> None:
    with anyio.move_on_after(5, shield=True):
        await reply.body.aclose()


def _json(body: bytes) -> Any:
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        return None
