"""The routes of the management API."""

import re
from dataclasses import replace

from pydantic import BaseModel

from lowcloud.core.principal import Permission
from lowcloud.http.call import Handler
from lowcloud.http.gateway import manage_schemas as schemas
from lowcloud.http.gateway.logs import PatchBody
from lowcloud.http.gateway.manage import Desk, managed, telling
from lowcloud.http.gateway.manage_absent import ABSENT, absent
from lowcloud.http.gateway.manage_custom_providers import (
    CustomProviderBody,
    CustomProviderChange,
    CustomProviders,
    CustomProvidersQuery,
)
from lowcloud.http.gateway.manage_gateways import GatewayBody, GatewayFields, Gateways, GatewaysQuery
from lowcloud.http.gateway.manage_log_query import DeleteQuery, ExportQuery, ListQuery
from lowcloud.http.gateway.manage_logs import LINES, ManagedLogs
from lowcloud.http.gateway.manage_provider_configs import (
    ProviderConfigBody,
    ProviderConfigChange,
    ProviderConfigs,
    ProviderConfigsQuery,
)
from lowcloud.http.gateway.manage_url import Urls
from lowcloud.http.openapi import Operation
from lowcloud.http.router import Route

BASE = "/client/v4/accounts/{account_id}/ai-gateway"
EDITS = frozenset({Permission.AI_GATEWAY_EDIT})
READS = EDITS | {Permission.AI_GATEWAY_READ}
TAG = "ai-gateway"
BODY = (400, 408, 413, 415)  # how a body is refused


def manage_routes(on: Desk) -> list[Route]:
    """All of them. Paths with a name come before those with an id."""
    return [
        *_gateways(Gateways(on)),
        *_logs(ManagedLogs(on)),
        *_provider_configs(ProviderConfigs(on)),
        *_custom_providers(CustomProviders(on)),
        _managed("GET", "/gateways/{gateway_id}/url/{provider}", Urls(on).show, URL),
        *_absent(),
    ]


def _gateways(on: Gateways) -> list[Route]:
    one = "/gateways/{gateway_id}"
    return [
        _managed("GET", "/gateways", on.index, GATEWAYS),
        _managed("POST", "/gateways", on.create, CREATE_GATEWAY),
        _managed("GET", one, on.show, GATEWAY),
        _managed("PUT", one, on.update, UPDATE_GATEWAY),
        _managed("DELETE", one, on.delete, DELETE_GATEWAY),
    ]


def _logs(on: ManagedLogs) -> list[Route]:
    every = "/gateways/{gateway_id}/logs"
    return [
        _managed("GET", every, on.index, LOGS),
        replace(_managed("DELETE", every, on.delete, DELETE_LOGS), reads_body=True),
        _managed("GET", f"{every}/export", on.export, EXPORT),
        _managed("GET", f"{every}/{{log_id}}", on.show, LOG),
        _managed("PATCH", f"{every}/{{log_id}}", on.edit, EDIT_LOG),
        _managed("GET", f"{every}/{{log_id}}/request", on.request, LOG_REQUEST),
        _managed("GET", f"{every}/{{log_id}}/response", on.response, LOG_RESPONSE),
    ]


def _provider_configs(on: ProviderConfigs) -> list[Route]:
    every, one = "/gateways/{gateway_id}/provider_configs", "/gateways/{gateway_id}/provider_configs/{config_id}"
    return [
        _managed("GET", every, on.index, CONFIGS),
        _managed("POST", every, on.create, CREATE_CONFIG),
        _managed("GET", one, on.show, CONFIG),
        _managed("PUT", one, on.update, UPDATE_CONFIG),
        _managed("DELETE", one, on.delete, DELETE_CONFIG),
    ]


def _custom_providers(on: CustomProviders) -> list[Route]:
    one = "/custom-providers/{provider_id}"
    return [
        _managed("GET", "/custom-providers", on.index, PROVIDERS),
        _managed("POST", "/custom-providers", on.create, CREATE_PROVIDER),
        _managed("GET", one, on.show, PROVIDER),
        _managed("PATCH", one, on.update, UPDATE_PROVIDER),
        _managed("DELETE", one, on.delete, DELETE_PROVIDER),
    ]


