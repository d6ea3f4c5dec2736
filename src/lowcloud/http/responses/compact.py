"""POST responses/compact: a conversation as its user's messages and a summary of all of it, sealed.

Source: the types of openai's Python SDK, 3.54 (types/responses/response_compact_params.py, compacted_response.py).
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Annotated

from pydantic import ConfigDict, SkipValidation
from starlette.responses import Response
from starlette.types import ASGIApp

from lowcloud.core.errors import EngineFailed, PromptTooLong
from lowcloud.core.events import ReasoningDelta, TextDelta, Usage
from lowcloud.core.requests import Caller, Generate
from lowcloud.http.call import Call, Trace
from lowcloud.http.encode import neurons_header, to_json
from lowcloud.http.generation import Answerer, Asked, Begun
from lowcloud.http.offload import Offload
from lowcloud.http.openai.parameters import named, refuse
from lowcloud.http.openai.run_options import RunFields
from lowcloud.http.responses import summary
from lowcloud.http.responses.builder import Fields, usage_fields
from lowcloud.http.responses.context import Contexts
from lowcloud.http.responses.items import InputItem
from lowcloud.http.responses.prompt import messages_of, named_as_here
from lowcloud.http.responses.request import HINTS, REFUSED, Id, ResponseAsked, response_asked
from lowcloud.http.responses.run import Maker, Order
from lowcloud.http.responses.sealed import Sealer
from lowcloud.http.validation import validated
from lowcloud.http.watch import close
from lowcloud.models.card import Card
from lowcloud.serving.service import Service


class CompactBody(RunFields):
    """What is read; ``input`` is as that of a response. Of what else a response's body has, that which only says how
    an answer is made is named in ``lowcloud-ignored``, and the rest is refused."""

    model_config = ConfigDict(strict=True, extra="allow", title="CompactResponse")

    model: str
    input: Annotated[str | list[InputItem] | None, SkipValidation] = None
    instructions: str | None = None
    previous_response_id: Id | None = None


# What would change what comes back, and isn't done.
_REFUSED: Mapping[str, tuple[object, ...]] = {
    "conversation": (),
    "stream": (False,),
    "background": (False,),
    "max_output_tokens": (),
    **{name: REFUSED[name] for name in ("prompt", "image", "messages")},
}
_HINTS: Mapping[str, tuple[object, ...]] = {**HINTS, "store": (False,)}


@dataclass(frozen=True, slots=True)
class Tools:
    """What a compaction works with. ``new_id`` makes ids that nobody guesses."""

    service: Service
    maker: Maker
    contexts: Contexts
    answerer: Answerer
    sealer: Sealer
    offload: Offload
    new_id: Callable[[], str]


class Compaction:
    """Handles compactions. Nothing of one is kept."""

    def __init__(self, tools: Tools) -> None:
        self._on = tools

    async def create(self, call: Call) -> ASGIApp:
        """The user's messages as they are, then one item with the summary."""
        response_id = call.trace.completion_id = self._on.new_id()
        asked = await self._on.offload.read(call.body, partial(_compact_asked, response_id=response_id))
        call.trace.model = asked.model
        account_id = call.caller.account_id
        own = await self._on.contexts.own(asked, account_id)
        context = await self._on.contexts.peek(asked, account_id)
        order = self._on.maker.order(asked, response_id, account_id, context, own)
        made = await self._summary(order, call)
        usage = usage_fields(made.usage)
        compaction = {
            "type": "compaction",
            "id": order.plan.item_id("cmp", 0),
            "encrypted_content": self._on.sealer.seal(summary.FRAME + made.text, account_id),
        }
        body = {
            "id": response_id,
            "object": "response.compaction",
            "created_at": order.plan.head["created_at"],
            "output": [*_of_the_user(order), compaction],
            "usage": usage,
        }
        headers = {**made.headers, **neurons_header(usage.get("neurons"))}
        return Response(to_json(body), 200, headers, "application/json")

    async def _summary(self, order: Order, call: Call) -> "_Made":
        """Of all, in as few parts as fit: each is summarised with the summary of those before it."""
        asked = order.asked
        card = self._on.service.model(asked.model).by
        messages = messages_of(asked.instructions, order.items, order.opened, asked.paths, asked.source)
        text = summary.transcript(messages)
        n_chars = summary.first_guess(text, card.context_window)
        text = summary.newest(text, n_chars)
        made: _Made | None = None
        caller = replace(call.caller, rejects_if_busy=asked.rejects_if_busy)
        while text or made is None:
            part = text[:n_chars]
            try:
                made = await self._part(order, _request(order, part, made, card), made, caller, call.trace)
                text = text[n_chars:]
            except PromptTooLong:
                if len(part) <= summary.LEAST_CHARS:
                    raise
                n_chars = len(part) // 2
                text = summary.newest(text, n_chars)
            caller = replace(call.caller, is_part=True)
        return made

    async def _part(
        self, order: Order, request: Generate, before: "_Made | None", caller: Caller, trace: Trace
    ) -> "_Made":
        asked = order.asked
        plain = Asked(asked.model, request, is_stream=False, ignored=asked.ignored)
        with named_as_here():
            begun = await self._on.answerer.begin(plain, caller, trace)
        try:
            return await _folded(begun, before)
        finally:
            await close(begun.events)


@dataclass(frozen=True, slots=True)
class _Made:
    """A summary. ``usage`` is that of all runs so far."""

    text: str
    usage: Usage
    headers: Mapping[str, str]


def _compact_asked(raw: dict[str, object], response_id: str) -> ResponseAsked:
    validated(CompactBody, raw)
    refuse(raw, _REFUSED)
    read = {name: value for name, value in raw.items() if name in CompactBody.model_fields}
    asked = response_asked(read, response_id, ignores_tools=True)
    return replace(asked, ignored=(*named(raw, {*CompactBody.model_fields, *_REFUSED}, _HINTS), *asked.ignored))


def _request(order: Order, part: str, before: "_Made | None", card: Card) -> Generate:
    efforts = card.reasoning_effort.supported_efforts if card.reasoning_effort else ()
    known, most = before.text if before else "", summary.bound(card.context_window)
    return summary.asked(order.plan.id, part, known, most, "none" if "none" in efforts else None)


async def _folded(begun: Begun, before: _Made | None) -> _Made:
    """Raises EngineFailed for a model that says nothing. One that only reasoned has said that."""
    text, reasoning, usage = [], [], None
    async for event in begun.events:
        match event:
            case TextDelta():
                text.append(event.text)
            case ReasoningDelta():
                reasoning.append(event.text)
            case Usage():
                usage = event
    said = "".join(text).strip() or "".join(reasoning).strip()
    if usage is None or not said:
        raise EngineFailed("The model made no summary.")
    return _Made(said, usage if before is None else _sum(before.usage, usage), begun.headers)


def _sum(one: Usage, other: Usage) -> Usage:
    neurons = None if one.neurons is None or other.neurons is None else one.neurons + other.neurons
    return Usage(
        one.prompt + other.prompt,
        one.cached + other.cached,
        one.completion + other.completion,
        one.reasoning + other.reasoning,
        neurons,
    )


def _of_the_user(order: Order) -> list[Fields]:
    """Each id once, as what is made is an input again."""
    users = [item for item in order.items if item["type"] == "message" and item["role"] == "user"]
    return list({item["id"]: item for item in users}.values())
