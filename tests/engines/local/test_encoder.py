"""The encoder's graph against a plain one in numpy, and its side of the socket, on a tiny model with random weights."""

import json
import math
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from lowcloud.core.errors import ModelUnusable
from lowcloud.engines.local.encoder import Encoder, Lane, pack, serve
from lowcloud.engines.local.encoder_batch import Job
from lowcloud.engines.local.encoder_folder import describe
from lowcloud.engines.local.frames import Cancel, Encode, Failed, Frame, FrameReader, Ready, Refused, Vectors, encode
from lowcloud.engines.local.spec import WorkerSpec

HIDDEN, HEADS, LAYERS, VOCAB, PLACES = 32, 4, 2, 50, 64
CONFIG = {
    "model_type": "bert",
    "hidden_size": HIDDEN,
    "num_hidden_layers": LAYERS,
    "num_attention_heads": HEADS,
    "vocab_size": VOCAB,
    "max_position_embeddings": PLACES,
    "layer_norm_eps": 1e-12,
}
INPUTS = [[1, 2, 3], [4], list(range(20)), [7] * 33, list(range(49, 0, -1)), [5] * PLACES]


def shapes() -> dict[str, tuple[int, ...]]:
    """The tensors of a BertModel."""
    found: dict[str, tuple[int, ...]] = {
        "embeddings.word_embeddings.weight": (VOCAB, HIDDEN),
        "embeddings.position_embeddings.weight": (PLACES, HIDDEN),
        "embeddings.token_type_embeddings.weight": (2, HIDDEN),
    }
    linear = {"attention.self.query": (HIDDEN, HIDDEN), "attention.self.key": (HIDDEN, HIDDEN)}
    linear |= {"attention.self.value": (HIDDEN, HIDDEN), "attention.output.dense": (HIDDEN, HIDDEN)}
    linear |= {"intermediate.dense": (4 * HIDDEN, HIDDEN), "output.dense": (HIDDEN, 4 * HIDDEN)}
    names = {"embeddings.LayerNorm": (HIDDEN,)}
    for layer in range(LAYERS):
        at = f"encoder.layer.{layer}."
        names |= {at + name: shape for name, shape in linear.items()}
        names |= {at + "attention.output.LayerNorm": (HIDDEN,), at + "output.LayerNorm": (HIDDEN,)}
    for name, shape in names.items():
        found |= {name + ".weight": shape, name + ".bias": shape[:1]}
    return found


def tiny(folder: Path, *, prefix: str = "", dtype: type = np.float32, **config: object) -> dict[str, np.ndarray]:
    """Write a model with random weights; returns them."""
    random = np.random.default_rng(5)
    weights = {name: random.normal(0, 0.3, shape).astype(dtype) for name, shape in shapes().items()}
    folder.mkdir(exist_ok=True)
    (folder / "config.json").write_text(json.dumps(CONFIG | config))
    save_file({prefix + name: array for name, array in weights.items()}, folder / "model.safetensors")
    return weights


