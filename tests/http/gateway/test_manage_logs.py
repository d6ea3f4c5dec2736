"""Logs of a gateway, as its management API shows them."""

import json
from itertools import permutations
from urllib.parse import quote

import pytest

from lowcloud.gateway.call import Reply
from lowcloud.gateway.record import Record
from lowcloud.gateway.shelves import log_of
from lowcloud.http.gateway.manage_schemas import LogList, ManageErrors, OneLog
from lowcloud.storage.gateway_logs import LogRow, NewLog

pytestmark = pytest.mark.anyio
CALL = {"model": "gpt-4o", "messages": []}
LOGS = "/gateways/g/logs"
NOW = 1_800_000_000.0


async def called(desk, **headers: str) -> str:
    """The id of a call's log."""
    answer = await desk.ask("POST", "/g/openai/chat/completions", CALL, {"content-type": "application/json", **headers})
    return answer.headers["cf-aig-log-id"]


async def kept(desk, *rows: dict[str, object]) -> None:
    """Logs with these fields, the first the oldest."""
    place = ("a" * 32, "g")
    await desk.logs.add(
        NewLog(LogRow(f"log-{n}", *place, **{"created_at": NOW - 100 + n, **row})) for n, row in enumerate(rows)
    )


async def ids(desk, query: str) -> list[str]:
    """The ids of the logs that a query finds."""
    answer = await desk.manage("GET", f"{LOGS}?{query}")
    assert answer.status == 200, answer.body
    return [each["id"].removeprefix("log-") for each in answer.json["result"]]


def complaint(answer) -> str:
    ManageErrors.model_validate(answer.json)
    assert (answer.status, answer.json["errors"][0]["code"]) == (400, 7001)
    return answer.json["errors"][0]["message"].split()[0]


async def test_a_log_is_there_as_soon_as_its_call_has_ended(desk):
    log_id = await called(desk, **{"cf-aig-metadata": '{"user":"ann"}'})
    answer = await desk.manage("GET", LOGS)
    LogList.model_validate(answer.json)
    (log,) = answer.json["result"]
    assert (log["id"], log["provider"], log["model"], log["tokens_in"], log["tokens_out"]) == (
        log_id,
        "openai",
        "gpt-4o",
        10,
        5,
    )
    assert json.loads(log["metadata"]) == {"user": "ann"}
    assert answer.json["result_info"] == {"page": 1, "per_page": 20, "count": 1, "total_count": 1, "total_pages": 1}


async def test_one_log_is_there_at_once_too_with_the_beginning_of_its_bodies(desk):
    log_id = await called(desk)
    answer = await desk.manage("GET", f"{LOGS}/{log_id}")
    OneLog.model_validate(answer.json)
    log = answer.json["result"]
    assert (json.loads(log["request_head"]), log["request_head_complete"]) == (CALL, True)
    assert log["created_at"] == "2027-01-15T08:00:00.000Z"


async def test_bodies_are_shown_as_they_were_and_none_as_what_a_browser_would_run(desk):
    html = b"<script>alert(1)</script>"

    async def page():
        yield html

    log_id = await called(desk)
    answer = await desk.manage("GET", f"{LOGS}/{log_id}/request")
    assert (answer.json, answer.headers["content-type"]) == (CALL, "application/json")
    assert (await desk.manage("GET", f"{LOGS}/{log_id}/response")).json["model"] == "gpt-4o"
    desk.upstream.script = [Reply(200, (("content-type", "text/html"),), page())]
    answer = await desk.manage("GET", f"{LOGS}/{await called(desk)}/response")
    assert (answer.body, answer.headers["content-type"]) == (html, "application/octet-stream")
    assert answer.headers["x-content-type-options"] == "nosniff"


async def test_a_body_that_was_not_kept_and_a_log_that_is_not_there_are_not_found(desk):
    log_id = await called(desk, **{"cf-aig-collect-log-payload": "false"})
    for path in (f"{log_id}/request", f"{log_id}/response", "none", "none/request"):
        answer = await desk.manage("GET", f"{LOGS}/{path}")
        assert (answer.status, answer.json["errors"][0]["code"]) == (404, 7002)
    assert (await desk.manage("GET", "/gateways/none/logs")).status == 404


async def test_filters_are_read_as_the_official_npm_package_writes_them(desk):
    await kept(desk, {"model": "a", "cost": 1.0}, {"model": "b", "cost": 2.0}, {"model": "b", "cost": 3.0})
    one = "filters.key=model&filters.operator=eq&filters.value=b&filters.value=c"
    assert await ids(desk, one) == ["2", "1"]
    two = "filters.operator=lt&filters.key=cost&filters.value=2.5"
    assert await ids(desk, f"{one}&{two}") == ["1"]
    assert await ids(desk, f"{two}&{one}") == ["1"]


