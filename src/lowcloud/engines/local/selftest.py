"""Does paged attention give this model's numbers on this machine? Asked once, before a model serves anyone.

In float32 settings, paged log-probabilities must equal unpaged ones to 1e-3, prompt and decode steps. In the settings
that serve, a prompt computed whole, in pieces, on reused blocks and in passes filled up with others must give the same
bits, so must a swapped-out sequence and a decode row in company, and the distance to the unpaged model must be small
(they rightly differ: other kernels, in bf16). A control, one block replaced by another sequence's, must fail both: a
test that can't fail says nothing. Where passes of the size that the settings ask for depend on their filling, smaller
ones may not: AVX2 kernels give a row other bits in passes of more than 80 rows, so there passes have 64 at most.
Where decode steps of one sequence give other bits in one pass, some of them with wrong tokens, it may not draft: keys
in u8 are scaled by the block, wrong ones with them.

It runs in a process of its own, which native code may end: ``python -m lowcloud.engines.local.selftest SPEC``, SPEC
naming an IR folder. The verdict is kept in the cache folder under the model, the runtime's version, the processor and
the settings.
"""

import gc
import hashlib
import json
import logging
import platform
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from importlib.metadata import version
from itertools import pairwise
from pathlib import Path
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from lowcloud.engines.local.blocks import BLOCK
from lowcloud.engines.local.drafting import MAX_DRAFT
from lowcloud.engines.local.ir_model import Facts, read_facts
from lowcloud.engines.local.sequence import Model, Row
from lowcloud.engines.local.spec import SELFTEST_S, WorkerSpec

SELFTEST_VERSION = 5  # raise it whenever the test would judge otherwise
EXACT = 1e-3
FAR = 0.1
_PROMPT = 3 * BLOCK + 13
_STEPS = 4
_SMALL_PASS = 2 * BLOCK
_FILLERS = 22
"""The first block that no sequence of the test holds."""

F64 = NDArray[np.float64]
Log: TypeAlias = logging.Logger


@dataclass(frozen=True, slots=True)
class Verdict:
    """``reason`` is for people: what failed, or how well it went.

    ``pass_tokens``: the most tokens that a pass may have; None: as many as the settings ask for. ``can_draft``: a draft
    changes no bit of what comes.
    """

    passed: bool
    reason: str
    pass_tokens: int | None = None
    can_draft: bool = False


class MismatchError(Exception):
    """A check failed; the message says which, with the measure."""


def judge(facts: Facts, spec: WorkerSpec, available_bytes: int, log: Log) -> Verdict:
    """The kept verdict, or that of a new test. Without memory for two models nothing is tested, and nothing kept."""
    kept = place(facts, spec)
    if kept.is_file():
        return Verdict(**json.loads(kept.read_text("utf-8")))
    if available_bytes < 3 * facts.xml.with_suffix(".bin").stat().st_size + 2**30:
        return Verdict(True, "not self-tested: too little memory for two models")
    log.info("self-test of paged attention, once for this model")
    asked = replace(spec, source=str(facts.xml.parent)).to_json()
    command = [sys.executable, "-P", "-m", "lowcloud.engines.local.selftest", asked]
    try:
        status = subprocess.run(command, stdin=subprocess.DEVNULL, timeout=SELFTEST_S, check=False).returncode  # noqa: S603
    except subprocess.TimeoutExpired:
        return Verdict(False, "the self-test took too long")
    if kept.is_file():
        return Verdict(**json.loads(kept.read_text("utf-8")))
    return Verdict(False, f"the self-test's process ended with status {status}")


