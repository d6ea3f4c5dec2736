"""What the class behind ``env.AI`` asks for, and what wrangler asks before it opens a remote session.

Source: workerd, ai-api, aig-api, to-markdown-api and autorag-api; workers-sdk; read 2026-11.
"""

from dataclasses import replace

from starlette.responses import Response
from starlette.types import ASGIApp

from lowcloud.core.errors import Unsupported
from lowcloud.http.binding.errors import binding_error
from lowcloud.http.binding.forms import PREVIEW_PATHS
from lowcloud.http.binding.gateways import BindingGateways
from lowcloud.http.binding.runs import BindingRuns
from lowcloud.http.call import Call, Handler
from lowcloud.http.encode import to_json
from lowcloud.http.gateway.door import shape
from lowcloud.http.openapi import Operation
from lowcloud.http.router import Route
from lowcloud.http.workers_ai.catalogue import CatalogueSearch
from lowcloud.http.workers_ai.envelope import enveloped
from lowcloud.http.workers_ai.not_here import conversion, nothing
from lowcloud.http.workers_ai.routes import BASE

# These routes are no API of ours, and the API's document doesn't show them.
_BINDING = Operation("binding", "What a Worker's env.AI asks for.", "binding")
_SUBDOMAIN, _SESSION, _PREVIEW = PREVIEW_PATHS


def binding_routes(runs: BindingRuns, catalogue: CatalogueSearch, gateways: BindingGateways | None) -> list[Route]:
    """Every path of the binding."""
    return [
        *(_without_gateway(runs) if gateways is None else _gateway_routes(gateways)),
        _route("GET", "/run", runs.websocket),
        _route("GET", "/ai-api/models/search", catalogue.models),
        _route("POST", "/to-everything/markdown/transformer", conversion),
        _route("GET", "/to-everything/markdown/supported", nothing),
        *(_route(method, "/autorag/{path...}", autorag) for method in ("GET", "POST")),
        _route("GET", _SUBDOMAIN, subdomain),
        _route("GET", _SESSION, session),
        _route("POST", _PREVIEW, preview),
    ]


def bare_routes(runs: BindingRuns) -> list[Route]:
    """What the gateway calls for a binding's runs: the native API's path, and the binding's answers."""
    return [replace(_route("POST", BASE + "/run/{model...}", runs.of_model), runs_models=True)]


def _gateway_routes(on: BindingGateways) -> list[Route]:
    return [
        _route("POST", "/run", on.run),
        _route("POST", "/ai-gateway/run", on.run),
        replace(_route("POST", "/ai-gateway/universal/run/{gateway}", on.universal), error_shape=shape),
        _route("GET", "/ai-gateway/gateways/{gateway}/logs/{log}", on.log),
        _route("PATCH", "/ai-gateway/gateways/{gateway}/logs/{log}", on.patch),
        _route("GET", "/ai-gateway/gateways/{gateway}/url/{provider}", on.url),
        _route("GET", "/ai-gateway/gateways/{gateway}/run/{run}/resume", on.resume),
    ]


def _without_gateway(runs: BindingRuns) -> list[Route]:
    refused = [_route(method, "/ai-gateway/{path...}", gateway) for method in ("GET", "POST", "PATCH")]
    return [_route("POST", "/run", runs.run), *refused]


def _route(method: str, template: str, handler: Handler) -> Route:
    return Route(method, template, handler, _BINDING, error_shape=binding_error, takes_any_media=True)


async def gateway(_call: Call) -> ASGIApp:
    """``run`` with a gateway, and all of ``gateway(id)``."""
    raise Unsupported("gateway: there is no AI Gateway here.", param="options.gateway")


async def autorag(_call: Call) -> ASGIApp:
    """``autorag``, which is called AI Search now."""
    raise Unsupported("autorag: there is no AI Search here.")


async def subdomain(_call: Call) -> ASGIApp:
    """Where wrangler's remote session would be; nothing of the binding goes there."""
    return _result({"subdomain": "lowcloud"})


async def session(_call: Call) -> ASGIApp:
    """The beginning of a remote session."""
    return _result({"token": "lowcloud"})


async def preview(_call: Call) -> ASGIApp:
    """The remote session's own Worker is taken, and not run."""
    return _result({"preview_token": "lowcloud"})


def _result(result: object) -> Response:
    return Response(enveloped(to_json(result)), 200, {}, "application/json")
