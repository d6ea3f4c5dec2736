"""The encoder's side of a worker process: token ids in, unit vectors out.

One thread reads the socket, another owns the engine; the runtime computes in threads of its own, so inputs gather
while batches compute. **A vector doesn't depend on its company**: the same input gives the same bits alone and in any
batch, on the same machine, build and settings (measured in bf16 and f32 for 1 to 93 inputs a batch; the live tests
show it). What it takes: tokens are packed, so the dense layers see no padding, and attention is padded to multiples
of 16.

Batches run side by side, each in a lane: up to four streams that share the threads. On two cores two lanes of one
thread take a sixth less CPU a text than one lane of two threads, give up to 1.7 times the texts a second when other
work wants the cores, and cost one short text alone half a millisecond (MiniLM, bf16, 18 tokens a text).
"""

import logging
import os
import queue
import socket
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TypeAlias

import numpy as np
import openvino as ov
from numpy.typing import NDArray

from lowcloud.core.errors import LowcloudError, ModelUnusable
from lowcloud.engines.local.encoder_batch import Job, RankedBatcher
from lowcloud.engines.local.encoder_folder import EncoderFolder, describe
from lowcloud.engines.local.encoder_graph import build
from lowcloud.engines.local.frames import Cancel, Encode, Failed, Frame, Ready, Refused, Vectors, encode, received
from lowcloud.engines.local.spec import WorkerSpec

log = logging.getLogger("lowcloud.worker")

_LENGTH_STEP = 16
_MOST_LANES = 4
_GONE = (BrokenPipeError, ConnectionResetError)


@dataclass(frozen=True, slots=True)
class Packed:
    """The graph's inputs, in its order; shapes at ``encoder_graph.build``."""

    ids: NDArray[np.int32]
    positions: NDArray[np.int32]
    rows: NDArray[np.int32]
    places: NDArray[np.int32]
    mask: NDArray[np.float32]

    def arrays(self) -> list[NDArray[np.int32] | NDArray[np.float32]]:
        """As an infer request takes them."""
        return [self.ids, self.positions, self.rows, self.places, self.mask]


