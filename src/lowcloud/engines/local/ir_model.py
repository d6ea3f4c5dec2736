"""What both forms of a model, paged and unpaged, share: its facts, the runtime's settings, the end of its graph."""

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias

import openvino as ov

from lowcloud.core.errors import ModelUnusable
from lowcloud.engines.local.spec import WorkerSpec
from lowcloud.models.files import folder_context

MODEL_FILE = "openvino_model.xml"
Kv: TypeAlias = Literal["bf16", "f32", "u8"]


@dataclass(frozen=True, slots=True)
class Facts:
    """``weights`` is a short name; ``context_length`` in tokens."""

    xml: Path
    weights: str
    context_length: int


def read_facts(folder: Path, context_length: int = 0) -> Facts:
    """What the folder's files say; a ``context_length`` above 0 makes the context smaller, never longer.

    Raises ModelUnusable when files are missing.
    """
    own, config = folder / "lowcloud.json", folder / "config.json"
    if not (folder / MODEL_FILE).is_file():
        raise ModelUnusable(f"{folder.name} holds no {MODEL_FILE}")
    if own.is_file():
        weights = str(json.loads(own.read_text("utf-8"))["weights"])
    elif config.is_file():
        weights = folder.name
    else:
        raise ModelUnusable(f"{folder.name} holds no config.json")
    limit = folder_context(folder)
    if limit is None:
        raise ModelUnusable(f"{folder.name}: config.json names no max_position_embeddings")
    return Facts(folder / MODEL_FILE, weights, min(limit, context_length or limit))


def kv_precision(spec: WorkerSpec, core: ov.Core) -> Kv:
    """The spec's; for auto, bf16 where the processor computes in it, else f32. Exact settings always have f32.

    Raises ModelUnusable for bf16 on a processor without it: its kernels don't read such a cache.
    """
    if spec.precision == "f32":
        return "f32"
    has_bf16 = "BF16" in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    if spec.kv_precision == "bf16" and not has_bf16:
        raise ModelUnusable("kv_precision bf16 needs a processor with BF16; use auto, f32 or u8")
    if spec.kv_precision == "auto":
        return "bf16" if has_bf16 else "f32"
    return spec.kv_precision


def runtime_config(spec: WorkerSpec, kv: Kv) -> dict[str, str]:
    """The runtime's properties. ``precision`` f32 gives a plain float32 model's numbers: no bf16, no int8 activations.

    A float32 cache is only read by float32 kernels.
    """
    config: dict[str, str] = {"KV_CACHE_PRECISION": kv}
    if spec.threads:
        config["INFERENCE_NUM_THREADS"] = str(spec.threads)
    if kv == "f32" or spec.precision == "f32":
        config["INFERENCE_PRECISION_HINT"] = "f32"
    if spec.precision == "f32":
        config["DYNAMIC_QUANTIZATION_GROUP_SIZE"] = "0"
    return config


def vocabulary_matmul(model: ov.Model) -> ov.Node:
    """The product that makes logits of hidden states: the last one before the result."""
    node = model.output(0).get_node().input_value(0).get_node()
    while node.get_type_name() != "MatMul":  # a conversion, or the soft cap of some models, may stand between
        node = node.input_value(0).get_node()
    return node


def memory_bytes() -> int:
    """The machine's memory, or the control group's limit where that is less."""
    total = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    limit = Path("/sys/fs/cgroup/memory.max")
    text = limit.read_text("ascii").strip() if limit.is_file() else "max"
    return total if text == "max" else min(total, int(text))


def available_bytes() -> int:
    """Memory that can be had now, by the system's own estimate."""
    info = Path("/proc/meminfo")
    lines = info.read_text("ascii").splitlines() if info.is_file() else []
    free = [int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:")]
    return min([*free, memory_bytes()])
