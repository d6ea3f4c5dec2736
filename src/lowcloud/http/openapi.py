"""The OpenAPI document, made from the route table and the pydantic models of the bodies. Pure."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

FROM_HERE = "Needs no token from this machine itself, by a loopback address and Host; from elsewhere it does."
_RUN_ERRORS = (400, 408, 413, 415, 429, 503)
REF = "#/components/schemas/{model}"


@dataclass(frozen=True, slots=True)
class Operation:
    """What a route does, for people. ``answer`` None: the body isn't JSON but ``media_type``.

    ``event`` is the data of the events of a route that can stream; ``errors`` the statuses beside those of every route,
    and of every one that runs models; ``query`` what may stand behind the path; ``error`` the shape of errors, where it
    isn't the document's own.
    """

    name: str
    summary: str
    tag: str
    request: type[BaseModel] | None = None
    answer: type[BaseModel] | None = None
    event: type[BaseModel] | None = None
    media_type: str = "application/json"
    errors: tuple[int, ...] = ()
    query: type[BaseModel] | None = None
    error: type[BaseModel] | None = None


class Described(Protocol):
    """A route, as far as the document shows it."""

    @property
    def method(self) -> str: ...
    @property
    def template(self) -> str: ...
    @property
    def operation(self) -> Operation: ...
    @property
    def is_open(self) -> bool: ...
    @property
    def runs_models(self) -> bool: ...


@dataclass(frozen=True, slots=True)
class About:
    """What the document says of itself."""

    title: str
    version: str
    error: type[BaseModel]


def document(routes: Sequence[Described], about: About) -> dict[str, Any]:
    """The document of OpenAPI 3.1."""
    models = list(dict.fromkeys([about.error, *_models(routes)]))
    refs, definitions = models_json_schema([(model, "validation") for model in models], ref_template=REF)
    schemas = {model: refs[model, "validation"] for model in models}
    paths: dict[str, dict[str, Any]] = {}
    uses: Counter[str] = Counter()
    for route in routes:
        path = route.template.replace("...}", "}")
        described = _operation(route, schemas, schemas[about.error])
        uses[name := described["operationId"]] += 1
        if uses[name] > 1:  # the same operation at another path of the same base
            described["operationId"] = f"{name}_{uses[name]}"
        paths.setdefault(path, {})[route.method.lower()] = described
    return {
        "openapi": "3.1.0",
        "info": {"title": about.title, "version": about.version, "license": {"name": "Apache-2.0"}},
        "paths": paths,
        "components": {
            "schemas": definitions["$defs"],
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        },
    }


def _models(routes: Iterable[Described]) -> Iterable[type[BaseModel]]:
    for route in routes:
        each = (route.operation.request, route.operation.answer, route.operation.event, route.operation.error)
        yield from (model for model in each if model is not None)


def _operation(route: Described, schemas: dict[type[BaseModel], Any], common: Any) -> dict[str, Any]:
    """``common`` is the shape of errors before the route is known: of a Host or an Origin that isn't let in."""
    operation = route.operation
    error = common if operation.error is None else schemas[operation.error]
    forbidden = error if error == common else {"anyOf": [error, common]}
    base = "account" if "{account_id}" in route.template else "short"
    statuses = sorted(
        {
            *operation.errors,
            *(_RUN_ERRORS if route.runs_models else ()),
            401,
            403,
            500,
            *(() if route.is_open else (404,)),
        }
    )
    described: dict[str, Any] = {
        "operationId": f"{operation.name}_{base}" if not route.is_open else operation.name,
        "summary": operation.summary,
        "tags": [operation.tag],
        "security": [{}, {"token": []}] if route.is_open else [{"token": []}],
        "responses": {
            "200": {"description": "OK", "content": _content(operation, schemas)},
            **{
                str(status): {"description": "error", "content": _json(forbidden if status == 403 else error)}
                for status in statuses
            },
        },
    }
    if route.is_open:
        described["description"] = FROM_HERE
    names = [part.strip("{}").removesuffix("...") for part in route.template.split("/") if part.startswith("{")]
    parameters = [{"name": name, "in": "path", "required": True, "schema": {"type": "string"}} for name in names]
    if operation.query is not None:
        asked = operation.query.model_json_schema()
        parameters += [
            {"name": name, "in": "query", "required": name in asked.get("required", ()), "schema": schema}
            for name, schema in asked["properties"].items()
        ]
    if parameters:
        described["parameters"] = parameters
    if operation.request is not None:
        described["requestBody"] = {"required": True, "content": _json(schemas[operation.request])}
    return described


def _content(operation: Operation, schemas: dict[type[BaseModel], Any]) -> dict[str, Any]:
    if operation.answer is None:
        return {operation.media_type: {"schema": {"type": "string"}}}
    content = _json(schemas[operation.answer])
    if operation.event is not None:
        content["text/event-stream"] = {"schema": schemas[operation.event]}
    return content


def _json(schema: Any) -> dict[str, Any]:
    return {"application/json": {"schema": schema}}
