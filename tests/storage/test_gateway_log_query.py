"""Filters find, on either database, what a filter over the rows finds; and what can't be looked for is named."""

import asyncio
import json
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lowcloud.core.errors import BadRequest
from lowcloud.storage.database import open_database
from lowcloud.storage.gateway_log_query import MAX_CHARS, MAX_FILTERS, MAX_VALUES, LogFilter, LogQuery, checked
from lowcloud.storage.gateway_logs import LogRow, LogStore, NewLog

ACCOUNT, GATEWAY = "a" * 32, "g"
COLUMNS = {"duration": "duration_ms", "compatibilityMode": "compatibility_mode"}
TEXTS = ("id", "provider", "model", "model_type", "request_type", "event_id", "user_agent", "dlp_action")
NUMBERS = ("cost", "tokens", "tokens_in", "tokens_out", "duration", "feedback", "created_at")
FLAGS = ("success", "cached", "authentication", "wholesale", "compatibilityMode")
ORDERS = ("provider", "model", "model_type", "success", "cached", "created_at")
NULLABLE_ORDERS = ("cost", "tokens_in", "tokens_out", "duration", "feedback")

words = st.sampled_from(
    ["", "a", "A", "ab", "aB", "é", "É", "ß", "%", "_", "'", '"', "\\", "\0", "\ud800", "null", "1"]
)
counts = st.none() | st.integers(0, 3)
amounts = st.sampled_from([0.0, 0.5, 1.0, 2.0])
scalars = words | st.none() | st.booleans() | st.integers(0, 2) | st.just(1.5)


def logs(number):
    """A log whose id has the number in it, with few values, so that filters find some."""
    fields = {
        "id": st.just(f"id-{number}"),
        "account_id": st.just(ACCOUNT),
        "gateway_id": st.sampled_from([GATEWAY, GATEWAY, GATEWAY, "other"]),
        "created_at": amounts,
        "metadata": st.dictionaries(words, scalars, max_size=3).map(json.dumps),
        "duration_ms": amounts,
        "cost": st.none() | amounts,
        "tokens_in": counts,
        "tokens_out": counts,
        "feedback": st.none() | st.sampled_from([-1, 1]),
        "success": st.booleans(),
        "cached": st.booleans(),
        "wholesale": st.booleans(),
    }
    texts = ("provider", "model", "model_type", "request_type", "event_id", "user_agent", "request_head", "path")
    return st.fixed_dictionaries({**fields, **dict.fromkeys(texts, words)}).map(lambda given: LogRow(**given))


def filters():
    def some(keys, operators, values):
        these = st.lists(values, min_size=1, max_size=3).map(tuple)
        return st.builds(LogFilter, st.sampled_from(keys), st.sampled_from(operators), these)

    labels = some(["metadata.key", "metadata.value"], ["eq", "neq", "contains"], words)
    flags = some(FLAGS, ["eq", "neq"], st.sampled_from([True, False, 0, 1, "true", "False"]))
    texts = some(TEXTS, ["eq", "neq", "contains"], scalars | st.just("D-1"))
    numbers = some(NUMBERS, ["eq", "neq", "lt", "gt"], st.none() | amounts | st.sampled_from(["1", "2.0", -1]))
    return texts | numbers | flags | labels


queries = st.builds(
    LogQuery,
    st.lists(filters(), max_size=2).map(tuple),
    st.sampled_from(["", "", "", "a", "A", "É", "\0"]),
    st.sampled_from(ORDERS + NULLABLE_ORDERS),
    st.booleans(),
    st.integers(1, 2),
    st.integers(1, 5),
)


def shown(text):
    """As the database has it."""
    return text.replace("\0", "␀").encode("utf-8", "replace").decode()


def written(value):
    return "" if value is None else shown(value if isinstance(value, str) else json.dumps(value))


def folded(text):
    return "".join(each.lower() if each.isascii() else each for each in text)


def value_of(row, key):
    if key == "tokens":
        return (row.tokens_in or 0) + (row.tokens_out or 0)
    value = getattr(row, COLUMNS.get(key, key))
    return shown(value) if isinstance(value, str) else value