def place(facts: Facts, spec: WorkerSpec) -> Path:
    """Where the verdict is kept: a name made of all that could change it."""
    weights = facts.xml.with_suffix(".bin").stat()
    parts = (
        SELFTEST_VERSION,
        version("openvino"),
        hashlib.sha256(facts.xml.read_bytes()).hexdigest(),
        weights.st_size,
        weights.st_mtime_ns,
        _processor(),
        (spec.precision, spec.kv_precision, spec.threads, spec.prefill_tokens, spec.max_seqs),
    )
    return Path(spec.cache_dir) / "selftest" / f"{hashlib.sha256(repr(parts).encode()).hexdigest()[:32]}.json"


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text("utf-8").splitlines() if info.is_file() else []
    return next((line for line in lines if line.startswith(("flags", "Features"))), platform.processor())


def compare(load: Callable[[WorkerSpec, bool], Model], spec: WorkerSpec) -> Verdict:
    """Judge with models that ``load(spec, paged)`` makes, at most two at a time."""
    exact = replace(spec, precision="f32", kv_precision="f32")
    try:
        nearness = _compare_exact(load(exact, True), load(exact, False))
        gc.collect()
        if spec.precision == "f32":  # what serves is as near as that
            return _passed(f"{nearness:.1g} from unpaged in f32", load(exact, True), spec)
        return _compare_served(load(spec, True), load(spec, False), spec, nearness)
    except MismatchError as failure:
        return Verdict(False, f"self-test failed: {failure}")
    except RuntimeError:  # of the runtime; its text names files of its build machine
        logging.getLogger(__name__).exception("self-test")
        return Verdict(False, "self-test failed: paged attention isn't available for this model here")


def _compare_exact(paged: Model, unpaged: Model) -> float:
    ids = _ids(paged.n_vocab)
    wanted = _log_softmax(_unpaged(unpaged, ids))
    near = _difference(_log_softmax(_whole(paged, ids)), wanted)
    if not near < EXACT:
        raise MismatchError(f"a log-probability is {near:.2g} from the unpaged model's in f32")
    if _difference(_log_softmax(_on_foreign_block(paged, ids)), wanted) < EXACT:
        raise MismatchError("a foreign block makes no difference in f32")
    return near


def _compare_served(paged: Model, unpaged: Model, spec: WorkerSpec, nearness: float) -> Verdict:
    ids = _ids(paged.n_vocab)
    verdict = _passed(f"{nearness:.1g} from unpaged in f32", paged, spec)
    whole = _whole(paged, ids)
    if np.array_equal(whole, _on_foreign_block(paged, ids)):
        raise MismatchError("a foreign block makes no difference")
    distance = _divergence(_log_softmax(_unpaged(unpaged, ids)), _log_softmax(whole))
    if not distance < FAR:
        raise MismatchError(f"the distance to the unpaged model is {distance:.2g}")
    return replace(verdict, reason=f"{verdict.reason}; KL {distance:.1g} as served")


def _passed(how: str, paged: Model, spec: WorkerSpec) -> Verdict:
    """But for what it costs to be independent of company. Raises MismatchError."""
    pass_tokens = _pass_tokens(paged, spec)
    can_draft = _can_draft(paged)
    bound = f", passes of {pass_tokens} tokens at most" if pass_tokens else ""
    without = "" if can_draft else ", no drafts"
    return Verdict(True, f"self-test passed: {how}{bound}{without}", pass_tokens, can_draft)


def _can_draft(paged: Model) -> bool:
    ids = _ids(paged.n_vocab)
    return np.array_equal(_whole(paged, ids, _SMALL_PASS), _drafted(paged, ids))


def _pass_tokens(paged: Model, spec: WorkerSpec) -> int | None:
    """The ``pass_tokens`` of a verdict. Raises MismatchError when small passes too give other bits in other company."""
    ids = _ids(paged.n_vocab)
    try:
        _check_company(paged, ids, spec.prefill_tokens, spec.max_seqs)
    except MismatchError as large:
        try:
            _check_company(paged, ids, _SMALL_PASS, min(spec.max_seqs, _SMALL_PASS))
        except MismatchError:
            raise large from None
        return _SMALL_PASS
    return None


