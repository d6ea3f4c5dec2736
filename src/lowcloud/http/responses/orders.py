"""Orders of responses: from a body to what is to be made, made, kept, and let go of again."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from functools import partial

import anyio

from lowcloud.core.errors import BadRequest
from lowcloud.http.call import Call
from lowcloud.http.clock import Clock
from lowcloud.http.generation import Answerer, Begun
from lowcloud.http.offload import Offload
from lowcloud.http.responses.background import Background
from lowcloud.http.responses.builder import Fields, Pieces
from lowcloud.http.responses.context import Contexts
from lowcloud.http.responses.request import ResponseAsked
from lowcloud.http.responses.run import Context, Maker, Order, Told, new_response
from lowcloud.http.responses.unrun import Ignores, ignores_tools
from lowcloud.http.watch import CLOSE_BOUND_S
from lowcloud.storage.responses import ResponseStore


@dataclass(frozen=True, slots=True)
class Tools:
    """What the handlers of responses work with. ``ignores`` says of a model and a token, by their ids, whether tools of
    types that aren't run here are left out for them."""

    maker: Maker
    contexts: Contexts
    store: ResponseStore
    background: Background
    answerer: Answerer
    offload: Offload
    clock: Clock
    new_id: Callable[[], str]
    ignores: Ignores


@dataclass(frozen=True, slots=True)
class Making:
    """A response that has begun. ``headers`` are its answer's; who has it closes ``held``."""

    told: Told
    headers: Mapping[str, str]
    held: "Held"


class Orders:
    """Takes orders, and begins them."""

    def __init__(self, tools: Tools) -> None:
        self._on = tools

    def ignores(self, raw: Mapping[str, object], call: Call) -> bool:
        """Whether tools that aren't run here are left out: the header says so, or the config. Raises BadRequest."""
        return ignores_tools(str(raw.get("model")), call, self._on.ignores)

    async def order(
        self, asked: ResponseAsked, response_id: str, account_id: str, context: Context | None = None
    ) -> Order:
        """What is to be made; from here on a conversation is locked. ``context``: what is known of it already."""
        if asked.conversation_id is not None and not asked.store:
            message = "conversation: only allowed where the response is stored; store is false."
            raise BadRequest(message, param="conversation")
        own = await self._on.contexts.own(asked, account_id)
        try:
            if context is None:
                context = await self._on.contexts.of(asked, response_id, account_id)
            return self._on.maker.order(asked, response_id, account_id, context, own)
        except BaseException:  # also of a client that leaves while the lock is written
            await self._unlock(asked, response_id)
            raise

    async def begin(self, order: Order, call: Call) -> Making:
        """Wait until it has begun; until then every failure is raised, and the order is let go of."""
        try:
            begun = await self._on.maker.begin(order, call.caller, call.trace)
        except BaseException:
            await self.release(order)
            raise
        told = self._on.maker.told(order, partial(_ready, begun), partial(self.keep, order), call.trace)
        return Making(told, begun.headers, Held(begun, partial(self.release, order)))

    async def keep(self, order: Order, response: Fields, pieces: Pieces) -> Fields:
        """Store what came of it, where it is to be stored; returns that."""
        if order.asked.store:
            await self._on.store.save(new_response(order, response, pieces))
        return response

    def leave(self, order: Order) -> None:
        """Its job has its conversation from here on."""
        if order.asked.conversation_id is not None:
            self._on.contexts.locks.leave(order.asked.conversation_id, order.plan.id)

    async def release(self, order: Order) -> None:
        """Let others have its conversation."""
        await self._unlock(order.asked, order.plan.id)

    async def _unlock(self, asked: ResponseAsked, response_id: str) -> None:
        if asked.conversation_id is not None:
            with anyio.move_on_after(CLOSE_BOUND_S, shield=True):
                await self._on.contexts.locks.release(asked.conversation_id, response_id)


class Held:
    """What a response holds until it is over: its generation, and the lock of its conversation."""

    def __init__(self, begun: Begun, release: Callable[[], Awaitable[None]]) -> None:
        self._begun, self._release = begun, release

    async def aclose(self) -> None:
        """Give it back."""
        await self._begun.events.aclose()
        await self._release()


async def _ready(begun: Begun) -> Begun:
    return begun
