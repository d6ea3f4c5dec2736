"""Records on the disk before anybody hears of a call's end, and from there in the database."""

import os
import resource
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lowcloud.gateway import spool as module
from lowcloud.gateway.record import Record, packed
from lowcloud.gateway.spool import Spool

pytestmark = pytest.mark.anyio


def record(log_id: str, **fields: object) -> Record:
    return Record(log_id, "a" * 32, "g", 1_800_000_000.0, **fields)


@dataclass
class Sink:
    """A database that knows each record by its id. It won't have those in ``refused``, nor any while it ``is_down``."""

    kept: dict[str, Record] = field(default_factory=dict)
    refused: frozenset[str] = frozenset()
    is_down: bool = False
    n_asked: int = 0

    async def add(self, records: Sequence[Record]) -> None:
        self.n_asked += 1
        if self.is_down or any(each.id in self.refused for each in records):
            raise RuntimeError("not now")
        self.kept.update((each.id, each) for each in records)


class Meter:
    def __init__(self) -> None:
        self.lost = 0

    def logs_lost(self, logs: int) -> None:
        self.lost += logs


def opened(folder: Path, sink: Sink | None = None, max_bytes: int = 10**9) -> Spool:
    spool = Spool(folder / "spool", sink or Sink(), Meter(), max_bytes)
    spool.open()
    return spool


def segments(folder: Path) -> list[Path]:
    return sorted((folder / "spool").iterdir())


async def test_a_record_is_on_the_disk_at_once_and_moves_with_all_its_fields(tmp_path):
    sink = Sink()
    spool = opened(tmp_path, sink)
    given = record("a", request=b"\xff\x00", response=b'{"a": 1}', metadata={"user": "\ud800"}, cost=0.5)
    assert spool.append(given)
    assert segments(tmp_path)[0].read_bytes() == packed(given)
    assert spool.find("a") is given
    await spool.move()
    assert sink.kept == {"a": given}
    assert spool.find("a") is None
    assert segments(tmp_path) == []


@given(
    st.lists(
        st.sampled_from(["append", "append", "append", "move", "fail", "killed", "killed in a write", "stopped"]),
        max_size=25,
    )
)
def test_whatever_is_appended_and_whenever_it_dies_each_record_arrives_once(steps):
    async def run(folder: Path) -> None:
        sink, appended = Sink(), []
        spool = opened(folder, sink)
        for number, step in enumerate(steps):
            match step:
                case "append":
                    appended.append(record(f"id-{number}", response=b"x" * number))
                    assert spool.append(appended[-1])
                case "move":
                    await spool.move()
                case "fail":
                    sink.is_down = True
                    with suppress(RuntimeError):
                        await spool.move()
                    sink.is_down = False
                case "stopped":
                    spool.close()
                    spool = opened(folder, sink)
                case "killed in a write":
                    spool.append(record("never answered"))
                    last = segments(folder)[-1]
                    os.truncate(last, last.stat().st_size - 7)
                    spool = opened(folder, sink)
                case _:
                    spool = opened(folder, sink)
        await spool.move()
        assert list(sink.kept.values()) == appended
        assert (segments(folder), spool.n_lost) == ([], 0)

    with tempfile.TemporaryDirectory() as folder:
        anyio.run(run, Path(folder))


async def test_what_was_moved_and_not_yet_deleted_is_moved_again_by_the_next_server(tmp_path):
    sink = Sink()
    spool = opened(tmp_path, sink)
    spool.append(record("a"))
    content = segments(tmp_path)[0].read_bytes()
    await spool.move()
    (tmp_path / "spool" / "000000000000.spool").write_bytes(content)  # as if it had died in between
    await opened(tmp_path, sink).move()
    assert list(sink.kept) == ["a"]


async def test_a_new_server_writes_behind_what_the_one_before_left(tmp_path):
    opened(tmp_path).append(record("a"))
    (tmp_path / "spool" / "notes.spool").write_text("somebody else's")
    sink = Sink()
    spool = opened(tmp_path, sink)
    spool.append(record("b"))
    assert [path.name for path in segments(tmp_path)] == ["000000000000.spool", "000000000001.spool", "notes.spool"]
    await spool.move()
    assert list(sink.kept) == ["a", "b"]


OTHERS = packed(record("another version's")).replace(b"[", b"[1", 1)


@pytest.mark.parametrize(
    "junk", [b"\n", b"garbage\n", b'{"id": 1}\n', b"\xff\xfe\n", b"[" * 100_000 + b"\n", b"{}", OTHERS]
)
async def test_what_is_behind_damage_is_not_read_for_a_body_could_pass_for_a_record(tmp_path, junk):
    opened(tmp_path).append(record("a"))
    damaged = segments(tmp_path)[0]
    damaged.write_bytes(damaged.read_bytes() + junk + packed(record("forged")))
    opened(tmp_path).append(record("b"))
    sink = Sink()
    await opened(tmp_path, sink).move()
    assert list(sink.kept) == ["a", "b"]


async def test_logs_of_another_version_are_kept_as_they_are(tmp_path):
    opened(tmp_path).append(record("a"))
    segments(tmp_path)[0].write_bytes(OTHERS)
    spool = opened(tmp_path)
    await spool.move()
    (kept,) = (tmp_path / "spool").iterdir()
    assert (kept.name, kept.read_bytes()) == ("000000000000.unread", OTHERS)
    assert spool.is_empty


