"""One response, from its context to its commit, which comes before its last event."""

import json
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TypeAlias

from structlog.typing import FilteringBoundLogger

from lowcloud.core.errors import BadRequest, LowcloudError, PromptTooLong
from lowcloud.core.messages import Message, Messages
from lowcloud.core.requests import Caller, Generate
from lowcloud.http.call import Trace
from lowcloud.http.clock import Clock
from lowcloud.http.edge import internal_error
from lowcloud.http.encode import to_json
from lowcloud.http.generation import Answerer, Asked, Begun
from lowcloud.http.responses.builder import Builder, Fields, Pieces, Plan
from lowcloud.http.responses.prompt import messages_of, named_as_here
from lowcloud.http.responses.request import ResponseAsked
from lowcloud.http.responses.sealed import Sealer
from lowcloud.http.responses.truncation import droppable, room, without
from lowcloud.http.watch import close
from lowcloud.serving.service import Service
from lowcloud.storage.items import StoredItem
from lowcloud.storage.responses import Kept, NewResponse

# Gets the response once it is over, with what replays it, before anybody hears of its end. Returns it as it can be had
# from then on: it may have ended otherwise meanwhile. None: it was deleted.
Keep: TypeAlias = Callable[[Fields, Pieces], Awaitable[Fields | None]]


@dataclass(frozen=True, slots=True)
class Context:
    """The items that a response sees before its own input. Those that are kept have ``keys``, all or none."""

    items: tuple[Fields, ...] = ()
    keys: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Order:
    """A response that is to be made. ``own`` are its input items, with nothing left to be looked up."""

    account_id: str
    asked: ResponseAsked
    plan: Plan
    context: Context
    own: tuple[Fields, ...]
    opened: Mapping[str, str]

    @property
    def items(self) -> tuple[Fields, ...]:
        """All that it sees."""
        return (*self.context.items, *self.own)


@dataclass(frozen=True, slots=True)
class Around:
    """What a response needs of the server. An error that ``is_worth`` another start isn't its end."""

    clock: Clock
    logger: FilteringBoundLogger
    is_worth: Callable[[LowcloudError], bool]