def wanted_of(key, value):
    if key in FLAGS:
        return str(value).lower() in ("true", "1")
    if key in NUMBERS:
        return None if value is None else float(value)
    return written(value)


def meets(value, each):
    wanted = [wanted_of(each.key, one) for one in each.values]
    match each.operator:
        case "eq":
            return value in wanted
        case "neq":
            return value not in wanted
        case "contains":
            return any(folded(one) in folded(value) for one in wanted)
        case "lt":
            return value is not None and any(one is not None and value < one for one in wanted)
        case "gt":
            return value is not None and any(one is not None and value > one for one in wanted)


def entry_meets(entries, these):
    def holds(entry, each):
        return meets(entry[0] if each.key == "metadata.key" else entry[1], each)

    if all(each.operator == "neq" for each in these):
        return all(holds(entry, each) for entry in entries for each in these)
    return any(all(holds(entry, each) for each in these) for entry in entries)


def is_meant(row, query):
    entries = {shown(key): written(value) for key, value in json.loads(row.metadata).items()}
    labels = [each for each in query.filters if each.key.startswith("metadata")]
    if not all(meets(value_of(row, each.key), each) for each in query.filters if each not in labels):
        return False
    if labels and not entry_meets(entries.items(), labels):
        return False
    texts = (row.id, row.event_id, row.provider, row.model, row.path, row.user_agent, row.request_head)
    searched = [*map(shown, texts), json.dumps(entries, ensure_ascii=False)]
    return any(folded(shown(query.search)) in folded(text) for text in searched)


def naive(rows, query):
    """All that are meant, in their order: what isn't there is the least of all."""

    def place(row):
        value = value_of(row, query.order_by)
        value = value.encode() if isinstance(value, str) else value
        return (value is not None, value), row.created_at, row.id

    found = [row for row in rows if row.gateway_id == GATEWAY and is_meant(row, query)]
    return sorted(found, key=place, reverse=query.is_descending)


def test_filters_find_what_a_filter_over_the_rows_finds(url):
    with asyncio.Runner() as runner, open_database(url) as database:
        store = LogStore(database)

        @settings(max_examples=150, deadline=None)
        @given(st.tuples(*map(logs, range(6))), queries)
        def check(rows, query):
            for gateway in (GATEWAY, "other"):
                runner.run(store.delete(ACCOUNT, gateway))
            runner.run(store.add([NewLog(row) for row in rows]))
            meant = naive(rows, query)
            start = (query.page - 1) * query.per_page
            page = runner.run(store.search(ACCOUNT, GATEWAY, query))
            assert [row.id for row in page.rows] == [row.id for row in meant[start : start + query.per_page]]
            assert page.total == len(meant)
            ranges = runner.run(store.search(ACCOUNT, GATEWAY, replace(query, with_ranges=True))).ranges
            for key, found in {
                "cost": ranges.cost,
                "tokens": ranges.total_tokens,
                "tokens_in": ranges.tokens_in,
            }.items():
                values = [value for row in meant if (value := value_of(row, key)) is not None]
                assert (found.least, found.greatest) == (min(values, default=None), max(values, default=None))
            gone = runner.run(store.delete(ACCOUNT, GATEWAY, query, limit=2))
            left = runner.run(store.search(ACCOUNT, GATEWAY, replace(query, page=1, per_page=10)))
            assert gone == min(2, len(meant))
            assert [row.id for row in left.rows] == [row.id for row in meant[2:]]

        check()


FOUND = [
    (("cost", "eq", (None,)), [1]),
    (("cost", "eq", (None, 0.5)), [1, 2]),
    (("cost", "neq", (0.5,)), [1, 3]),
    (("cost", "neq", (None,)), [2, 3]),
    (("cost", "lt", (1,)), [2]),
    (("cost", "lt", (None, "1.5")), [2, 3]),
    (("cost", "gt", (0.5, 7)), [3]),
    (("tokens", "eq", (5,)), [2]),
    (("tokens", "eq", (0,)), [1]),
    (("model", "contains", ("B",)), [2, 3]),
    (("model", "contains", ("É", "x")), [3]),
    (("model", "eq", ("ab",)), [2]),
    (("model", "neq", ("ab", "")), [3]),
    (("cached", "neq", ("0",)), [2]),
    (("metadata.key", "neq", ("a", "c")), [1]),
    (("metadata.value", "neq", ("1",)), [1, 3]),
    (("metadata.value", "eq", (True, 1)), [2, 3]),
]


