"""Which requests are those of a Worker's ``env.AI``, and which of them are let in.

Their Host says nothing, since ``env.AI.fetch`` sends any; so each bears the binding's secret instead. They come from
this machine, or over a listener that is there for them; and never from a web page.
"""

import hmac

from starlette.datastructures import Headers
from starlette.types import Receive, Scope, Send

from lowcloud.core.errors import Forbidden, NotFound
from lowcloud.core.principal import Permission, Principal
from lowcloud.http.binding.errors import binding_error
from lowcloud.http.binding.forms import SECRET_HEADER, Presented, opened, presented
from lowcloud.http.binding.player import Inner
from lowcloud.http.call import Trace
from lowcloud.http.origin import is_of_this_machine
from lowcloud.http.router import raw_path
from lowcloud.http.settings import BindingSettings

TOKEN_ID = "binding"  # noqa: S105 - what the log calls it


class BindingAuth:
    """The caller of what the gate has let in."""

    def __init__(self, account_id: str) -> None:
        self._principal = Principal(TOKEN_ID, account_id, frozenset(Permission))

    async def knows(self, _token: str, /) -> bool:
        return False

    async def principal(self, *_: object) -> Principal:
        """The same for every request: whose account a path names makes no difference."""
        return self._principal


class Gate:
    """Tells the requests of bindings, and passes those that bear the secret on to ``inner``, out of their form."""

    def __init__(self, inner: Inner, settings: BindingSettings) -> None:
        self._inner = inner
        self._settings = settings

    def presented(self, scope: Scope) -> Presented | None:
        """The form of a binding's request, also of one that won't be let in; None for any other request."""
        found = presented(raw_path(scope), Headers(scope=scope))
        return Presented("direct", "") if found is None and self._is_own_listener(scope) else found

    async def answer(self, request: Presented, trace: Trace, scope: Scope, receive: Receive, send: Send) -> None:
        """Raises Forbidden, NotFound, BadRequest, and what ``inner`` does."""
        trace.error_shape = binding_error
        if request.form == "envelope":
            trace.path = "/binding"  # whatever secret is in it stays out of the log
        headers = Headers(scope=scope)
        self._check(request, scope, headers)
        if scope["type"] == "websocket":
            raise NotFound("The bindings of Workers have no WebSocket.")
        inside = opened(request.form, scope, headers)
        trace.path = raw_path(inside)
        await self._inner(trace, inside, receive, send)

    def _is_own_listener(self, scope: Scope) -> bool:
        own = self._settings.own_listener
        return own is not None and own in (scope.get("server") or ())

    def _check(self, request: Presented, scope: Scope, headers: Headers) -> None:
        if "origin" in headers:
            raise Forbidden("The binding of a Worker is not for web pages: a request with an Origin is none of its.")
        if self._settings.secret is None:
            raise Forbidden("The bindings of Workers aren't answered here; see binding.enabled.")
        if not (self._is_own_listener(scope) or is_of_this_machine(scope)):
            raise Forbidden("The bindings of Workers are answered on this machine, and for others at binding.listen.")
        if not hmac.compare_digest(request.secret.encode(), self._settings.secret.encode()):
            what = "is another one" if request.secret else "is missing"
            raise Forbidden(
                f"The secret of this server's bindings {what}: the file binding-secret of its data folder has it. It "
                f"comes as {SECRET_HEADER}, in the path /binding/<secret>/ or as wrangler's CLOUDFLARE_API_TOKEN."
            )