def reference(w: dict[str, np.ndarray], ids: list[int], act: str = "gelu") -> tuple[np.ndarray, np.ndarray]:
    """One input's unit vectors by mean and CLS, in float64. Source: Devlin et al. 2018; transformers, BertModel."""
    w = {name: array.astype(np.float64) for name, array in w.items()}

    def norm(x: np.ndarray, at: str) -> np.ndarray:
        even = (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-12)
        return even * w[at + ".weight"] + w[at + ".bias"]

    def linear(x: np.ndarray, at: str) -> np.ndarray:
        return x @ w[at + ".weight"].T + w[at + ".bias"]

    erf = np.vectorize(math.erf)
    inner = {
        "gelu": lambda x: 0.5 * x * (1 + erf(x / math.sqrt(2))),
        "gelu_new": lambda x: 0.5 * x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))),
        "relu": lambda x: np.maximum(x, 0),
    }[act]
    places, types = w["embeddings.position_embeddings.weight"], w["embeddings.token_type_embeddings.weight"]
    x = w["embeddings.word_embeddings.weight"][ids] + places[: len(ids)] + types[0]
    x = norm(x, "embeddings.LayerNorm")
    for layer in range(LAYERS):
        at = f"encoder.layer.{layer}."
        parts = [linear(x, at + f"attention.self.{part}") for part in ("query", "key", "value")]
        q, k, v = (part.reshape(len(ids), HEADS, -1).swapaxes(0, 1) for part in parts)
        scores = np.exp(q @ k.swapaxes(1, 2) / math.sqrt(HIDDEN // HEADS))
        mixed = (scores / scores.sum(-1, keepdims=True) @ v).swapaxes(0, 1).reshape(len(ids), HIDDEN)
        x = norm(x + linear(mixed, at + "attention.output.dense"), at + "attention.output.LayerNorm")
        x = norm(x + linear(inner(linear(x, at + "intermediate.dense")), at + "output.dense"), at + "output.LayerNorm")
    mean = x.mean(0)
    return mean / np.linalg.norm(mean), x[0] / np.linalg.norm(x[0])


def jobs(inputs: list[list[int]], pooling: str = "mean") -> list[Job]:
    return [Job(number, tuple(ids), pooling, 0.0) for number, ids in enumerate(inputs)]


def numbers(vector: bytes) -> np.ndarray:
    return np.frombuffer(vector, "<f4")


def spec(folder: Path, **settings: object) -> WorkerSpec:
    return WorkerSpec("embedding", str(folder), "", **{"threads": 1, **settings})


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "tiny"


@pytest.mark.parametrize("act", ["gelu", "gelu_new", "relu"])
def test_the_graph_gives_the_vectors_of_a_plain_bert(folder: Path, act: str):
    weights = tiny(folder, hidden_act=act)
    encoder = Encoder(describe(folder), "f32", 1).lanes[0]
    for pooling, row in (("mean", 0), ("cls", 1)):
        for ids, vector in zip(INPUTS, encoder.vectors(jobs(INPUTS, pooling)), strict=True):
            assert np.allclose(numbers(vector), reference(weights, ids, act)[row], atol=1e-5)


def test_weights_in_f16_and_under_a_larger_models_names_are_read(folder: Path):
    weights = tiny(folder, prefix="bert.", dtype=np.float16)
    (vector,) = Encoder(describe(folder), "f32", 1).lanes[0].vectors(jobs([[3, 1, 4]]))
    assert np.allclose(numbers(vector), reference(weights, [3, 1, 4])[0], atol=1e-5)


def test_inputs_of_both_poolings_share_a_batch(folder: Path):
    weights = tiny(folder)
    mixed = [Job(0, (1, 2, 3), "cls", 0.0), Job(1, (1, 2, 3), "mean", 0.0)]
    cls, mean = Encoder(describe(folder), "f32", 1).lanes[0].vectors(mixed)
    assert np.allclose(numbers(cls), reference(weights, [1, 2, 3])[1], atol=1e-5)
    assert np.allclose(numbers(mean), reference(weights, [1, 2, 3])[0], atol=1e-5)


@pytest.mark.parametrize("precision", ["auto", "f32"])
def test_a_vector_does_not_depend_on_its_company(folder: Path, precision: str):
    tiny(folder)
    first, second = Encoder.load(spec(folder, precision=precision, threads=2)).lanes
    alone = [first.vectors(jobs([ids]))[0] for ids in INPUTS]
    assert first.vectors(jobs(INPUTS)) == alone
    assert second.vectors(jobs(INPUTS[::-1])) == alone[::-1]
    assert second.vectors(jobs(INPUTS[:3] * 7)) == alone[:3] * 7


def test_packing_maps_every_token_to_its_place():
    packed = pack([[9, 8, 7], [6]])
    assert packed.ids.tolist() == [9, 8, 7, 6]
    assert packed.positions.tolist() == [0, 1, 2, 0]
    assert packed.places.tolist() == [0, 1, 2, 16]
    assert packed.rows.shape == packed.mask.shape == (2, 16)
    assert packed.rows[:, :4].tolist() == [[0, 1, 2, 0], [3, 0, 0, 0]]
    assert packed.mask.sum(1).tolist() == [3.0, 1.0]


def test_a_missing_tensor_is_named(folder: Path):
    weights = tiny(folder)
    del weights["encoder.layer.1.output.dense.bias"]
    save_file(weights, folder / "model.safetensors")
    with pytest.raises(ModelUnusable, match=r"no tensor encoder\.layer\.1\.output\.dense\.bias"):
        Encoder.load(spec(folder))


def test_weights_smaller_than_the_config_says_are_refused(folder: Path):
    for change in ({"vocab_size": VOCAB + 1}, {"max_position_embeddings": PLACES + 1}):
        tiny(folder, **change)
        with pytest.raises(ModelUnusable, match=r"rows; config\.json says"):
            Encoder.load(spec(folder))


def test_weights_of_another_kind_or_shape_are_refused(folder: Path):
    weights = tiny(folder)
    for broken in (np.zeros((VOCAB, HIDDEN), np.int64), np.zeros((VOCAB, HIDDEN + 1), np.float32)):
        save_file(weights | {"embeddings.word_embeddings.weight": broken}, folder / "model.safetensors")
        with pytest.raises(ModelUnusable, match=r"of the kind I64|tiny can't be compiled; the log says more\.$"):
            Encoder.load(spec(folder))
    (folder / "model.safetensors").write_bytes(b"not a model")
    with pytest.raises(ModelUnusable, match=r"^model\.safetensors can't be read; the log says more\.$"):
        Encoder.load(spec(folder))


class BrokenRequest:
    """An inference that ends in the runtime's words."""

    def set_callback(self, *_: object) -> None: ...

    def start_async(self, _: object) -> None: ...

    def wait(self) -> None:
        raise RuntimeError("Exception from /build/src/inference/dev.cpp:66")


def test_what_the_runtime_says_of_a_failed_batch_is_logged_and_not_sent(caplog: pytest.LogCaptureFixture):
    lane = Lane(BrokenRequest())
    lane.start(jobs([[1], [2]]), lambda: None)
    refusal = "the runtime failed; the log says more"
    assert lane.answers() == [Refused(0, "failed", refusal), Refused(1, "failed", refusal)]
    assert "dev.cpp:66" in caplog.text


def test_what_a_library_says_of_a_model_that_cannot_be_loaded_is_logged_and_not_sent(
    folder: Path, caplog: pytest.LogCaptureFixture
):
    weights = tiny(folder)
    wrong = {"encoder.layer.0.output.dense.weight": np.zeros((HIDDEN, HIDDEN + 1), np.float32)}
    save_file(weights | wrong, folder / "model.safetensors")
    with serving(folder) as peer:
        assert peer.next() == Failed("tiny can't be compiled; the log says more.")
    assert "src/core" in caplog.text


class Peer:
    """The server's end of the socket."""

    def __init__(self, sock: socket.socket, thread: threading.Thread) -> None:
        self.sock, self.thread = sock, thread
        self._reader = FrameReader()
        self._frames: list[Frame] = []

    def send(self, *frames: Frame) -> None:
        self.sock.sendall(b"".join(encode(frame) for frame in frames))

    def next(self) -> Frame:
        while not self._frames:
            data = self.sock.recv(2**16)
            assert data, "the worker closed its end"
            self._frames += self._reader.feed(data)
        return self._frames.pop(0)

    def answers(self, n: int) -> dict[int, bytes | str]:
        """By job: the vector, or the code of the refusal."""
        found: dict[int, bytes | str] = {}
        while len(found) < n:
            match self.next():
                case Vectors(outputs=outputs):
                    found |= dict(outputs)
                case Refused(seq=job, code=code):
                    found[job] = code
        return found


@contextmanager
def serving(folder: Path, **settings: object) -> Iterator[Peer]:
    """``serve`` in a thread; at the end the peer hangs up and the thread must end."""
    ours, theirs = socket.socketpair()
    ours.settimeout(60)
    thread = threading.Thread(target=serve, args=(spec(folder, **settings), theirs))
    thread.start()
    with ours, theirs:
        try:
            yield Peer(ours, thread)
        finally:
            ours.close()
            thread.join(60)
            assert not thread.is_alive()


def test_the_worker_names_weights_precision_and_engine(folder: Path):
    tiny(folder)
    with serving(folder, precision="f32") as peer:
        ready = peer.next()
    assert isinstance(ready, Ready)
    assert ready.weights.startswith("tiny-f32-openvino")
    assert (ready.n_vocab, ready.context_length, ready.kv_blocks) == (VOCAB, PLACES, 0)
    assert "mean pooling" in ready.note


@pytest.mark.parametrize("threads", [1, 3])
def test_every_input_is_answered_once_with_its_own_vector(folder: Path, threads: int):
    weights = tiny(folder)
    with serving(folder, precision="f32", encode_tokens=100, threads=threads) as peer:
        peer.next()
        peer.send(*(Encode(number, ids, "mean") for number, ids in enumerate(INPUTS * 3)))
        answers = peer.answers(len(INPUTS) * 3)
    for number, ids in enumerate(INPUTS * 3):
        assert np.allclose(numbers(answers[number]), reference(weights, ids)[0], atol=1e-5)


def test_what_must_not_reach_native_code_is_refused(folder: Path):
    tiny(folder)
    bad = [[], [1] * (PLACES + 1), [VOCAB], [-1]]
    with serving(folder) as peer:
        peer.next()
        peer.send(*(Encode(number, ids, "mean") for number, ids in enumerate([*bad, [1]])))
        answers = peer.answers(5)
    assert isinstance(answers.pop(4), bytes)
    assert answers == {0: "too_long", 1: "too_long", 2: "bad_token", 3: "bad_token"}


def test_a_cancelled_input_is_skipped(folder: Path):
    tiny(folder)
    with serving(folder, encode_wait_s=0.2) as peer:
        peer.next()
        peer.send(Encode(1, [1, 2], "mean"), Encode(2, [3], "mean"), Cancel(1), Cancel(99))
        frame = peer.next()
    assert isinstance(frame, Vectors)
    assert [job for job, _ in frame.outputs] == [2]


def test_a_model_that_cannot_be_served_is_reported(folder: Path):
    tiny(folder, model_type="xlnet")
    with serving(folder) as peer:
        frame = peer.next()
    assert isinstance(frame, Failed)
    assert "model_type" in frame.message


@pytest.mark.parametrize("data", [b"\xff\xff\xff\xff junk", encode(Failed("a frame of the other direction"))])
def test_what_no_peer_of_ours_sends_ends_the_worker(folder: Path, data: bytes):
    tiny(folder)
    with serving(folder) as peer:
        peer.next()
        peer.sock.sendall(data)
        peer.thread.join(60)
        assert not peer.thread.is_alive()


def test_a_peer_that_leaves_while_the_model_loads_ends_the_worker(folder: Path):
    tiny(folder)
    with serving(folder) as peer:
        peer.sock.close()
        peer.thread.join(60)
        assert not peer.thread.is_alive()
