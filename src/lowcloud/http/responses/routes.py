"""The routes of responses."""

from lowcloud.http.openapi import Operation
from lowcloud.http.responses import schemas
from lowcloud.http.responses.handlers import CountBody, ItemsQuery, Responses, ShowQuery
from lowcloud.http.responses.request import ResponseBody
from lowcloud.http.router import Route

_REFUSALS = (400, 408, 413, 415, 429, 503)


def response_routes(on: Responses, bases: tuple[str, ...]) -> list[Route]:
    """At every base. Paths with a name come before those with an id."""
    table = [
        ("POST", "/responses", on.create, CREATE),
        ("POST", "/responses/input_tokens", on.count, COUNT),
        ("GET", "/responses/{response_id}", on.show, SHOW),
        ("DELETE", "/responses/{response_id}", on.delete, DELETE),
        ("POST", "/responses/{response_id}/cancel", on.cancel, CANCEL),
        ("GET", "/responses/{response_id}/input_items", on.input_items, ITEMS),
    ]
    return [Route(method, base + path, handler, shown) for method, path, handler, shown in table for base in bases]


CREATE = Operation(
    "createResponse",
    "Answers items, whole, as a stream or in the background.",
    "responses",
    request=ResponseBody,
    answer=schemas.ResponseObject,
    event=schemas.ResponseEvent,
    errors=(*_REFUSALS, 409),
)
COUNT = Operation(
    "countResponseTokens",
    "Counts what a response would see.",
    "responses",
    request=CountBody,
    answer=schemas.InputTokens,
    errors=_REFUSALS,
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
    errors=(400, 408, 413, 415),
)
ITEMS = Operation(
    "listResponseInputItems",
    "The items that a response saw.",
    "responses",
    answer=schemas.ItemList,
    errors=(400,),
    query=ItemsQuery,
)
