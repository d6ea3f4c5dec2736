"""``cf-aig-gateway-id`` on our own routes: the same call, by way of a gateway."""

from collections.abc import Callable, Sequence

from starlette.types import ASGIApp, Receive, Scope, Send

from lowcloud.core.principal import Principal
from lowcloud.gateway.call import OURS, Asked, Call, Step
from lowcloud.gateway.errors import FeatureUnsupported
from lowcloud.gateway.options import Options, is_ours, later_of, options_of
from lowcloud.gateway.pipeline import Gateway
from lowcloud.http import call as http
from lowcloud.http.gateway.door import HOP, reply_with
from lowcloud.http.settings import HttpSettings

GATEWAY_HEADER = "cf-aig-gateway-id"
ACCOUNT_BASE = "/client/v4/accounts/{account_id}/ai/"
SHORT_BASE = "/v1/"


class ByGateway:
    """Takes the calls that name a gateway. ``new_id`` makes lowercase UUIDv7s."""

    def __init__(self, gateway: Gateway, settings: HttpSettings, new_id: Callable[[], str]) -> None:
        self._gateway, self._settings, self._new_id = gateway, settings, new_id

    def takes(self, template: str, call: http.Call) -> bool:
        """Whether a call of a route goes by way of a gateway."""
        path = own_path(template, call.trace.path)
        return GATEWAY_HEADER in call.headers and path.startswith(("run", "v1/")) and call.trace.method == "POST"

    async def reply(self, template: str, call: http.Call) -> ASGIApp:
        """Raises LowcloudError."""
        raw = [(name.lower(), value) for name, value in call.headers.items()]
        for name in later_of(raw):
            raise FeatureUnsupported(f"{name} asks for what isn't supported here yet.", param=name)
        query = call.trace.query
        path = own_path(template, call.trace.path)
        return await self.through(call, call.headers[GATEWAY_HEADER], path, query, options_of(raw), "rest")

    async def through(
        self, call: http.Call, gateway_id: str, path: str, query: str, options: Options, source: str
    ) -> ASGIApp:
        """The reply of our own models to a call that is authenticated."""
        call.trace.completion_id = call_id = self._new_id()
        step = Step(Call(OURS, "POST", path, query, own_headers(call.headers.items()), call.body))
        agent = call.headers.get("user-agent", "")
        account_id = _account(call.principal)
        asked = Asked(call_id, account_id, gateway_id, (step,), options, source, call.principal, None, agent)
        reply = await self._gateway.answer(asked)

        async def send_it(_scope: Scope, _receive: Receive, send: Send) -> None:
            await reply_with(reply, send, self._settings.write_timeout_s)

        return send_it


def own_path(template: str, path: str) -> str:
    """What a path is below our own base, as a path of the provider ``workers-ai``; '' for one that isn't there."""
    if template.startswith(ACCOUNT_BASE):
        return path.split("/", 6)[6].strip("/")
    return "v1/" + path.removeprefix(SHORT_BASE).strip("/") if template.startswith(SHORT_BASE) else ""


def own_headers(headers: Sequence[tuple[str, str]]) -> tuple[tuple[str, str], ...]:
    """A client's headers without the connection's, the gateway's and its credentials, which aren't needed again."""
    left_out = HOP | {"authorization", "x-api-key", "x-auth-key", "x-auth-email"}
    return tuple((name.lower(), value) for name, value in headers if name.lower() not in left_out and not is_ours(name))


def _account(principal: Principal | None) -> str:
    if principal is None:
        raise RuntimeError("a route that isn't open has a principal")
    return principal.account_id