def pack(inputs: Sequence[Sequence[int]]) -> Packed:
    """Inputs of at least one token each, end to end, with the map between them and rows of one length."""
    counts = np.array([len(ids) for ids in inputs])
    length = -(-int(counts.max()) // _LENGTH_STEP) * _LENGTH_STEP
    column = np.arange(length)
    is_real = column < counts[:, None]
    firsts = np.cumsum(counts) - counts
    places = np.flatnonzero(is_real)
    return Packed(
        ids=np.concatenate([np.asarray(ids, np.int32) for ids in inputs]),
        positions=(places % length).astype(np.int32),
        rows=np.where(is_real, firsts[:, None] + column, 0).astype(np.int32),
        places=places.astype(np.int32),
        mask=is_real.astype(np.float32),
    )


class Lane:
    """One stream of a compiled encoder: a batch at a time."""

    def __init__(self, request: ov.InferRequest) -> None:
        self._request = request
        self._jobs: Sequence[Job] = ()

    def start(self, jobs: Sequence[Job], done: Callable[[], None]) -> None:
        """Begin a batch; ``done`` is called from a thread of the runtime's when it is over."""
        self._jobs = jobs
        self._request.set_callback(lambda _: done(), None)
        self._request.start_async(pack([job.ids for job in jobs]).arrays())

    def answers(self) -> list[Frame]:
        """What to tell the peer of the batch that is over."""
        jobs, self._jobs = self._jobs, ()
        try:
            self._request.wait()
        except RuntimeError:  # the runtime's text names files of its build machine
            log.exception("a batch failed")
            return [Refused(job.id, "failed", "the runtime failed; the log says more") for job in jobs]
        return [Vectors([[job.id, vector] for job, vector in zip(jobs, self._vectors(jobs), strict=True)])]

    def vectors(self, jobs: Sequence[Job]) -> list[bytes]:
        """A unit vector for each job, little-endian float32. Blocking. Raises RuntimeError when the engine fails."""
        self._request.infer(pack([job.ids for job in jobs]).arrays())
        return self._vectors(jobs)

    def _vectors(self, jobs: Sequence[Job]) -> list[bytes]:
        outputs = {"mean": self._request.get_output_tensor(0).data, "cls": self._request.get_output_tensor(1).data}
        return [outputs[job.pooling][row].astype("<f4").tobytes() for row, job in enumerate(jobs)]


class Encoder:
    """A compiled encoder; one thread uses it. ``precision`` is bf16 or f32; ``threads`` 0: as many as cores."""

    def __init__(self, folder: EncoderFolder, precision: str, threads: int) -> None:
        self.folder = folder
        self.precision = precision
        threads = threads or _cores()
        streams = min(threads, _MOST_LANES)
        settings = {
            "INFERENCE_PRECISION_HINT": precision,
            "NUM_STREAMS": str(streams),
            "INFERENCE_NUM_THREADS": threads,
        }
        compiled = ov.Core().compile_model(build(folder), "CPU", settings)
        self.lanes = tuple(Lane(compiled.create_infer_request()) for _ in range(streams))

    @staticmethod
    def load(spec: WorkerSpec) -> "Encoder":
        """Read and compile the folder of ``spec``, bf16 where the CPU has it. Raises ModelUnusable."""
        folder = describe(Path(spec.source))
        has_bf16 = "BF16" in ov.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
        precision = "bf16" if has_bf16 and spec.precision == "auto" else "f32"
        try:
            encoder = Encoder(folder, precision, spec.threads)
            # The first pass of a stream prepares its kernels: better now than in a caller's time.
            for lane in encoder.lanes:
                lane.vectors([Job(0, (0, 0), folder.pooling, 0.0)])
        except (RuntimeError, ValueError) as error:
            raise ModelUnusable(f"{folder.weights} can't be compiled; the log says more.") from error
        return encoder

    @property
    def weights(self) -> str:
        """Weights, precision and engine, such as ``all-MiniLM-L6-v2-bf16-openvino2026.4.1``."""
        return f"{self.folder.weights}-{self.precision}-openvino{_version()}"

    def why_not(self, ids: Sequence[int]) -> tuple[str, str] | None:
        """The code and message of ``Refused`` for an input that must not reach the native code, else None."""
        limit, n_vocab = self.folder.bert.max_position_embeddings, self.folder.bert.vocab_size
        if not 1 <= len(ids) <= limit:
            return "too_long", f"{len(ids)} tokens; the model takes 1 to {limit}"
        if min(ids) < 0 or max(ids) >= n_vocab:
            return "bad_token", f"a token id outside 0 to {n_vocab - 1}"
        return None


@dataclass(frozen=True, slots=True)
class Done:
    """A lane's batch is over."""

    lane: Lane


Incoming: TypeAlias = "queue.SimpleQueue[Encode | Cancel | Done | None]"


def serve(spec: WorkerSpec, sock: socket.socket) -> None:
    """Load, answer ``Ready`` or ``Failed``, then encode until the peer closes the socket. Blocking.

    The peer bounds what is in flight: nothing is refused here for lack of room.
    """
    try:
        encoder = Encoder.load(spec)
    except LowcloudError as error:
        log.error("%s", error, exc_info=error.__cause__)  # noqa: TRY400  (made for people; its cause may not be)
        _send(sock, Failed(str(error)))
        return
    bert, limit = encoder.folder.bert, encoder.folder.max_input_tokens
    note = f"{encoder.precision}, {encoder.folder.dimensions} dimensions, {encoder.folder.pooling} pooling"
    if not _send(sock, Ready(encoder.weights, False, bert.vocab_size, limit, 0, note)):
        return
    incoming: Incoming = queue.SimpleQueue()
    threading.Thread(target=_read, args=(sock, incoming), name="frames", daemon=True).start()
    _Loop(encoder, RankedBatcher(spec.encode_tokens, spec.encode_wait_s), incoming, time.monotonic).run(sock)


class _Loop:
    """Takes what came in, gives closed batches to idle lanes, and sends what lanes have done."""

    def __init__(
        self, encoder: Encoder, batcher: RankedBatcher, incoming: Incoming, clock: Callable[[], float]
    ) -> None:
        self._encoder = encoder
        self._batcher = batcher
        self._incoming = incoming
        self._clock = clock
        self._idle = list(encoder.lanes)
        self._answers: list[Frame] = []

    def run(self, sock: socket.socket) -> None:
        """Until the peer is gone."""
        while self._gather():
            while self._idle and (batch := self._batcher.take(self._clock(), len(self._idle))):
                lane = self._idle.pop()
                lane.start(batch, partial(self._incoming.put, Done(lane)))
            answers, self._answers = self._answers, []
            if not all(_send(sock, answer) for answer in answers):
                return

    def _gather(self) -> bool:
        """Take in all that is there, and wait until there is something to do. False: the peer is gone."""
        while True:
            wait_s = self._wait_s()
            try:
                item = self._incoming.get_nowait() if wait_s == 0 else self._incoming.get(timeout=wait_s)
            except queue.Empty:
                return True
            if item is None:
                return False
            self._take(item)

    def _wait_s(self) -> float | None:
        """None: until something comes, be it only that a lane is done."""
        if self._answers:
            return 0.0
        return self._batcher.due_in_s(self._clock()) if self._idle else None

    def _take(self, item: Encode | Cancel | Done) -> None:
        match item:
            case Encode(job=job, ids=ids, pooling=pooling, rank=rank):
                if why := self._encoder.why_not(ids):
                    self._answers.append(Refused(job, *why))
                else:
                    self._batcher.add(Job(job, tuple(ids), pooling, self._clock(), rank))
            case Cancel(seq=job):
                self._batcher.cancel(job)
            case Done(lane=lane):
                self._answers += lane.answers()
                self._idle.append(lane)


def _read(sock: socket.socket, incoming: Incoming) -> None:
    """The reading thread: frames into the queue, None when the peer is gone or sends what no peer of ours does."""
    try:
        for frame in received(sock):
            if not isinstance(frame, Encode | Cancel):
                return
            incoming.put(frame)
    except (OSError, ValueError):
        return
    finally:
        incoming.put(None)


def _send(sock: socket.socket, frame: Frame) -> bool:
    """False when the peer is gone."""
    try:
        sock.sendall(encode(frame))
    except _GONE:
        return False
    return True


def _cores() -> int:
    """The cores that this process may use, where the system says."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _version() -> str:
    version: str = ov.__version__.partition("-")[0]
    return version
