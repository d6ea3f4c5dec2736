"""What a response goes on from: another response, a conversation, items by their ids."""

import json
from collections.abc import Awaitable, Callable, Mapping, Sequence

import anyio
import structlog

from lowcloud.core.errors import BadRequest, NotFound, PreviousResponseNotFound
from lowcloud.http.clock import Clock
from lowcloud.http.responses.builder import Fields
from lowcloud.http.responses.items import Item
from lowcloud.http.responses.request import ResponseAsked
from lowcloud.http.responses.run import Context
from lowcloud.storage.conversations import ConversationStore
from lowcloud.storage.items import ItemPage, StoredItem
from lowcloud.storage.responses import OVER, ResponseStore

LOCK_S = 30.0  # a lock ends so long after the server that holds it has died
MOST_ITEMS = 100_000  # of a conversation


class Locks:
    """The locks of conversations that responses of this process hold; ``run`` keeps them.

    That of a response in the background lasts as long as its job, which may run in another process.
    """

    def __init__(
        self,
        store: ConversationStore,
        clock: Clock,
        sleep: Callable[[float], Awaitable[None]] = anyio.sleep,
    ) -> None:
        self._store, self._clock, self._sleep = store, clock, sleep
        self._held: set[tuple[str, str]] = set()
        self._log = structlog.get_logger("lowcloud.responses")

    async def take(self, account_id: str, conversation_id: str, response_id: str) -> tuple[StoredItem, ...]:
        """All items of the conversation. Raises NotFound, ConversationLocked, BadRequest."""
        until = self._clock.wall() + LOCK_S
        items = await self._store.lock(account_id, conversation_id, response_id, until)
        found = _there(items, conversation_id)
        self._held.add((conversation_id, response_id))
        return found

    def leave(self, conversation_id: str, response_id: str) -> None:
        """Keep it no longer here: the response has a job."""
        self._held.discard((conversation_id, response_id))

    async def peek(self, account_id: str, conversation_id: str) -> tuple[StoredItem, ...]:
        """The same without a lock. Raises NotFound."""
        items = await self._store.items(account_id, conversation_id, ItemPage(MOST_ITEMS, is_descending=False))
        return _there(items, conversation_id)

    async def release(self, conversation_id: str, response_id: str) -> None:
        """Let others have it, unless they have it already."""
        self.leave(conversation_id, response_id)
        await self._store.unlock(conversation_id, response_id)

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            await self._sleep(LOCK_S / 3)
            try:
                await self._store.renew(tuple(self._held), self._clock.wall() + LOCK_S)
            except Exception:  # the outermost loop: the locks last for two more tries
                self._log.exception("the locks of conversations can't be renewed")


class Contexts:
    """Looks up what bodies name."""

    def __init__(self, responses: ResponseStore, locks: Locks) -> None:
        self._responses = responses
        self.locks = locks

    async def of(self, asked: ResponseAsked, response_id: str, account_id: str) -> Context:
        """The context; a conversation is locked from here on. Raises BadRequest, NotFound, ConversationLocked."""
        if asked.previous_response_id is not None:
            return await self._after(asked.previous_response_id, account_id)
        if asked.conversation_id is None:
            return Context()
        return context(await self.locks.take(account_id, asked.conversation_id, response_id))

    async def peek(self, asked: ResponseAsked, account_id: str) -> Context:
        """The same for who only looks: nothing is locked."""
        if asked.previous_response_id is not None:
            return await self._after(asked.previous_response_id, account_id)
        if asked.conversation_id is None:
            return Context()
        return context(await self.locks.peek(account_id, asked.conversation_id))

    async def own(self, asked: ResponseAsked, account_id: str) -> tuple[Fields, ...]:
        """The body's own items, with those that it only refers to. Raises BadRequest."""
        return await self.resolved(asked.items, asked.paths, account_id)

    async def resolved(self, given: Sequence[Item], paths: Mapping[str, str], account_id: str) -> tuple[Fields, ...]:
        """Items, with those that are only referred to; ``paths`` are theirs, by their ids. Raises BadRequest."""
        asked_for = [str(item["id"]) for item in given if item["type"] == "item_reference"]
        found = await self._responses.items(account_id, asked_for) if asked_for else {}
        for name in asked_for:
            if name not in found:
                path = f"{paths[name]}.id"
                raise BadRequest(f"{path}: there is no item {name[:64]}.", param=path)
        return tuple(
            json.loads(found[str(item["id"])].body) if item["type"] == "item_reference" else dict(item)
            for item in given
        )

    async def _after(self, response_id: str, account_id: str) -> Context:
        found = await self._responses.context(account_id, response_id)
        if found is None:
            raise PreviousResponseNotFound(
                f"Previous response with id '{response_id[:64]}' not found.", param="previous_response_id"
            )
        status, items = found
        if status not in OVER:
            message = f"previous_response_id: the response is {status}; wait until it is over."
            raise BadRequest(message, param="previous_response_id")
        return context(items)


def _there(items: tuple[StoredItem, ...] | None, conversation_id: str) -> tuple[StoredItem, ...]:
    if items is None:
        raise NotFound(f"No conversation {conversation_id[:64]}.", param="conversation")
    return items


def context(items: Sequence[StoredItem]) -> Context:
    """Items that are kept, as a context."""
    return Context(tuple(json.loads(item.body) for item in items), tuple(item.key for item in items))
