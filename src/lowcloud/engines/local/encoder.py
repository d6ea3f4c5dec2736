"""The encoder's side of a worker process: token ids in, unit vectors out.

Two threads: one reads the socket, the other owns the engine, so inputs gather while a batch computes. **A vector
doesn't depend on its company**: the same input gives the same bits alone and in any batch, on the same machine, build
and settings (measured in bf16 and f32 for 1 to 93 inputs a batch; the live tests show it). What it takes: tokens are
packed, so the dense layers see no padding, attention is padded to multiples of 16, and no other work shares a pass.

One infer request with all threads: two streams of one thread each were no faster on two cores and twice as slow alone.
"""

import queue
import socket
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import numpy as np
import openvino as ov
from numpy.typing import NDArray

from lowcloud.core.errors import LowcloudError, ModelUnusable
from lowcloud.engines.local.encoder_batch import Batcher, Job
from lowcloud.engines.local.encoder_folder import EncoderFolder, describe
from lowcloud.engines.local.encoder_graph import build
from lowcloud.engines.local.frames import Cancel, Encode, Failed, Frame, FrameReader, Ready, Refused, Vectors, encode
from lowcloud.engines.local.spec import WorkerSpec

_READ_BYTES = 2**18
_LENGTH_STEP = 16
_GONE = (BrokenPipeError, ConnectionResetError)
Incoming: TypeAlias = "queue.SimpleQueue[Encode | Cancel | None]"


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


class Encoder:
    """A compiled encoder; one thread uses it. ``precision`` is bf16 or f32."""

    def __init__(self, folder: EncoderFolder, precision: str, threads: int) -> None:
        self.folder = folder
        self.precision = precision
        settings = {"INFERENCE_PRECISION_HINT": precision, "NUM_STREAMS": "1", "INFERENCE_NUM_THREADS": threads}
        self._request = ov.Core().compile_model(build(folder), "CPU", settings).create_infer_request()

    @staticmethod
    def load(spec: WorkerSpec) -> "Encoder":
        """Read and compile the folder of ``spec``, bf16 where the CPU has it. Raises ModelUnusable."""
        folder = describe(Path(spec.source))
        has_bf16 = "BF16" in ov.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
        precision = "bf16" if has_bf16 and spec.precision == "auto" else "f32"
        try:
            encoder = Encoder(folder, precision, spec.threads)
            # The first pass compiles kernels: better now than in a caller's time.
            encoder.vectors([Job(0, (0, 0), folder.pooling, 0.0)])
        except (RuntimeError, ValueError) as error:
            raise ModelUnusable(f"{folder.weights} can't be compiled: {error}.") from error
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

    def vectors(self, jobs: Sequence[Job]) -> list[bytes]:
        """A unit vector for each job, little-endian float32. Raises RuntimeError when the engine fails."""
        self._request.infer(pack([job.ids for job in jobs]).arrays())
        outputs = {"mean": self._request.get_output_tensor(0).data, "cls": self._request.get_output_tensor(1).data}
        return [outputs[job.pooling][row].astype("<f4").tobytes() for row, job in enumerate(jobs)]


def serve(spec: WorkerSpec, sock: socket.socket) -> None:
    """Load, answer ``Ready`` or ``Failed``, then encode until the peer closes the socket. Blocking.

    The peer bounds what is in flight: nothing is refused here for lack of room.
    """
    try:
        encoder = Encoder.load(spec)
    except LowcloudError as error:
        _send(sock, Failed(str(error)))
        return
    bert, limit = encoder.folder.bert, encoder.folder.max_input_tokens
    note = f"{encoder.precision}, {encoder.folder.dimensions} dimensions, {encoder.folder.pooling} pooling"
    if not _send(sock, Ready(encoder.weights, False, bert.vocab_size, limit, 0, note)):
        return
    incoming: Incoming = queue.SimpleQueue()
    threading.Thread(target=_read, args=(sock, incoming), name="frames", daemon=True).start()
    _Loop(encoder, Batcher(spec.encode_tokens, spec.encode_wait_s), incoming, time.monotonic).run(sock)


class _Loop:
    """Takes what came in, encodes the batch that is closed, and sends its vectors."""

    def __init__(self, encoder: Encoder, batcher: Batcher, incoming: Incoming, clock: Callable[[], float]) -> None:
        self._encoder = encoder
        self._batcher = batcher
        self._incoming = incoming
        self._clock = clock
        self._refused: list[Refused] = []

    def run(self, sock: socket.socket) -> None:
        """Until the peer is gone."""
        while self._wait():
            batch = self._batcher.take(self._clock())
            answers: list[Frame] = [*self._refused, *self._encoded(batch)]
            self._refused.clear()
            if not all(_send(sock, answer) for answer in answers):
                return

    def _wait(self) -> bool:
        """Take in all that is there, waiting until a batch closes. False: the peer is gone."""
        while True:
            due = 0.0 if self._refused else self._batcher.due_in_s(self._clock())
            try:
                frame = self._incoming.get(timeout=due) if due != 0.0 else self._incoming.get_nowait()
            except queue.Empty:
                return True
            if frame is None:
                return False
            self._take(frame)

    def _take(self, frame: Encode | Cancel) -> None:
        match frame:
            case Encode(job=job, ids=ids, pooling=pooling):
                if why := self._encoder.why_not(ids):
                    self._refused.append(Refused(job, *why))
                else:
                    self._batcher.add(Job(job, tuple(ids), pooling, self._clock()))
            case Cancel(seq=job):
                self._batcher.cancel(job)

    def _encoded(self, batch: Sequence[Job]) -> list[Frame]:
        if not batch:
            return []
        try:
            vectors = self._encoder.vectors(batch)
        except RuntimeError as error:
            return [Refused(job.id, "failed", str(error)) for job in batch]
        return [Vectors([[job.id, vector] for job, vector in zip(batch, vectors, strict=True)])]


def _read(sock: socket.socket, incoming: Incoming) -> None:
    """The reading thread: frames into the queue, None when the peer is gone or sends what no peer of ours does."""
    reader = FrameReader()
    try:
        while data := sock.recv(_READ_BYTES):
            for frame in reader.feed(data):
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


def _version() -> str:
    version: str = ov.__version__.partition("-")[0]
    return version
