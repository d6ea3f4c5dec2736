"""The routes of the native API, which have the v4 envelope and no short base."""

from lowcloud.http.call import Handler
from lowcloud.http.openapi import Operation
from lowcloud.http.router import Route
from lowcloud.http.workers_ai import schemas
from lowcloud.http.workers_ai.catalogue import CatalogueSearch
from lowcloud.http.workers_ai.catalogue_query import SchemaQuery, SearchQuery
from lowcloud.http.workers_ai.errors import v4

BASE = "/client/v4/accounts/{account_id}/ai"


def catalogue_routes(on: CatalogueSearch) -> list[Route]:
    """What may be asked of the catalogue."""
    return [
        _native("GET", "/models/search", on.models, SEARCH),
        _native("GET", "/models/schema", on.schema, SCHEMA),
        _native("GET", "/authors/search", on.authors, AUTHORS),
        _native("GET", "/tasks/search", on.tasks, TASKS),
    ]


def _native(method: str, path: str, handler: Handler, operation: Operation) -> Route:
    return Route(method, BASE + path, handler, operation, error_shape=v4)


SEARCH = Operation(
    "searchModels",
    "Lists the models that are known, and says who would answer for each.",
    "native",
    answer=schemas.FoundModels,
    errors=(400,),
    query=SearchQuery,
)
SCHEMA = Operation(
    "getModelSchema",
    "What the native run of a model takes and gives, as JSON schemas.",
    "native",
    answer=schemas.ModelSchema,
    errors=(400,),
    query=SchemaQuery,
)
AUTHORS = Operation("searchAuthors", "Lists those who made the models.", "native", answer=schemas.CatalogueAuthors)
TASKS = Operation("searchTasks", "Lists what models do.", "native", answer=schemas.CatalogueTasks)
