"""A model with paged attention on OpenVINO's CPU plugin: the only file that knows how that works.

The transformation is private to OpenVINO and its inputs change between releases, so the version is pinned and
``selftest`` compares the result with the unpaged model. A wrong block table is memory corruption there, not an
exception: everything is checked here before every pass.
"""

from collections.abc import Sequence as Items

import numpy as np
import openvino as ov
from numpy.typing import NDArray
from openvino import opset13 as ops
from openvino._offline_transformations import paged_attention_transformation

from lowcloud.engines.local.blocks import BLOCK, SavedBlocks, blocks_for
from lowcloud.engines.local.ir_model import Facts, kv_precision, memory_bytes, runtime_config, vocabulary_matmul
from lowcloud.engines.local.sequence import Row
from lowcloud.engines.local.spec import WorkerSpec

_ROWS = "sampled_tokens_indices"
_CACHES = ("key_cache.", "value_cache.")
_MEMORY_SHARE = 0.1


class PagedModel:
    """Raises RuntimeError when the graph can't be paged or the plugin's cache isn't laid out as expected."""

    def __init__(self, facts: Facts, spec: WorkerSpec) -> None:
        core = ov.Core()
        self.kv = kv_precision(spec, core)
        model = core.read_model(facts.xml)
        paged_attention_transformation(model)
        _gather_rows(model)
        compiled = core.compile_model(model, "CPU", runtime_config(spec, self.kv))
        self._request = compiled.create_infer_request()
        self._ports = {name: port for port in compiled.inputs for name in port.names}
        self._logits = compiled.outputs[0]
        self.n_vocab: int = self._logits.partial_shape[-1].get_length()
        caches = [port for port in compiled.inputs if port.any_name.startswith(_CACHES)]
        self.block_bytes = sum(_block_bytes(port) for port in caches)
        self.n_blocks = pool_blocks(spec, self.block_bytes, facts.context_length, memory_bytes())
        self.context_length = min(facts.context_length, self.n_blocks * BLOCK)
        self._caches = [self._allocate(port) for port in caches]

    def _allocate(self, port: ov.ConstOutput) -> NDArray[np.uint8]:
        """The port's cache as (blocks, bytes): one more than ``n_blocks``, for the row that pads a lone one."""
        shape = [self.n_blocks + 1, *(dimension.get_length() for dimension in list(port.partial_shape)[1:])]
        tensor = ov.Tensor(port.element_type, ov.Shape(shape))  # its memory is committed when it is first written
        self._request.set_tensor(port, tensor)
        data: NDArray[np.uint8] = tensor.data.reshape(shape[0], -1).view(np.uint8)
        return data

    def forward(self, rows: Items[Row]) -> NDArray[np.float32]:
        """Logits (rows that want them, n_vocab), valid until the next call. Raises ValueError for a wrong row."""
        check_rows(rows, self.n_vocab, self.n_blocks, self.context_length)
        n_wanted = sum(row.wants_logits for row in rows)
        if len(rows) == 1 and len(rows[0].tokens) == 1:  # one row alone takes another kernel, with other bits
            rows = [*rows, Row((0,), 0, (self.n_blocks,), wants_logits=False)]
        inputs = _inputs(rows)  # the runtime reads these arrays where they are: they must live until the pass is done
        for name, values in inputs.items():
            self._request.set_tensor(self._ports[name], ov.Tensor(values, shared_memory=True))
        self._request.start_async()
        self._request.wait()  # the GIL is free in here
        logits: NDArray[np.float32] = self._request.get_tensor(self._logits).data
        return logits.reshape(-1, self.n_vocab)[:n_wanted]

    def copy_out(self, blocks: Items[int]) -> SavedBlocks:
        return tuple(cache[list(blocks)] for cache in self._caches)

    def copy_in(self, blocks: Items[int], saved: SavedBlocks) -> None:
        for cache, rows in zip(self._caches, saved, strict=True):
            cache[list(blocks)] = rows


