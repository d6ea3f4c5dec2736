"""Which logs of a gateway are meant, and in which order: filters as Cloudflare's management API has them, as SQL."""

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal, TypeAlias

from sqlalchemy import JSON, ColumnElement, Double, cast, func, literal, not_, or_, select
from sqlalchemy.sql.expression import TableValuedAlias

from lowcloud.core.errors import BadRequest
from lowcloud.storage.tables import gateway_logs, storable

Value: TypeAlias = str | int | float | bool | None
Operator: TypeAlias = Literal["eq", "neq", "contains", "lt", "gt"]

MAX_FILTERS = 50
MAX_VALUES = 100  # of one filter
MAX_CHARS = 2_000  # of a text that is looked for

_log = gateway_logs.c
TOKENS = func.coalesce(_log.tokens_in, 0) + func.coalesce(_log.tokens_out, 0)
TEXTS: Mapping[str, ColumnElement[Any]] = {
    "id": _log.id,
    "request_content_type": _log.request_content_type,
    "response_content_type": _log.response_content_type,
    "request_type": _log.request_type,
    "provider": _log.provider,
    "model": _log.model,
    "model_type": _log.model_type,
    "event_id": _log.event_id,
    "dlp_action": _log.dlp_action,
    "user_agent": _log.user_agent,
}
NUMBERS: Mapping[str, ColumnElement[Any]] = {
    "cost": _log.cost,
    "tokens": TOKENS,
    "tokens_in": _log.tokens_in,
    "tokens_out": _log.tokens_out,
    "duration": _log.duration_ms,
    "feedback": _log.feedback,
}
FLAGS: Mapping[str, ColumnElement[Any]] = {
    "success": _log.success,
    "cached": _log.cached,
    "authentication": _log.authentication,
    "wholesale": _log.wholesale,
    "compatibilityMode": _log.compatibility_mode,
}
TIMES: Mapping[str, ColumnElement[Any]] = {"created_at": _log.created_at}
METADATA = frozenset({"metadata.key", "metadata.value"})
ORDERS: Mapping[str, ColumnElement[Any]] = {
    **{name: TEXTS[name] for name in ("provider", "model", "model_type")},
    **{name: FLAGS[name] for name in ("success", "cached")},
    **{name: NUMBERS[name] for name in ("cost", "tokens_in", "tokens_out", "duration", "feedback")},
    **TIMES,
}
SEARCHED = (
    _log.id,
    _log.event_id,
    _log.provider,
    _log.model,
    _log.path,
    _log.user_agent,
    _log.labels,
    _log.request_head,
    _log.response_head,
)


@dataclass(frozen=True, slots=True)
class LogFilter:
    """``eq``, ``contains``, ``lt`` and ``gt`` hold for any of the values, ``neq`` where none is equal.

    Texts are equal letter by letter; ``contains`` takes A for a. Times are seconds since 1970, or ISO 8601. What a log
    doesn't have is None (in a text, empty), and neither less nor greater than anything. One entry of the metadata meets
    all filters on ``metadata.key`` and ``metadata.value``; where all of them are ``neq``, no entry may be named by any.
    """

    key: str
    operator: str
    values: tuple[Value, ...]


@dataclass(frozen=True, slots=True)
class LogQuery:
    """Logs that meet all filters and have the text ``search``, A for a, in their texts, their metadata or the first
    kilobyte of their bodies. Pages are counted from 1. ``with_ranges`` costs a look at all that are meant."""

    filters: tuple[LogFilter, ...] = ()
    search: str = ""
    order_by: str = "created_at"
    is_descending: bool = True
    page: int = 1
    per_page: int = 20
    with_ranges: bool = False

    @property
    def is_narrowed(self) -> bool:
        """Whether not all of a gateway's logs are meant."""
        return bool(self.filters or self.search)


EVERY_LOG = LogQuery()


def labels_of(metadata: str) -> str:
    """The same object with texts for values, as filters see them."""
    if metadata == "{}":
        return metadata
    entries: dict[str, Value] = json.loads(metadata)
    return json.dumps({storable(key): storable(_text(value)) for key, value in entries.items()}, ensure_ascii=False)


def checked(query: LogQuery) -> None:
    """Raises BadRequest for what can't be looked for, naming the field."""
    conditions(query, "sqlite")
    ordered(query, "sqlite")


def conditions(query: LogQuery, dialect: str) -> list[ColumnElement[bool]]:
    """What the logs meet. Raises BadRequest, naming the field."""
    if len(query.filters) > MAX_FILTERS:
        raise BadRequest(f"filters: there may be at most {MAX_FILTERS}.", param="filters")
    found, entry = [], []
    for index, each in enumerate(query.filters):
        condition = _Condition(each, f"filters[{index}]", dialect)
        if each.key in METADATA:
            entry.append(condition)
        else:
            found.append(condition.sql())
    if entry:
        found.append(_metadata(entry, dialect))
    if query.search:
        wanted = _bounded(query.search, "search")
        found.append(or_(*(_contains(column, wanted, dialect) for column in SEARCHED)))
    return found


def ordered(query: LogQuery, dialect: str) -> list[ColumnElement[Any]]:
    """The order, in which no two logs are equal. Raises BadRequest, naming the field."""
    if query.order_by not in ORDERS:
        raise BadRequest(f"order_by: it must be one of {', '.join(ORDERS)}.", param="order_by")
    first = ORDERS[query.order_by]
    if query.order_by in TEXTS:
        first = _bytewise(first, dialect)
    columns = [_log.id] if query.order_by in TIMES else [_log.created_at, _log.id]
    if query.is_descending:
        return [first.desc().nulls_last() if query.order_by in NUMBERS else first.desc(), *(c.desc() for c in columns)]
    return [first.nulls_first() if query.order_by in NUMBERS else first, *columns]