@pytest.mark.parametrize("names", list(permutations(["key", "operator", "value"])))
async def test_filters_are_read_as_the_official_python_package_writes_them_name_by_name(desk, names):
    await kept(desk, {"model": "a", "cost": 1.0}, {"model": "b", "cost": 2.0}, {"model": "b", "cost": 3.0})
    two = {"key": ("model", "cost"), "operator": ("eq", "lt"), "value": ("b", "2.5")}
    assert await ids(desk, "&".join(f"filters.{name}={value}" for name in names for value in two[name])) == ["1"]
    one = {"key": ("model",), "operator": ("eq",), "value": ("b", "c")}
    assert await ids(desk, "&".join(f"filters.{name}={value}" for name in names for value in one[name])) == ["2", "1"]


@pytest.mark.parametrize(
    "query",
    [
        # Which of the filters has two values?
        "filters.key=model&filters.key=cost&filters.operator=eq&filters.operator=lt"
        "&filters.value=b&filters.value=c&filters.value=2",
        "filters.key=model&filters.key=cost&filters.operator=eq&filters.operator=lt&filters.value=b",
        "filters.key=model&filters.key=cost&filters.operator=eq&filters.value=b&filters.value=2",
        # The second of them has no value, or the first's is the second's.
        "filters.key=model&filters.operator=eq&filters.value=b&filters.value=2&filters.key=cost&filters.operator=lt",
        "filters.key=model&filters.key=cost&filters.operator=eq&filters.operator=lt&filters.key=a&filters.key=b",
        "filters[0].key=model&filters[0].key=cost&filters[0].operator=eq&filters[0].value=b",
    ],
)
async def test_filters_whose_parts_cannot_be_told_apart_are_refused(desk, query):
    await kept(desk, {"model": "b"})
    for method in ("GET", "DELETE"):
        assert complaint(await desk.manage(method, f"{LOGS}?{query}")) == "filters:"
    assert await ids(desk, "") == ["0"]


async def test_filters_written_name_by_name_delete_nothing_as_empty_values_may_be_missing(desk):
    await kept(desk, {"model": "a", "cost": 1.0})
    query = "filters.key=model&filters.key=cost&filters.operator=eq&filters.operator=lt&filters.value=a&filters.value=2"
    answer = await desk.manage("DELETE", f"{LOGS}?{query}")
    assert complaint(answer) == "filters:"
    assert "JSON" in answer.json["errors"][0]["message"]
    assert await ids(desk, query) == ["0"]


@pytest.mark.parametrize(
    "query",
    [
        'filters=[{"key":"model","operator":"eq","value":["b"]},{"key":"cost","operator":"gt","value":[2]}]',
        'filters={"key":"cost","operator":"gt","value":[2]}&filters[]={"key":"model","operator":"eq","value":["b"]}',
        "filters[0][key]=model&filters[1][key]=cost&filters[0][operator]=eq&filters[0][value][]=b"
        "&filters[1][operator]=gt&filters[1][value][0]=2",
        "filters[][key]=model&filters[][operator]=eq&filters[][value][]=b"
        "&filters[][key]=cost&filters[][operator]=gt&filters[][value]=2",
    ],
)
async def test_filters_are_read_as_people_write_them(desk, query):
    await kept(desk, {"model": "a", "cost": 3.0}, {"model": "b", "cost": 2.0}, {"model": "b", "cost": 3.0})
    assert await ids(desk, quote(query, safe="=&")) == ["2"]


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("metadata.value", 42),
        ("metadata.value", 12345678901234567),
        ("metadata.value", 1.5),
        ("metadata.value", True),
        ("model", 4),
        ("event_id", 12345678901234567),
        ("success", 1),
        ("success", True),
        ("tokens_in", 7),
        ("cost", 0.5),
        ("cost", "0.5"),
    ],
)
async def test_a_value_of_json_is_found_as_it_is_written(desk, key, value):
    metadata = json.dumps({"n": 42, "id": 12345678901234567, "x": 1.5, "is": True})
    own = {"model": "4", "event_id": "12345678901234567", "success": True, "tokens_in": 7, "cost": 0.5}
    await kept(desk, {"metadata": metadata, **own}, {"metadata": '{"n": 43}'})
    filters = json.dumps([{"key": key, "operator": "eq", "value": [value]}])
    assert await ids(desk, f"filters={quote(filters)}") == ["0"]