def _absent() -> list[Route]:
    return [
        _managed(method, path, absent(what, why), _refusal(method, path, what))
        for path, what, why, methods in ABSENT
        for method in methods.split()
    ]


def _refusal(method: str, path: str, what: str) -> Operation:
    name = "".join(part.capitalize() for part in re.findall(r"[a-z_]+", re.sub(r"\{\w+", "", path)))
    return Operation(f"{method.lower()}{name}", f"Refused: there are no {what} here.", TAG, errors=BODY)


def _managed(method: str, path: str, handler: Handler, operation: Operation) -> Route:
    any_of = READS if method == "GET" else EDITS
    shown = replace(operation, error=schemas.ManageErrors)
    return Route(method, BASE + path, telling(handler, shown.query), shown, error_shape=managed, any_of=any_of)


def _operation(
    name: str,
    summary: str,
    answer: type[BaseModel],
    request: type[BaseModel] | None = None,
    query: type[BaseModel] | None = None,
) -> Operation:
    errors = (*BODY, 409) if request is not None else (400,)
    return Operation(name, summary, TAG, request, answer, errors=errors, query=query)


GATEWAYS = _operation("listGateways", "Lists the account's gateways.", schemas.GatewayList, query=GatewaysQuery)
CREATE_GATEWAY = _operation("createGateway", "Makes a gateway.", schemas.OneGateway, GatewayBody)
GATEWAY = _operation("getGateway", "One of the gateways.", schemas.OneGateway)
UPDATE_GATEWAY = _operation("updateGateway", "Gives a gateway other settings.", schemas.OneGateway, GatewayFields)
DELETE_GATEWAY = _operation("deleteGateway", "Deletes a gateway, its logs and its keys.", schemas.OneGateway)
LOGS = _operation("listLogs", "Lists a gateway's logs.", schemas.LogList, query=ListQuery)
DELETE_LOGS = replace(
    _operation("deleteLogs", "Deletes logs: those that filters choose, or all.", schemas.Done, query=DeleteQuery),
    errors=(400, 408, 413),
)
EXPORT = Operation(
    "exportLogs", "A gateway's logs as lines of JSON.", TAG, media_type=LINES, errors=(400,), query=ExportQuery
)
LOG = _operation("getLog", "One of the logs.", schemas.OneLog)
EDIT_LOG = _operation("editLog", "Gives a log feedback, a score or other metadata.", schemas.OneLog, PatchBody)
LOG_REQUEST = Operation("getLogRequest", "The body of a log's request.", TAG, media_type="*/*", errors=(400,))
LOG_RESPONSE = Operation("getLogResponse", "The body of a log's response.", TAG, media_type="*/*", errors=(400,))
CONFIGS = _operation(
    "listProviderConfigs",
    "Lists the keys that a gateway keeps.",
    schemas.ProviderConfigList,
    query=ProviderConfigsQuery,
)
CREATE_CONFIG = _operation(
    "createProviderConfig", "Keeps a provider's key.", schemas.OneProviderConfig, ProviderConfigBody
)
CONFIG = _operation("getProviderConfig", "One of the keys, but for itself.", schemas.OneProviderConfig)
UPDATE_CONFIG = _operation(
    "updateProviderConfig", "Changes a kept key.", schemas.OneProviderConfig, ProviderConfigChange
)
DELETE_CONFIG = _operation("deleteProviderConfig", "Forgets a kept key.", schemas.OneProviderConfig)
PROVIDERS = _operation(
    "listCustomProviders",
    "Lists the account's own providers.",
    schemas.CustomProviderList,
    query=CustomProvidersQuery,
)
CREATE_PROVIDER = _operation(
    "createCustomProvider", "Adds a provider of the account's own.", schemas.OneCustomProvider, CustomProviderBody
)
PROVIDER = _operation("getCustomProvider", "One of the account's own providers.", schemas.OneCustomProvider)
UPDATE_PROVIDER = _operation(
    "updateCustomProvider", "Changes a provider of the account's own.", schemas.OneCustomProvider, CustomProviderChange
)
DELETE_PROVIDER = _operation(
    "deleteCustomProvider", "Deletes a provider of the account's own.", schemas.OneCustomProvider
)
URL = _operation("getProviderUrl", "The base URL of a provider, by a gateway.", schemas.ProviderUrl)
