"""The self-test passes an honest model, names what a broken one does wrong, and is run once."""

import json
import logging
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
from fake_model import FakeModel

from lowcloud.engines.local import selftest
from lowcloud.engines.local.blocks import BLOCK
from lowcloud.engines.local.ir_model import Facts
from lowcloud.engines.local.selftest import Verdict, compare, judge
from lowcloud.engines.local.sequence import Row
from lowcloud.engines.local.spec import WorkerSpec

SPEC = WorkerSpec("text", "m", "c")
LOG = logging.getLogger("test")
PLENTY = 2**40


class Altered(FakeModel):
    """An honest model but for one thing that ``alter(rows, logits)`` does to its logits."""

    def __init__(self, alter: Callable[[list[Row], np.ndarray], np.ndarray]) -> None:
        super().__init__(128)
        self._alter = alter

    def forward(self, rows):
        return self._alter(rows, super().forward(rows))


class Forgetful(FakeModel):
    """Sees only the row's own tokens, so no block matters."""

    def _logits(self, row):
        rng = np.random.default_rng(row.tokens[-1])
        return rng.normal(size=self.n_vocab).astype(np.float32)


class LosesSwapped(FakeModel):
    """Brings other blocks back than it took out."""

    def copy_in(self, blocks, saved):
        super().copy_in(blocks, tuple(np.zeros_like(part) for part in saved))