@dataclass(frozen=True, slots=True)
class _Condition:
    """A filter, where it stands and for whom."""

    filter: LogFilter
    where: str
    dialect: str

    def sql(self, column: ColumnElement[Any] | None = None) -> ColumnElement[bool]:
        """Of the filter's column, or the one given, a text."""
        key = self.filter.key
        if column is not None or key in TEXTS:
            return self._text(TEXTS[key] if column is None else column)
        if key in FLAGS:
            return self._equal(FLAGS[key], self._values(_flag, "true or false"))
        if key in NUMBERS:
            return self._number(NUMBERS[key], self._values(_number, "numbers"))
        if key in TIMES:
            return self._number(TIMES[key], self._values(_time, "times: seconds since 1970, or ISO 8601"))
        raise BadRequest(f"{self.where}.key: logs can't be filtered by {key!r}.", param=f"{self.where}.key")

    def _text(self, column: ColumnElement[Any]) -> ColumnElement[bool]:
        values = self._values(lambda value: _bounded(_text(value), f"{self.where}.value"), "texts")
        if self.filter.operator == "contains":
            return or_(*(_contains(column, value, self.dialect) for value in values))
        return self._equal(column, values)

    def _number(self, column: ColumnElement[Any], values: Sequence[float | None]) -> ColumnElement[bool]:
        bounds = [literal(value, Double) for value in values if value is not None]
        match self.filter.operator:
            case "lt":
                return or_(literal(False), *(column < bound for bound in bounds))
            case "gt":
                return or_(literal(False), *(column > bound for bound in bounds))
            case _:
                return self._equal(column, values)

    def _equal(self, column: ColumnElement[Any], values: Sequence[Any]) -> ColumnElement[bool]:
        """A column may be NULL: then it is equal to None alone."""
        some = [
            value if isinstance(value, str | bool) else literal(value, Double) for value in values if value is not None
        ]
        is_equal: ColumnElement[bool] = func.coalesce(column.in_(some), False) if some else literal(False)
        if len(some) < len(values):
            is_equal = or_(is_equal, column.is_(None))
        match self.filter.operator:
            case "eq":
                return is_equal
            case "neq":
                return not_(is_equal)
        raise BadRequest(
            f"{self.where}.operator: {self.filter.operator!r} isn't one that {self.filter.key} takes.",
            param=f"{self.where}.operator",
        )

    def _values(self, convert: Callable[[Value], Any], expected: str) -> list[Any]:
        values, param = self.filter.values, f"{self.where}.value"
        if not 1 <= len(values) <= MAX_VALUES:
            raise BadRequest(f"{param}: there must be 1 to {MAX_VALUES}.", param=param)
        try:
            return [convert(value) for value in values]
        except (ValueError, OverflowError):
            raise BadRequest(f"{param}: they must be {expected}.", param=param) from None


def _metadata(entry: Sequence[_Condition], dialect: str) -> ColumnElement[bool]:
    entries = _entries(dialect)
    columns = {"metadata.key": entries.c.key, "metadata.value": entries.c.value}
    parts = [each.sql(columns[each.filter.key]) for each in entry]
    found = select(literal(1)).select_from(entries)
    if any(each.filter.operator != "neq" for each in entry):
        return found.where(*parts).correlate(gateway_logs).exists()
    return not_(found.where(or_(*(not_(part) for part in parts))).correlate(gateway_logs).exists())


def _entries(dialect: str) -> TableValuedAlias:
    if dialect == "postgresql":
        return func.json_each_text(cast(_log.labels, JSON)).table_valued("key", "value")
    return func.json_each(_log.labels).table_valued("key", "value")


def _contains(column: ColumnElement[Any], wanted: str, dialect: str) -> ColumnElement[bool]:
    """Only ASCII's letters are folded, as SQLite does and PostgreSQL where it compares bytewise."""
    find = func.strpos if dialect == "postgresql" else func.instr
    folded = "".join(each.lower() if each.isascii() else each for each in wanted)
    return find(func.lower(_bytewise(column, dialect)), literal(folded)) > 0


def _bytewise(column: ColumnElement[Any], dialect: str) -> ColumnElement[Any]:
    return column.collate("C") if dialect == "postgresql" else column


def _bounded(text: str, param: str) -> str:
    if len(text) > MAX_CHARS:
        raise BadRequest(f"{param}: it may have at most {MAX_CHARS} characters.", param=param)
    return storable(text)


def _text(value: Value) -> str:
    if value is None:
        return ""
    return value if isinstance(value, str) else json.dumps(value)


def _number(value: Value) -> float | None:
    if value is None:
        return None
    number = float(value)
    if isinstance(value, bool) or not math.isfinite(number):
        raise ValueError(value)
    return number


def _flag(value: Value) -> bool:
    known = {"true": True, "1": True, "false": False, "0": False}
    text = _text(value).lower()
    if text not in known:
        raise ValueError(value)
    return known[text]


def _time(value: Value) -> float | None:
    try:
        return _number(value)
    except ValueError:
        time = datetime.fromisoformat(str(value))
    return (time if time.tzinfo else time.replace(tzinfo=UTC)).timestamp()
