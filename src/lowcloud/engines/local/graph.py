"""Builds the OpenVINO graph of a decoder (llama, qwen2, qwen3) from named int8 weights.

The patterns are those that OpenVINO's ``paged_attention_transformation`` and its CPU fusions (rotary embedding, RMS
norm, stateful attention, compressed weights) look for: states behind ReadValue and Gather by ``beam_idx``, repeated KV
heads as Unsqueeze, Broadcast and Reshape, rotary embedding of halves. Shapes: B sequences, T new tokens, S in all.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import openvino as ov
from numpy.typing import NDArray
from openvino import opset15 as ops
from openvino.op.util import VariableInfo

F32 = NDArray[np.float32]
Node: TypeAlias = ov.Node


@dataclass(frozen=True, slots=True)
class Shape:
    """Sizes of a decoder. ``rope_factors`` (head_dim / 2,) divide rotary frequencies, ``rope_scale`` positions."""

    n_layers: int
    n_heads: int
    n_kv_heads: int
    head_dim: int
    rms_epsilon: float
    rope_base: float
    rope_scale: float = 1.0
    rope_factors: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True)
class Int8:
    """A matrix as symmetric int8 per row: ``values * scales``; values (rows, columns), scales (rows, 1) float32."""

    values: NDArray[np.int8]
    scales: F32


@dataclass(frozen=True, slots=True)
class Weights:
    """How the graph asks for its weights, by GGUF name. ``optional`` gives None for what the model doesn't have."""

    matrix: Callable[[str], Int8]
    vector: Callable[[str], F32]
    optional: Callable[[str], F32 | None]


def build_decoder(shape: Shape, weights: Weights, *, tied: bool) -> ov.Model:
    """Inputs input_ids, attention_mask, position_ids (B, T), beam_idx (B,); output logits (B, T, vocabulary)."""
    return _Builder(shape, weights).build(tied)


