"""The routes of responses: create, show, delete, cancel, follow, and the items and tokens that went in."""

import json
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from functools import partial
from typing import Annotated, Literal

import anyio
from pydantic import AfterValidator, BaseModel, ConfigDict, Field
from starlette.responses import Response
from starlette.types import ASGIApp

from lowcloud.core.errors import BadRequest, NotFound
from lowcloud.http.call import Call
from lowcloud.http.encode import answer_headers, neurons_header, to_json
from lowcloud.http.generation import Ending
from lowcloud.http.query import query_of
from lowcloud.http.responses.builder import Fields, queued, replayed
from lowcloud.http.responses.events import as_sse, error_event, padded_delta, sse
from lowcloud.http.responses.orders import Orders, Tools
from lowcloud.http.responses.request import INCLUDES, ResponseAsked, response_asked
from lowcloud.http.responses.run import Order, shown
from lowcloud.http.sse import DONE
from lowcloud.http.validation import validated
from lowcloud.http.watch import CLOSE_BOUND_S
from lowcloud.storage.items import ItemPage, StoredItem
from lowcloud.storage.responses import OVER, Kept

HOW_IT_RUNS = ("stream", "stream_options", "background", "store")
POLL_S = 0.5  # a response that runs in another process is looked at so often


def _known(names: list[str]) -> list[str]:
    if any(name not in INCLUDES for name in names):
        raise ValueError(f"must be one of {', '.join(INCLUDES)}")
    return names


class IncludeQuery(BaseModel):
    """``include`` adds nothing: what is kept is shown whole."""

    include: Annotated[list[str], AfterValidator(_known)] = []


class ItemsQuery(IncludeQuery):
    """The query of a list of items."""

    limit: Annotated[int, Field(ge=1, le=100)] = 20
    after: str | None = None
    order: Literal["asc", "desc"] = "desc"


class ShowQuery(IncludeQuery):
    """The query of one response; ``starting_after`` is the number of the last event that the caller has."""

    stream: bool = False
    starting_after: Annotated[int, Field(ge=0)] | None = None
    include_obfuscation: bool = False


class CountBody(BaseModel):
    """As the body of a response, of which nothing is run."""

    model_config = ConfigDict(extra="allow", title="CountResponseTokens")

    model: str


class Responses:
    """Handles responses."""

    def __init__(self, tools: Tools) -> None:
        self._on = tools
        self._orders = Orders(tools)

    async def create(self, call: Call) -> ASGIApp:
        """A response: whole, as a stream, or in the background."""
        response_id = call.trace.completion_id = self._on.new_id()
        read = partial(response_asked, response_id=response_id)
        ignores = self._orders.ignores
        asked = await self._on.offload.read(call.body, lambda raw: read(raw, ignores_tools=ignores(raw, call)))
        call.trace.model = asked.model
        order = await self._orders.order(asked, response_id, account_of(call))
        if asked.is_background:
            return await self._queued(order, call)
        making = await self._orders.begin(order, call)
        if asked.is_stream:
            ending = Ending(lambda error: sse(error_event(error, 0)), DONE)
            chunks = as_sse(making.told.events(), pads=asked.include_obfuscation)
            return self._on.answerer.stream(chunks, ending, making.headers, call.trace, source=making.held)
        try:
            response = await making.told.whole()
        finally:
            await making.held.aclose()
        headers = {**making.headers, **neurons_header(response["usage"].get("neurons"))}
        return Response(to_json(response), 200, headers, "application/json")

    async def show(self, call: Call) -> ASGIApp:
        """One, as it is now or as a stream of its events."""
        query = query_of(ShowQuery, call.trace.query)
        response = await self._on.background.settled(await self._one(call))
        if query.stream:
            after = -1 if query.starting_after is None else query.starting_after
            return self._follow(call, after, {}, pads=query.include_obfuscation)
        if query.starting_after is not None:
            raise BadRequest("starting_after: only allowed when stream is true.", param="starting_after")
        return _json(shown(response))

    async def delete(self, call: Call) -> ASGIApp:
        """One is gone; those that go on from it keep what they have of it."""
        response_id = _id(call)
        if not await self._on.store.delete(account_of(call), response_id):
            raise _no_such(call)
        self._on.background.forget(response_id)
        return _json({"id": response_id, "object": "response", "deleted": True})

    async def cancel(self, call: Call) -> ASGIApp:
        """One in the background stops; one that is over stays as it is."""
        response = await self._one(call)
        if shown(response).get("background") is not True:
            raise BadRequest("Only a response in the background can be cancelled.", param="response_id")
        cancelled = await self._on.background.cancel(account_of(call), response.id)
        if cancelled is None:
            raise _no_such(call)
        return _json(shown(cancelled))

    async def input_items(self, call: Call) -> ASGIApp:
        """What one saw: its own input, and the items that it goes on from."""
        query = query_of(ItemsQuery, call.trace.query)
        page = ItemPage(query.limit + 1, query.after, query.order == "desc")
        items = await self._on.store.input_items(account_of(call), _id(call), page)
        if items is None:
            raise _no_such(call)
        return _json(listed(items, query.limit))

    async def count(self, call: Call) -> ASGIApp:
        """The tokens of what a response would see."""
        asked = await self._on.offload.read(call.body, lambda raw: self._counted(raw, call))
        call.trace.model = asked.model
        account_id = account_of(call)
        context, own = await self._on.contexts.peek(asked, account_id), await self._on.contexts.own(asked, account_id)
        order = self._on.maker.order(asked, "resp_", account_id, context, own)
        counted = {"object": "response.input_tokens", "input_tokens": await self._on.maker.count(order)}
        return _json(counted, answer_headers(asked.ignored, None))

    async def _queued(self, order: Order, call: Call) -> ASGIApp:
        """In the background: the response as it is accepted, or its events as they come."""
        asked = order.asked
        try:
            await self._on.maker.check(order)
            ignores = self._orders.ignores({"model": asked.model}, call)
            response = await self._on.background.submit(order, call.body, ignores_tools=ignores)
        except BaseException:
            await self._withdraw(order)
            raise
        self._orders.leave(order)
        headers = answer_headers(asked.ignored, None)
        if asked.is_stream:
            return self._follow(call, -1, headers, pads=asked.include_obfuscation, response_id=order.plan.id)
        return _json(response, headers)

    async def _withdraw(self, order: Order) -> None:
        """Leave nothing of it: its client may have left while it was written, and knows no id of it."""
        with anyio.move_on_after(CLOSE_BOUND_S, shield=True):
            await self._on.store.delete(order.account_id, order.plan.id)
        await self._orders.release(order)

    def _follow(
        self, call: Call, after: int, headers: Mapping[str, str], *, pads: bool, response_id: str | None = None
    ) -> ASGIApp:
        following = Following(self._on, account_of(call), response_id or _id(call), after)
        ending = Ending(lambda error: sse(error_event(error, following.number + 1)), DONE)
        source = following.events(pads=pads)
        return self._on.answerer.stream(source, ending, headers, call.trace, source=source)

    async def _one(self, call: Call) -> Kept:
        response = await self._on.store.get(account_of(call), _id(call))
        if response is None:
            raise _no_such(call)
        return response

    def _counted(self, raw: dict[str, object], call: Call) -> ResponseAsked:
        validated(CountBody, raw)
        unrun = {name: value for name, value in raw.items() if name not in HOW_IT_RUNS}
        return response_asked(unrun, "resp_", ignores_tools=self._orders.ignores(raw, call))


