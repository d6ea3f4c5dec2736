"""Which logs a query asks for: ``filters``, as SDKs and people write them, and the flat parameters of before. Pure.

Official SDKs write ``filters.key=cost&filters.operator=gt&filters.value=1``: npm's again and again for further filters,
Python's all keys together, then all operators, then all values, and nothing for a value that is empty or null. Others
write ``filters[0][key]=...``, or ``filters=`` and a JSON array.
"""

import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import groupby
from operator import itemgetter
from typing import Annotated, Literal, TypeVar
from urllib.parse import parse_qsl

from pydantic import BaseModel, ConfigDict, Field, RootModel

from lowcloud.core.errors import BadRequest
from lowcloud.http.gateway.manage import PageQuery
from lowcloud.http.validation import validated
from lowcloud.storage.gateway_log_query import MAX_CHARS, LogFilter, LogQuery

Q = TypeVar("Q", bound=BaseModel)
WHOLE = frozenset({"filters", "filters[]"})
PART = re.compile(r"filters(?:\[(?P<place>\d*)\])?(?:\.|\[)(?P<name>key|operator|value)\]?(?:\[\d*\])?")
OPEN = float("inf")
MOST = 1e300  # below the greatest that there is, so that there is a next one
Text = Annotated[str, Field(max_length=MAX_CHARS)]
Number = Annotated[float, Field(ge=-MOST, le=MOST, allow_inf_nan=False)]
# Flat parameters that are compared as they stand, and those that have two ends.
EQUAL = ("cached", "success", "provider", "model", "model_type", "request_content_type", "response_content_type")
RANGES = {
    "cost": "cost",
    "duration": "duration",
    "tokens_in": "tokens_in",
    "tokens_out": "tokens_out",
    "total_tokens": "tokens",
}


class FilterBody(BaseModel):
    """Holds for any of the values."""

    model_config = ConfigDict(extra="forbid")

    key: str
    operator: Literal["eq", "neq", "contains", "lt", "gt"]
    value: list[str | int | float | bool | None]


class _Filters(RootModel[list[FilterBody]]):
    """All of them hold."""


class DeleteQuery(BaseModel):
    """Which logs go."""

    filters: str = Field("", description="JSON: an array of {key, operator, value: []}; or as SDKs write it")
    limit: Annotated[int, Field(ge=1)] | None = Field(None, description="at most so many, in their order")
    order_by: str = "created_at"
    order_by_direction: Literal["asc", "desc"] = "desc"


class ExportQuery(BaseModel):
    """Which logs, by filters or by the flat parameters."""

    filters: str = Field("", description="JSON: an array of {key, operator, value: []}; or as SDKs write it")
    search: str = Field("", description="a text in ids, names, metadata or the first kilobyte of bodies")
    start_date: datetime | None = None
    end_date: datetime | None = None
    cached: bool | None = None
    success: bool | None = None
    feedback: Literal["0", "1"] | None = Field(None, description="1: good, 0: not good")
    provider: Text | None = None
    model: Text | None = None
    model_type: Text | None = None
    request_content_type: Text | None = None
    response_content_type: Text | None = None
    min_cost: Number | None = None
    max_cost: Number | None = None
    min_duration: Number | None = Field(None, description="milliseconds")
    max_duration: Number | None = None
    min_tokens_in: Number | None = None
    max_tokens_in: Number | None = None
    min_tokens_out: Number | None = None
    max_tokens_out: Number | None = None
    min_total_tokens: Number | None = None
    max_total_tokens: Number | None = None


class ListQuery(ExportQuery, PageQuery):
    """A page of them, in which order."""

    order_by: str = "created_at"
    order_by_direction: Literal["asc", "desc"] | None = None
    direction: Literal["asc", "desc"] | None = Field(None, description="the same, as it was called before")
    meta_info: bool = Field(False, description="with the least and the greatest of each number")


@dataclass(frozen=True, slots=True)
class Asked:
    """What a query has beside its filters, and those. ``names_filters``: it speaks of some, be there any or not."""

    given: Mapping[str, str]
    filters: tuple[LogFilter, ...]
    names_filters: bool

    def as_(self, model: type[Q]) -> Q:
        """The rest as a model; what has no value isn't there. Raises BadRequest, naming the parameter."""
        return validated(model, {name: value for name, value in self.given.items() if value})


def asked_of(query: str, *, may_pair: bool = True) -> Asked:
    """A raw query, read. Raises BadRequest for filters that can't be.

    ``may_pair``: filters of which keys, operators and values stand together have one value each. That is as good as
    sure, but where values were left out that are empty, another filter's would take their place.
    """
    pairs = parse_qsl(query, keep_blank_values=True)
    given = {name: value for name, value in pairs if not name.startswith("filters")}
    named = [pair for pair in pairs if pair[0].startswith("filters")]
    return Asked(given, tuple(_filters(named, may_pair)), bool(named))


