"""The routes of conversations: lists of items that callers keep, and that responses go on."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Annotated, NoReturn, TypeVar

from pydantic import BaseModel, ConfigDict, Field, SkipValidation
from starlette.responses import Response
from starlette.types import ASGIApp

from lowcloud.core.errors import BadRequest, NotFound
from lowcloud.http.call import Call
from lowcloud.http.clock import Clock
from lowcloud.http.encode import answer_headers, to_json
from lowcloud.http.offload import Offload
from lowcloud.http.openai.chat_request import Pairs
from lowcloud.http.openai.parameters import named
from lowcloud.http.query import query_of
from lowcloud.http.responses.builder import Fields
from lowcloud.http.responses.context import Contexts
from lowcloud.http.responses.handlers import IncludeQuery, ItemsQuery, account_of, listed
from lowcloud.http.responses.items import InputItem, Item, canonical_items
from lowcloud.http.responses.run import stored
from lowcloud.http.responses.sealed import Sealer
from lowcloud.http.validation import validated
from lowcloud.storage.conversations import Conversation, ConversationStore
from lowcloud.storage.items import ItemPage, StoredItem

F = TypeVar("F")
MOST_AT_ONCE = 20  # items of one request; OpenAI's bound


class ConversationBody(BaseModel):
    """A new conversation: all of it may be left out."""

    model_config = ConfigDict(strict=True, title="CreateConversation")

    items: Annotated[list[InputItem] | None, SkipValidation] = Field(None, description="at most 20")
    metadata: Pairs | None = None


class RelabelBody(BaseModel):
    """``metadata`` replaces the conversation's; null: none."""

    model_config = ConfigDict(strict=True, title="UpdateConversation")

    metadata: Pairs | None


class ItemsBody(BaseModel):
    """Items that a conversation gains."""

    model_config = ConfigDict(strict=True, title="CreateConversationItems")

    items: Annotated[list[InputItem], SkipValidation] = Field(description="1 to 20")


@dataclass(frozen=True, slots=True)
class Given:
    """What a body brings. ``items`` are canonical, with references that are to be resolved; ``ignored`` as in
    ``lowcloud-ignored``."""

    items: tuple[Item, ...] = ()
    metadata: Mapping[str, str] | None = None
    ignored: tuple[str, ...] = ()


