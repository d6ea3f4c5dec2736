"""``env.AI.run`` with a gateway, and ``env.AI.gateway(id)``."""

import json
from urllib.parse import quote

from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from lowcloud.core.errors import NotFound
from lowcloud.gateway.call import OURS, Step
from lowcloud.gateway.call import Call as Upstreamed
from lowcloud.gateway.options import options_of, unknown_of
from lowcloud.gateway.providers import provider_of
from lowcloud.http.binding.runs import BindingRuns, Wanted
from lowcloud.http.call import Call
from lowcloud.http.encode import to_json
from lowcloud.http.gateway.build import Gatewayed
from lowcloud.http.gateway.chosen import GATEWAY_HEADER, chosen, refuse_later, without_gateway
from lowcloud.http.gateway.door import universal_steps
from lowcloud.http.gateway.logs import fields_of
from lowcloud.http.gateway.own_models import BARE
from lowcloud.http.gateway.rest import account_of, lowered
from lowcloud.http.offload import Offload
from lowcloud.http.strict_json import parse_value
from lowcloud.http.workers_ai.envelope import enveloped
from lowcloud.http.workers_ai.run import naming

SOURCE = "binding"
UNIVERSAL, COMPAT = "universal", "compat"


class BindingGateways:
    """Thin translations to calls of the gateway. ``url`` is the server's own, for who comes by another way than HTTP on
    its own address: ``own_listener``, or a Unix socket.
    """

    def __init__(
        self, runs: BindingRuns, on: Gatewayed, offload: Offload, url: str, own_listener: str | int | None
    ) -> None:
        self._runs, self._on, self._offload = runs, on, offload
        self._url, self._own_listener = url, own_listener

    async def run(self, call: Call) -> ASGIApp:
        """As without a gateway, where neither the options nor a header name one."""
        wanted = await self._runs.read(call)
        headers = lowered(call.headers.items())
        found = chosen(wanted.options, headers)
        if found is None:
            return await self._runs.answer(wanted, call)
        call.trace.model = wanted.model
        body = await self._offload.sized(len(call.body), lambda: to_json(_flat(wanted)))
        path = "run/" + quote(wanted.model, safe="/@:")
        sent = (("content-type", "application/json"), ("accept", BARE))
        step = Step(Upstreamed(OURS, "POST", path, "", sent, body))
        app = await self._on.by_gateway.through(call, found.gateway_id, (step,), found.options, SOURCE)
        return naming((*wanted.ignored, *found.ignored), app)

    async def universal(self, call: Call) -> ASGIApp:
        """Steps, of which the first that succeeds answers in its provider's own form."""
        headers = lowered(call.headers.items())
        refuse_later(headers)
        steps, unread = await self._offload.sized(len(call.body), lambda: universal_steps(parse_value(call.body)))
        options = options_of([each for each in headers if each[0] != GATEWAY_HEADER])
        app = await self._on.by_gateway.through(call, call.params["gateway"], steps, options, SOURCE)
        return naming((*unread, *unknown_of(headers)), app)

    async def log(self, call: Call) -> ASGIApp:
        """One log, whose metadata is an object here."""
        row = await self._on.logs.get(*_log_of(call))
        return _result({**fields_of(row), "metadata": json.loads(row.metadata)})

    async def patch(self, call: Call) -> ASGIApp:
        """What a person or a test thinks of a call."""
        body = await self._offload.read(call.body, lambda body: body)
        row = await self._on.logs.patch(*_log_of(call), body)
        return _result({**fields_of(row), "metadata": json.loads(row.metadata)})

    async def url(self, call: Call) -> ASGIApp:
        """Where SDKs of a provider find the gateway: at the address by which the Worker came."""
        gateway_id, provider = call.params["gateway"], call.params["provider"]
        account_id = account_of(call.principal)
        account = await self._on.directory.find(account_id, gateway_id)
        if provider not in (UNIVERSAL, COMPAT):
            provider_of(provider, account.custom)
        path = f"/v1/{account_id}/{quote(gateway_id, safe='')}/{'' if provider == UNIVERSAL else provider}"

        async def answer(scope: Scope, receive: Receive, send: Send) -> None:
            await _result({"url": self._base(scope) + path})(scope, receive, send)

        return answer

    async def resume(self, _call: Call) -> ASGIApp:
        """Streams that are gone aren't held for anybody: clients know this answer, and ask anew."""
        raise NotFound("gateway: a run that was left isn't held here, so it can't be gone on with.")

    def _base(self, scope: Scope) -> str:
        host, port = scope.get("server") or ("", None)
        if port is None or self._own_listener in (host, port):
            return self._url
        return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def _flat(wanted: Wanted) -> dict[str, object]:
    """As the native API has it: the options are among the inputs."""
    options = without_gateway(wanted.options)
    inputs = {name: value for name, value in wanted.inputs.items() if name != "options"}
    return {**inputs, "options": options} if options else inputs


def _log_of(call: Call) -> tuple[str, str, str]:
    return account_of(call.principal), call.params["gateway"], call.params["log"]


def _result(result: object) -> Response:
    return Response(enveloped(to_json(result)), 200, {}, "application/json")