class Maker:
    """Makes responses. ``sealer`` writes and reads what only this server may read."""

    def __init__(
        self, service: Service, answerer: Answerer, clock: Clock, sealer: Sealer, logger: FilteringBoundLogger
    ) -> None:
        self._service, self._answerer = service, answerer
        self._clock, self._sealer, self._logger = clock, sealer, logger

    def order(
        self, asked: ResponseAsked, response_id: str, account_id: str, context: Context, own: tuple[Fields, ...]
    ) -> Order:
        """What a body asks for, with the values that the model's card fills in. Raises ModelNotFound, BadRequest."""
        _check_ids(context, own, asked.paths)
        defaults = self._service.model(asked.model).by.defaults
        filled = {
            "temperature": _or(defaults.temperature, 1.0),
            "top_p": _or(defaults.top_p, 1.0),
            "max_output_tokens": defaults.max_tokens,
        }
        effective = {name: filled.get(name) if value is None else value for name, value in asked.head.items()}
        created_at = int(self._clock.wall())
        head = {"id": response_id, "object": "response", "created_at": created_at, "model": asked.model}
        seals = asked.include_encrypted_reasoning
        plan = Plan(
            {**head, **effective},
            asked.custom,
            has_logprobs=asked.include_logprobs,
            max_tool_calls=asked.max_tool_calls,
            seal=partial(self._sealer.seal, account_id=account_id) if seals else None,
        )
        # what is kept in the open needs no key, which may be another by now
        closed = [{} if item.get("content") else item for item in context.items]
        opened = self._sealer.opened(closed, account_id, asked.source)
        return Order(account_id, asked, plan, context, own, opened | self._sealer.opened(own, account_id))

    async def begin(self, order: Order, caller: Caller, trace: Trace) -> Begun:
        """Wait until it has started: until then every failure is raised. Raises as ``Answerer.begin`` does."""
        with named_as_here():
            n_gone = await self._excess(order, 0) or 0
            try:
                return await self._begin(order, without(order.items, n_gone), caller, trace)
            except PromptTooLong:  # images take what isn't known before
                n_more = await self._excess(order, n_gone + 1)
                if n_more is None:
                    raise
            return await self._begin(order, without(order.items, n_more), replace(caller, is_part=True), trace)

    async def check(self, order: Order, *, is_whole: bool = True) -> None:
        """Refuse what a run would be refused for, as ``Answerer.check`` does; one that truncates may still fit.

        Raises BadRequest, ModelNotFound.
        """
        with named_as_here():
            try:
                await self._answerer.check(order.asked.model, _prompt(order, order.items), is_whole=is_whole)
            except PromptTooLong:
                if not order.asked.truncates:
                    raise

    async def count(self, order: Order) -> int:
        """The tokens of its prompt."""
        with named_as_here():
            return await self._service.count(order.asked.model, _prompt(order, order.items).prompt)

    def told(
        self,
        order: Order,
        begin: Callable[[], Awaitable[Begun]],
        keep: Keep,
        trace: Trace,
        is_worth: Callable[[LowcloudError], bool] = lambda _: False,
    ) -> "Told":
        """A response under way, whose generation ``begin`` starts or has started."""
        return Told(order, begin, keep, trace, Around(self._clock, self._logger, is_worth))

    async def _begin(self, order: Order, items: Sequence[Fields], caller: Caller, trace: Trace) -> Begun:
        asked = order.asked
        generate = _prompt(order, items)
        plain = Asked(asked.model, generate, asked.is_stream, asked.ignored, asked.rejects_if_busy)
        return await self._answerer.begin(plain, caller, trace)

    async def _excess(self, order: Order, least: int) -> int | None:
        """How many of the oldest groups of its items go, ``least`` or more, so that the others leave room for the
        answer; None: none may go, or it is of no use."""
        asked, groups = order.asked, droppable(order.items)
        card = self._service.model(asked.model).by
        window, bound = card.context_window, asked.generate.max_tokens
        if not asked.truncates or window is None or least > len(groups) or not groups:
            return None
        most = window - (room(card.defaults.max_tokens, window) if bound is None else bound)

        async def count(n_groups: int) -> int:
            messages = _messages(order, without(order.items, n_groups))
            # the tokens of images are known once the model reads them
            told = tuple(replace(message, images=()) for message in messages)
            return await self._service.count(asked.model, replace(_told_of(order), messages=told))

        if await count(least) <= most:
            return least
        low, high = least, len(groups)
        fewest = await count(high)
        if fewest > most:  # who names no bound takes what the context leaves
            return high if bound is None and fewest < window else None
        while low < high:
            middle = (low + high) // 2
            low, high = (low, middle) if await count(middle) <= most else (middle + 1, high)
        return low


class Told:
    """A response under way: its events one by one, or all at once. Close it, however it ends.

    ``has_ended``: its last event was told. One that is deleted meanwhile has none.
    """

    def __init__(
        self, order: Order, begin: Callable[[], Awaitable[Begun]], keep: Keep, trace: Trace, around: Around
    ) -> None:
        self._begin, self._keep, self._trace, self._around = begin, keep, trace, around
        self._begun: Begun | None = None
        self.builder = Builder(order.plan)
        self.has_ended = False

    async def events(self) -> AsyncGenerator[Fields, None]:
        """Each event; the last one when the response is kept. What fails is said in the last one too."""
        for event in self.builder.begin():
            yield event
        try:
            self._begun = await self._begin()
            async for come in self._begun.events:
                for event in self.builder.feed(come):
                    yield event
            closing, response = self.builder.finished(self._around.clock.wall())
        except LowcloudError as error:
            if self._around.is_worth(error):
                raise
            closing, response = self._failed(error)
        except Exception:  # the status is gone, so this is the outermost loop of a stream
            self._around.logger.exception("a response failed", route=self._trace.route)
            closing, response = self._failed(internal_error(self._trace.id))
        for event in closing:
            yield event
        for event in await self._last(response):
            yield event

    async def whole(self) -> Fields:
        """The response. Raises what fails; then nothing is kept."""
        self._begun = await self._begin()
        async for event in self._begun.events:
            self.builder.feed(event)
        _, response = self.builder.finished(self._around.clock.wall())
        await self._keep(response, self.builder.pieces)
        return response

    async def prepared(self, prompt_tokens: int) -> AsyncGenerator[Fields, None]:
        """The events of one that makes no output: its items are there to go on from."""
        for event in self.builder.begin():
            yield event
        response = self.builder.prepared(prompt_tokens, self._around.clock.wall())
        for event in await self._last(response):
            yield event

    async def cancelled(self) -> AsyncGenerator[Fields, None]:
        """The events that are left where its caller has cancelled it."""
        closing, response = self.builder.cancelled()
        for event in closing:
            yield event
        for event in await self._last(response):
            yield event

    async def aclose(self) -> None:
        """Give back what it holds, also in work that is being cancelled."""
        if self._begun is not None:
            await close(self._begun.events)

    def _failed(self, error: LowcloudError) -> tuple[list[Fields], Fields]:
        self._trace.outcome = "failed"
        return self.builder.failed(error)

    async def _last(self, response: Fields) -> list[Fields]:
        """The event that ends the stream, which says what can be had from now on; none of what was deleted."""
        kept = await self._kept(response)
        self.has_ended = kept is not None
        return [] if kept is None else [self.builder.last(kept)]

    async def _kept(self, response: Fields) -> Fields | None:
        """The response as it can be had from now on: one that can't be kept has failed."""
        try:
            return await self._keep(response, self.builder.pieces)
        except LowcloudError as error:
            return self._failed(error)[1]
        except Exception:  # as above: what can't be written is told of like any other failure
            self._around.logger.exception("a response can't be kept", route=self._trace.route)
            return self._failed(internal_error(self._trace.id))[1]


