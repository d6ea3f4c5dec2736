"""The turns of a connection: each message that asks for a response, answered with the events that a stream has.

Source: the Open Responses specification (2026-04-24), and the types of openai's Python SDK, 3.54
(types/responses/responses_client_event.py).
"""

from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import aclosing
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import anyio
from structlog.typing import FilteringBoundLogger

from lowcloud.core.errors import BadRequest, LowcloudError, Unsupported
from lowcloud.http.call import Admit, Call, Trace
from lowcloud.http.edge import internal_error
from lowcloud.http.encode import answer_headers, to_json
from lowcloud.http.responses.builder import Fields
from lowcloud.http.responses.events import socket_error
from lowcloud.http.responses.handlers import account_of
from lowcloud.http.responses.memory import Memory, Remembered
from lowcloud.http.responses.orders import Orders, Tools
from lowcloud.http.responses.request import ResponseAsked, response_asked
from lowcloud.http.responses.run import Context, Order
from lowcloud.http.sse import WriteTimeout
from lowcloud.http.watch import CLOSE_BOUND_S, ClientLeft, close

CREATE = "response.create"
UNSENT = ("stream", "stream_options", "background")  # every response is a stream, and none in the background
MAX_LANE_CHARS = 256
Tell = Callable[[Fields], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Asked:
    """What a message asks for. ``generates`` False: only the context is to be made ready."""

    response: ResponseAsked
    generates: bool


@dataclass(slots=True)
class _Turn:
    call: Call
    lane: str | None = None
    previous_id: str | None = None

    @property
    def trace(self) -> Trace:
        return self.call.trace


class Turns:
    """Answers the messages of one connection by ``tell``, one after another. ``call`` is its handshake."""

    def __init__(self, tools: Tools, call: Call, admit: Admit, memory: Memory, logger: FilteringBoundLogger) -> None:
        self._on, self._call, self._admit, self._memory, self._logger = tools, call, admit, memory, logger
        self._orders = Orders(tools)
        self.has_left = False  # why work is cancelled

    async def answer(self, message: bytes, tell: Tell) -> None:
        """Tell the events of the response that is asked for, or one of an error. Raises ClientLeft, WriteTimeout."""
        now = self._on.clock.monotonic()
        trace = replace(self._call.trace, started=now, completion_id=self._on.new_id(), status=200)
        turn = _Turn(replace(self._call, trace=trace, body=message))
        try:
            await self._answer(turn, tell)
        except WriteTimeout:
            trace.outcome = "write_timeout"
            raise
        except (ClientLeft, anyio.get_cancelled_exc_class()):
            trace.outcome = "client_left" if self.has_left else "broken"
            raise
        except LowcloudError as error:
            await self._fail(turn, error, tell)
        except Exception:  # the outermost loop of a response: the connection goes on
            self._logger.exception("a response failed", route=trace.route)
            await self._fail(turn, internal_error(trace.id), tell)
        finally:
            self._record(trace)

    async def _answer(self, turn: _Turn, tell: Tell) -> None:
        raw: dict[str, Any] = await self._on.offload.read(turn.call.body, lambda body: body)
        turn.previous_id = raw["previous_response_id"] if isinstance(raw.get("previous_response_id"), str) else None
        turn.lane = _lane(raw)
        turn.call = replace(turn.call, principal=await self._admit())
        read = partial(create_asked, raw, turn.trace.completion_id or "", ignores=self._ignores(turn.call))
        asked = await self._on.offload.sized(len(turn.call.body), read)
        turn.trace.model = asked.response.model
        remembered = self._memory.of(turn.previous_id)
        account_id = account_of(turn.call)
        order = await self._orders.order(asked.response, turn.trace.completion_id or "", account_id, remembered)
        run = self._generate if asked.generates else self._prepare
        response = await run(turn, order, tell)
        with anyio.move_on_after(CLOSE_BOUND_S, shield=True):  # who leaves from here on has the whole response
            await self._remember(turn, order, response)

    async def _generate(self, turn: _Turn, order: Order, tell: Tell) -> Fields:
        making = await self._orders.begin(order, turn.call)
        try:
            return await _tell_all(turn, making.told.events(), making.headers, tell)
        finally:
            await close(making.held)

    async def _prepare(self, turn: _Turn, order: Order, tell: Tell) -> Fields:
        """A response without any output, which later ones go on from."""
        asked, maker = order.asked, self._on.maker
        try:
            n_tokens = 0
            if order.items or asked.instructions:
                await maker.check(order)
                n_tokens = await maker.count(order)
            begin = partial(maker.begin, order, turn.call.caller, turn.trace)  # which nobody calls
            told = maker.told(order, begin, partial(self._orders.keep, order), turn.trace)
            return await _tell_all(turn, told.prepared(n_tokens), answer_headers(asked.ignored, None), tell)
        finally:
            await self._orders.release(order)

    async def _remember(self, turn: _Turn, order: Order, response: Fields) -> None:
        if response["status"] == "failed":
            self._memory.evict(turn.previous_id)
        elif order.asked.store:
            self._memory.keep(turn.lane, None)
        else:
            items = (*order.items, *response["output"])
            n_bytes = await self._on.offload.run(lambda: len(to_json(items)))
            self._memory.keep(turn.lane, Remembered(order.plan.id, Context(items), n_bytes))

    async def _fail(self, turn: _Turn, error: LowcloudError, tell: Tell) -> None:
        self._memory.evict(turn.previous_id)
        turn.trace.status, turn.trace.outcome = error.status, "failed"
        await tell(_on_lane(turn, socket_error(error)))

    def _ignores(self, call: Call) -> Callable[[Mapping[str, object]], bool]:
        return lambda raw: self._orders.ignores(raw, call)

    def _record(self, trace: Trace) -> None:
        self._logger.info(
            "response",
            route=trace.route,
            status=trace.status,
            outcome=trace.outcome,
            ms=round((self._on.clock.monotonic() - trace.started) * 1000, 1),
            account=trace.account_id,
            token_id=trace.token_id,
            model=trace.model,
            completion_id=trace.completion_id,
        )


def create_asked(raw: Mapping[str, Any], response_id: str, *, ignores: Callable[[Mapping[str, object]], bool]) -> Asked:
    """What a ``response.create`` asks for. Raises BadRequest and Unsupported, for any other event of a client too."""
    kind = raw.get("type")
    if kind != CREATE:
        named = f"; {kind[:64]} is none that is known here" if isinstance(kind, str) else ""
        raise Unsupported(f'type: must be "{CREATE}"{named}.', param="type")
    for name in UNSENT:
        if raw.get(name) is not None:
            raise Unsupported(f"{name}: not a parameter of {CREATE}, which always streams.", param=name)
    generates = raw.get("generate")
    if generates not in (None, True, False):
        raise BadRequest("generate: must be true or false.", param="generate")
    body = {name: value for name, value in raw.items() if name not in ("type", "stream_id", "generate", *UNSENT)}
    is_empty_fine = generates is False
    asked = response_asked(body, response_id, ignores_tools=ignores(body), may_be_empty=is_empty_fine)
    return Asked(asked, generates is not False)


def _lane(raw: Mapping[str, Any]) -> str | None:
    lane = raw.get("stream_id")
    if lane is not None and not (isinstance(lane, str) and 0 < len(lane) <= MAX_LANE_CHARS):
        raise BadRequest(f"stream_id: must be a string of 1 to {MAX_LANE_CHARS} characters.", param="stream_id")
    return lane


async def _tell_all(
    turn: _Turn, events: AsyncGenerator[Fields, None], headers: Mapping[str, str], tell: Tell
) -> Fields:
    """Tell every event; the first one says what an answer's headers say. Returns the response of the last one."""
    more: Fields = {"headers": dict(headers)} if headers else {}
    last: Fields = {}
    async with aclosing(events):
        async for last in events:
            await tell(_on_lane(turn, {**last, **more}))
            more = {}
    response: Fields = last["response"]
    return response


def _on_lane(turn: _Turn, event: Fields) -> Fields:
    return event if turn.lane is None else {**event, "stream_id": turn.lane}
