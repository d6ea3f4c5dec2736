"""The weights of a GGUF decoder: which architectures we know, their sizes, and each tensor as int8 or float32.

GenAI's own import rounds the zero points of 4-bit weights and loses quality by it; here every tensor is dequantised
exactly, then rounded once to int8 per output row.
"""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from lowcloud.core.errors import ModelUnusable
from lowcloud.engines.local.gguf_file import GgufFile, TensorPlace
from lowcloud.engines.local.graph import Int8, Shape, Weights

ARCHITECTURES = ("llama", "qwen2", "qwen3")
_PERMUTED = ("llama",)  # llama.cpp rotates neighbouring pairs there, so its files hold the rows of q and k interleaved
_CHUNK_BYTES = 64 * 2**20  # of float32, while a matrix is rounded
_NOT_WEIGHTS = ("rope_freqs.weight",)


def decoder_shape(file: GgufFile) -> Shape:
    """The sizes of the file's decoder. Raises ModelUnusable for one that this graph would compute wrongly."""
    arch = file.architecture
    if arch not in ARCHITECTURES:
        raise ModelUnusable(
            f"{file.path.name}: the architecture {arch} isn't read from GGUF, only {', '.join(ARCHITECTURES)} are. "
            "Use an OpenVINO IR folder of the model."
        )
    n_heads = file.integer(f"{arch}.attention.head_count")
    head_dim = file.integer(f"{arch}.attention.key_length", file.integer(f"{arch}.embedding_length") // n_heads)
    _refuse_if(file, file.integer(f"{arch}.expert_count", 0) > 0, "mixtures of experts")
    _refuse_if(file, file.integer(f"{arch}.rope.dimension_count", head_dim) != head_dim, "partial rotary embeddings")
    _refuse_if(file, file.integer(f"{arch}.attention.value_length", head_dim) != head_dim, "values of another size")
    _refuse_if(file, file.integer("split.count", 1) > 1, "files in several parts")
    scaling = file.text(f"{arch}.rope.scaling.type", "none")
    _refuse_if(file, scaling not in ("none", "linear"), f"rope scaling of type {scaling}")
    factors = file.tensors.get("rope_freqs.weight")
    return Shape(
        n_layers=file.integer(f"{arch}.block_count"),
        n_heads=n_heads,
        n_kv_heads=file.integer(f"{arch}.attention.head_count_kv", n_heads),
        head_dim=head_dim,
        rms_epsilon=file.number(f"{arch}.attention.layer_norm_rms_epsilon"),
        rope_base=file.number(f"{arch}.rope.freq_base", 10000.0),
        rope_scale=file.number(f"{arch}.rope.scaling.factor", 1.0) if scaling == "linear" else 1.0,
        rope_factors=tuple(dequantised(file, factors).ravel().tolist()) if factors else (),
    )


def _refuse_if(file: GgufFile, wrong: bool, what: str) -> None:
    if wrong:
        raise ModelUnusable(f"{file.path.name}: {what} aren't read from GGUF. Use an OpenVINO IR folder of the model.")


class GgufWeights:
    """Serves the graph's weights by name and remembers which were asked for."""

    def __init__(self, file: GgufFile, shape: Shape) -> None:
        self._file, self._shape = file, shape
        self._asked: set[str] = set(_NOT_WEIGHTS)

    def source(self) -> Weights:
        """The functions that ``build_decoder`` calls."""
        return Weights(self._matrix, self._vector, self._optional)

    def unused(self) -> list[str]:
        """Tensors of the file that the graph never asked for: a sign that it isn't this model's graph."""
        return sorted(set(self._file.tensors) - self._asked)

    def _matrix(self, name: str) -> Int8:
        place = self._place(name)
        parts = [quantised(rows) for rows in _row_chunks(self._file, place)]
        values, scales = np.concatenate([p.values for p in parts]), np.concatenate([p.scales for p in parts])
        order = self._row_order(name, len(values))
        return Int8(values, scales) if order is None else Int8(values[order], scales[order])

    def _vector(self, name: str) -> NDArray[np.float32]:
        values = dequantised(self._file, self._place(name)).ravel()
        order = self._row_order(name, len(values))
        return values if order is None else values[order]

    def _optional(self, name: str) -> NDArray[np.float32] | None:
        return self._vector(name) if name in self._file.tensors else None

    def _place(self, name: str) -> TensorPlace:
        self._asked.add(name)
        if name not in self._file.tensors:
            raise ModelUnusable(f"{self._file.path.name}: the tensor {name} is missing.")
        return self._file.tensors[name]

    def _row_order(self, name: str, n_rows: int) -> NDArray[np.int64] | None:
        if self._file.architecture not in _PERMUTED:
            return None
        if not name.endswith(("attn_q.weight", "attn_q.bias", "attn_k.weight", "attn_k.bias")):
            return None
        return halves_from_pairs(n_rows, self._shape.head_dim)


def halves_from_pairs(n_rows: int, head_dim: int) -> NDArray[np.int64]:
    """Row numbers that turn heads of rotary pairs (x0 y0 x1 y1 ...) into heads of halves (x0 x1 ... y0 y1 ...)."""
    return np.arange(n_rows).reshape(-1, head_dim // 2, 2).swapaxes(1, 2).ravel()


def quantised(rows: NDArray[np.float32]) -> Int8:
    """Symmetric int8, one scale a row; a row of zeros, or of numbers too small for a scale, is zeros of scale 1."""
    scales = np.abs(rows).max(axis=1, keepdims=True) / np.float32(127)
    scales = np.where(scales >= np.finfo(np.float32).tiny, scales, np.float32(1))
    return Int8(np.rint(rows / scales).astype(np.int8), scales)


def dequantised(file: GgufFile, place: TensorPlace) -> NDArray[np.float32]:
    """The whole tensor as float32, in its shape."""
    return np.concatenate(list(_row_chunks(file, place))).reshape(place.shape)


def _row_chunks(file: GgufFile, place: TensorPlace) -> Iterator[NDArray[np.float32]]:
    """The tensor's rows, (some, columns) at a time. Raises ModelUnusable for a kind that can't be dequantised."""
    from gguf import GGML_QUANT_SIZES, GGMLQuantizationType  # noqa: PLC0415  (0.4 s, and only conversion needs it)
    from gguf.quants import dequantize  # noqa: PLC0415

    columns = place.shape[-1] if place.shape else 1
    n_rows = int(np.prod(place.shape[:-1], dtype=np.int64)) if place.shape else 1
    try:
        kind = GGMLQuantizationType(place.kind)
        block, size = GGML_QUANT_SIZES[kind]
        row_bytes = columns // block * size
        raw = file.data[place.offset : place.offset + n_rows * row_bytes].reshape(n_rows, row_bytes)
        step = max(1, _CHUNK_BYTES // (4 * columns))
        for start in range(0, n_rows, step):
            rows: NDArray[np.float32] = dequantize(raw[start : start + step], kind)
            yield rows.reshape(-1, columns)
    except (NotImplementedError, ValueError, KeyError) as error:
        raise ModelUnusable(f"{file.path.name}: the tensor {place.name} can't be read; the log says more.") from error