@pytest.mark.parametrize(
    ("query", "named"),
    [
        ("filters=x", "filters:"),
        ("filters.keys=model", "filters.keys:"),
        ("filters.key=model&filters.operator=is&filters.value=b", "filters[0].operator:"),
        ("filters.key=colour&filters.operator=eq&filters.value=b", "filters[0].key:"),
        ("order_by=colour", "order_by:"),
        ("per_page=101", "per_page:"),
        ("cached=maybe", "cached:"),
        ("min_cost=nan", "min_cost:"),
        ("max_cost=inf", "max_cost:"),
        ("max_cost=1.7976931348623157e308", "max_cost:"),
        ("min_total_tokens=-inf", "min_total_tokens:"),
        (f"provider={'x' * 2_001}", "provider:"),
        (f"search={'x' * 2_001}", "search:"),
        ("start_date=yesterday", "start_date:"),
    ],
)
async def test_what_logs_cannot_be_looked_for_by_is_named(desk, query, named):
    assert complaint(await desk.manage("GET", f"{LOGS}?{query}")) == named


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("model=b", ["2", "1"]),
        ("provider=openai", ["0"]),
        ("cached=true", ["1"]),
        ("success=false", ["2", "0"]),
        ("feedback=1", ["1"]),
        ("feedback=0", ["2"]),
        ("min_cost=2&max_cost=3", ["2", "1"]),
        ("min_total_tokens=7", ["2"]),
        ("max_tokens_in=1&min_tokens_out=2", ["1"]),
        ("min_duration=5", ["2"]),
        ("start_date=2027-01-15T07:58:21Z&end_date=2027-01-15T07:58:22", ["2", "1"]),
        ("search=TEA", ["0"]),
        ("filters=", ["2", "1", "0"]),
        ("", ["2", "1", "0"]),
        ("order_by=model&order_by_direction=asc&per_page=2", ["0", "1"]),
        ("direction=asc&per_page=2&page=2", ["2"]),
    ],
)
async def test_flat_parameters_search_and_order(desk, query, found):
    await kept(
        desk,
        {"model": "a", "provider": "openai", "cost": 1.0, "request_head": "a cup of tea", "duration_ms": 1.0},
        {"model": "b", "cost": 2.0, "cached": True, "success": True, "feedback": 1, "tokens_in": 1, "tokens_out": 2},
        {"model": "b", "cost": 3.0, "feedback": -1, "tokens_in": 3, "tokens_out": 4, "duration_ms": 5.0},
    )
    assert await ids(desk, query) == found


async def test_a_log_is_found_by_the_time_and_the_duration_that_it_shows(desk):
    calls = [
        Record(f"log-{n}", "a" * 32, "g", at, duration_ms=ms) for n, (at, ms) in enumerate([(NOW, 1.4), (NOW, 3.49)])
    ]
    calls += [Record("log-2", "a" * 32, "g", NOW + 0.123456, duration_ms=3.6)]
    await desk.logs.add(map(log_of, calls))
    answer = await desk.manage("GET", f"{LOGS}?meta_info=true")
    at, *_ = (log["created_at"] for log in answer.json["result"])
    assert [log["duration"] for log in answer.json["result"]] == [4, 3, 1]
    assert (answer.json["result_info"]["min_duration"], answer.json["result_info"]["max_duration"]) == (1, 4)

    async def found(key: str, operator: str, value: object) -> list[str]:
        filters = json.dumps([{"key": key, "operator": operator, "value": [value]}])
        return await ids(desk, f"filters={quote(filters)}")

    assert [await found("created_at", operator, at) for operator in ("eq", "gt", "lt")] == [["2"], [], ["1", "0"]]
    assert [await found("duration", operator, 3) for operator in ("eq", "gt", "lt")] == [["1"], ["2"], ["0"]]
    assert await ids(desk, f"start_date={at}&end_date={at}") == ["2"]
    assert await ids(desk, "min_duration=3&max_duration=3") == ["1"]


async def test_the_ends_of_all_numbers_are_told_where_they_are_asked_for(desk):
    await kept(desk, {"cost": 1.0, "tokens_in": 1}, {"cost": 2.5, "tokens_in": 3, "duration_ms": 7.0})
    answer = await desk.manage("GET", f"{LOGS}?meta_info=true&per_page=1&colour=red")
    LogList.model_validate(answer.json)
    info = answer.json["result_info"]
    assert (info["min_cost"], info["max_cost"], info["min_tokens_in"], info["max_tokens_in"]) == (1.0, 2.5, 1, 3)
    assert (info["max_duration"], info["total_count"], info["min_tokens_out"]) == (7.0, 2, None)
    assert answer.headers["lowcloud-ignored"] == "colour"


