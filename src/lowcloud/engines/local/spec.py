"""What a worker process is started with: one JSON argument."""

import json
from dataclasses import asdict, dataclass
from typing import Literal, TypeAlias

CONVERT_S = 3600.0
"""What converting a model may take, once."""
SELFTEST_S = 1800.0
"""What its self-test may take, once."""
LOAD_S = CONVERT_S + SELFTEST_S + 900.0
"""What a worker may take until it is ready, both of them included."""

KvPrecision: TypeAlias = Literal["auto", "bf16", "f32", "u8"]


@dataclass(frozen=True, slots=True)
class WorkerSpec:
    """``source`` is an OpenVINO IR folder (of a ``vision`` model one of several IRs), a GGUF file (converted once into
    ``cache_dir``) or an encoder's folder.

    ``kv_cache_bytes`` 0: a tenth of memory, at least two full contexts. ``swap_bytes`` bounds swapped-out blocks.
    ``kv_precision`` auto: bf16 where the CPU reports BF16 and passes the self-test with it, else f32. ``paged`` never:
    the unpaged model, one sequence at a time. ``threads`` 0: the runtime's choice. ``precision`` f32: exact settings,
    for tests against references.
    ``context_length`` 0: the model's own; else a smaller one. ``prefill_tokens``: prompt tokens a step, a multiple of
    32. ``speculation``: sequences draft from their own text; else only those with a prediction do. ``encode_tokens``:
    token budget of an encoder's batch, ``encode_wait_s``: how long its oldest input waits for company.
    """

    kind: Literal["text", "vision", "embedding"]
    source: str
    cache_dir: str
    kv_cache_bytes: int = 0
    swap_bytes: int = 2**30
    kv_precision: KvPrecision = "auto"
    paged: Literal["auto", "never"] = "auto"
    precision: Literal["auto", "f32"] = "auto"
    threads: int = 0
    max_seqs: int = 64
    prefill_tokens: int = 256
    context_length: int = 0
    prefix_cache: bool = True
    speculation: bool = False
    encode_tokens: int = 2048
    encode_wait_s: float = 0.002

    def to_json(self) -> str:
        """The argument that starts the worker."""
        return json.dumps(asdict(self))

    @staticmethod
    def from_json(text: str) -> "WorkerSpec":
        """The spec of a worker's argument."""
        return WorkerSpec(**json.loads(text))
