"""The routes of the native API, which have the v4 envelope and no short base."""

from dataclasses import replace

from lowcloud.http.call import Handler
from lowcloud.http.openapi import Operation
from lowcloud.http.router import Route
from lowcloud.http.workers_ai import schemas
from lowcloud.http.workers_ai.catalogue import CatalogueSearch
from lowcloud.http.workers_ai.catalogue_query import SchemaQuery, SearchQuery
from lowcloud.http.workers_ai.errors import v4
from lowcloud.http.workers_ai.not_here import adapter, conversion, nothing
from lowcloud.http.workers_ai.run import Runs
from lowcloud.http.workers_ai.verify import verify, verifying

API = "/client/v4"
BASE = API + "/accounts/{account_id}/ai"


def catalogue_routes(on: CatalogueSearch) -> list[Route]:
    """What may be asked of the catalogue."""
    return [
        _native("GET", "/models/search", on.models, SEARCH),
        _native("GET", "/models/schema", on.schema, SCHEMA),
        _native("GET", "/authors/search", on.authors, AUTHORS),
        _native("GET", "/tasks/search", on.tasks, TASKS),
    ]


def run_routes(on: Runs) -> list[Route]:
    """Whatever media type a body is labelled with, it's JSON."""
    routes = [
        _native("POST", "/run", on.universal, RUN),
        _native("POST", "/run/{model...}", on.of_model, RUN_MODEL),
    ]
    return [replace(route, takes_any_media=True, runs_models=True) for route in routes]


def absent_routes() -> list[Route]:
    """What isn't here yet, files among it, so that clients who look for it find nothing instead of no route."""
    return [
        _native("GET", "/finetunes", nothing, FINETUNES),
        replace(_native("POST", "/finetunes", adapter, FINETUNE), takes_any_media=True),
        _native("GET", "/finetunes/public", nothing, PUBLIC_FINETUNES),
        replace(_native("POST", "/finetunes/{finetune_id}/finetune-assets", adapter, ASSET), takes_any_media=True),
        _native("GET", "/tomarkdown/supported", nothing, CONVERTIBLE),
        replace(_native("POST", "/tomarkdown", conversion, CONVERSION), takes_any_media=True),
    ]


def token_routes() -> list[Route]:
    """Of a user's token and of an account's; any permission will do, and none."""
    paths = [f"{API}/user/tokens/verify", f"{API}/accounts/{{account_id}}/tokens/verify"]
    shown = _with_errors(VERIFY)
    return [Route("GET", path, verify, shown, error_shape=verifying, any_of=frozenset()) for path in paths]


def _native(method: str, path: str, handler: Handler, operation: Operation) -> Route:
    return Route(method, BASE + path, handler, _with_errors(operation), error_shape=v4)


def _with_errors(operation: Operation) -> Operation:
    return replace(operation, error=schemas.NativeErrors)


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
RUN_MODEL = Operation(
    "runModel",
    "Runs a model. Text generation answers as a stream where that is asked for.",
    "native",
    request=schemas.ModelInputs,
    answer=schemas.RunResult,
    event=schemas.RunEvent,
    errors=(405,),
)
RUN = Operation(
    "runNamedModel",
    "Runs the model that the body names.",
    "native",
    request=schemas.UniversalRun,
    answer=schemas.RunResult,
    event=schemas.RunEvent,
    errors=(405,),
)
FINETUNES = Operation("listFinetunes", "Lists the account's fine-tunes: none yet.", "native", answer=schemas.Nothing)
FINETUNE = Operation("createFinetune", "Refused: there are no fine-tunes yet.", "native", errors=(405, 408, 413))
PUBLIC_FINETUNES = Operation(
    "listPublicFinetunes", "Lists everybody's fine-tunes: none yet.", "native", answer=schemas.Nothing
)
ASSET = Operation("uploadFinetuneAsset", "Refused: there are no fine-tunes yet.", "native", errors=(405, 408, 413))
CONVERTIBLE = Operation(
    "listMarkdownFormats", "Lists what can be converted to Markdown: nothing yet.", "native", answer=schemas.Nothing
)
CONVERSION = Operation(
    "convertToMarkdown", "Refused: nothing is converted to Markdown yet.", "native", errors=(400, 408, 413)
)
VERIFY = Operation("verifyToken", "Says whether the token is good.", "native", answer=schemas.VerifiedToken)
