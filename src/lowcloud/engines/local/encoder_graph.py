"""The graph of a BertModel, built from its safetensors with OpenVINO's opset: no torch, no export.

Tokens are packed: all layers that work token by token see ``(n_tokens, hidden)`` without padding; only attention sees
``(n_inputs, length)``, into which the tokens are gathered and out of which they are gathered again. So padding costs
next to nothing, and, with ``length`` a multiple of 16, an input's vector is bit for bit the same in any company.
"""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

import numpy as np
import openvino as ov
from numpy.typing import NDArray
from openvino import Node, Type
from openvino import opset15 as op
from safetensors import SafetensorError, safe_open

from lowcloud.core.errors import ModelUnusable
from lowcloud.engines.local.encoder_folder import WEIGHTS_FILE, BertConfig, EncoderFolder

# Masked scores: far enough below any real one that their exponential is exactly 0 in bf16 and f32.
_MASKED = np.float32(-10_000)


def build(folder: EncoderFolder) -> ov.Model:
    """The model, in f32. Raises ModelUnusable naming a tensor that is missing or of a kind that isn't read.

    Inputs, in order: ``ids`` and ``positions`` (n_tokens,) int32; ``rows`` (n_inputs, length) int32, the token at each
    place, 0 where there is none; ``places`` (n_tokens,) int32, each token's place in the flattened ``rows``; ``mask``
    (n_inputs, length) float32, 1 where a token is. Outputs: unit vectors (n_inputs, hidden) by mean, then by CLS.
    """
    ids = op.parameter([-1], Type.i32, name="ids")
    positions = op.parameter([-1], Type.i32, name="positions")
    rows = op.parameter([-1, -1], Type.i32, name="rows")
    places = op.parameter([-1], Type.i32, name="places")
    mask = op.parameter([-1, -1], Type.f32, name="mask")
    with _open(folder.path / WEIGHTS_FILE) as weights:
        bert = _Bert(folder.bert, weights)
        tokens = bert.embed(ids, positions)
        bias = op.unsqueeze(op.multiply(op.subtract(np.float32(1), mask), _MASKED), _ints(1, 2))
        for layer in range(folder.bert.num_hidden_layers):
            tokens = bert.layer(f"encoder.layer.{layer}.", tokens, rows, places, bias)
    mean, cls = _pooled(op.gather(tokens, rows, _axis(0)), mask)
    return ov.Model([op.result(mean), op.result(cls)], [ids, positions, rows, places, mask], "bert")