async def test_a_log_takes_feedback_a_score_and_metadata_and_gives_them_back(desk):
    log_id = await called(desk, **{"cf-aig-metadata": '{"user":"ann"}'})
    answer = await desk.manage("PATCH", f"{LOGS}/{log_id}", {"feedback": 1, "score": 80, "colour": "red"})
    OneLog.model_validate(answer.json)
    log = answer.json["result"]
    assert (log["feedback"], log["score"], json.loads(log["metadata"])) == (1, 80, {"user": "ann"})
    assert answer.headers["lowcloud-ignored"] == "colour"
    answer = await desk.manage("PATCH", f"{LOGS}/{log_id}", {"feedback": None, "metadata": {"team": 7}})
    log = answer.json["result"]
    assert (log["feedback"], log["score"], json.loads(log["metadata"])) == (None, 80, {"team": 7})
    assert complaint(await desk.manage("PATCH", f"{LOGS}/{log_id}", {"feedback": "good"})) == "feedback:"
    assert (await desk.manage("PATCH", f"{LOGS}/none", {"feedback": 1})).status == 404


async def test_logs_are_deleted_by_filters_in_an_order_up_to_a_limit(desk):
    await kept(desk, {"model": "a"}, {"model": "b"}, {"model": "b"}, {"model": "b"})
    query = "filters.key=model&filters.operator=eq&filters.value=b&limit=2&order_by=created_at&order_by_direction=asc"
    answer = await desk.manage("DELETE", f"{LOGS}?{query}")
    assert (answer.status, answer.json["success"]) == (200, True)
    assert await ids(desk, "") == ["3", "0"]
    await called(desk)
    await desk.manage("DELETE", LOGS)
    assert await ids(desk, "") == []


@pytest.mark.parametrize(
    ("query", "named"),
    [
        ("?model=b", "model:"),
        ("?filter.key=model", "filter.key:"),
        ("?filters=", "filters:"),
        ("?filters=[]", "filters:"),
        ("?limit=", "limit:"),
    ],
)
async def test_a_parameter_that_nobody_reads_or_that_says_nothing_deletes_nothing(desk, query, named):
    await kept(desk, {"model": "a"})
    assert complaint(await desk.manage("DELETE", f"{LOGS}{query}")) == named
    assert await ids(desk, "") == ["0"]


@pytest.mark.parametrize("body", [{"filters": [{"key": "model", "operator": "eq", "value": ["b"]}]}, [], b"limit=1"])
async def test_a_body_deletes_nothing_as_filters_go_into_the_query(desk, body):
    await kept(desk, {"model": "a"})
    assert complaint(await desk.manage("DELETE", LOGS, body)) == "body:"
    assert await ids(desk, "") == ["0"]
    assert (await desk.manage("DELETE", LOGS, {})).status == 200
    assert await ids(desk, "") == []


@pytest.mark.parametrize("first", [[], [{"model": "a"}]])
async def test_logs_are_exported_as_lines_each_once_however_many_have_one_time(desk, first):
    same = [{"created_at": NOW - 50.0, "model": "b"}] * 1_201
    await kept(desk, *first, *same, *[{"created_at": NOW - 40.0 + n / 1e6, "model": "b"} for n in range(700)])
    answer = await desk.manage("GET", f"{LOGS}/export")
    assert (answer.status, answer.headers["content-type"]) == (200, "application/x-ndjson")
    lines = [json.loads(line) for line in answer.body.splitlines()]
    assert len({line["id"] for line in lines}) == len(lines) == 1_901 + len(first)
    times = [line["created_at"] for line in lines]
    assert times == sorted(times)
    assert len((await desk.manage("GET", f"{LOGS}/export?model=a")).body.splitlines()) == len(first)


async def test_an_export_of_nothing_is_empty_and_a_wrong_one_is_refused_before_it_begins(desk):
    answer = await desk.manage("GET", f"{LOGS}/export")
    assert (answer.status, answer.body) == (200, b"")
    assert complaint(await desk.manage("GET", f"{LOGS}/export?filters.key=x")) == "Missing"
    assert (await desk.manage("GET", "/gateways/none/logs/export")).status == 404


async def test_the_spool_is_empty_once_a_list_has_shown_its_logs(desk):
    assert desk.spool.is_empty
    log_id = await called(desk)
    assert not desk.spool.is_empty
    assert await ids(desk, "") == [log_id]
    assert desk.spool.is_empty