def pool_blocks(spec: WorkerSpec, block_bytes: int, context_length: int, memory: int) -> int:
    """Blocks of the pool: as many as the spec's bytes hold, else a tenth of memory, but two full contexts at least,
    and never more than all sequences could fill. At least 2."""
    if spec.kv_cache_bytes:
        return max(2, spec.kv_cache_bytes // block_bytes)
    of_context = blocks_for(context_length)
    of_memory = int(memory * _MEMORY_SHARE) // block_bytes
    return min(max(of_memory, 2 * of_context), max(2, spec.max_seqs) * of_context)


def check_rows(rows: Items[Row], n_vocab: int, n_blocks: int, context_length: int) -> None:
    """Raise ValueError unless the plugin can follow every id, length and table, and no block is written twice."""
    written: list[int] = []
    before = None
    for row in rows:
        end = row.past + len(row.tokens)
        if not row.tokens or min(row.tokens) < 0 or max(row.tokens) >= n_vocab:
            raise ValueError("a token id is out of the vocabulary")
        if row.past < 0 or end > context_length:
            raise ValueError("a row is out of the context")
        if len(row.blocks) < blocks_for(end):
            raise ValueError("a block table is too short")
        if min(row.blocks) < 0 or max(row.blocks) >= n_blocks:
            raise ValueError("a block is out of the pool")
        first = row.past // BLOCK
        written += row.blocks[blocks_for(row.past) if before and _goes_on(before, row) else first : blocks_for(end)]
        before = row
    if len(set(written)) != len(written):
        raise ValueError("two rows write to one block")


def _goes_on(before: Row, row: Row) -> bool:
    """A draft's row: it stands on the one before it, which is written first."""
    is_single = len(before.tokens) == len(row.tokens) == 1
    return is_single and row.past == before.past + 1 and row.blocks == before.blocks


def _inputs(rows: Items[Row]) -> dict[str, NDArray[np.integer]]:
    """The plugin's inputs: all rows end to end, the tables that belong to them, and the rows to make logits of."""
    lengths = np.fromiter((len(row.tokens) for row in rows), np.int32, len(rows))
    past = np.fromiter((row.past for row in rows), np.int32, len(rows))
    ends = np.cumsum(lengths, dtype=np.int32)
    n_blocks = -(-(past + lengths) // BLOCK)
    tables = [block for row, n in zip(rows, n_blocks, strict=True) for block in row.blocks[:n]]
    wanted = [end - 1 for row, end in zip(rows, ends, strict=True) if row.wants_logits]
    if len(wanted) == 1:
        wanted *= 2  # the vocabulary's product, too, has other bits for one row alone
    return {
        "input_ids": np.array([token for row in rows for token in row.tokens], np.int64),
        "position_ids": np.arange(ends[-1], dtype=np.int64) + np.repeat(past - (ends - lengths), lengths),
        "past_lens": past,
        "subsequence_begins": np.concatenate(([0], ends), dtype=np.int32),
        "block_indices": np.array(tables, np.int32),
        "block_indices_begins": np.concatenate(([0], np.cumsum(n_blocks)), dtype=np.int32),
        "max_context_len": np.array((past + lengths).max(), np.int32),
        _ROWS: np.array(wanted, np.int64),
    }


def _gather_rows(model: ov.Model) -> None:
    """Make logits only of the rows named by a new input: the vocabulary's product is the largest of all."""
    matmul = vocabulary_matmul(model)
    rows = ops.parameter([-1], ov.Type.i64, name=_ROWS)
    rows.output(0).set_names({_ROWS})
    gathered = ops.gather(matmul.input_value(0), rows, ops.constant(0, ov.Type.i64))
    matmul.input(0).replace_source_output(gathered.output(0))
    model.add_parameters([rows])
    model.validate_nodes_and_infer_types()


def _block_bytes(port: ov.ConstOutput) -> int:
    dimensions = [dimension.get_length() for dimension in list(port.partial_shape)[1:]]
    if port.any_name.startswith("value_cache.") and dimensions[1] != BLOCK:
        raise RuntimeError(f"the plugin's KV blocks hold {dimensions[1]} tokens, not {BLOCK}")
    return int(np.prod(dimensions)) * int(port.element_type.size)
