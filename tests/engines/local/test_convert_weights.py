"""A GGUF file's sizes and weights: int8 a row, in the order our graph wants; what it would get wrong is refused."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from lowcloud.core.errors import ModelUnusable
from lowcloud.engines.local.gguf_file import GgufFile, TensorPlace, Value, read_gguf
from lowcloud.engines.local.weights import GgufWeights, decoder_shape, dequantised, halves_from_pairs, quantised

FIXTURES = Path(__file__).parents[2] / "fixtures"
LLAMA, QWEN2 = read_gguf(FIXTURES / "tiny-llama.gguf"), read_gguf(FIXTURES / "tiny-qwen2.gguf")
ROWS = arrays(np.float32, st.tuples(st.integers(1, 5), st.integers(1, 9)), elements=st.floats(-1e6, 1e6, width=32))


def _with(changes: Mapping[str, Value], file: GgufFile = LLAMA) -> GgufFile:
    return replace(file, metadata={**file.metadata, **changes})


@given(ROWS)
@example(np.array([[1e-45]], np.float32))
@example(np.array([[2e-36, -1e-36]], np.float32))
def test_int8_is_within_half_a_step_of_every_weight(rows: np.ndarray) -> None:
    rounded = quantised(rows)
    assert np.abs(rounded.values.astype(int)).max() <= 127
    step = rounded.scales
    assert (np.abs(rounded.values * step - rows) <= step * 0.5001).all()


def test_int8_holds_whole_multiples_of_a_scale_exactly_and_rows_of_zeros() -> None:
    rows = np.array([[127, -3, 64], [0, 0, 0]], np.float32) * np.float32(0.25)
    rounded = quantised(rows)
    np.testing.assert_array_equal(rounded.values * rounded.scales, rows)


@given(st.integers(1, 4), st.integers(1, 8))
def test_rows_of_rotary_pairs_become_halves(n_heads: int, half: int) -> None:
    head_dim = 2 * half
    order = halves_from_pairs(n_heads * head_dim, head_dim).reshape(n_heads, head_dim)
    for head, rows in enumerate(order):
        evens = head * head_dim + np.arange(0, head_dim, 2)
        np.testing.assert_array_equal(rows, [*evens, *(evens + 1)])


def test_only_llamas_queries_and_keys_are_reordered() -> None:
    name, other = "blk.0.attn_k.weight", "blk.0.attn_v.weight"
    for file, moved in [(LLAMA, True), (QWEN2, False)]:
        weights = GgufWeights(file, decoder_shape(file)).source()
        as_stored = dequantised(file, file.tensors[name])
        served = weights.matrix(name)
        expected = as_stored[halves_from_pairs(len(as_stored), 16)] if moved else as_stored
        np.testing.assert_array_equal(served.values * served.scales, expected)
        value = weights.matrix(other)
        np.testing.assert_array_equal(value.values * value.scales, dequantised(file, file.tensors[other]))


def test_a_reordered_matrix_has_its_bias_reordered_too() -> None:
    name = "blk.0.attn_q.bias"
    stored = dequantised(QWEN2, QWEN2.tensors[name]).ravel()
    as_llama = _with({"general.architecture": "llama"}, QWEN2)
    served = GgufWeights(as_llama, decoder_shape(QWEN2)).source().vector(name)
    np.testing.assert_array_equal(served, stored[halves_from_pairs(len(stored), 16)])


def test_the_shape_is_read_from_the_metadata() -> None:
    shape = decoder_shape(LLAMA)
    assert (shape.n_layers, shape.n_heads, shape.n_kv_heads, shape.head_dim) == (2, 2, 1, 16)
    assert shape.rope_factors == tuple(np.linspace(1, 4, 8).astype(np.float32).tolist())
    assert decoder_shape(QWEN2).rope_factors == ()


def test_linear_rope_scaling_is_taken_over() -> None:
    scaled = _with({"llama.rope.scaling.type": "linear", "llama.rope.scaling.factor": 4.0})
    assert decoder_shape(scaled).rope_scale == 4.0


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"general.architecture": "gemma3"}, "architecture gemma3"),
        ({"llama.expert_count": 8}, "mixtures of experts"),
        ({"llama.rope.dimension_count": 8}, "partial rotary"),
        ({"llama.attention.value_length": 8}, "values of another size"),
        ({"llama.rope.scaling.type": "yarn"}, "rope scaling of type yarn"),
        ({"split.count": 3}, "files in several parts"),
    ],
)
def test_what_the_graph_would_compute_wrongly_is_refused_by_name(changes: dict[str, Value], why: str) -> None:
    with pytest.raises(ModelUnusable, match=why):
        decoder_shape(_with(changes))


def test_a_tensor_that_is_missing_or_of_an_unknown_kind_is_refused_by_name() -> None:
    with pytest.raises(ModelUnusable, match=r"blk\.9\.attn_q\.weight is missing"):
        GgufWeights(LLAMA, decoder_shape(LLAMA)).source().matrix("blk.9.attn_q.weight")
    odd = TensorPlace("odd", (4, 32), 9999, 0)
    with pytest.raises(ModelUnusable, match="odd can't be read"):
        dequantised(LLAMA, odd)
    past_the_end = TensorPlace("late", (4, 32), 0, LLAMA.data.size - 8)
    with pytest.raises(ModelUnusable, match="late can't be read"):
        dequantised(LLAMA, past_the_end)


def test_tensors_that_nobody_asked_for_are_known() -> None:
    weights = GgufWeights(LLAMA, decoder_shape(LLAMA))
    source = weights.source()
    for name in LLAMA.tensors:
        if name not in ("output_norm.weight", "rope_freqs.weight"):
            source.matrix(name) if "norm" not in name else source.optional(name)
    assert weights.unused() == ["output_norm.weight"]
    assert source.optional("blk.0.attn_q.bias") is None
