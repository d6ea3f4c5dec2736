"""The worker's two ends: what it does with frames, and that it never outlives its server."""

import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field

import pytest
from fake_model import FakeModel, Gate, submit

from lowcloud.engines.local.frames import Accepted, Cancel, Failed, Frame, FrameReader, Ready, Refused, Step, encode
from lowcloud.engines.local.grammar import Grammars, vocabulary_of
from lowcloud.engines.local.loop import Loop, LoopSettings
from lowcloud.engines.local.spec import WorkerSpec
from lowcloud.engines.local.vocabulary import Tokenizer
from lowcloud.engines.local.worker import HangupError, Link, run, serve

WAIT_S = 20.0


@dataclass
class Server:
    """The server's end of a socket, in blocking calls with a bound."""

    sock: socket.socket
    reader: FrameReader = field(default_factory=FrameReader)
    unread: list[Frame] = field(default_factory=list)

    def send(self, *frames: Frame) -> None:
        self.sock.sendall(b"".join(encode(frame) for frame in frames))

    def read(self) -> Frame:
        while not self.unread:
            data = self.sock.recv(65536)
            assert data, "the worker hung up"
            self.unread += self.reader.feed(data)
        return self.unread.pop(0)

    def tokens_until_finished(self, seq: int) -> list[int]:
        tokens: list[int] = []
        while True:
            frame = self.read()
            for number, new, _, finish in frame.outputs if isinstance(frame, Step) else []:
                tokens += new if number == seq else []
                if number == seq and finish:
                    return tokens


@dataclass
class Serving:
    """A loop served from a thread; ``ended`` is set when it noticed the hangup."""

    server: Server
    model: FakeModel
    thread: threading.Thread


@pytest.fixture
def gate(byte_tokenizer: Tokenizer) -> Iterator[Gate]:
    gate = Gate(lambda: vocabulary_of(byte_tokenizer, [90], 97))
    yield gate
    gate.opened.set()


@pytest.fixture
def serving(gate: Gate) -> Iterator[Serving]:
    near, far = socket.socketpair()
    near.settimeout(WAIT_S)
    model, link = FakeModel(64), Link(far)

    def work() -> None:
        with pytest.raises(HangupError):
            serve(link, Loop(model, LoopSettings(prefill_tokens=64), link.send, Grammars(gate, link.wake)))

    thread = threading.Thread(target=work)
    thread.start()
    yield Serving(Server(near), model, thread)
    near.close()
    thread.join(WAIT_S)
    link.close()
    far.close()
    assert not thread.is_alive(), "the worker outlived its server"


def test_a_submission_is_accepted_then_stepped_to_its_end(serving):
    serving.server.send(submit(4, [1, 2], max_tokens=3))
    assert serving.server.read() == Accepted(4, 0)
    steps = [serving.server.read() for _ in range(3)]
    assert [step.outputs[0][3] for step in steps] == [None, None, "length"]
    assert steps[-1].stats == [0, 0, 0, 64, 0, 0]


def test_what_can_not_run_is_refused_and_an_unknown_cancel_is_no_error(serving):
    serving.server.send(Cancel(99), submit(5, [1000]), submit(6, [1], max_tokens=1))
    assert isinstance(serving.server.read(), Refused)
    assert serving.server.tokens_until_finished(6)


def test_a_cancelled_sequence_has_no_blocks_in_the_step_after_the_cancel(serving):
    serving.server.send(submit(1, [1] * 20, max_tokens=900), submit(2, [2] * 20, max_tokens=900))
    assert [serving.server.read() for _ in range(2)] == [Accepted(1, 0), Accepted(2, 0)]
    serving.server.send(Cancel(1))
    while True:
        step = serving.server.read()
        if all(seq != 1 for seq, *_ in step.outputs):
            break
    assert step.stats[1] == 1
    serving.server.send(Cancel(2))


def test_after_the_last_cancel_the_server_is_told_that_nothing_runs(serving):
    serving.server.send(submit(1, [1] * 20, max_tokens=900))
    assert serving.server.read() == Accepted(1, 0)
    serving.server.send(Cancel(1))
    while (step := serving.server.read()).stats[1]:
        assert step.outputs
    assert step == Step([], [0, 0, 0, 64, 0, 0])


def test_a_busy_worker_ends_within_two_steps_of_the_hangup(serving):
    serving.server.send(submit(1, [1] * 20, max_tokens=900))
    serving.server.read()
    serving.server.sock.close()
    serving.thread.join(WAIT_S)
    assert not serving.thread.is_alive()
    assert len(serving.model.passes) < 900


def test_a_worker_that_waits_for_a_slow_server_ends_with_it(serving):
    """Nobody reads: the socket fills, the worker waits in its write, holding nothing more, and the hangup ends that."""
    serving.server.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    many = [submit(seq, [seq % 90], max_tokens=900, n_logprobs=20) for seq in range(60)]
    serving.server.send(*many)
    serving.thread.join(0.3)
    assert serving.thread.is_alive()
    serving.server.sock.close()
    serving.thread.join(WAIT_S)
    assert not serving.thread.is_alive()


