"""From a spec to a loaded model: which form of it serves, paged or not, and what the server is told about it."""

import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path

import openvino as ov

from lowcloud.engines.local import selftest
from lowcloud.engines.local.convert import prepare
from lowcloud.engines.local.frames import Ready
from lowcloud.engines.local.ir_model import Facts, Kv, available_bytes, kv_precision, read_facts
from lowcloud.engines.local.loop import LoopSettings
from lowcloud.engines.local.paged_model import PagedModel
from lowcloud.engines.local.selftest import Verdict
from lowcloud.engines.local.sequence import Model
from lowcloud.engines.local.spec import WorkerSpec
from lowcloud.engines.local.unpaged_model import UnpagedModel

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Launched:
    """A model that is ready, and the loop settings that fit its form."""

    model: Model
    settings: LoopSettings
    ready: Ready


def launch(spec: WorkerSpec) -> Launched:
    """Convert if need be, self-test if it wasn't, load. Blocking: seconds, minutes at the first time.

    Raises ModelUnusable for files that can't be served.
    """
    facts = read_facts(prepare(Path(spec.source), Path(spec.cache_dir)), spec.context_length)
    spec, verdict = serving(facts, spec)
    paged = _paged(facts, spec) if verdict.passed else None
    if paged is not None:
        settings = LoopSettings.of(spec, verdict.pass_tokens, paged=True, can_draft=verdict.can_draft)
        note = f"paged attention, KV cache {paged.kv}, {paged.n_blocks} blocks; {verdict.reason}"
        return _launched(paged, facts, settings, spec, note)
    why = "paged attention could not be loaded" if verdict.passed else verdict.reason
    note = f"unpaged, one sequence at a time: {why}"
    return _launched(UnpagedModel(facts, spec), facts, LoopSettings.of(spec, paged=False), spec, note)


def serving(facts: Facts, spec: WorkerSpec) -> tuple[WorkerSpec, Verdict]:
    """The settings that serve the model here, and what the self-test says of them. Blocking, seconds at the first time.

    Raises ModelUnusable.
    """
    kv = kv_precision(spec, ov.Core())
    return judged(spec, kv, lambda spec: selftest.judge(facts, spec, available_bytes(), log))


def judged(spec: WorkerSpec, kv: Kv, judge: Callable[[WorkerSpec], Verdict]) -> tuple[WorkerSpec, Verdict]:
    """The settings that serve, and what is said of them. ``kv`` is how the spec's KV cache would be kept here.

    Where nobody asked for that and the self-test fails, f32 is tried: with AMX a row in bf16 has other bits beside four
    more.
    """
    if spec.paged == "never":
        return spec, Verdict(False, "as the settings ask")
    verdict = judge(spec)
    if verdict.passed or spec.kv_precision != "auto" or kv == "f32":
        return spec, verdict
    in_f32 = replace(spec, kv_precision="f32")
    second = judge(in_f32)
    return (in_f32, second) if second.passed else (spec, verdict)


def _paged(facts: Facts, spec: WorkerSpec) -> PagedModel | None:
    try:
        return PagedModel(facts, spec)
    except RuntimeError:  # the runtime's, of a transformation or a kernel that this processor or model has not
        log.exception("paged attention could not be loaded")
        return None


def _launched(
    model: PagedModel | UnpagedModel, facts: Facts, settings: LoopSettings, spec: WorkerSpec, note: str
) -> Launched:
    is_paged = isinstance(model, PagedModel)
    form = "paged" if is_paged else "unpaged"
    exact = "-f32" if spec.precision == "f32" else ""
    weights = f"{facts.weights}{exact}-kv.{model.kv}-{form}-openvino{version('openvino').split('-', maxsplit=1)[0]}"
    ready = Ready(weights, is_paged, model.n_vocab, model.context_length, model.n_blocks if is_paged else 0, note)
    return Launched(model, settings, ready)