class ScalesByTheBlock(FakeModel):
    """A wrong token that is written over leaves a trace."""

    def _write(self, row):
        before, (block, place) = self._cache.copy(), (row.blocks[row.past // BLOCK], row.past % BLOCK)
        super()._write(row)
        was, now = before[block, place], self._cache[block, place]
        if len(row.tokens) == 1 and was % 2 == 1 and was not in (now, -1):
            self._cache[block, place] += 1000 * self.n_vocab


def verdict(paged: Callable[[WorkerSpec], FakeModel], spec: WorkerSpec = SPEC) -> Verdict:
    return compare(lambda asked, is_paged: paged(asked) if is_paged else FakeModel(128), spec)


def shifted(amount, *, when=bool):
    """Adds to one logit in some passes."""

    def alter(rows, logits):
        if when(rows) and len(logits):
            logits[:, logits[0].argmax()] += amount
        return logits

    return lambda _: Altered(alter)


def test_an_honest_model_passes():
    told = verdict(lambda _: FakeModel(128))
    assert told.passed and "passed" in told.reason


def test_where_a_wrong_draft_leaves_a_trace_none_is_made():
    assert verdict(lambda _: FakeModel(128)).can_draft
    told = verdict(lambda _: ScalesByTheBlock(128))
    assert (told.passed, told.can_draft) == (True, False)
    assert "no drafts" in told.reason


def test_what_is_not_tested_does_not_draft():
    assert not Verdict(True, "").can_draft


def test_a_model_whose_large_passes_depend_on_their_filling_gets_small_ones():
    def n_tokens(rows):
        return sum(len(row.tokens) for row in rows)

    assert verdict(lambda _: FakeModel(128)).pass_tokens is None
    told = verdict(shifted(1e-4, when=lambda rows: n_tokens(rows) > 80))
    assert (told.passed, told.pass_tokens) == (True, 64)
    assert "passes of 64 tokens at most" in told.reason
    told = verdict(shifted(1e-4, when=lambda rows: n_tokens(rows) > 60))
    assert not told.passed


def test_decode_passes_are_tested_as_full_as_they_may_be():
    told = verdict(shifted(1e-4, when=lambda rows: len(rows) > 90), replace(SPEC, max_seqs=100))
    assert (told.passed, told.pass_tokens) == (True, 64)
    assert verdict(shifted(1e-4, when=lambda rows: len(rows) == 50), replace(SPEC, max_seqs=50)).passed is False


def test_exact_settings_promise_invariance_too():
    exact = replace(SPEC, precision="f32")
    assert verdict(lambda _: FakeModel(128), exact) == Verdict(
        True, "self-test passed: 0 from unpaged in f32", can_draft=True
    )
    large = verdict(shifted(1e-4, when=lambda rows: sum(len(row.tokens) for row in rows) > 80), exact)
    assert (large.passed, large.pass_tokens) == (True, 64)
    assert "passes of 64 tokens at most" in large.reason
    company = verdict(shifted(1e-4, when=lambda rows: len(rows) > 1), exact)
    assert not company.passed and "in company" in company.reason


@pytest.mark.parametrize(
    ("paged", "reason"),
    [
        (shifted(0.01), "from the unpaged model's in f32"),
        (shifted(float("nan")), "from the unpaged model's in f32"),
        (shifted(0.01, when=lambda rows: len(rows[0].tokens) == 1), "from the unpaged model's in f32"),
        (shifted(1e-4, when=lambda rows: 1 < len(rows[0].tokens) < 20), "in pieces"),
        (shifted(1e-4, when=lambda rows: 20 < len(rows[0].tokens) < 100), "on reused blocks"),
        (shifted(1e-4, when=lambda rows: len(rows) > 1), "in company"),
        (lambda _: LosesSwapped(128), "swapped out"),
        (lambda spec: Altered(lambda _, logits: logits * (1 if spec.precision == "f32" else 1.3)), "distance"),
    ],
)
def test_a_model_that_errs_fails_by_name(paged, reason):
    told = verdict(paged)
    assert not told.passed and reason in told.reason


def test_a_test_that_could_not_fail_fails():
    """The control: a block of another sequence must change the numbers."""
    told = compare(lambda *_: Forgetful(128), SPEC)
    assert told == Verdict(False, "self-test failed: a foreign block makes no difference in f32")
    told = compare(lambda spec, _: FakeModel(128) if spec.precision == "f32" else Forgetful(128), SPEC)
    assert told == Verdict(False, "self-test failed: a foreign block makes no difference")


def test_a_model_that_can_not_be_paged_fails_without_the_runtimes_words():
    def load(spec, is_paged):
        raise RuntimeError("Check failed at /home/someone/x.cpp")

    told = compare(load, SPEC)
    assert not told.passed and "/" not in told.reason


@pytest.fixture
def facts(tmp_path: Path) -> Facts:
    (tmp_path / "openvino_model.xml").write_text("<net/>")
    (tmp_path / "openvino_model.bin").write_bytes(b"123")
    (tmp_path / "lowcloud.json").write_text('{"context_length": 99, "weights": "w"}')
    return Facts(tmp_path / "openvino_model.xml", "w", 99)


def keep(facts: Facts, spec: WorkerSpec, told: Verdict) -> None:
    place = selftest.place(facts, spec)
    place.parent.mkdir(parents=True)
    place.write_text(json.dumps(asdict(told)))


def test_a_kept_verdict_is_not_asked_again(facts, tmp_path):
    spec = replace(SPEC, cache_dir=str(tmp_path / "cache"))
    keep(facts, spec, Verdict(False, "once"))
    assert judge(facts, spec, PLENTY, LOG) == Verdict(False, "once")


def test_other_weights_or_settings_have_another_verdict(facts, tmp_path):
    spec = replace(SPEC, cache_dir=str(tmp_path / "cache"))
    first = selftest.place(facts, spec)
    assert selftest.place(facts, spec) == first
    assert selftest.place(facts, replace(spec, kv_precision="u8")) != first
    assert selftest.place(facts, replace(spec, precision="f32")) != first
    assert selftest.place(facts, replace(spec, prefill_tokens=64)) != first
    assert selftest.place(facts, replace(spec, max_seqs=3)) != first
    assert selftest.place(facts, replace(spec, swap_bytes=3)) == first
    facts.xml.with_suffix(".bin").write_bytes(b"1234")
    assert selftest.place(facts, spec) != first


def test_without_memory_for_two_models_nothing_is_tested_and_nothing_kept(facts, tmp_path):
    spec = replace(SPEC, cache_dir=str(tmp_path / "cache"))
    told = judge(facts, spec, 2**29, LOG)
    assert told.passed and "not self-tested" in told.reason
    assert not selftest.place(facts, spec).exists()


def test_a_test_whose_process_dies_fails_and_is_not_kept(facts, tmp_path):
    """The folder's graph is nonsense, so the process ends with a traceback; native code may end it the same way."""
    spec = replace(SPEC, cache_dir=str(tmp_path / "cache"))
    facts.xml.with_name("lowcloud.json").unlink()
    told = judge(facts, spec, PLENTY, LOG)
    assert told == Verdict(False, "the self-test's process ended with status 1")
    assert not selftest.place(facts, spec).exists()


def test_a_test_of_a_graph_that_can_not_be_read_is_kept_as_failed(facts, tmp_path):
    spec = replace(SPEC, cache_dir=str(tmp_path / "cache"))
    told = judge(facts, spec, PLENTY, LOG)
    assert not told.passed and selftest.place(facts, spec).exists()