def test_a_large_submission_arrives_whole(serving):
    serving.server.send(submit(1, [1] * 1000, max_tokens=2), *(submit(seq, [2] * 900) for seq in range(2, 40)))
    assert len(serving.server.tokens_until_finished(39)) == 8


def test_a_compiled_grammar_wakes_an_idle_worker(serving, gate):
    serving.server.send(submit(1, [1], grammar='start: "!" /[A-Y]{3}/', max_tokens=9))
    assert gate.begun.wait(WAIT_S)
    serving.server.send(submit(2, [1], max_tokens=2))
    assert len(serving.server.tokens_until_finished(2)) == 2
    gate.opened.set()
    assert len(serving.server.tokens_until_finished(1)) == 4


def test_a_grammar_that_was_cancelled_while_it_was_compiled_is_no_more_heard_of(serving, gate):
    serving.server.send(submit(1, [1], grammar='start: "!"'))
    assert gate.begun.wait(WAIT_S)
    serving.server.send(Cancel(1), submit(2, [1], grammar='start: "?"'))
    gate.opened.set()
    assert serving.server.read() == Accepted(2, 0)
    assert serving.server.tokens_until_finished(2) == [ord("?")]


def test_a_worker_ends_with_its_server_while_a_grammar_is_compiled(serving, gate):
    serving.server.send(submit(1, [1], grammar='start: "!"'))
    assert gate.begun.wait(WAIT_S)
    serving.server.sock.close()
    serving.thread.join(WAIT_S)
    assert not serving.thread.is_alive()


def test_a_frame_that_only_a_worker_sends_ends_the_worker():
    near, far = socket.socketpair()
    with near, far, closing(Link(far)) as link:
        near.sendall(encode(Accepted(1, 1)))
        with pytest.raises(ValueError, match="no Accepted"):
            serve(link, Loop(FakeModel(), LoopSettings()))


def spec(source: str, kind: str = "text") -> WorkerSpec:
    return WorkerSpec(kind, source, source)


@pytest.mark.parametrize("name", ["missing.gguf", "."])
def test_a_model_that_can_not_be_loaded_is_failed_without_a_path(tmp_path, name):
    near, far = socket.socketpair()
    near.settimeout(WAIT_S)
    with near, far:
        assert run(spec(str(tmp_path / name)), far) == 1
        failed = Server(near).read()
    assert isinstance(failed, Failed) and str(tmp_path) not in failed.message and "/" not in failed.message


def test_a_broken_model_is_failed_by_the_kind_of_error(tmp_path):
    (tmp_path / "openvino_model.xml").write_text("<nonsense")
    (tmp_path / "lowcloud.json").write_text('{"context_length": 64, "weights": "w"}')
    (tmp_path / "openvino_model.bin").write_bytes(b"")
    near, far = socket.socketpair()
    near.settimeout(WAIT_S)
    with near, far:
        broken = WorkerSpec("text", str(tmp_path), str(tmp_path), paged="never")
        assert run(broken, far) == 1
        failed = Server(near).read()
    assert isinstance(failed, Failed) and "RuntimeError" in failed.message and "/" not in failed.message


def test_a_server_that_left_during_the_load_is_no_error(tmp_path):
    near, far = socket.socketpair()
    near.close()
    with far:
        assert run(spec(str(tmp_path / "missing.gguf")), far) == 0


STUCK = """
import socket, sys, threading
from lowcloud.engines.local.worker import end_with
end_with(socket.socket(fileno=int(sys.argv[1])))
print("up", flush=True)
threading.Event().wait()
"""


@pytest.mark.parametrize("own_session", [True, False])
def test_a_process_stuck_in_a_load_ends_when_its_socket_closes(own_session):
    """Its children end with it when it has a session of its own, as the server starts it."""
    near, far = socket.socketpair()
    child = f"import subprocess, sys; subprocess.Popen([sys.executable, '-c', 'input()'])\n{STUCK}"
    with (
        far,
        subprocess.Popen(
            [sys.executable, "-c", child if own_session else STUCK, str(far.fileno())],
            pass_fds=[far.fileno()],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=own_session,
        ) as process,
    ):
        far.close()
        assert process.stdout.readline() == b"up\n"
        near.close()
        assert process.wait(2) == (-9 if own_session else 0)
        assert process.stdout.read() == b"", "a child still holds the pipe"


def test_an_idle_worker_process_says_failed_and_ends_by_itself(tmp_path):
    near, far = socket.socketpair()
    near.settimeout(WAIT_S)
    command = [sys.executable, "-P", "-m", "lowcloud.engines.local.worker", spec(str(tmp_path / "m.gguf")).to_json()]
    with near, far:
        done = subprocess.run(
            [*command, str(far.fileno())], pass_fds=[far.fileno()], capture_output=True, timeout=WAIT_S, check=False
        )
        assert done.returncode == 1
        assert isinstance(Server(near).read(), Failed)
    assert b"ERROR" in done.stderr and os.fsencode(str(Ready)) not in done.stderr
