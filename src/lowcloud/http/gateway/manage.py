"""What all of the management API has in common: what it works on, its answers, its errors, and its pages.

Source: Cloudflare API reference, AI Gateway, read 2026-11.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, TypeVar

from pydantic import BaseModel, Field
from starlette.responses import Response
from starlette.types import ASGIApp

from lowcloud.core.errors import BadRequest, LowcloudError, MalformedCredentials, NotFound
from lowcloud.gateway.cache import Cache
from lowcloud.gateway.config import DEFAULT_ID
from lowcloud.gateway.directory import Shelves, StoredDirectory
from lowcloud.gateway.errors import FeatureUnsupported
from lowcloud.gateway.spending import Spending
from lowcloud.gateway.spool import Spool
from lowcloud.http.call import Call, Handler
from lowcloud.http.encode import answer_headers, to_json
from lowcloud.http.errors import Rendered
from lowcloud.http.offload import Offload
from lowcloud.http.validation import validated
from lowcloud.http.workers_ai.catalogue_query import Page
from lowcloud.http.workers_ai.envelope import enveloped
from lowcloud.http.workers_ai.run import naming
from lowcloud.storage.gateway_logs import LogStore
from lowcloud.storage.gateways import GatewayRow

B = TypeVar("B", bound=BaseModel)
T = TypeVar("T")
INPUT = 7001
JSON = "application/json"


class NotManaged(NotFound):
    """The account has no such gateway, key or custom provider."""

    number = 7002

    def __init__(self, what: str, name: str, param: str) -> None:
        super().__init__(f"Not Found: there is no {what} {name[:64]}.", param=param)


class AlreadyThere(LowcloudError):
    """Another one has the name; ``param`` says which name. Trying again changes nothing."""

    status = 409
    code = "already_exists"
    type = "invalid_request_error"
    number = INPUT
    is_worth_a_retry = False


def managed(error: LowcloudError, _request_id: str) -> Rendered:
    """An error in the v4 envelope; input that isn't valid has the code that this API gives it."""
    status = 400 if isinstance(error, MalformedCredentials) else error.status
    number = INPUT if isinstance(error, BadRequest) else error.number
    errors = [{"message": str(error), "code": number}]
    return Rendered(status, {"errors": errors, "success": False, "result": None, "messages": []})


@dataclass(frozen=True, slots=True)
class Kept:
    """What is managed. ``allowed_hosts``: those in this network that custom providers may be at."""

    shelves: Shelves
    directory: StoredDirectory
    allowed_hosts: Collection[str] = ()


@dataclass(frozen=True, slots=True)
class Desk:
    """What the handlers work with. ``new_id`` makes lowercase UUIDv7s, ``clock`` gives seconds since 1970."""

    kept: Kept
    logs: LogStore
    spool: Spool
    cache: Cache
    spending: Spending
    clock: Callable[[], float]
    new_id: Callable[[], str]
    offload: Offload

    async def gateway(self, call: Call) -> GatewayRow:
        """The one that the path names; ``default`` makes itself. Raises NotManaged."""
        account_id, gateway_id = account_of(call), call.params["gateway_id"]
        row = await self.kept.shelves.gateways.get(account_id, gateway_id)
        if row is None and gateway_id == DEFAULT_ID:
            await self.kept.directory.make_default(account_id)
            row = await self.kept.shelves.gateways.get(account_id, gateway_id)
        if row is None:
            raise NotManaged("gateway", gateway_id, "gateway_id")
        return row

    async def body(self, model: type[B], call: Call) -> tuple[B, list[str]]:
        """The body, and the names of its fields that nobody reads. Raises BadRequest."""

        def read(given: dict[str, object]) -> tuple[B, list[str]]:
            known = {each for name, field in model.model_fields.items() for each in (name, field.alias)}
            return validated(model, given), [name for name in given if name not in known]

        return await self.offload.read(call.body, read)


class PageQuery(BaseModel):
    """Which page, from 1, of how many each."""

    page: Annotated[int, Field(ge=1)] = 1
    per_page: Annotated[int, Field(ge=1, le=100)] = 20


def account_of(call: Call) -> str:
    """Whose route this is."""
    return call.caller.account_id


def answered(result: object, ignored: Sequence[str] = ()) -> Response:
    """A result in its envelope."""
    return Response(enveloped(to_json(result)), 200, answer_headers(ignored, None), JSON)


def listed(page: Page[object], more: Mapping[str, float | None] | None = None) -> Response:
    """A page of a list; ``more`` is said of it beside which it is."""
    return Response(enveloped(to_json(page.items), {**page.info(), **(more or {})}), 200, {}, JSON)


def telling(handler: Handler, query: type[BaseModel] | None) -> Handler:
    """The same, where the answer names the parameters that aren't in ``query``: nobody reads them."""
    known = query.model_fields if query is not None else {}

    def is_read(name: str) -> bool:
        return name in known or ("filters" in known and name.startswith("filters"))

    async def answer(call: Call) -> ASGIApp:
        return naming(tuple(name for name in call.query if not is_read(name)), await handler(call))

    return answer


def cut(items: Sequence[T], query: PageQuery) -> Page[T]:
    """The page of a list that is here whole."""
    start = (query.page - 1) * query.per_page
    return Page(items[start : start + query.per_page], query.page, query.per_page, len(items))


def iso(seconds: float) -> str:
    """A time since 1970 as the API writes it."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def refuse_later(given: BaseModel, later: Mapping[str, str]) -> None:
    """Raises FeatureUnsupported for the first of ``later``, names with reasons, that asks for something."""
    for name, why in later.items():
        if not asks_nothing(getattr(given, name)):
            raise FeatureUnsupported(f"{name}: {why}.", param=name)


def asks_nothing(value: object) -> bool:
    """Null, false, what is empty, what says that it isn't enabled, and what holds nothing but such."""
    match value:
        case {"enabled": False}:
            return True
        case dict():
            return all(map(asks_nothing, value.values()))
        case list():
            return not value
        case _:
            return value is None or value is False or value == ""