class Conversations:
    """Handles conversations. ``new_id`` makes ids of conversations, and those that ids of items come from."""

    def __init__(
        self,
        store: ConversationStore,
        contexts: Contexts,
        sealer: Sealer,
        offload: Offload,
        clock: Clock,
        new_id: Callable[[], str],
    ) -> None:
        self._store, self._contexts, self._sealer = store, contexts, sealer
        self._offload, self._clock, self._new_id = offload, clock, new_id

    async def create(self, call: Call) -> ASGIApp:
        """A conversation, maybe with its first items. The body may be empty."""
        conversation_id = self._new_id()
        given = Given()
        if call.body:
            given = await self._offload.read(call.body, partial(_created, owner_id=conversation_id))
        new = await self._new(given, conversation_id, account_of(call))
        now = float(int(self._clock.wall()))
        conversation = Conversation(conversation_id, account_of(call), now, given.metadata or {})
        await self._store.create(conversation, new)
        return _json(shown(conversation), answer_headers(given.ignored, None))

    async def show(self, call: Call) -> ASGIApp:
        """One, without its items."""
        return _json(shown(_there(await self._store.get(account_of(call), _id(call)), call)))

    async def relabel(self, call: Call) -> ASGIApp:
        """Other metadata for one."""
        given = await self._offload.read(call.body, _relabelled)
        changed = await self._store.relabel(account_of(call), _id(call), given.metadata or {})
        return _json(shown(_there(changed, call)), answer_headers(given.ignored, None))

    async def delete(self, call: Call) -> ASGIApp:
        """One is gone; responses keep what they have of it."""
        if not await self._store.delete(account_of(call), _id(call)):
            _there(None, call)
        return _json({"id": _id(call), "object": "conversation.deleted", "deleted": True})

    async def items(self, call: Call) -> ASGIApp:
        """A page of one's items."""
        query = query_of(ItemsQuery, call.trace.query)
        page = ItemPage(query.limit + 1, query.after, query.order == "desc")
        found = await self._store.items(account_of(call), _id(call), page)
        return _json(listed(_there(found, call), query.limit))

    async def add(self, call: Call) -> ASGIApp:
        """More items, behind the others; they are the answer."""
        query_of(IncludeQuery, call.trace.query)
        owner_id = self._new_id()
        given = await self._offload.read(call.body, partial(_added, owner_id=owner_id))
        _there(await self._store.get(account_of(call), _id(call)), call)
        new = await self._new(given, owner_id, account_of(call))
        if not await self._store.add(account_of(call), _id(call), new):
            _there(None, call)
        return _json(listed(new, len(new)), answer_headers(given.ignored, None))

    async def item(self, call: Call) -> ASGIApp:
        """One item."""
        query_of(IncludeQuery, call.trace.query)
        item = await self._store.item(account_of(call), _id(call), call.params["item_id"])
        if item is None:
            await self._no_item(call)
        return _json(json.loads(item.body))

    async def remove(self, call: Call) -> ASGIApp:
        """One item is gone from it; the answer is the conversation."""
        conversation = await self._store.remove_item(account_of(call), _id(call), call.params["item_id"])
        if conversation is None:
            await self._no_item(call)
        return _json(shown(conversation))

    async def _new(self, given: Given, owner_id: str, account_id: str) -> list[StoredItem]:
        """The items with nothing left to be looked up, as they are kept. Raises BadRequest."""
        paths = {str(item["id"]): f"items[{place}]" for place, item in enumerate(given.items)}
        items = await self._contexts.resolved(given.items, paths, account_id)
        self._sealer.opened(items, account_id, "items")
        return [stored(owner_id, place, item) for place, item in enumerate(items)]

    async def _no_item(self, call: Call) -> NoReturn:
        _there(await self._store.get(account_of(call), _id(call)), call)
        raise NotFound(f"Item with id '{call.params['item_id'][:64]}' not found.", param="item_id")


def shown(conversation: Conversation) -> Fields:
    """One as the wire has it."""
    return {
        "id": conversation.id,
        "object": "conversation",
        "created_at": int(conversation.created_at),
        "metadata": dict(conversation.metadata),
    }


def _created(raw: dict[str, object], owner_id: str) -> Given:
    body = validated(ConversationBody, raw)
    unread = dict.fromkeys(named(raw, ConversationBody.model_fields, {}))
    items = () if raw.get("items") is None else _canonical(raw["items"], owner_id, unread)
    return Given(items, body.metadata, tuple(unread))


def _relabelled(raw: dict[str, object]) -> Given:
    body = validated(RelabelBody, raw)
    return Given(metadata=body.metadata, ignored=tuple(named(raw, RelabelBody.model_fields, {})))


def _added(raw: dict[str, object], owner_id: str) -> Given:
    validated(ItemsBody, raw)
    unread = dict.fromkeys(named(raw, ItemsBody.model_fields, {}))
    items = _canonical(raw["items"], owner_id, unread)
    if not items:
        raise BadRequest("items: must have at least one item.", param="items")
    return Given(items, ignored=tuple(unread))


def _canonical(value: object, owner_id: str, unread: dict[str, None]) -> tuple[Item, ...]:
    if not isinstance(value, list):
        raise BadRequest("items: must be a list of items.", param="items")
    if len(value) > MOST_AT_ONCE:
        raise BadRequest(f"items: must have at most {MOST_AT_ONCE} items, not {len(value)}.", param="items")
    return canonical_items(value, "items", owner_id, unread)


def _there(found: F | None, call: Call) -> F:
    if found is None:
        raise NotFound(f"Conversation with id '{_id(call)[:64]}' not found.", param="conversation_id")
    return found


def _id(call: Call) -> str:
    return call.params["conversation_id"]


def _json(value: object, headers: Mapping[str, str] | None = None) -> Response:
    return Response(to_json(value), 200, headers, "application/json")
