"""A model's worker process: started, supervised, restarted, ended; with a real process that speaks the frames."""

import inspect
import json
import os
import select
import signal
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

import anyio
import pytest
import structlog

from lowcloud.cli import doctor, prepare
from lowcloud.core.errors import EngineFailed, InternalError, LowcloudError, ModelUnusable, Overloaded, Unavailable
from lowcloud.engines.local import convert, selftest
from lowcloud.engines.local.frames import Accepted, Encode, Refused, Submit
from lowcloud.engines.local.process import MAX_CLIENTS, Output, Supervision, Vector

pytestmark = pytest.mark.anyio


@dataclass
class Sequence:
    """A client that asks for ``n`` tokens and keeps what comes."""

    n: int = 6
    ids: list[int] = field(default_factory=lambda: [1, 2, 3, 4])
    tokens: list[int] = field(default_factory=list)
    parts: list[object] = field(default_factory=list)
    error: LowcloudError | None = None
    asked: int = 0

    def __post_init__(self):
        self._changed = anyio.Event()

    def frame(self, number):
        self.asked += 1
        return Submit(number, self.ids, list(self.tokens), self.n, [], 0, 1, 0, 0, 1, 0, 0, [], 1, 0, -1)

    def take(self, part):
        self.parts.append(part)
        if isinstance(part, Output):
            self.tokens += part.tokens
        self._note()

    def fail(self, error):
        self.error = error
        self._note()

    def _note(self):
        changed, self._changed = self._changed, anyio.Event()
        changed.set()

    async def until(self, is_so):
        with anyio.fail_after(20):
            while not is_so(self):
                await self._changed.wait()

    async def ended(self):
        await self.until(lambda one: one.error or len(one.tokens) == one.n)


class Input(Sequence):
    """A client with an input to encode."""

    def frame(self, number):
        return Encode(number, [5, 6], "mean")


