"""The routes of responses and of conversations."""

from lowcloud.http.openapi import Operation
from lowcloud.http.responses import schemas
from lowcloud.http.responses.compact import CompactBody, Compaction
from lowcloud.http.responses.conversations import ConversationBody, Conversations, ItemsBody, RelabelBody
from lowcloud.http.responses.handlers import CountBody, IncludeQuery, ItemsQuery, Responses, ShowQuery
from lowcloud.http.responses.request import ResponseBody
from lowcloud.http.router import Route

_BODY_REFUSALS = (400, 408, 413, 415)  # of what runs no model


def response_routes(on: Responses, bases: tuple[str, ...]) -> list[Route]:
    """At every base. Paths with a name come before those with an id."""
    runs = [("/responses", on.create, CREATE), ("/responses/input_tokens", on.count, COUNT)]
    table = [
        ("GET", "/responses/{response_id}", on.show, SHOW),
        ("DELETE", "/responses/{response_id}", on.delete, DELETE),
        ("POST", "/responses/{response_id}/cancel", on.cancel, CANCEL),
        ("GET", "/responses/{response_id}/input_items", on.input_items, ITEMS),
    ]
    return [
        *(
            Route("POST", base + path, handler, shown, runs_models=True)
            for path, handler, shown in runs
            for base in bases
        ),
        *(Route(method, base + path, handler, shown) for method, path, handler, shown in table for base in bases),
    ]


def compaction_routes(on: Compaction, bases: tuple[str, ...]) -> list[Route]:
    """At every base."""
    return [Route("POST", base + "/responses/compact", on.create, COMPACT, runs_models=True) for base in bases]


def conversation_routes(on: Conversations, bases: tuple[str, ...]) -> list[Route]:
    """At every base."""
    one = "/conversations/{conversation_id}"
    table = [
        ("POST", "/conversations", on.create, CREATE_CONVERSATION),
        ("GET", one, on.show, SHOW_CONVERSATION),
        ("POST", one, on.relabel, RELABEL_CONVERSATION),
        ("DELETE", one, on.delete, DELETE_CONVERSATION),
        ("GET", f"{one}/items", on.items, CONVERSATION_ITEMS),
        ("POST", f"{one}/items", on.add, ADD_ITEMS),
        ("GET", f"{one}/items/{{item_id}}", on.item, SHOW_ITEM),
        ("DELETE", f"{one}/items/{{item_id}}", on.remove, REMOVE_ITEM),
    ]
    return [Route(method, base + path, handler, shown) for method, path, handler, shown in table for base in bases]


CREATE = Operation(
    "createResponse",
    "Answers items, whole, as a stream or in the background.",
    "responses",
    request=ResponseBody,
    answer=schemas.ResponseObject,
    event=schemas.ResponseEvent,
    errors=(409,),
)
COUNT = Operation(
    "countResponseTokens",
    "Counts what a response would see.",
    "responses",
    request=CountBody,
    answer=schemas.InputTokens,
)
COMPACT = Operation(
    "compactResponse",
    "The user's messages as they are, and a summary of the whole conversation that only this server can read.",
    "responses",
    request=CompactBody,
    answer=schemas.CompactedResponse,
)
SHOW = Operation(
    "getResponse",
    "One of the responses, as it is or as a stream of its events.",
    "responses",
    answer=schemas.ResponseObject,
    event=schemas.ResponseEvent,
    errors=(400,),
    query=ShowQuery,
)
DELETE = Operation("deleteResponse", "Deletes a response.", "responses", answer=schemas.DeletedResponse)
CANCEL = Operation(
    "cancelResponse",
    "Stops a response in the background.",
    "responses",
    answer=schemas.ResponseObject,
    errors=_BODY_REFUSALS,
)
ITEMS = Operation(
    "listResponseInputItems",
    "The items that a response saw.",
    "responses",
    answer=schemas.ItemList,
    errors=(400,),
    query=ItemsQuery,
)
CREATE_CONVERSATION = Operation(
    "createConversation",
    "Creates a conversation, maybe with items.",
    "conversations",
    request=ConversationBody,
    answer=schemas.ConversationObject,
    errors=_BODY_REFUSALS,
)
SHOW_CONVERSATION = Operation(
    "getConversation", "One of the conversations.", "conversations", answer=schemas.ConversationObject
)
RELABEL_CONVERSATION = Operation(
    "updateConversation",
    "Gives a conversation other metadata.",
    "conversations",
    request=RelabelBody,
    answer=schemas.ConversationObject,
    errors=_BODY_REFUSALS,
)
DELETE_CONVERSATION = Operation(
    "deleteConversation", "Deletes a conversation.", "conversations", answer=schemas.DeletedConversation
)
CONVERSATION_ITEMS = Operation(
    "listConversationItems",
    "The items of a conversation.",
    "conversations",
    answer=schemas.ItemList,
    errors=(400,),
    query=ItemsQuery,
)
ADD_ITEMS = Operation(
    "createConversationItems",
    "Adds items to a conversation; answers those.",
    "conversations",
    request=ItemsBody,
    answer=schemas.ItemList,
    errors=_BODY_REFUSALS,
    query=IncludeQuery,
)
SHOW_ITEM = Operation(
    "getConversationItem",
    "One item of a conversation.",
    "conversations",
    answer=schemas.ConversationItem,
    errors=(400,),
    query=IncludeQuery,
)
REMOVE_ITEM = Operation(
    "deleteConversationItem",
    "Takes an item out of a conversation; answers the conversation.",
    "conversations",
    answer=schemas.ConversationObject,
)
