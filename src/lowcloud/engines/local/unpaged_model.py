"""A model without paged attention: the stateful IR as it is, one sequence at a time, the cache inside the runtime.

The fallback where paged attention isn't available or fails the self-test, and that test's reference.
"""

from collections.abc import Sequence as Items

import numpy as np
import openvino as ov
from numpy.typing import NDArray
from openvino import opset13 as ops

from lowcloud.engines.local.blocks import SavedBlocks, blocks_for
from lowcloud.engines.local.ir_model import Facts, kv_precision, runtime_config, vocabulary_matmul
from lowcloud.engines.local.sequence import Row
from lowcloud.engines.local.spec import WorkerSpec


class UnpagedModel:
    """Its blocks only count tokens: enough for one full context."""

    block_bytes = 1

    def __init__(self, facts: Facts, spec: WorkerSpec) -> None:
        core = ov.Core()
        model = core.read_model(facts.xml)
        _keep_last_row(model)
        self.kv = kv_precision(spec, core)
        compiled = core.compile_model(model, "CPU", runtime_config(spec, self.kv))
        self._request = compiled.create_infer_request()
        self._logits = compiled.outputs[0]
        self._inputs = {name for port in compiled.inputs for name in port.names}
        self.n_vocab: int = self._logits.partial_shape[-1].get_length()
        self.context_length = facts.context_length
        self.n_blocks = blocks_for(facts.context_length)
        self._past = 0

    def forward(self, rows: Items[Row]) -> NDArray[np.float32]:
        """Logits (1 or 0, n_vocab). Raises ValueError for a row that doesn't go on where the last one ended."""
        (row,) = rows
        if row.past == 0:
            self._request.reset_state()
        elif row.past != self._past:
            raise ValueError("the row doesn't go on where the last one ended")
        end = row.past + len(row.tokens)
        if end > self.context_length or min(row.tokens) < 0 or max(row.tokens) >= self.n_vocab:
            raise ValueError("a row is out of the context or the vocabulary")
        values = {
            "input_ids": np.array([row.tokens], np.int64),
            "attention_mask": np.ones((1, end), np.int64),
            "position_ids": np.arange(row.past, end, dtype=np.int64)[None],
            "beam_idx": np.zeros(1, np.int32),
        }
        for name in self._inputs & values.keys():
            self._request.set_tensor(name, ov.Tensor(values[name], shared_memory=True))
        self._request.start_async()
        self._request.wait()
        self._past = end
        logits: NDArray[np.float32] = self._request.get_tensor(self._logits).data
        return logits.reshape(-1, self.n_vocab)[: int(row.wants_logits)]

    def copy_out(self, blocks: Items[int]) -> SavedBlocks:
        """Never called: the only sequence has all blocks."""
        raise NotImplementedError("one sequence needs no swap")

    def copy_in(self, blocks: Items[int], saved: SavedBlocks) -> None:
        """Never called, like ``copy_out``."""
        raise NotImplementedError("one sequence needs no swap")


def _keep_last_row(model: ov.Model) -> None:
    matmul = vocabulary_matmul(model)
    last = ops.gather(matmul.input_value(0), ops.constant([-1], ov.Type.i64), ops.constant(1, ov.Type.i64))
    matmul.input(0).replace_source_output(last.output(0))
    model.validate_nodes_and_infer_types()