def is_alive(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


async def test_a_ready_worker_has_said_what_it_is(fake):
    worker = fake()
    process = worker.process
    assert (process.state, process.loaded, process.pid) == ("stopped", None, None)
    async with worker.run():
        await process.ready()
        assert (process.state, process.note, process.loaded.weights) == ("ready", "a fake", "fake-weights")
    assert (process.state, process.pid) == ("stopped", None)


async def test_each_client_gets_its_own_parts_of_the_steps(fake):
    worker = fake()
    async with worker.run():
        early = Sequence(ids=[1, 2])  # opened before the worker is there
        numbers = [worker.process.open(early)]
        await worker.process.ready()
        late = Sequence(ids=[7, 8, 9, 10])
        numbers.append(worker.process.open(late))
        for client in (early, late):
            await client.ended()
    assert numbers == [1, 2]
    assert [client.parts[0] for client in (early, late)] == [Accepted(1, 1), Accepted(2, 2)]
    assert early.tokens != late.tokens
    assert [part.finish for part in late.parts[1:]] == [None] * 5 + ["length"]


async def test_an_encoders_inputs_get_their_vectors(fake):
    worker = fake(kind="embedding")
    async with worker.run():
        client = Input()
        number = worker.process.open(client)
        await client.until(lambda one: one.parts)
        worker.process.close(number)
    assert client.parts == [Vector(bytes(8))]


async def test_an_input_that_is_left_is_forgotten_by_the_encoder_too(fake):
    worker = fake({"hold": True}, kind="embedding")
    async with worker.run():
        numbers = [worker.process.open(Input()) for _ in range(3)]
        await worker.numbers.until(lambda numbers: numbers.running == 3)
        for number in numbers[:2]:
            worker.process.close(number)
        await worker.numbers.until(lambda numbers: numbers.cancels == 2 and numbers.running == 1)


async def test_a_refused_sequence_is_told_so_once(fake):
    worker = fake({"refuse": "too_long"})
    async with worker.run():
        client = Sequence()
        worker.process.open(client)
        await client.until(lambda one: one.parts)
    assert (client.parts, client.error) == ([Refused(1, "too_long", "as told")], None)


async def test_closing_a_client_has_the_worker_forget_it_and_only_once(fake):
    worker = fake({"pause_at": 2})
    async with worker.run():
        client = Sequence()
        number = worker.process.open(client)
        await worker.numbers.until(lambda numbers: numbers.running == 1)
        worker.process.close(number)
        worker.process.close(number)
        worker.process.close(number + 1)
        await worker.numbers.until(lambda numbers: numbers.cancels == 1 and numbers.running == 0)
        other = Sequence(n=1)
        worker.process.open(other)
        await other.ended()
    assert worker.numbers.cancels == 1


async def test_after_a_death_a_client_goes_on_at_the_next_worker(fake):
    worker = fake({"die_at": 3}, {})
    async with worker.run():
        client = Sequence()
        worker.process.open(client)
        await client.ended()
    undisturbed = fake()
    async with undisturbed.run():
        whole = Sequence()
        undisturbed.process.open(whole)
        await whole.ended()
    assert (client.tokens, client.asked, worker.numbers.restarts) == (whole.tokens, 2, 1)


async def test_a_client_that_has_seen_three_deaths_fails(fake):
    worker = fake({"die_at": 2}, {"die_at": 3}, {"die_at": 4}, {})
    async with worker.run():
        client = Sequence()
        worker.process.open(client)
        await client.until(lambda one: one.error)
        other = Sequence()
        worker.process.open(other)
        await other.ended()
    assert isinstance(client.error, EngineFailed)
    assert "SIGKILL" in str(client.error)
    assert len(client.tokens) == 4
    assert other.error is None


async def test_nothing_runs_in_a_worker_that_is_gone(fake):
    worker = fake({"pause_at": 3}, {"pause_at": 0})
    async with worker.run():
        await worker.process.ready()
        worker.process.open(Sequence())
        await worker.numbers.until(lambda numbers: (numbers.running, numbers.kv_blocks) == (1, 64))
        os.kill(worker.process.pid, signal.SIGKILL)
        await worker.numbers.until(lambda numbers: (numbers.running, numbers.kv_blocks) == (0, 0))


async def test_a_model_that_fails_to_load_is_unusable_in_its_own_words_until_it_is_tried_again(fake):
    worker = fake({"fail": "x.gguf has no tensors"}, first_s=600.0)
    async with worker.run():
        with pytest.raises(ModelUnusable, match=r"x\.gguf has no tensors") as raised:
            await worker.process.ready()
        assert worker.process.state == "backoff"
        assert worker.process.note == "x.gguf has no tensors"
        assert 500 < raised.value.retry_after_s <= 600


async def test_while_a_dead_worker_waits_for_its_restart_the_model_is_unavailable(fake):
    worker = fake({"die_at": 1}, {"die_at": 2}, first_s=600.0)
    async with worker.run():
        client = Sequence()
        worker.process.open(client)
        await client.until(lambda one: len(one.tokens) == 2)
        await worker.numbers.until(lambda numbers: numbers.restarts == 1)
        with pytest.raises(Unavailable, match="SIGKILL") as raised:
            while True:  # until the second death is noticed the worker counts as ready
                await worker.process.ready()
                await anyio.lowlevel.checkpoint()
        assert 500 < raised.value.retry_after_s <= 600
        assert not isinstance(raised.value, ModelUnusable)


async def test_who_waits_for_a_loading_model_goes_on_when_it_is_ready(fake):
    worker = fake({"fail": "once"}, {"fail": "twice"}, {})
    async with worker.run(), anyio.create_task_group() as tasks:
        for _ in range(3):
            tasks.start_soon(worker.process.ready)
    assert worker.numbers.restarts == 2


async def test_bytes_that_are_no_frames_end_the_worker(fake):
    worker = fake({"garbage": True, "mute": True}, {})
    async with worker.run():
        await worker.process.ready()
    assert worker.numbers.restarts == 1


async def test_a_worker_that_does_not_load_in_time_is_killed(fake):
    worker = fake({"mute": True}, load_timeout_s=0.05, first_s=600.0)
    async with worker.run():
        with pytest.raises(Unavailable, match=r"did not load in 0\.05 s"):
            await worker.process.ready()


def test_a_load_has_the_time_of_all_that_it_may_do(fake):
    convert_s = inspect.signature(convert.prepare).parameters["timeout_s"].default
    assert Supervision().load_timeout_s >= convert_s + selftest.SELFTEST_S + 600
    assert doctor.LOAD_S == prepare.LOAD_S == Supervision().load_timeout_s


async def test_a_worker_that_cannot_be_started_is_tried_again_later(fake):
    worker = fake(command=("/nowhere/python",), first_s=600.0)
    async with worker.run():
        with pytest.raises(Unavailable, match="can't be started"):
            await worker.process.ready()


@pytest.mark.parametrize("does", [{}, {"stubborn": True}])
async def test_stopping_ends_the_worker_and_the_clients(fake, does):
    worker = fake({"pause_at": 1, **does}, grace_s=0.2 if does else 20.0)
    client = Sequence()
    async with worker.run():
        await worker.process.ready()
        pid = worker.process.pid
        worker.process.open(client)
        await client.until(lambda one: one.tokens)
        assert is_alive(pid)
    assert not is_alive(pid)  # not even as a zombie
    assert isinstance(client.error, Unavailable)


async def test_a_start_that_is_cancelled_leaves_no_process(fake):
    worker = fake({"mute": True})
    async with worker.run():
        while worker.process.pid is None:
            await anyio.lowlevel.checkpoint()
        pid = worker.process.pid
    assert not is_alive(pid)


async def test_a_worker_is_out_of_the_terminals_reach(fake):
    worker = fake()
    async with worker.run():
        await worker.process.ready()
        assert os.getsid(worker.process.pid) == worker.process.pid


async def test_what_a_worker_prints_goes_to_the_log(fake):
    worker = fake({"mute": True})
    with structlog.testing.capture_logs() as lines:
        async with worker.run():
            with anyio.fail_after(20):
                while not any("life in process" in line.get("line", "") for line in lines):
                    await anyio.lowlevel.checkpoint()
    (said,) = [line for line in lines if line["event"] == "worker says"]
    assert (said["model"], said["log_level"]) == ("@test/model", "info")


async def test_a_client_that_breaks_ends_alone(fake):
    class Broken(Sequence):
        def take(self, part):
            if isinstance(part, Output):
                raise ZeroDivisionError

    worker = fake({"pause_at": 1}, {})
    with structlog.testing.capture_logs() as lines:
        async with worker.run():
            broken, sound = Broken(), Sequence(n=1)
            worker.process.open(broken)
            worker.process.open(sound)
            await broken.until(lambda one: one.error)
            await sound.ended()
            await worker.numbers.until(lambda numbers: numbers.cancels == 1)
    assert isinstance(broken.error, InternalError)
    assert sound.error is None
    assert any("could not take" in line["event"] for line in lines)


async def test_a_frame_that_only_the_server_sends_ends_the_worker(fake):
    worker = fake({"echo": True}, {})
    async with worker.run():
        client = Sequence(n=1)
        worker.process.open(client)
        await client.ended()
    assert worker.numbers.restarts == 1


def test_more_clients_than_a_worker_can_take_are_refused(fake):
    process = fake().process
    for _ in range(MAX_CLIENTS):
        number = process.open(Sequence())
    with pytest.raises(Overloaded):
        process.open(Sequence())
    process.close(number)
    process.open(Sequence())


async def test_a_worker_that_does_not_read_gets_no_more_than_a_bound(fake):
    worker = fake({"deaf": True})
    big = [2**20] * 2_000_000  # ten megabytes as a frame
    async with worker.run():
        await worker.process.ready()
        with pytest.raises(Overloaded):
            for _ in range(20):
                worker.process.open(Sequence(ids=big))


SERVER = """
import asyncio, json, sys
sys.path[:0] = json.loads(sys.argv[1])
import anyio
from lowcloud.engines.local.process import Supervision, WorkerProcess
from lowcloud.engines.local.spec import WorkerSpec

async def main():
    command = (sys.executable, sys.argv[2], '{}')
    spec = WorkerSpec("text", source="none", cache_dir="none")
    workers = [WorkerProcess(spec, "m", None, supervision=Supervision(command=command)) for _ in range(3)]
    async with anyio.create_task_group() as tasks:
        for worker in workers:
            tasks.start_soon(worker.run)
        for worker in workers:
            await worker.ready()
        print(json.dumps([worker.pid for worker in workers]), flush=True)

asyncio.run(main())
"""


def test_no_worker_is_left_two_seconds_after_its_server_was_killed():
    fake_worker = Path(__file__).with_name("fake_worker.py")
    command = [sys.executable, "-c", SERVER, json.dumps(sys.path), str(fake_worker)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as server:
        lines = iter(server.stdout.readline, b"")
        pids = json.loads(next(line for line in lines if line.startswith(b"[") and b"info" not in line))
        endings = [os.pidfd_open(pid) for pid in pids]
        os.kill(server.pid, signal.SIGKILL)
        for ending in endings:
            assert select.select([ending], [], [], 2.0)[0], "a worker outlived its server"
            os.close(ending)
