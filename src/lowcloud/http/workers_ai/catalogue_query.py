"""What of the catalogue a search asks for: which models, and which page of them. Pure."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Annotated, Generic, Literal, TypeVar

from pydantic import BaseModel, Field

from lowcloud.http.validation import validated
from lowcloud.http.workers_ai.card_fields import SOURCE
from lowcloud.http.workers_ai.tasks import task_name
from lowcloud.models.catalogue import Listing

T = TypeVar("T")
MAX_PER_PAGE = 1_000


class PageQuery(BaseModel):
    """Which page, from 1, of how many each. Values of a query are text."""

    page: Annotated[int, Field(ge=1)] = 1
    per_page: Annotated[int, Field(ge=1, le=MAX_PER_PAGE)] = 100


class SearchQuery(PageQuery):
    """An empty text narrows nothing."""

    author: str = Field("", description="who made it: the second part of a name, in any case")
    task: str = Field("", description="a task's name, in any case")
    search: str = Field("", description="a part of the name or the description, in any case")
    source: float | None = None
    hide_experimental: bool = Field(False, description="leave out those in beta")
    include_deprecated: bool = Field(False, description="with those that the service has retired")
    format: Literal["", "openrouter"] = Field("", description="openrouter: as a marketplace reads them")


class SchemaQuery(BaseModel):
    """Whose schema."""

    model: str = Field(min_length=1)


Q = TypeVar("Q", bound=BaseModel)


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """Some of ``total`` items."""

    items: Sequence[T]
    number: int
    size: int
    total: int

    def map(self, show: Callable[[T], object]) -> "Page[object]":
        """The same page of what ``show`` makes of its items."""
        return Page([show(item) for item in self.items], self.number, self.size, self.total)

    def info(self) -> dict[str, int]:
        """The member ``result_info``."""
        return {
            "page": self.number,
            "per_page": self.size,
            "count": len(self.items),
            "total_count": self.total,
            "total_pages": -(-self.total // self.size),
        }


def asked(model: type[Q], query: Mapping[str, str]) -> tuple[Q, list[str]]:
    """The query, and the names of parameters that nobody reads; one without a value isn't there.

    Raises BadRequest, naming the parameter.
    """
    given = {name: value for name, value in query.items() if value}
    return validated(model, given), [name for name in query if name not in model.model_fields]


def page_of(items: Sequence[T], query: PageQuery) -> Page[T]:
    """The page that is asked for; past the end an empty one, which is how clients see the end."""
    start = (query.page - 1) * query.per_page
    return Page(items[start : start + query.per_page], query.page, query.per_page, len(items))


def found(listings: Iterable[Listing], query: SearchQuery, today: date) -> list[Listing]:
    """The models that the query asks for, in the catalogue's order."""
    return [listing for listing in listings if _matches(listing, query) and _is_shown(listing, query, today)]


def _matches(listing: Listing, query: SearchQuery) -> bool:
    card = listing.card
    wanted = query.search.casefold()
    return (
        (not query.author or card.owned_by.casefold() == query.author.casefold())
        and (not query.task or task_name(card.task).casefold() == query.task.casefold())
        and (wanted in card.id.casefold() or wanted in card.description.casefold())
        and query.source in (None, SOURCE)
    )


def _is_shown(listing: Listing, query: SearchQuery, today: date) -> bool:
    """A model that the service has retired is still one of those that answer here, where more than a stand-in does."""
    card, answer = listing.card, listing.answer
    is_retired = card.deprecated is not None and card.deprecated <= today
    is_kept = answer is not None and not answer.stand_in
    return (is_kept or query.include_deprecated or not is_retired) and not (query.hide_experimental and card.beta)