class _Bert:
    """The layers of one model; weights become constants as they are asked for."""

    def __init__(self, config: BertConfig, weights: "_Weights") -> None:
        self._config = config
        self._weight = weights.read

    def embed(self, ids: Node, positions: Node) -> Node:
        """Words, positions and the first token type: there is only one segment."""
        table = self._rows("embeddings.word_embeddings.weight", self._config.vocab_size)
        places = self._rows("embeddings.position_embeddings.weight", self._config.max_position_embeddings)
        types = self._weight("embeddings.token_type_embeddings.weight")
        words = op.gather(op.constant(table), ids, _axis(0))
        placed = op.gather(op.constant(places + types[:1]), positions, _axis(0))
        return self._norm(op.add(words, placed), "embeddings.LayerNorm")

    def _rows(self, name: str, n_rows: int) -> NDArray[np.float32]:
        """A table with at least the rows that ids are checked against: native code reads past its end otherwise."""
        table = self._weight(name)
        if len(table) < n_rows:
            raise ModelUnusable(f"{name} has {len(table)} rows; config.json says {n_rows}.")
        return table

    def layer(self, at: str, tokens: Node, rows: Node, places: Node, bias: Node) -> Node:
        """One layer: (n_tokens, hidden) to the same."""
        attended = self._attend(at + "attention.self.", tokens, rows, places, bias)
        out = self._linear(attended, at + "attention.output.dense")
        tokens = self._norm(op.add(out, tokens), at + "attention.output.LayerNorm")
        inner = _activation(self._config.hidden_act, self._linear(tokens, at + "intermediate.dense"))
        return self._norm(op.add(self._linear(inner, at + "output.dense"), tokens), at + "output.LayerNorm")

    def _attend(self, at: str, tokens: Node, rows: Node, places: Node, bias: Node) -> Node:
        """Query, key and value in one product, a fifth faster than in three."""
        heads, width = self._config.num_attention_heads, self._config.hidden_size
        names = [at + part for part in ("query", "key", "value")]
        kernel = np.concatenate([self._weight(name + ".weight") for name in names])
        offset = np.concatenate([self._weight(name + ".bias") for name in names])
        packed = op.add(op.matmul(tokens, op.constant(kernel), False, True), op.constant(offset))
        padded = op.split(op.gather(packed, rows, _axis(0)), _axis(2), 3)
        shape = _ints(0, 0, heads, width // heads)
        split = [op.transpose(op.reshape(part, shape, True), _ints(0, 2, 1, 3)) for part in padded.outputs()]
        mixed = op.scaled_dot_product_attention(*split, bias)
        flat = op.reshape(op.transpose(mixed, _ints(0, 2, 1, 3)), _ints(-1, width), False)
        return op.gather(flat, places, _axis(0))

    def _linear(self, x: Node, name: str) -> Node:
        product = op.matmul(x, op.constant(self._weight(name + ".weight")), False, True)
        return op.add(product, op.constant(self._weight(name + ".bias")))

    def _norm(self, x: Node, name: str) -> Node:
        even = op.mvn(x, _ints(-1), True, self._config.layer_norm_eps, "inside_sqrt")
        scaled = op.multiply(even, op.constant(self._weight(name + ".weight")))
        return op.add(scaled, op.constant(self._weight(name + ".bias")))


class _Slice(Protocol):
    def get_dtype(self) -> str: ...


class _Tensors(Protocol):
    """What is used of ``safe_open``, which has no types."""

    def keys(self) -> Iterable[str]: ...
    def get_slice(self, name: str, /) -> _Slice: ...
    def get_tensor(self, name: str, /) -> NDArray[np.generic]: ...


class _Weights:
    """An open safetensors file; names may carry the prefix that a BertModel has inside a larger model."""

    def __init__(self, file: _Tensors) -> None:
        self._file = file
        self._names = frozenset(file.keys())

    def read(self, name: str) -> NDArray[np.float32]:
        """The tensor in f32. Raises ModelUnusable."""
        found = next((full for full in (name, "bert." + name) if full in self._names), None)
        if found is None:
            raise ModelUnusable(f"{WEIGHTS_FILE} has no tensor {name}.")
        kind = self._file.get_slice(found).get_dtype()
        if kind not in ("F32", "F16"):
            raise ModelUnusable(f"{WEIGHTS_FILE}: {name} is of the kind {kind}; F32 and F16 are read.")
        tensor: NDArray[np.float32] = self._file.get_tensor(found).astype(np.float32)
        return tensor


@contextmanager
def _open(path: Path) -> Iterator[_Weights]:
    """The weights of a file; translates the library's errors."""
    try:
        with safe_open(path, "numpy") as file:
            yield _Weights(file)
    except (SafetensorError, OSError) as error:
        raise ModelUnusable(f"{path.name} can't be read; the log says more.") from error


def _pooled(states: Node, mask: Node) -> tuple[Node, Node]:
    """Unit vectors of states (n_inputs, length, hidden): over the real tokens, and of the first."""
    weight = op.unsqueeze(mask, _ints(-1))
    total = op.reduce_sum(op.multiply(states, weight), _ints(1))
    mean = op.divide(total, op.reduce_sum(weight, _ints(1)))
    return _unit(mean), _unit(op.gather(states, op.constant(np.int64(0)), _axis(1)))


def _unit(vectors: Node) -> Node:
    return op.normalize_l2(vectors, _ints(-1), 1e-24, "max")


def _activation(name: str, x: Node) -> Node:
    made: dict[str, Callable[[], Node]] = {"gelu": lambda: op.gelu(x, "erf"), "relu": lambda: op.relu(x)}
    return made.get(name, lambda: op.gelu(x, "tanh"))()


def _ints(*values: int) -> Node:
    return op.constant(np.array(values, np.int64))


def _axis(value: int) -> Node:
    return op.constant(np.int64(value))