def query_of(asked: ExportQuery, filters: Sequence[LogFilter]) -> LogQuery:
    """What a store is asked for."""
    query = LogQuery((*filters, *_flat(asked)), asked.search)
    if not isinstance(asked, ListQuery):
        return query
    direction = asked.order_by_direction or asked.direction or "desc"
    paging = (asked.order_by, direction == "desc", asked.page, asked.per_page, asked.meta_info)
    return LogQuery(query.filters, query.search, *paging)


@dataclass(slots=True)
class _Parts:
    """A filter that is put together."""

    known: dict[str, str] = field(default_factory=dict)
    values: list[str] = field(default_factory=list)

    @property
    def is_whole(self) -> bool:
        return len(self.known) == 2 and bool(self.values)

    def add(self, name: str, value: str) -> None:
        if name == "value":
            self.values.append(value)
        elif name in self.known:
            raise BadRequest(f"filters: one of them has two {name}s.", param="filters")
        else:
            self.known[name] = value

    def filter(self, place: int) -> FilterBody:
        return validated(FilterBody, {**self.known, "value": self.values}, f"filters[{place}]")


def _filters(pairs: Iterable[tuple[str, str]], may_pair: bool) -> list[LogFilter]:
    whole: list[FilterBody] = []
    placed: dict[str, _Parts] = {}
    others: list[tuple[str, str]] = []
    for name, value in pairs:
        if name in WHOLE:
            whole += _parsed(value)
            continue
        part = PART.fullmatch(name)
        if part is None:
            raise BadRequest(f"{name[:64]}: a filter has a key, an operator and values.", param=name[:64])
        if part["place"]:
            placed.setdefault(part["place"], _Parts()).add(part["name"], value)
        else:
            others.append((part["name"], value))
    found = [*placed.values(), *_told_apart(others, may_pair)]
    whole += [parts.filter(place) for place, parts in enumerate(found)]
    return [LogFilter(each.key, each.operator, tuple(each.value)) for each in whole]


def _told_apart(parts: Sequence[tuple[str, str]], may_pair: bool) -> list[_Parts]:
    """Filters that are written one after the other, or, with one value each, name by name."""
    found: list[_Parts] = []
    for name, value in parts:
        if not found or name in found[-1].known:
            found.append(_Parts())
        found[-1].add(name, value)
    if len(found) < 2 or all(each.is_whole for each in found):
        return found
    runs = [(name, [value for _, value in run]) for name, run in groupby(parts, itemgetter(0))]
    by_name = dict(runs)
    if may_pair and len(runs) == len(by_name) == 3 and len({len(values) for values in by_name.values()}) == 1:
        each = zip(by_name["key"], by_name["operator"], by_name["value"], strict=True)
        return [_Parts({"key": key, "operator": operator}, [value]) for key, operator, value in each]
    raise BadRequest(
        "filters: which of the values belong to which of the keys can't be told beyond doubt. Send one JSON array: "
        'filters=[{"key": "model", "operator": "eq", "value": ["m"]}, ...].',
        param="filters",
    )


def _parsed(text: str) -> list[FilterBody]:
    if not text:
        return []
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        raise BadRequest("filters: must be a JSON array of filters.", param="filters") from None
    return validated(_Filters, value if isinstance(value, list) else [value], "filters").root


def _flat(asked: ExportQuery) -> Iterable[LogFilter]:
    for name in EQUAL:
        if (value := getattr(asked, name)) is not None:
            yield LogFilter(name, "eq", (value,))
    if asked.feedback is not None:
        yield LogFilter("feedback", "eq", (1,) if asked.feedback == "1" else (0, -1))
    for name, key in RANGES.items():
        yield from _between(key, getattr(asked, f"min_{name}"), getattr(asked, f"max_{name}"))
    yield from _between("created_at", _seconds(asked.start_date), _seconds(asked.end_date))


def _between(key: str, least: float | None, most: float | None) -> Iterable[LogFilter]:
    """Both ends count."""
    if least is not None:
        yield LogFilter(key, "gt", (math.nextafter(least, -OPEN),))
    if most is not None:
        yield LogFilter(key, "lt", (math.nextafter(most, OPEN),))


def _seconds(time: datetime | None) -> float | None:
    if time is None:
        return None
    return (time if time.tzinfo else time.replace(tzinfo=UTC)).timestamp()
