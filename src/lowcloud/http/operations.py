"""What those who run the server ask it: is it up, is it ready, what does it count, what does it speak."""

from collections.abc import Callable

from starlette.responses import Response
from starlette.types import ASGIApp

from lowcloud.gateway.spool import Spool
from lowcloud.http.call import Call
from lowcloud.http.encode import to_json
from lowcloud.http.offload import Offload
from lowcloud.serving.service import Service

RETRY_S = "1"  # a probe's own pace
METRICS_TYPE = "text/plain; version=0.0.4; charset=utf-8"
PAGE_POLICY = (
    "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


class Operations:
    """Handles the open routes. ``exposition`` renders the metrics; ``spool`` has a gateway's logs."""

    def __init__(self, service: Service, exposition: Callable[[], bytes], spool: Spool | None = None) -> None:
        self._service = service
        self._exposition = exposition
        self._spool = spool

    async def health(self, _call: Call) -> ASGIApp:
        """The process answers."""
        return Response(to_json({"status": "ok"}), media_type="application/json")

    async def ready(self, _call: Call) -> ASGIApp:
        """The server takes requests and the preloaded models can answer; else 503."""
        models = [
            {"id": status.id, "state": status.state, "preload": status.preload} for status in self._service.status()
        ]
        is_ready = self._service.is_ready()
        told: dict[str, object] = {"ready": is_ready, "models": models}
        if self._spool is not None:
            told["gateway"] = {"logs_lost": self._spool.n_lost, "spool_bytes": self._spool.n_bytes}
        headers = {} if is_ready else {"retry-after": RETRY_S}
        return Response(to_json(told), 200 if is_ready else 503, headers, "application/json")

    async def metrics(self, _call: Call) -> ASGIApp:
        """Prometheus' text format."""
        return Response(self._exposition(), media_type=METRICS_TYPE)


class Document:
    """Handles what describes the API: the OpenAPI document and a page of it.

    ``describe`` makes both when one is first asked for, in a thread: it takes longer than the rest of a start.
    """

    def __init__(self, describe: Callable[[], tuple[bytes, str]], offload: Offload) -> None:
        self._describe = describe
        self._offload = offload
        self._made: tuple[bytes, str] | None = None

    async def openapi(self, _call: Call) -> ASGIApp:
        """OpenAPI 3.1."""
        document, _ = await self._both()
        return Response(document, media_type="application/json")

    async def docs(self, _call: Call) -> ASGIApp:
        """A page without scripts, and nothing of it comes from elsewhere."""
        _, page = await self._both()
        return Response(page, 200, {"content-security-policy": PAGE_POLICY}, "text/html")

    async def _both(self) -> tuple[bytes, str]:
        if self._made is None:
            self._made = await self._offload.run(self._describe)
        return self._made
