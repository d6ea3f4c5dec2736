"""A worker without a model: a real process that speaks the frames. ``fake_worker.py OPTIONS SPEC FD``.

Each token is a function of the prompt, the seed, the choice and the position alone, as a real worker's is. OPTIONS is
JSON: ``lives``, a file that counts this process' starts; ``say``, the ids to say (one list a choice), a stop token
after them; ``plan``, what each life does, the last one for all that follow:

    pause_at: N      stop stepping once every sequence has N tokens, and live on
    die_at: N        be killed once every sequence has N tokens
    fail: message    send Failed and end            mute: true       never become ready, end with the socket
    refuse: code     refuse every sequence          garbage: true    send bytes that are no frame
    echo: true       send back the first frame              hold: true       encode nothing
    context: N       have a context of N tokens     complete_at: N   end with "stop" after N tokens
    stubborn: true   don't end when the socket closes        deaf: true   become ready, read nothing
    tells_rank: true   say that as many prompt tokens were cached as a sequence's rank

``stats`` of its steps: sequences and inputs held as ``running``, and ``Cancel`` frames so far as ``preemptions``.
"""

import contextlib
import hashlib
import json
import os
import select
import signal
import socket
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lowcloud.engines.local.frames import (
    Accepted,
    Cancel,
    Encode,
    Failed,
    Frame,
    FrameReader,
    Ready,
    Refused,
    Step,
    Submit,
    Vectors,
    encode,
)

N_VOCAB = 300
CONTEXT = 256


@dataclass
class Live:
    """A sequence under way."""

    request: Submit
    tokens: list[int] = field(default_factory=list)


class FakeWorker:
    def __init__(self, options: dict[str, Any], sock: socket.socket) -> None:
        life = _life(options)
        plan = options.get("plan", [{}])
        self.does: dict[str, Any] = plan[min(life, len(plan) - 1)]
        self.say: list[list[int]] | None = options.get("say")
        self.sock = sock
        self.reader = FrameReader()
        self.live: dict[int, Live] = {}
        self.held: set[int] = set()
        self.cancels = 0

    def serve(self) -> None:
        sys.stdout.write(f"life in process {os.getpid()}\n")
        sys.stdout.flush()
        if "fail" in self.does:
            self.send(Failed(self.does["fail"]))
            return
        if self.does.get("garbage"):
            self.sock.sendall(b"\xff" * 64)
        if not self.does.get("mute"):
            self.send(Ready("fake-weights", True, N_VOCAB, self.does.get("context", CONTEXT), 64, "a fake"))
        if self.does.get("deaf"):
            signal.pause()
        while self.receive():
            if self.runs():
                self.step()

    def receive(self) -> bool:
        """Take what is there, waiting for it when there is nothing to do; False when the server is gone."""
        while select.select([self.sock], [], [], 0 if self.runs() else None)[0]:
            data = self.sock.recv(65536)
            if not data:
                return False
            for frame in self.reader.feed(data):
                self.take(frame)
        return True

    def take(self, frame: Frame) -> None:
        if self.does.pop("echo", False):
            self.send(frame)
        match frame:
            case Submit(seq=seq) if "refuse" in self.does:
                self.send(Refused(seq, self.does["refuse"], "as told"))
            case Submit(seq=seq, forced=forced):
                self.live[seq] = Live(frame, list(forced))
                self.send(Accepted(seq, frame.rank if self.does.get("tells_rank") else len(frame.ids) // 2))
            case Cancel(seq):
                self.cancels += 1
                self.live.pop(seq, None)
                self.held.discard(seq)
                self.send(Step([], self.stats()))
            case Encode(job, ids) if self.does.get("hold"):
                self.held.add(job)
                self.send(Step([], self.stats()))
            case Encode(job, ids):
                self.send(Vectors([[job, bytes(4 * len(ids))]]))

    def runs(self) -> bool:
        limit = self.does.get("pause_at")
        return bool(self.live) and (limit is None or any(len(one.tokens) < limit for one in self.live.values()))

    def step(self) -> None:
        outputs = [self.next(seq, one) for seq, one in list(self.live.items()) if not self.waits(one)]
        self.send(Step(outputs, self.stats()))
        limit = self.does.get("die_at")
        if limit is not None and all(len(one.tokens) >= limit for one in self.live.values()):
            os.kill(os.getpid(), signal.SIGKILL)

    def waits(self, one: Live) -> bool:
        return len(one.tokens) >= self.does.get("pause_at", CONTEXT)

    def next(self, seq: int, one: Live) -> list[Any]:
        request = one.request
        token = self.token(request, len(one.tokens))
        one.tokens.append(token)
        is_complete = token in request.stop_ids or len(one.tokens) == self.does.get("complete_at")
        finish = "stop" if is_complete else "length" if len(one.tokens) >= request.max_tokens else None
        if finish:
            del self.live[seq]
        top = [[(token + rank) % N_VOCAB, -1.0 - rank] for rank in range(max(0, request.n_logprobs))]
        logprobs = None if request.n_logprobs < 0 else [[-1.0, top]]
        predicted = [[len(one.tokens), request.choice]] if request.prediction else []  # such counts as no other number
        return [seq, [token], logprobs, finish, *predicted]

    def token(self, request: Submit, position: int) -> int:
        if self.say is None:
            known = f"{request.ids} {request.seed} {request.choice} {position}".encode()
            return 97 + hashlib.sha256(known).digest()[0] % 26
        line = self.say[request.choice % len(self.say)]
        if position >= len(line) and request.stop_ids:
            return request.stop_ids[0]
        return line[position % len(line)]

    def stats(self) -> list[int]:
        running = len(self.live) + len(self.held)
        return [0, running, running, 64, 0, self.cancels]

    def send(self, frame: Frame) -> None:
        self.sock.sendall(encode(frame))


def _life(options: dict[str, Any]) -> int:
    """How many lives there were before; each adds a byte to the file."""
    if "lives" not in options:
        return 0
    with Path(options["lives"]).open("ab") as file:
        file.write(b".")
        return file.tell() - 1


def main() -> None:
    options = json.loads(sys.argv[1])
    worker = FakeWorker(options, socket.socket(fileno=int(sys.argv[3])))
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # the server is gone
        worker.serve()
    if worker.does.get("stubborn"):
        signal.pause()


if __name__ == "__main__":
    main()
