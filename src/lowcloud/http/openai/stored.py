"""Stored chat completions: list, show, label, delete, and the messages that they answered."""

import json
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import Response
from starlette.types import ASGIApp

from lowcloud.core.errors import BadRequest, NotFound
from lowcloud.http.call import Call
from lowcloud.http.encode import to_json
from lowcloud.http.offload import Offload
from lowcloud.http.openai.chat_request import Pairs
from lowcloud.http.query import query_of
from lowcloud.http.validation import validated
from lowcloud.storage.completions import CompletionStore, Page, StoredCompletion


class Relabel(BaseModel):
    """``metadata`` replaces the completion's; null: none."""

    model_config = ConfigDict(strict=True, title="UpdateChatCompletion")

    metadata: Pairs | None


class ListQuery(BaseModel):
    """The query of both lists, whose values are text."""

    limit: Annotated[int, Field(ge=1, le=100)] = 20
    after: str | None = None
    order: Literal["asc", "desc"] = "asc"


class CompletionsQuery(ListQuery):
    """The query of the list of completions; ``metadata`` as ``metadata[key]=value``."""

    model: str | None = None
    metadata: dict[str, str] = {}


class Stored:
    """Handles the completions that were stored."""

    def __init__(self, store: CompletionStore, offload: Offload) -> None:
        self._store = store
        self._offload = offload

    async def index(self, call: Call) -> ASGIApp:
        """The account's completions, oldest first; ``model`` and ``metadata[key]`` narrow them."""
        query = query_of(CompletionsQuery, call.trace.query)
        page = Page(query.limit + 1, query.after, query.order == "desc", query.model, query.metadata)
        found = await self._store.list(_account(call), page)
        if found is None:
            raise _no_such_after()
        return _json(_listed([_answer(each) for each in found], query.limit))

    async def show(self, call: Call) -> ASGIApp:
        """One, with its metadata."""
        return _json(_answer(await self._one(call)))

    async def relabel(self, call: Call) -> ASGIApp:
        """Other metadata for one."""
        asked = await self._offload.read(call.body, lambda raw: validated(Relabel, raw))
        completion = await self._store.relabel(_account(call), _id(call), asked.metadata or {})
        return _json(_answer(_there(completion, call)))

    async def delete(self, call: Call) -> ASGIApp:
        """One is gone for good."""
        if not await self._store.delete(_account(call), _id(call)):
            _there(None, call)
        return _json({"object": "chat.completion.deleted", "id": _id(call), "deleted": True})

    async def messages(self, call: Call) -> ASGIApp:
        """What one answered: the messages of its request."""
        query = query_of(ListQuery, call.trace.query)
        completion = await self._one(call)
        shown = [_message(completion.id, *each) for each in enumerate(json.loads(completion.messages))]
        if query.order == "desc":
            shown.reverse()
        places = {message["id"]: place for place, message in enumerate(shown)}
        if query.after is not None and query.after not in places:
            raise _no_such_after()
        start = 0 if query.after is None else places[query.after] + 1
        return _json(_listed(shown[start : start + query.limit + 1], query.limit))

    async def _one(self, call: Call) -> StoredCompletion:
        return _there(await self._store.get(_account(call), _id(call)), call)


def _listed(found: Sequence[Mapping[str, object]], limit: int) -> dict[str, object]:
    """``found`` has one more than is shown where there are more."""
    shown = found[:limit]
    return {
        "object": "list",
        "data": shown,
        "first_id": shown[0]["id"] if shown else None,
        "last_id": shown[-1]["id"] if shown else None,
        "has_more": len(found) > limit,
    }


def _answer(completion: StoredCompletion) -> dict[str, object]:
    answer: dict[str, object] = json.loads(completion.answer)
    return {**answer, "metadata": dict(completion.metadata)}


def _message(completion_id: str, index: int, message: dict[str, Any]) -> dict[str, Any]:
    """As it was sent, but for content in parts, which has a name of its own."""
    content = message.get("content")
    parts = content if isinstance(content, list) else None
    shown = {"content": None if parts is not None else content, "content_parts": parts}
    return {**message, **shown, "id": f"{completion_id}-{index}"}


def _there(completion: StoredCompletion | None, call: Call) -> StoredCompletion:
    if completion is None:
        raise NotFound(f"No stored chat completion {_id(call)[:64]}.", param="completion_id")
    return completion


def _no_such_after() -> BadRequest:
    return BadRequest("after: there is nothing of that id here.", param="after")


def _id(call: Call) -> str:
    return call.params["completion_id"]


def _account(call: Call) -> str:
    if call.principal is None:
        raise RuntimeError("a route that isn't open has a principal")
    return call.principal.account_id


def _json(value: object) -> Response:
    return Response(to_json(value), media_type="application/json")
