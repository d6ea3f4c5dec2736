"""Calls that are authenticated already and go by way of a gateway: those of our own routes that name one, in the header
``cf-aig-gateway-id`` or, for native runs, in ``options.gateway``; and those of bindings.
"""

from collections.abc import Callable, Sequence

from starlette.types import ASGIApp, Receive, Scope, Send

from lowcloud.core.principal import Principal
from lowcloud.gateway.call import OURS, Asked, Call, Step
from lowcloud.gateway.options import Options, is_ours, ours_of
from lowcloud.gateway.pipeline import Gateway
from lowcloud.http import call as http
from lowcloud.http.auth import Auth
from lowcloud.http.encode import to_json
from lowcloud.http.gateway.chosen import Chosen, chosen, without_gateway
from lowcloud.http.gateway.door import HOP, reply_with
from lowcloud.http.gateway.own_tokens import without_own_tokens
from lowcloud.http.offload import Offload
from lowcloud.http.workers_ai.run import naming

ACCOUNT_BASE = "/client/v4/accounts/{account_id}/ai/"
SHORT_BASE = "/v1/"


class ByGateway:
    """Takes the calls that name a gateway. ``new_id`` makes lowercase UUIDv7s."""

    def __init__(self, gateway: Gateway, auth: Auth, offload: Offload, new_id: Callable[[], str]) -> None:
        self._gateway, self._auth, self._offload, self._new_id = gateway, auth, offload, new_id

    async def reply(self, template: str, call: http.Call, handler: http.Handler) -> ASGIApp:
        """The answer to a call of a route, by its ``handler`` where it names no gateway. Raises LowcloudError."""
        path = own_path(template, call.trace.path)
        if call.trace.method != "POST" or not path.startswith(("run", "v1/")):
            return await handler(call)
        headers = lowered(call.headers.items())
        found, body = chosen(None, headers), call.body
        if path.startswith("run") and b'"gateway"' in body:
            found, body = await self._offload.read(body, lambda inputs: _of_body(inputs, headers, call.body))
        if found is None:
            return naming(tuple(ours_of(headers)), await handler(call))
        step = Step(Call(OURS, "POST", path, call.trace.query, own_headers(headers), body))
        app = await self.through(call, found.gateway_id, (step,), found.options, "rest")
        return naming(found.ignored, app)

    async def through(
        self, call: http.Call, gateway_id: str, steps: tuple[Step, ...], options: Options, source: str
    ) -> ASGIApp:
        """The reply to a call that is authenticated, by the first of its steps that succeeds. Raises LowcloudError."""
        steps, _ = await without_own_tokens(steps, self._auth)
        call.trace.completion_id = call_id = self._new_id()
        agent = call.headers.get("user-agent", "")
        account_id = account_of(call.principal)
        asked = Asked(call_id, account_id, gateway_id, steps, options, source, call.principal, agent)
        reply = await self._gateway.answer(asked)

        async def send_it(_scope: Scope, _receive: Receive, send: Send) -> None:
            await reply_with(reply, send, call.trace)

        return send_it


def _of_body(body: dict[str, object], headers: Sequence[tuple[str, str]], given: bytes) -> tuple[Chosen | None, bytes]:
    """The gateway that the options of a run name, if they do, and the body without that."""
    options = body.get("options")
    found = chosen(options, headers)
    if not isinstance(options, dict) or "gateway" not in options:
        return found, given
    left = without_gateway(options)
    rest = {name: value for name, value in body.items() if name != "options"}
    return found, to_json({**rest, "options": left} if left else rest)


def own_path(template: str, path: str) -> str:
    """What a path is below our own base, as a path of the provider ``workers-ai``; '' for one that isn't there."""
    if template.startswith(ACCOUNT_BASE):
        return path.split("/", 6)[6].strip("/")
    return "v1/" + path.removeprefix(SHORT_BASE).strip("/") if template.startswith(SHORT_BASE) else ""


def lowered(headers: Sequence[tuple[str, str]]) -> list[tuple[str, str]]:
    """The headers with lower-case names."""
    return [(name.lower(), value) for name, value in headers]


def own_headers(headers: Sequence[tuple[str, str]]) -> tuple[tuple[str, str], ...]:
    """A client's headers without the connection's, the gateway's and its credentials, which aren't needed again."""
    left_out = HOP | {"authorization", "x-api-key", "x-auth-key", "x-auth-email"}
    return tuple((name, value) for name, value in headers if name not in left_out and not is_ours(name))


def account_of(principal: Principal | None) -> str:
    """Whose gateways are meant."""
    if principal is None:
        raise RuntimeError("a route that isn't open has a principal")
    return principal.account_id
