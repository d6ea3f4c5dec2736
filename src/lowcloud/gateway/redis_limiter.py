"""Windows of requests in Redis or Valkey, for servers that count together. Needs the extra ``redis``.

One script does both techniques, so a call is one round trip and nothing comes in between. Times are the callers', whole
microseconds: servers that count together need clocks that agree.
"""

import structlog
from redis.asyncio import BlockingConnectionPool, Redis
from redis.exceptions import RedisError

from lowcloud.gateway.limiter import Limiter
from lowcloud.gateway.windows import Decision, Technique

PREFIX = "lowcloud:limit"
MICRO = 1_000_000
TIMEOUT_S = 2.0
MAX_CONNECTIONS = 32
REST_S = 5.0  # Redis isn't asked again for so long after it failed

# KEYS: the window. ARGV: limit, interval, now, technique. Gives: 1 or 0, microseconds to wait, what remains. A fixed
# window is a hash, a sliding one a list of times; both are forgotten when they have ended.
TAKE = """
local key, limit, interval, now = KEYS[1], tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])

local function let_in(n)
  redis.call('PEXPIRE', key, math.ceil(interval / 1000) + 1000)
  return {1, 0, limit - n - 1}
end

if ARGV[4] == 'fixed' then
  local start, n = now - now % interval, 0
  local kept = redis.call('HMGET', key, 'start', 'n')
  if kept[1] and tonumber(kept[1]) >= start then
    start, n = tonumber(kept[1]), tonumber(kept[2])
  end
  if n >= limit then return {0, start + interval - now, 0} end
  redis.call('HSET', key, 'start', string.format('%.0f', start), 'n', n + 1)
  return let_in(n)
end

local first = redis.call('LINDEX', key, 0)
while first and tonumber(first) <= now - interval do
  redis.call('LPOP', key)
  first = redis.call('LINDEX', key, 0)
end
local n = redis.call('LLEN', key)
if n >= limit then
  local leaving = tonumber(redis.call('LINDEX', key, n - limit)) or now
  return {0, leaving + interval - now, 0}
end
local last = tonumber(redis.call('LINDEX', key, -1)) or now
redis.call('RPUSH', key, string.format('%.0f', math.max(now, last)))
return let_in(n)
"""


def redis_client(url: str) -> Redis:
    """For a ``redis://``, ``rediss://`` or ``unix://`` URL. Connections and waits are bounded; ``aclose`` ends it."""
    pool = BlockingConnectionPool.from_url(
        url,
        max_connections=MAX_CONNECTIONS,
        timeout=TIMEOUT_S,
        socket_timeout=TIMEOUT_S,
        socket_connect_timeout=TIMEOUT_S,
    )
    return Redis.from_pool(pool)


class RedisLimiter:
    """Counts in Redis; while it can't be reached, in ``fallback``, each server for itself."""

    def __init__(self, client: Redis, fallback: Limiter, prefix: str = PREFIX) -> None:
        self._script = client.register_script(TAKE)
        self._fallback, self._prefix = fallback, prefix
        self._rests_until = 0.0
        self._log = structlog.get_logger("lowcloud.gateway")

    async def take(self, key: str, limit: int, interval_s: float, technique: Technique, now: float) -> Decision:
        """Count one call, if its window lets it in."""
        if now >= self._rests_until:
            try:
                return await self._take(key, limit, interval_s, technique, now)
            except (RedisError, OSError) as error:
                self._rests_until = now + REST_S
                self._log.warning("limits are counted here alone: Redis can't be used", error=type(error).__name__)
        return await self._fallback.take(key, limit, interval_s, technique, now)

    async def _take(self, key: str, limit: int, interval_s: float, technique: Technique, now: float) -> Decision:
        arguments = [limit, round(interval_s * MICRO), round(now * MICRO), technique]
        is_allowed, wait, remaining = await self._script([f"{self._prefix}:{technique}:{key}"], arguments)
        return Decision(bool(is_allowed), wait / MICRO, remaining)
