"""Where a provider's calls go, by a gateway: the URL that clients are given as their base."""

from starlette.types import ASGIApp, Receive, Scope, Send

from lowcloud.gateway.providers import CustomProvider, provider_of
from lowcloud.http.call import Call
from lowcloud.http.gateway.manage import Desk, answered

EVERYONE = "universal"
COMPAT = "compat"


class Urls:
    """Handles the question for it."""

    def __init__(self, on: Desk) -> None:
        self._on = on

    async def show(self, call: Call) -> ASGIApp:
        """On the host that the question was sent to. Raises InvalidProvider."""
        gateway, slug = await self._on.gateway(call), call.params["provider"]
        if slug not in (EVERYONE, COMPAT):
            provider_of(slug, await self._custom(gateway.account_id))
        host = call.headers.get("host", "")
        path = f"/v1/{gateway.account_id}/{gateway.id}" + ("" if slug == EVERYONE else f"/{slug}")

        async def answer(scope: Scope, receive: Receive, send: Send) -> None:
            url = f"{scope.get('scheme', 'http')}://{host}{path}"
            await answered(url)(scope, receive, send)

        return answer

    async def _custom(self, account_id: str) -> dict[str, CustomProvider]:
        rows, _ = await self._on.kept.shelves.custom.list(account_id, per_page=1_000)
        return {row.slug: CustomProvider(row.slug, row.base_url) for row in rows}
