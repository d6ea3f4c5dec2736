"""Logs of a gateway: searched, read, rated, deleted and exported. A call's is there as soon as its answer has ended."""

from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from dataclasses import replace
from math import nextafter

from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from lowcloud.core.errors import BadRequest
from lowcloud.http.call import Call
from lowcloud.http.encode import to_json
from lowcloud.http.gateway.logs import Logs, fields_of
from lowcloud.http.gateway.manage import Desk, NotManaged, account_of, answered, listed
from lowcloud.http.gateway.manage_log_query import DeleteQuery, ExportQuery, ListQuery, asked_of, query_of
from lowcloud.http.validation import validated
from lowcloud.http.workers_ai.catalogue_query import Page
from lowcloud.storage.gateway_log_query import LogFilter, LogQuery
from lowcloud.storage.gateway_logs import Body, LogPage, LogRanges, LogRow

LINES = "application/x-ndjson"
EXPORTED = 500  # at once
# What a body may be shown as: nothing that a browser would run.
PLAIN = frozenset({"application/json", "application/x-ndjson", "text/event-stream", "text/plain"})
ONLY_ONE = frozenset({"request_head", "request_head_complete", "request_size"}) | frozenset(
    {"response_head", "response_head_complete", "response_size"}
)


class ManagedLogs:
    """Handles the logs of an account's gateways."""

    def __init__(self, on: Desk) -> None:
        self._on = on
        self._one = Logs(on.logs, on.spool)

    async def index(self, call: Call) -> ASGIApp:
        """A page of those that are asked for."""
        asked = asked_of(call.trace.query)
        given = asked.as_(ListQuery)
        query = query_of(given, asked.filters)
        found = await self._found(call, query)
        page = Page(found.rows, query.page, query.per_page, found.total).map(_listed)
        return listed(page, _ranges(found.ranges) if found.ranges else None)

    async def show(self, call: Call) -> ASGIApp:
        """One of them."""
        return answered(fields_of(await self._row(call)))

    async def edit(self, call: Call) -> ASGIApp:
        """Feedback, a score, other metadata."""
        gateway = await self._on.gateway(call)
        body = await self._on.offload.read(call.body, lambda given: given)
        row = await self._one.patch(gateway.account_id, gateway.id, call.params["log_id"], body)
        return answered(fields_of(row), [name for name in body if name not in ("feedback", "score", "metadata")])

    async def delete(self, call: Call) -> ASGIApp:
        """Those that are meant, and without a filter all. Raises BadRequest for what isn't read or has no value."""
        asked = asked_of(call.trace.query, may_pair=False)
        if unknown := [name[:64] for name in asked.given if name not in DeleteQuery.model_fields]:
            raise BadRequest(f"{unknown[0]}: logs can't be chosen by it for deletion.", param=unknown[0])
        if asked.names_filters and not asked.filters:
            raise BadRequest("filters: there is none. Without the parameter all logs go.", param="filters")
        if call.body.strip() not in (b"", b"{}"):
            raise BadRequest("body: it isn't read; filters and limit go into the query.", param="body")
        given = validated(DeleteQuery, dict(asked.given))
        gateway = await self._on.gateway(call)
        await self._catch_up()
        query = LogQuery(asked.filters, "", given.order_by, given.order_by_direction == "desc")
        await self._on.logs.delete(gateway.account_id, gateway.id, query, given.limit)
        return answered(None)

    async def request(self, call: Call) -> ASGIApp:
        """The request's body, as it was sent but for secrets."""
        return await self._body(call, "request")

    async def response(self, call: Call) -> ASGIApp:
        """The response's body, a stream's as it came."""
        return await self._body(call, "response")

    async def export(self, call: Call) -> ASGIApp:
        """All that are asked for, the oldest first, a line of JSON each. Ours."""
        asked = asked_of(call.trace.query)
        query = replace(query_of(asked.as_(ExportQuery), asked.filters), is_descending=False, per_page=EXPORTED)
        first = await self._found(call, _after(query, 0.0, 1))
        lines = self._lines(account_of(call), call.params["gateway_id"], query, first)
        return _streamed(lines, {"content-type": LINES})

    async def _lines(
        self, account_id: str, gateway_id: str, query: LogQuery, found: LogPage
    ) -> AsyncGenerator[bytes, None]:
        """Goes on from the last one's time, not by pages, so that none is left out where others are deleted."""
        at, number, given = 0.0, 1, frozenset[str]()
        while found.rows:
            new = [row for row in found.rows if row.id not in given]
            if new:
                yield b"".join(to_json(fields_of(row)) + b"\n" for row in new)
            if len(found.rows) < query.per_page:
                return
            last = found.rows[-1].created_at
            number = number + 1 if last == at else 1
            same = frozenset(row.id for row in found.rows if row.created_at == last)
            at, given = last, (given | same if number > 1 else same)
            found = await self._on.logs.search(account_id, gateway_id, _after(query, at, number))

    async def _body(self, call: Call, which: Body) -> ASGIApp:
        row = await self._row(call)
        body = await self._on.logs.body(row.account_id, row.gateway_id, row.id, which)
        if body is None:
            raise NotManaged(f"{which} body kept of the log", row.id, "log_id")
        media_type = row.request_content_type if which == "request" else row.response_content_type
        kind = media_type.partition(";")[0].strip().lower()
        shown = media_type if kind in PLAIN and media_type.isascii() else "application/octet-stream"
        return Response(body, 200, {"x-content-type-options": "nosniff", "content-type": shown})

    async def _row(self, call: Call) -> LogRow:
        gateway = await self._on.gateway(call)
        return await self._one.get(gateway.account_id, gateway.id, call.params["log_id"])

    async def _found(self, call: Call, query: LogQuery) -> LogPage:
        gateway = await self._on.gateway(call)
        await self._catch_up()
        return await self._on.logs.search(gateway.account_id, gateway.id, query)

    async def _catch_up(self) -> None:
        """Have what has ended in the database."""
        if not self._on.spool.is_empty:
            await self._on.spool.move()


def _streamed(lines: AsyncGenerator[bytes, None], headers: Mapping[str, str]) -> ASGIApp:
    raw = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers.items()]

    async def send_them(_scope: Scope, _receive: Receive, send: Send) -> None:
        async with aclosing(lines):
            await send({"type": "http.response.start", "status": 200, "headers": raw})
            async for piece in lines:
                await send({"type": "http.response.body", "body": piece, "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    return send_them


def _after(query: LogQuery, at: float, number: int) -> LogQuery:
    """Those of then and later."""
    since = LogFilter("created_at", "gt", (nextafter(at, -1.0),))
    return replace(query, filters=(*query.filters, since), page=number)


def _listed(row: LogRow) -> dict[str, object]:
    """What a list shows of one."""
    return {name: value for name, value in fields_of(row).items() if name not in ONLY_ONE}


def _ranges(found: LogRanges) -> dict[str, float | None]:
    told = {"cost": found.cost, "duration": found.duration_ms, "tokens_in": found.tokens_in}
    told |= {"tokens_out": found.tokens_out, "total_tokens": found.total_tokens}
    ends = {f"min_{name}": each.least for name, each in told.items()}
    return ends | {f"max_{name}": each.greatest for name, each in told.items()}