def kept(order: Order, response: Fields, pieces: Pieces) -> Kept:
    """The response as it is stored."""
    head = {name: value for name, value in response.items() if name != "output"}
    conversation = order.asked.conversation_id
    n_own = len(order.items)  # of those, none is at such a place
    output = tuple(stored(order.plan.id, n_own + place, item) for place, item in enumerate(response["output"]))
    return Kept(
        id=order.plan.id,
        account_id=order.account_id,
        created_at=float(response["created_at"]),
        model=order.asked.model,
        status=response["status"],
        head=to_json(head).decode(),
        pieces=json.dumps(pieces, separators=(",", ":")),
        conversation_id=conversation,
        output=output,
    )


def shown(response: Kept) -> Fields:
    """A response that is kept, as the wire has it."""
    output = [json.loads(item.body) for item in response.output]
    fields: Fields = {}
    for name, value in json.loads(response.head).items():
        # in the order in which the response was written first, so that its events are the same bytes again
        fields |= {"status": response.status, "output": output} if name == "status" else {name: value}
    return fields


def new_response(order: Order, response: Fields, pieces: Pieces) -> NewResponse:
    """The response with its input, as it is stored the first time."""
    context, own = order.context, order.own
    unkept = () if context.keys else context.items
    inputs = tuple(stored(order.plan.id, place, item) for place, item in enumerate((*unkept, *own)))
    return NewResponse(kept(order, response, pieces), context.keys, inputs)


def stored(owner_id: str, place: int, item: Mapping[str, object]) -> StoredItem:
    """An item of a response or a conversation as it is stored; ``place`` is its place among those."""
    return StoredItem(f"{owner_id}:{place}", str(item["id"]), to_json(item).decode())


def _check_ids(context: Context, own: Sequence[Fields], paths: Mapping[str, str]) -> None:
    """Raises BadRequest for an own item whose id another has that the response sees."""
    known = {item["id"] for item in context.items}
    for item in own:
        if item["id"] in known:
            path = f"{paths[item['id']]}.id"
            raise BadRequest(f"{path}: there is another item of the id {item['id'][:64]}.", param=path)


def _prompt(order: Order, items: Sequence[Fields]) -> Generate:
    return replace(order.asked.generate, prompt=replace(_told_of(order), messages=_messages(order, items)))


def _messages(order: Order, items: Sequence[Fields]) -> tuple[Message, ...]:
    asked = order.asked
    return messages_of(asked.instructions, items, order.opened, asked.paths, asked.source)


def _told_of(order: Order) -> Messages:
    """The prompt without its conversation."""
    prompt = order.asked.generate.prompt
    if not isinstance(prompt, Messages):
        raise TypeError("the prompt of a response is a conversation")
    return prompt


def _or(value: float | None, default: float) -> float:
    return default if value is None else value