def _check_company(paged: Model, ids: list[int], prefill_tokens: int, max_seqs: int) -> None:
    free = paged.n_blocks - _FILLERS
    prefill_tokens, max_seqs = min(prefill_tokens, free * BLOCK), min(max_seqs, free)
    whole = _whole(paged, ids, prefill_tokens)
    others = {
        "in pieces": _in_pieces(paged, ids),
        "on reused blocks": _on_reused_blocks(paged, ids),
        "swapped out and in": _swapped(paged, ids, prefill_tokens),
        "in company": _in_company(paged, ids, prefill_tokens, max_seqs),
    }
    for name, logits in others.items():
        if not np.array_equal(whole, logits):
            raise MismatchError(f"a prompt gives other numbers {name}")


def _ids(n_vocab: int) -> list[int]:
    """A prompt and the tokens that decode steps add: fixed, and spread over the vocabulary."""
    return [int(i) for i in np.random.default_rng(20).integers(0, n_vocab, _PROMPT + _STEPS)]


def _decode(model: Model, ids: list[int], blocks: list[int], first: NDArray[np.float32]) -> NDArray[np.float32]:
    """Logits after the prompt (given) and after every decode step: (1 + _STEPS, n_vocab)."""
    rows = [first.copy()]
    steps = range(_PROMPT, _PROMPT + _STEPS)
    rows += [model.forward([Row(ids[step : step + 1], step, blocks, True)]).copy() for step in steps]
    return np.concatenate(rows)


def _prompt(model: Model, ids: list[int], blocks: list[int], cuts: list[int]) -> NDArray[np.float32]:
    """Logits after the prompt, which is cut at ``cuts`` into passes of its own."""
    borders = [0, *cuts, _PROMPT]
    for start, end in pairwise(borders):
        logits = model.forward([Row(ids[start:end], start, blocks, wants_logits=end == _PROMPT)])
    return logits.copy()


def _whole(model: Model, ids: list[int], prefill_tokens: int = _PROMPT) -> NDArray[np.float32]:
    """In as few passes as ``prefill_tokens`` allows."""
    blocks = [0, 1, 2, 3]
    cuts = list(range(prefill_tokens, _PROMPT, prefill_tokens))
    return _decode(model, ids, blocks, _prompt(model, ids, blocks, cuts))


def _unpaged(model: Model, ids: list[int]) -> NDArray[np.float32]:
    return _whole(model, ids)


def _in_pieces(model: Model, ids: list[int]) -> NDArray[np.float32]:
    blocks = [7, 5, 6, 4]
    return _decode(model, ids, blocks, _prompt(model, ids, blocks, [BLOCK, 3 * BLOCK]))


def _on_reused_blocks(model: Model, ids: list[int]) -> NDArray[np.float32]:
    """The first two blocks are those that ``_whole`` left."""
    blocks = [0, 1, 9, 8]
    return _decode(model, ids, blocks, model.forward([Row(ids[2 * BLOCK : _PROMPT], 2 * BLOCK, blocks, True)]))


def _swapped(model: Model, ids: list[int], prefill_tokens: int) -> NDArray[np.float32]:
    first = _whole(model, ids, prefill_tokens)[:1]
    model.copy_in([13, 11, 12, 10], model.copy_out([0, 1, 2, 3]))
    return _decode(model, ids, [13, 11, 12, 10], first)


