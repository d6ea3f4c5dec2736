"""The catalogue: models/search, models/schema, authors/search and tasks/search.

It lists every model that is known, whether or not its weights are here: a card says who would answer, or why nobody
does.
"""

from collections.abc import Sequence
from datetime import UTC, datetime

from starlette.responses import Response
from starlette.types import ASGIApp

from lowcloud.core.errors import ModelNotFound
from lowcloud.http.call import Call
from lowcloud.http.clock import Clock
from lowcloud.http.encode import answer_headers, to_json
from lowcloud.http.offload import Offload
from lowcloud.http.workers_ai.card_fields import author_fields, marketplace_fields, native_fields
from lowcloud.http.workers_ai.catalogue_query import Page, SchemaQuery, SearchQuery, asked, found, page_of
from lowcloud.http.workers_ai.envelope import enveloped
from lowcloud.http.workers_ai.model_schema import Shape, schemas, shape_of
from lowcloud.http.workers_ai.tasks import all_tasks
from lowcloud.models.card import Card
from lowcloud.serving.service import Service


class CatalogueSearch:
    """Handles what may be asked of the catalogue. The clock says which models the service has retired by now."""

    def __init__(self, service: Service, offload: Offload, clock: Clock) -> None:
        self._service = service
        self._offload = offload
        self._clock = clock
        self._schemas: dict[Shape, bytes] = {}

    async def models(self, call: Call) -> ASGIApp:
        """A page of the models that the query asks for."""
        query, ignored = asked(SearchQuery, call.query)
        today = datetime.fromtimestamp(self._clock.wall(), UTC).date()
        listings = found(self._service.listings(), query, today)
        if query.format == "openrouter":
            entries = [fields for listing in listings if (fields := marketplace_fields(listing)) is not None]
            return _marketplace(page_of(entries, query), ignored)
        return _listed(page_of(listings, query).map(native_fields), ignored)

    async def schema(self, call: Call) -> ASGIApp:
        """What the native run of a model takes and gives, as JSON schemas."""
        query, ignored = asked(SchemaQuery, call.query)
        shape = shape_of(self._card(query.model))
        if shape not in self._schemas:
            self._schemas[shape] = await self._offload.run(lambda: to_json(schemas(shape)))
        return _json(enveloped(self._schemas[shape]), ignored)

    async def authors(self, call: Call) -> ASGIApp:
        """Everybody who made a model of the catalogue, by name."""
        names = {listing.card.owned_by for listing in self._service.listings()}
        return _whole([author_fields(name) for name in sorted(names, key=str.casefold)], list(call.query))

    async def tasks(self, call: Call) -> ASGIApp:
        """Every task of the service."""
        return _whole(all_tasks(), list(call.query))

    def _card(self, model_id: str) -> Card:
        """Of a model that is known, or that would answer. Raises ModelNotFound."""
        try:
            return self._service.model(model_id).card
        except ModelNotFound:
            known = (listing.card for listing in self._service.listings() if listing.card.id == model_id)
            if (card := next(known, None)) is None:
                raise
            return card


def _whole(items: Sequence[object], ignored: Sequence[str]) -> Response:
    """A list that has one page."""
    count = len(items)
    return _listed(Page(items, 1, max(count, 1), count), ignored)


def _listed(page: Page[object], ignored: Sequence[str]) -> Response:
    return _json(enveloped(to_json(page.items), page.info()), ignored)


def _marketplace(page: Page[dict[str, object]], ignored: Sequence[str]) -> Response:
    """Marketplaces read ``data``, the service's own SDKs ``result``."""
    listed = to_json(page.items)
    return _json(enveloped(listed, page.info())[:-1] + b',"data":' + listed + b"}", ignored)


def _json(body: bytes, ignored: Sequence[str]) -> Response:
    return Response(body, 200, answer_headers(ignored, None), "application/json")