class Following:
    """One who follows a response: gets the events behind ``number``, those that are kept and those to come."""

    def __init__(self, tools: Tools, account_id: str, response_id: str, number: int) -> None:
        self._on, self._account_id, self._response_id = tools, account_id, response_id
        self.number = number

    async def events(self, *, pads: bool) -> AsyncGenerator[bytes, None]:
        """Until the last one. Raises NotFound where the response is deleted meanwhile, Unavailable where we stop."""
        while True:
            bell = self._on.background.bell
            live = self._on.background.live(self._response_id)
            if live is not None:
                async with aclosing(live.after(self.number)) as events:
                    async for event in events:
                        self.number += 1
                        yield padded_delta(event) if pads else event
                if live.has_ended:
                    return
            response = await self._settled()
            known = replayed_of(response) if response.status in OVER else queued(shown(response))
            for each in known[self.number + 1 :]:
                self.number += 1
                yield sse(each, pads=pads)
            if response.status in OVER:
                return
            await self._change(bell)

    async def _settled(self) -> Kept:
        response = await self._on.store.get(self._account_id, self._response_id)
        if response is None:
            raise NotFound(f"The response {self._response_id[:64]} was deleted.", param="response_id")
        return await self._on.background.settled(response)

    async def _change(self, bell: anyio.Event) -> None:
        """Wait until a response starts to run here, and for no longer than ``POLL_S``."""
        async with anyio.create_task_group() as tasks:

            async def look_again() -> None:
                await self._on.clock.sleep(POLL_S)
                tasks.cancel_scope.cancel()

            tasks.start_soon(look_again)
            await bell.wait()
            tasks.cancel_scope.cancel()


def replayed_of(response: Kept) -> list[Fields]:
    """Its events, where it is over."""
    return replayed(shown(response), json.loads(response.pieces or "[]"))


def listed(items: Sequence[StoredItem], limit: int) -> Fields:
    """A page of items, of which there is one more where the list goes on."""
    bodies = [json.loads(item.body) for item in items[:limit]]
    return {
        "object": "list",
        "data": bodies,
        "first_id": bodies[0]["id"] if bodies else None,
        "last_id": bodies[-1]["id"] if bodies else None,
        "has_more": len(items) > limit,
    }


def account_of(call: Call) -> str:
    """Whose route this is."""
    if call.principal is None:
        raise RuntimeError("a route that isn't open has a principal")
    return call.principal.account_id


def _id(call: Call) -> str:
    return call.params["response_id"]


def _no_such(call: Call) -> NotFound:
    return NotFound(f"Response with id '{_id(call)[:64]}' not found.", param="response_id")


def _json(value: object, headers: Mapping[str, str] | None = None) -> Response:
    return Response(to_json(value), 200, headers, "application/json")
