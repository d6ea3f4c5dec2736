"""What the gateway keeps, as the database has it."""

import json
from collections.abc import Iterator

import pytest

from lowcloud.gateway.cache import Entry
from lowcloud.gateway.errors import NoSuchGateway
from lowcloud.gateway.record import Record
from lowcloud.gateway.shelves import HEAD_BYTES, Entries, LogBound, LogSink, log_of
from lowcloud.storage.database import Database, open_database
from lowcloud.storage.gateway_cache import CacheStore
from lowcloud.storage.gateway_logs import LogStore

pytestmark = pytest.mark.anyio
NOW = 1_800_000_000.0
ACCOUNT = "a" * 32


@pytest.fixture
def database(tmp_path) -> Iterator[Database]:
    with open_database(f"sqlite:///{tmp_path}/lowcloud.db") as opened:
        yield opened


def record(number: int, gateway_id: str = "g", **fields: object) -> Record:
    return Record(f"id-{number:03d}", ACCOUNT, gateway_id, NOW + number, **fields)


class Bounds:
    """All gateways' one bound; ``gone`` is none of them."""

    def __init__(self, bound: LogBound | None = None) -> None:
        self.bound = bound

    async def log_bound(self, _account_id: str, gateway_id: str) -> LogBound | None:
        if gateway_id == "gone":
            raise NoSuchGateway(gateway_id)
        return self.bound


async def ids(logs: LogStore, gateway_id: str = "g") -> list[str]:
    return sorted(row.id for row in (await logs.search(ACCOUNT, gateway_id)).rows)


async def test_an_entry_comes_back_as_it_went_in(database):
    entries = Entries(CacheStore(database, clock=lambda: NOW))
    given = Entry("k" * 64, ACCOUNT, "g", 200, (("content-type", "a/b"), ("x", "\xff")), b"\0\xff", NOW, NOW + 60)
    await entries.put(given)
    assert await entries.get(ACCOUNT, "g", "k" * 64) == given
    assert await entries.get(ACCOUNT, "g", "o" * 64) is None


async def test_logs_are_added_once_whatever_is_added_again(database):
    logs = LogStore(database, clock=lambda: NOW)
    sink = LogSink(logs, Bounds())
    await sink.add([record(1), record(2)])
    await sink.add([record(2), record(3), record(1, "other")])
    assert await ids(logs) == ["id-001", "id-002", "id-003"]


async def test_a_gateway_that_keeps_the_newest_loses_its_oldest(database):
    logs = LogStore(database, clock=lambda: NOW)
    await LogSink(logs, Bounds(LogBound(3, stops=False))).add([record(number) for number in range(5)])
    assert await ids(logs) == ["id-002", "id-003", "id-004"]


async def test_a_gateway_that_stops_takes_no_more_and_each_has_its_own_bound(database):
    logs = LogStore(database, clock=lambda: NOW)
    sink = LogSink(logs, Bounds(LogBound(3, stops=True)))
    await sink.add([record(number) for number in range(2)])
    await sink.add([*(record(number) for number in range(2, 6)), record(9, "other")])
    await sink.add([record(7)])
    assert (await ids(logs), await ids(logs, "other")) == (["id-000", "id-001", "id-002"], ["id-009"])


async def test_what_a_gateway_that_stops_has_already_takes_no_room_again(database):
    logs = LogStore(database, clock=lambda: NOW)
    sink = LogSink(logs, Bounds(LogBound(3, stops=True)))
    await sink.add([record(0), record(1)])
    await sink.add([record(0), record(1), record(2), record(2), record(3)])
    assert await ids(logs) == ["id-000", "id-001", "id-002"]


async def test_a_gateway_that_is_gone_takes_none_and_holds_up_no_other(database):
    logs = LogStore(database, clock=lambda: NOW)
    await LogSink(logs, Bounds()).add([record(0, "gone"), record(1)])
    assert (await ids(logs, "gone"), await ids(logs)) == ([], ["id-001"])


@pytest.mark.parametrize("text", ["\0", "\ud800", "a\0b\udfffc", "é"])
async def test_texts_that_a_database_doesnt_take_are_made_so_that_it_does(database, text):
    logs = LogStore(database, clock=lambda: NOW)
    given = record(1, model=text, path=text, user_agent=text, event_id=text, metadata={text: text}, response=b"\0")
    await LogSink(logs, Bounds()).add([given])
    row = await logs.get(ACCOUNT, "g", "id-001")
    assert row is not None
    assert "\0" not in row.model + row.path + row.user_agent + row.event_id + row.metadata + row.response_head
    assert json.loads(row.metadata) == {text: text}
    assert (row.model == text) == (text == "é")
    assert await logs.body(ACCOUNT, "g", "id-001", "response") == b"\0"


@pytest.mark.parametrize(
    ("at", "kept"), [(0.123456, 0.123), (0.9996, 1.0), (0.0, 0.0), (1_800_000_000.0005001, 1_800_000_000.001)]
)
async def test_the_times_of_a_log_are_whole_milliseconds(at, kept):
    row = log_of(Record("id", ACCOUNT, "g", at, duration_ms=3.492)).row
    assert (row.created_at, row.duration_ms) == (kept, 3)


async def test_the_beginning_of_a_body_is_beside_it():
    row = log_of(record(1, request=b"x" * (HEAD_BYTES + 1), response=b"\xff", source="compat", authenticated=True)).row
    assert (row.request_head, row.request_head_complete) == ("x" * HEAD_BYTES, False)
    assert (row.response_head, row.response_head_complete) == ("\ufffd", True)
    assert (row.compatibility_mode, row.authentication) == (True, True)
    bare = log_of(record(1))
    assert (bare.row.request_head, bare.row.request_head_complete, bare.request) == ("", True, None)


async def test_of_a_body_that_is_not_kept_the_beginning_is_not_all():
    row = log_of(record(1, request_size=1, response_size=2_000)).row
    assert (row.request_head, row.request_head_complete) == ("", False)
    assert (row.response_head, row.response_head_complete) == ("", False)
