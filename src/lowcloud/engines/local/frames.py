"""The frames between the server and a model's worker process: length-prefixed msgpack on a Unix socket.

Down: ``Submit`` (text), ``Encode`` (embeddings), ``Cancel``. Up: ``Ready`` or ``Failed`` once, then ``Accepted``,
``Counted``, ``Refused`` and ``Step`` (text) or ``Vectors`` (embeddings). A ``Step`` carries every sequence's new tokens
of one step, so the hop costs per step, not per token. On the wire a frame is a little-endian uint32 length and a
msgpack array ``[kind, *fields in order]``; both ends are of one version, so fields have no names.
"""

import socket
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field, fields
from typing import Any, Literal, TypeAlias

import msgpack

from lowcloud.core.requests import Pooling

MAX_FRAME_BYTES = 256 * 2**20
_READ_BYTES = 2**18
_LENGTH = struct.Struct("<I")

Finish: TypeAlias = Literal["stop", "length"]


@dataclass(frozen=True, slots=True)
class Submit:
    """Start a sequence. ``forced`` tokens were already sent to the caller before the worker died: they are taken
    through decode steps, never prefilled, so that what follows is bit for bit what it would have been; they are not
    reported again.

    ``grammar`` bounds the answer (llguidance's Lark; "" is none), and then it alone says where an end token may come.
    ``n_logprobs``: -1 none, else 0..20 alternatives. ``logit_bias``: [[id, bias], ...]. Counts in tokens;
    ``max_tokens`` includes the forced ones. Randomness is Philox keyed by (seed, choice) at the token's position.
    ``prediction``: tokens that the answer may well have; they make it faster or not, and never another.
    ``rank``: sequences of a higher one wait for those of a lower one, and give way to them; 0 is a live request's.
    ``text`` and ``images`` (files) are what a model that sees gets in the place of ``ids``.
    """

    seq: int
    ids: list[int]
    forced: list[int]
    max_tokens: int
    stop_ids: list[int]
    temperature: float
    top_p: float
    top_k: int
    min_p: float
    repetition_penalty: float
    presence_penalty: float
    frequency_penalty: float
    logit_bias: list[list[float]]
    seed: int
    choice: int
    n_logprobs: int
    grammar: str = ""
    prediction: list[int] = field(default_factory=list)
    rank: int = 0
    text: str = ""
    images: list[bytes] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Cancel:
    """Forget a sequence, whose blocks are free before the next step, or an input that waits for a batch (``seq`` is
    its ``job``). An unknown id is no error.
    """

    seq: int


@dataclass(frozen=True, slots=True)
class Encode:
    """Embed one input: token ids with the model's special tokens in place. ``rank`` as in ``Submit``."""

    job: int
    ids: list[int]
    pooling: Pooling
    rank: int = 0


@dataclass(frozen=True, slots=True)
class Ready:
    """The model is loaded. ``weights`` names weights, precision and engine; ``paged`` False: one sequence at a time."""

    weights: str
    paged: bool
    n_vocab: int
    context_length: int
    kv_blocks: int
    note: str


@dataclass(frozen=True, slots=True)
class Failed:
    """The model can't be loaded; the process ends after this."""

    message: str


@dataclass(frozen=True, slots=True)
class Accepted:
    """The sequence has its first blocks; ``cached`` prompt tokens were reused."""

    seq: int
    cached: int


@dataclass(frozen=True, slots=True)
class Counted:
    """How many tokens the prompt had, where only the model could tell; before the sequence's last ``Step``."""

    seq: int
    prompt_tokens: int


@dataclass(frozen=True, slots=True)
class Refused:
    """The sequence can't run or go on (``code``: too_long, bad_token, bad_prompt, bad_grammar, failed)."""

    seq: int
    code: str
    message: str


@dataclass(frozen=True, slots=True)
class Step:
    """One step: ``outputs`` is [[seq, [tokens], logprobs | None, finish | None], ...], and of a sequence that drafts
    from a prediction a fifth: [tokens of it that came so far, tokens of it that were tried and didn't].

    ``logprobs`` is one [ln p of the token, [[id, ln p], ...best first]] a token. ``stats`` is
    [waiting, running, used blocks, blocks, swapped-out sequences, preemptions so far].
    A stop token (``stop_ids``) is reported as the last token of the sequence, with finish "stop"; a grammar after which
    nothing can follow ends with its own last token, and "stop".
    """

    outputs: list[list[Any]]
    stats: list[int]


@dataclass(frozen=True, slots=True)
class Vectors:
    """[[job, little-endian float32 bytes of the unit vector], ...]."""

    outputs: list[list[Any]]


Frame: TypeAlias = Submit | Cancel | Encode | Ready | Failed | Accepted | Counted | Refused | Step | Vectors
_KINDS: tuple[type[Any], ...] = (Submit, Cancel, Encode, Ready, Failed, Accepted, Counted, Refused, Step, Vectors)
_KIND_OF = {kind: number for number, kind in enumerate(_KINDS)}
_FIELDS_OF = {kind: tuple(each.name for each in fields(kind)) for kind in _KINDS}


def encode(frame: Frame) -> bytes:
    """The frame's bytes, length included."""
    names = _FIELDS_OF[type(frame)]
    body: bytes = msgpack.packb([_KIND_OF[type(frame)], *(getattr(frame, name) for name in names)])
    return _LENGTH.pack(len(body)) + body


class FrameReader:
    """Cuts a byte stream into frames: bytes in, frames out, no I/O."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> list[Frame]:
        """The frames that ``data`` completes. Raises ValueError for a frame that no peer of this version sends."""
        self._buffer += data
        frames: list[Frame] = []
        start = 0
        while len(self._buffer) - start >= _LENGTH.size:
            (size,) = _LENGTH.unpack_from(self._buffer, start)
            if size > MAX_FRAME_BYTES:
                raise ValueError(f"a frame of {size} bytes is over the limit")
            end = start + _LENGTH.size + size
            if len(self._buffer) < end:
                break
            frames.append(_decode(bytes(self._buffer[start + _LENGTH.size : end])))
            start = end
        del self._buffer[:start]
        return frames


def received(sock: socket.socket) -> Iterator[Frame]:
    """What the peer sends, until it is gone. Blocking. Raises OSError, and ValueError as ``feed`` does."""
    reader = FrameReader()
    while data := sock.recv(_READ_BYTES):
        yield from reader.feed(data)


def _decode(body: bytes) -> Frame:
    try:
        number, *values = msgpack.unpackb(body)
        kind = _KINDS[range(len(_KINDS)).index(number)]
        frame: Frame = kind(*values)
    except (ValueError, TypeError, msgpack.UnpackException) as error:
        raise ValueError("a frame that no peer of this version sends") from error
    return frame