def _in_company(model: Model, ids: list[int], prefill_tokens: int, max_seqs: int) -> NDArray[np.float32]:
    """Every pass of the prompt filled up with others, and so every decode step."""
    other, blocks = [14, 15], [18, 19, 20, 21]
    model.forward([Row(ids[5 : 5 + BLOCK + 3], 0, other, False)])
    piece = max(BLOCK, prefill_tokens // 2 // BLOCK * BLOCK)
    for start in range(0, _PROMPT, piece):
        row = Row(ids[start : min(start + piece, _PROMPT)], start, blocks, True)
        company = _fillers(ids, prefill_tokens - len(row.tokens))
        at = len(company[:1])
        first = model.forward([*company[:at], row, *company[at:]])[at : at + 1].copy()
    rows = [first]
    for place in range(_PROMPT, _PROMPT + _STEPS):
        row = Row(ids[place : place + 1], place, blocks, True)
        beside = Row(ids[:1], BLOCK + 3 + place - _PROMPT, other, True)
        company = [Row(ids[i : i + 1], 0, [_FILLERS + i], True) for i in range(max_seqs - 2)]
        rows.append(model.forward([beside, row, *company])[1:2].copy())
    return np.concatenate(rows)


def _fillers(ids: list[int], n_tokens: int) -> list[Row]:
    """Other prompts, of a block each, of ``n_tokens`` in all, or one less: a row of one token is a decode row."""
    lengths = [BLOCK] * (n_tokens // BLOCK) + [n_tokens % BLOCK]
    return [Row(ids[i : i + n], 0, [_FILLERS + i], True) for i, n in enumerate(lengths) if n > 1]


def _drafted(model: Model, ids: list[int]) -> NDArray[np.float32]:
    """The decode steps in two passes: one behind which wrong tokens stand, then all the others."""
    blocks = [17, 16, 15, 14]
    prompt = _prompt(model, ids, blocks, [_SMALL_PASS])
    wrong = [ids[_PROMPT], *ids[:MAX_DRAFT]]
    first = model.forward(_rows(wrong, _PROMPT, blocks))[:1].copy()
    return np.concatenate([prompt, first, model.forward(_rows(ids[_PROMPT + 1 :], _PROMPT + 1, blocks))])


def _rows(ids: list[int], past: int, blocks: list[int]) -> list[Row]:
    return [Row((token,), past + i, blocks, True) for i, token in enumerate(ids)]


def _on_foreign_block(model: Model, ids: list[int]) -> NDArray[np.float32]:
    """The control: the second block is another sequence's."""
    _whole(model, ids)
    model.forward([Row(ids[::-1][:_PROMPT], 0, [4, 5, 6, 7], False)])
    blocks = [0, 5, 2, 3]
    return _decode(model, ids, blocks, model.forward([Row(ids[3 * BLOCK : _PROMPT], 3 * BLOCK, blocks, True)]))


def _log_softmax(logits: NDArray[np.float32]) -> F64:
    shifted = logits.astype(np.float64) - logits.max(axis=1, keepdims=True)
    result: F64 = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    return result


def _difference(got: F64, wanted: F64) -> float:
    """The greatest difference of a log-probability among the 100 likeliest tokens of every row; NaN stays NaN."""
    top = np.argsort(-wanted, axis=1)[:, :100]
    return float(np.abs(np.take_along_axis(got - wanted, top, axis=1)).max())


def _divergence(wanted: F64, got: F64) -> float:
    """The greatest Kullback-Leibler divergence of a row, in nats."""
    return float((np.exp(wanted) * (wanted - got)).sum(axis=1).max())


def _load(spec: WorkerSpec, paged: bool) -> Model:
    from lowcloud.engines.local.paged_model import PagedModel  # noqa: PLC0415  (the worker must not wait for openvino to read a verdict)
    from lowcloud.engines.local.unpaged_model import UnpagedModel  # noqa: PLC0415

    facts = read_facts(Path(spec.source), 4 * (_PROMPT + _STEPS))
    roomy = replace(spec, kv_cache_bytes=0, max_seqs=max(8, spec.max_seqs))  # memory is committed when it is written
    return PagedModel(facts, roomy) if paged else UnpagedModel(facts, spec)


def main(arguments: list[str]) -> int:
    """Test and keep the verdict."""
    spec = WorkerSpec.from_json(arguments[0])
    facts = read_facts(Path(spec.source))
    verdict = compare(_load, spec)
    kept = place(facts, spec)
    kept.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile("w", dir=kept.parent, delete=False) as part:
        json.dump(asdict(verdict), part)
    Path(part.name).replace(kept)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