async def test_no_segment_is_named_as_one_that_is_kept_unread(tmp_path):
    for _ in range(2):
        spool = opened(tmp_path)
        spool.append(record("a"))
        segments(tmp_path)[-1].write_bytes(OTHERS)
        await opened(tmp_path).move()
    kept = sorted((tmp_path / "spool").iterdir())
    assert [each.name for each in kept] == ["000000000000.unread", "000000000001.unread"]


async def test_a_body_with_a_record_in_it_is_a_body(tmp_path):
    given = record("a", request=b"x\n" + packed(record("forged")), response=packed(record("forged")))
    opened(tmp_path).append(given)
    sink = Sink()
    await opened(tmp_path, sink).move()
    assert sink.kept == {"a": given}


async def test_a_segment_that_somebody_removed_holds_up_nothing(tmp_path):
    opened(tmp_path).append(record("a"))
    sink = Sink()
    spool = opened(tmp_path, sink)
    segments(tmp_path)[0].unlink()
    spool.append(record("b"))
    await spool.move()
    assert list(sink.kept) == ["b"]


async def test_a_spool_that_is_full_loses_what_comes_then_and_counts_it(tmp_path):
    one = len(packed(record("a")))
    sink = Sink()
    spool = opened(tmp_path, sink, max_bytes=2 * one)
    assert [spool.append(record(name)) for name in "abcd"] == [True, True, False, False]
    assert (spool.n_lost, spool._meter.lost) == (2, 2)
    await spool.move()
    assert spool.append(record("e"))
    await spool.move()
    assert list(sink.kept) == ["a", "b", "e"]


async def test_a_full_disk_loses_what_comes_then_and_counts_it(tmp_path):
    spool = opened(tmp_path)
    (tmp_path / "spool" / "000000000000.spool").symlink_to("/dev/full")
    assert not spool.append(record("a"))
    assert spool.n_lost == 1


async def test_half_a_line_ends_its_segment(tmp_path):
    """A limit on the size of files cuts a line short, as a full disk does."""
    sink = Sink()
    spool = opened(tmp_path, sink)
    one = len(packed(record("a")))
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (one + one // 2, before[1]))
    try:
        taken = [spool.append(record(name)) for name in "abc"]
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert taken == [True, False, True]
    again = opened(tmp_path, sink)
    await again.move()
    assert list(sink.kept) == ["a", "c"]


async def test_a_folder_that_cant_be_written_loses_logs_and_raises_nothing(tmp_path):
    spool = opened(tmp_path)
    (tmp_path / "spool").rmdir()
    (tmp_path / "spool").write_text("no folder any more")
    assert not spool.append(record("a"))
    assert spool.n_lost == 1


async def test_while_the_database_is_away_all_is_kept_and_it_is_asked_little(tmp_path):
    sink = Sink(is_down=True)
    spool = opened(tmp_path, sink)
    for number in range(100):
        spool.append(record(f"id-{number}"))
        if number % 10 == 0:
            with pytest.raises(RuntimeError):
                await spool.move()
    sink.n_asked = 0
    with pytest.raises(RuntimeError):
        await spool.move()
    assert sink.n_asked <= 30
    assert spool.find("id-50") is not None
    sink.is_down = False
    await spool.move()
    assert (list(sink.kept), spool.n_lost) == ([f"id-{number}" for number in range(100)], 0)


@pytest.mark.parametrize("together", [True, False])
async def test_a_record_that_the_database_wont_have_holds_up_no_other(tmp_path, together):
    sink = Sink(refused=frozenset({"bad", "worse"}))
    spool = opened(tmp_path, sink)
    for name in ("bad", "worse", "a", "b"):
        spool.append(record(name))
        if not together:
            spool.close()
    await spool.move()
    assert (list(sink.kept), spool.n_lost, segments(tmp_path)) == (["a", "b"], 2, [])


async def test_what_is_too_much_for_the_memory_is_read_back(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "MEMORY_BYTES", 2 * len(packed(record("a"))))
    sink = Sink()
    spool = opened(tmp_path, sink)
    for name in "abcd":
        spool.append(record(name))
    assert spool.find("d") is None
    await spool.move()
    assert list(sink.kept) == ["a", "b", "c", "d"]


async def test_it_moves_again_and_again_patiently_after_a_failure_and_the_last_at_its_end(tmp_path):
    sink = Sink(is_down=True)
    spool = opened(tmp_path, sink)
    spool.append(record("a"))
    slept: list[float] = []

    async def sleep(seconds: float) -> None:
        slept.append(seconds)
        if len(slept) == 1:
            sink.is_down = False
        if len(slept) == 3:
            spool.append(record("b"))
            await anyio.sleep_forever()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(spool.run, sleep)
        await anyio.wait_all_tasks_blocked()
        assert (list(sink.kept), slept) == (["a"], [module.RETRY_S, module.MOVE_S, module.MOVE_S])
        tasks.cancel_scope.cancel()
    assert list(sink.kept) == ["a", "b"]


async def test_long_segments_move_in_batches(tmp_path):
    sink = Sink()
    spool = opened(tmp_path, sink)
    for number in range(module.BATCH + 1):
        spool.append(record(f"id-{number}"))
    await spool.move()
    assert (len(sink.kept), sink.n_asked) == (module.BATCH + 1, 2)


async def test_a_database_that_comes_back_within_a_move_takes_all(tmp_path):
    class Blinking(Sink):
        async def add(self, records: Sequence[Record]) -> None:
            self.is_down = self.n_asked < 4
            await super().add(records)

    sink = Blinking()
    spool = opened(tmp_path, sink)
    for name in "ab":
        spool.append(record(name))
        spool.close()
    await spool.move()
    assert (list(sink.kept), spool.n_lost) == (["a", "b"], 0)