class _Builder:
    def __init__(self, shape: Shape, weights: Weights) -> None:
        self._shape, self._weights = shape, weights
        self._input_ids = _parameter("input_ids", [-1, -1], ov.Type.i64)
        self._attention_mask = _parameter("attention_mask", [-1, -1], ov.Type.i64)
        self._position_ids = _parameter("position_ids", [-1, -1], ov.Type.i64)
        self._beam_idx = _parameter("beam_idx", [-1], ov.Type.i32)
        self._batch = _dimension(self._input_ids, 0)
        self._sinks: list[Node] = []

    def build(self, tied: bool) -> ov.Model:
        embeddings = self._matrix("token_embd.weight")
        hidden = ops.gather(embeddings, ops.convert(self._input_ids, "i32"), _i32(0))
        cosines, sines = self._rotations()
        mask = self._mask()
        for layer in range(self._shape.n_layers):
            hidden = self._layer(f"blk.{layer}.", hidden, (cosines, sines), mask)
        hidden = self._norm(hidden, "output_norm.weight")
        logits = ops.matmul(hidden, embeddings if tied else self._matrix("output.weight"), False, True)
        logits.output(0).set_names({"logits"})
        parameters = [self._input_ids, self._attention_mask, self._position_ids, self._beam_idx]
        return ov.Model([ops.result(logits)], self._sinks, parameters, "decoder")

    def _layer(self, prefix: str, hidden: Node, rotation: tuple[Node, Node], mask: Node) -> Node:
        attended = self._attention(prefix, self._norm(hidden, prefix + "attn_norm.weight"), rotation, mask)
        hidden = ops.add(hidden, attended)
        normed = self._norm(hidden, prefix + "ffn_norm.weight")
        gate = ops.swish(self._linear(normed, prefix + "ffn_gate"))
        up = self._linear(normed, prefix + "ffn_up")
        return ops.add(hidden, self._linear(ops.multiply(gate, up), prefix + "ffn_down"))

    def _attention(self, prefix: str, hidden: Node, rotation: tuple[Node, Node], mask: Node) -> Node:
        shape = self._shape
        query = self._rotated(self._heads(prefix + "attn_q", hidden, shape.n_heads), rotation)
        key = self._rotated(self._heads(prefix + "attn_k", hidden, shape.n_kv_heads), rotation)
        value = self._heads(prefix + "attn_v", hidden, shape.n_kv_heads)
        keys = self._repeated(self._remembered(prefix + "key", key))
        values = self._repeated(self._remembered(prefix + "value", value))
        attended = ops.scaled_dot_product_attention(query, keys, values, mask)
        attended = ops.transpose(attended, _i32([0, 2, 1, 3]))
        flat = ops.reshape(attended, _i64([0, 0, shape.n_heads * shape.head_dim]), True)
        return self._linear(flat, prefix + "attn_output")

    def _heads(self, name: str, hidden: Node, n_heads: int) -> Node:
        """(B, T, H) -> (B, heads, T, head_dim), normed per head where the model has such a norm (qwen3)."""
        split = ops.reshape(self._linear(hidden, name), _i64([0, 0, n_heads, self._shape.head_dim]), True)
        norm = name + "_norm.weight"
        if (gain := self._weights.optional(norm)) is not None:
            split = self._normed(split, norm, gain)
        return ops.transpose(split, _i32([0, 2, 1, 3]))

    def _rotated(self, heads: Node, rotation: tuple[Node, Node]) -> Node:
        half, cosines, sines = self._shape.head_dim // 2, *rotation
        first = ops.slice(heads, _i64([0]), _i64([half]), _i64([1]), _i64([3]))
        second = ops.slice(heads, _i64([half]), _i64([np.iinfo(np.int64).max]), _i64([1]), _i64([3]))
        turned = ops.concat([ops.multiply(second, _f32(np.full((1, 1, 1, 1), -1))), first], -1)
        return ops.add(ops.multiply(heads, cosines), ops.multiply(turned, sines))

    def _rotations(self) -> tuple[Node, Node]:
        """Cosines and sines of the positions, (B, 1, T, head_dim)."""
        shape = self._shape
        powers = np.arange(0, shape.head_dim, 2, dtype=np.float64) / shape.head_dim
        frequencies = 1.0 / (shape.rope_base**powers * np.array(shape.rope_factors or 1.0) * shape.rope_scale)
        column = ops.broadcast(
            _f32(frequencies.reshape(1, -1, 1)),
            ops.concat([self._batch, _i64([1]), _i64([1])], 0),
            broadcast_spec="BIDIRECTIONAL",
        )
        positions = ops.convert(ops.unsqueeze(self._position_ids, _i64(1)), "f32")
        angles = ops.transpose(ops.matmul(column, positions, False, False), _i32([0, 2, 1]))
        angles = ops.concat([angles, angles], -1)
        return ops.unsqueeze(ops.cos(angles), _i64(1)), ops.unsqueeze(ops.sin(angles), _i64(1))

    def _remembered(self, name: str, fresh: Node) -> Node:
        """The state of earlier tokens with ``fresh`` (B, KV heads, T, head_dim) behind it: T becomes S."""
        heads, size = self._shape.n_kv_heads, self._shape.head_dim
        info = VariableInfo()
        info.data_shape = ov.PartialShape([-1, heads, -1, size])
        info.data_type = ov.Type.f32
        info.variable_id = name
        variable = ov.op.util.Variable(info)
        empty = ops.broadcast(_f32(0.0), ops.concat([self._batch, _i64([heads]), _i64([0]), _i64([size])], 0))
        past = ops.gather(ops.read_value(empty, variable), self._beam_idx, _i64(0))
        whole = ops.concat([past, fresh], 2)
        self._sinks.append(ops.assign(whole, variable))
        return whole

    def _repeated(self, heads: Node) -> Node:
        """Each KV head once for each query head that reads it."""
        shape = self._shape
        groups = shape.n_heads // shape.n_kv_heads
        if groups == 1:
            return heads
        target = ops.concat([self._batch, _i64([1]), _i64([groups]), _i64([1]), _i64([1])], 0)
        spread = ops.broadcast(ops.unsqueeze(heads, _i64(2)), target, broadcast_spec="BIDIRECTIONAL")
        return ops.reshape(spread, _i64([0, shape.n_heads, -1, shape.head_dim]), True)

    def _mask(self) -> Node:
        """Added to the scores, (B, 1, T, S): minus infinity where a token is padding or comes later."""
        total, new = _dimension(self._attention_mask, 1), _dimension(self._input_ids, 1)
        end, count = ops.squeeze(total, _i64([0])), ops.squeeze(new, _i64([0]))
        columns = ops.unsqueeze(ops.range(_i64(0), end, _i64(1), ov.Type.i64), _i64(0))
        rows = ops.unsqueeze(ops.range(ops.subtract(end, count), end, _i64(1), ov.Type.i64), _i64(1))
        causal = ops.unsqueeze(ops.less_equal(columns, rows), _i64([0, 1]))
        real = ops.unsqueeze(ops.not_equal(self._attention_mask, _i64(0)), _i64([1, 2]))
        return ops.select(ops.logical_and(causal, real), _f32(0.0), _f32(float(np.finfo(np.float32).min)))

    def _norm(self, hidden: Node, name: str) -> Node:
        return self._normed(hidden, name, self._weights.vector(name))

    def _normed(self, hidden: Node, name: str, gain: F32) -> Node:
        """RMS norm over the last axis of a tensor of any rank."""
        rank = hidden.output(0).get_partial_shape().rank.get_length()
        lone = (1,) * rank
        mean = ops.reduce_mean(ops.power(hidden, _f32(np.full(lone, 2))), _i32([-1]), True)
        root = ops.sqrt(ops.add(mean, _f32(np.full(lone, self._shape.rms_epsilon))))
        scaled = ops.multiply(ops.divide(_f32(np.ones(lone)), root), hidden)
        return ops.multiply(scaled, _named(name, gain.reshape(*lone[1:], -1)))

    def _linear(self, hidden: Node, name: str) -> Node:
        product = ops.matmul(hidden, self._matrix(name + ".weight"), False, True)
        bias = self._weights.optional(name + ".bias")
        return product if bias is None else ops.add(product, _named(name + ".bias", bias.reshape(1, 1, -1)))

    def _matrix(self, name: str) -> Node:
        """Convert and Multiply over an int8 constant: the form that the CPU plugin keeps as int8 and multiplies by."""
        weight = self._weights.matrix(name)
        scales = _named(name.removesuffix("weight") + "scale", weight.scales)
        return ops.multiply(ops.convert(_named(name, weight.values), "f32"), scales)


def _parameter(name: str, dimensions: list[int], kind: ov.Type) -> Node:
    node = ops.parameter(dimensions, kind)
    node.set_friendly_name(name)  # paged_attention_transformation looks for this one, not only for the tensor's
    node.output(0).set_names({name})
    return node


def _dimension(node: Node, axis: int) -> Node:
    return ops.gather(ops.shape_of(node), _i64([axis]), _i64(0))


def _named(name: str, values: NDArray[np.int8] | F32) -> Node:
    """A weight, under its GGUF name, so that others can find it in the written file."""
    node = ops.constant(values)
    node.set_friendly_name(name)
    return node


def _f32(value: float | NDArray[np.floating]) -> Node:
    return ops.constant(np.asarray(value, np.float32))


def _i32(value: int | list[int]) -> Node:
    return ops.constant(np.asarray(value, np.int32))


def _i64(value: int | list[int]) -> Node:
    return ops.constant(np.asarray(value, np.int64))
