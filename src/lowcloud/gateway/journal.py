"""What is written down of one call, as it goes: the log's record, with the usage and the cost of what came."""

from collections.abc import AsyncGenerator, Callable

import anyio

from lowcloud.core.errors import InternalError, LowcloudError
from lowcloud.core.threads import LARGE_BYTES, Threads
from lowcloud.gateway.call import Asked, Call, Reply
from lowcloud.gateway.options import Settled
from lowcloud.gateway.prices import Prices, cost
from lowcloud.gateway.record import BODY_BYTES, Record, make_safe, packed
from lowcloud.gateway.redact import redacted_query
from lowcloud.gateway.spool import Spool
from lowcloud.gateway.usage import Facts, UsageReader

CLIENT_LEFT = 499


class Journal:
    """One call's. ``end`` writes the record, once, whatever became of the call; ``threads`` make large ones."""

    def __init__(
        self,
        asked: Asked,
        now: float,
        monotonic: Callable[[], float],
        prices: Prices,
        spool: Spool,
        threads: Threads,
    ) -> None:
        self._asked, self._monotonic, self._prices, self._spool = asked, monotonic, prices, spool
        self._threads = threads
        self._started = monotonic()
        self._record = Record(asked.id, asked.account_id, asked.gateway_id, now)
        self._usage = UsageReader()
        self._request = b""
        self._response: list[bytes] | None = None
        self._kept = 0
        self._settled: Settled | None = None
        self._settle: Callable[[float], None] | None = None
        self._is_over = False
        record = self._record
        record.user_agent, record.source = asked.user_agent, asked.source
        record.authenticated = asked.principal is not None

    @property
    def event_id(self) -> str:
        """The caller's, else the call's own id."""
        asked = self._settled.event_id if self._settled else None
        return asked or self._asked.id

    def begin(self, number: int, call: Call, settled: Settled) -> None:
        """A step is due."""
        record = self._record
        self._settled, self._request = settled, call.body
        record.step, record.provider, record.method = number, call.provider, call.method
        record.path = call.path + (f"?{redacted_query(call.query)}" if call.query else "")
        self.asks(Facts())
        record.request_content_type = call.header("content-type") or ""
        record.request_size = len(call.body)
        record.metadata, record.event_id = settled.metadata, self.event_id
        record.custom_cost = settled.custom_cost is not None
        self._usage = UsageReader()

    def asks(self, facts: Facts) -> None:
        """What is known of the step's request."""
        record = self._record
        record.model, record.model_type, record.request_type = facts.model, facts.model_type, facts.request_type

    def answered(self, reply: Reply, *, is_hit: bool, settle: Callable[[float], None]) -> None:
        """A step's reply is the answer; ``settle`` gets what it cost."""
        record = self._record
        record.status_code, record.success, record.cached = reply.status, reply.status < 400, is_hit
        record.response_content_type = reply.header("content-type") or ""
        self._settle = settle
        if self._keeps_bodies:
            self._response = []

    async def logged(self, reply: Reply) -> AsyncGenerator[bytes, None]:
        """First an empty piece, then the body; before the last byte of it is given, the record is written."""
        n_left = reply.length or -1
        try:
            yield b""
            async for piece in reply.body:
                self._take(piece)
                n_left -= len(piece)
                if n_left == 0:
                    await self.end()
                yield piece
        except Exception:  # it broke off; that the client left is no failure of the call
            self._record.success = False
            raise
        finally:
            await self.end()
            await reply.body.aclose()

    async def failed(self, error: BaseException) -> None:
        """There is no reply but the error's own."""
        is_ours = isinstance(error, Exception)  # any other one ends the call because nobody waits for it
        status = InternalError.status if is_ours else CLIENT_LEFT
        self._record.status_code = error.status if isinstance(error, LowcloudError) else status
        await self.end()

    async def end(self) -> None:
        """Write the record, unless it is written."""
        if self._is_over:
            return
        self._is_over = True
        self._record.duration_ms = round(1_000 * (self._monotonic() - self._started), 3)
        if len(self._request) + self._kept <= LARGE_BYTES:
            data = self._packed()
        else:
            with anyio.CancelScope(shield=True):
                data = await self._threads.run(self._packed)
        if self._settle is not None:
            self._settle(self._record.cost or 0.0)
        if data:
            self._spool.append(self._record, data)

    def _packed(self) -> bytes:
        """The record, filled in; b"" where none is to be kept."""
        record, settled = self._record, self._settled
        used = self._usage.used(self._request)
        if 0 < record.status_code < 400:  # what came before it broke off is paid for too
            record.tokens_in, record.tokens_out = used.tokens_in, used.tokens_out
            record.model = record.model or used.model
            price = cost(self._prices, record.provider, record.model, used, settled.custom_cost if settled else None)
            record.cost = 0.0 if record.cached else price
        if settled is None or not settled.collect_log:
            return b""
        if self._keeps_bodies:
            record.request = self._request[:BODY_BYTES]
            record.response = b"".join(self._response or ())
            make_safe(record)
        return packed(record)

    @property
    def _keeps_bodies(self) -> bool:
        settled = self._settled
        return settled is not None and settled.collect_log and settled.collect_log_payload and not settled.zdr

    def _take(self, piece: bytes) -> None:
        self._usage.feed(piece)
        self._record.response_size += len(piece)
        if self._response is not None and self._kept < BODY_BYTES:
            self._response.append(piece[: BODY_BYTES - self._kept])
            self._kept += len(piece)