def test_each_operator_finds_what_it_says(url):
    rows = [
        LogRow("1", ACCOUNT, GATEWAY, 1.0),
        LogRow("2", ACCOUNT, GATEWAY, 2.0, model="ab", cost=0.5, tokens_in=5, cached=True, metadata='{"a": 1, "b": 2}'),
        LogRow("3", ACCOUNT, GATEWAY, 3.0, model="xBÉ", cost=1.0, tokens_in=1, tokens_out=2, metadata='{"c": true}'),
    ]
    with asyncio.Runner() as runner, open_database(url) as database:
        store = LogStore(database)
        runner.run(store.add(map(NewLog, rows)))
        for one, ids in FOUND:
            query = LogQuery((LogFilter(*one),), is_descending=False)
            page = runner.run(store.search(ACCOUNT, GATEWAY, query))
            assert [int(row.id) for row in page.rows] == ids, one


REFUSED = {
    "filters[0].key": LogFilter("colour", "eq", ("a",)),
    "filters[0].operator": LogFilter("success", "contains", (True,)),
    "filters[0].value": LogFilter("cost", "lt", ("cheap",)),
}


@pytest.mark.parametrize("param", REFUSED)
def test_a_filter_that_makes_no_sense_is_named(param):
    refuses(LogQuery((REFUSED[param],)), param)


@pytest.mark.parametrize(
    "one",
    [
        LogFilter("provider", "lt", ("a",)),
        LogFilter("provider", "Eq", ("a",)),
        LogFilter("cost", "contains", (1,)),
        LogFilter("metadata.value", "gt", ("a",)),
        LogFilter("created_at", "like", (1,)),
    ],
)
def test_an_operator_that_a_key_does_not_take_is_named(one):
    refuses(LogQuery((LogFilter("id", "eq", ("x",)), one)), "filters[1].operator")


@pytest.mark.parametrize(
    "one",
    [
        LogFilter("success", "eq", ("maybe",)),
        LogFilter("success", "eq", (None,)),
        LogFilter("tokens", "eq", (True,)),
        LogFilter("tokens", "eq", (float("nan"),)),
        LogFilter("tokens", "eq", (10**400,)),
        LogFilter("created_at", "gt", ("yesterday",)),
        LogFilter("model", "eq", ()),
        LogFilter("model", "eq", ("a",) * (MAX_VALUES + 1)),
        LogFilter("model", "eq", ("a" * (MAX_CHARS + 1),)),
    ],
)
def test_a_value_that_a_key_can_not_have_is_named(one):
    refuses(LogQuery((one,)), "filters[0].value")


def test_too_many_filters_too_long_a_search_and_an_unknown_order_are_named():
    refuses(LogQuery((LogFilter("id", "eq", ("x",)),) * (MAX_FILTERS + 1)), "filters")
    refuses(LogQuery(search="x" * (MAX_CHARS + 1)), "search")
    refuses(LogQuery(order_by="colour"), "order_by")


def refuses(query, param):
    with pytest.raises(BadRequest) as caught:
        checked(query)
    assert caught.value.param == param
    assert param in str(caught.value)


@pytest.mark.parametrize(
    ("time", "seconds"), [("1970-01-02", 86_400), ("1970-01-01T01:00:00Z", 3600), ("1970-01-01T02:00:00+01:00", 3600)]
)
def test_times_may_be_written_out(url, time, seconds):
    async def found(database):
        store = LogStore(database)
        await store.add([NewLog(LogRow(f"id{n}", ACCOUNT, GATEWAY, seconds + n)) for n in (-1, 0, 1)])
        page = await store.search(ACCOUNT, GATEWAY, LogQuery((LogFilter("created_at", "gt", (time,)),)))
        return [row.id for row in page.rows]

    with open_database(url) as database:
        assert asyncio.run(found(database)) == ["id1"]
