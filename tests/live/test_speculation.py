"""Speculation on the real model: every bit is plain decoding's, alone, in company and resumed, and texts that repeat
come in fewer passes."""

from collections.abc import Sequence
from dataclasses import replace
from functools import cache, partial
from pathlib import Path

import numpy as np
import pytest
from fake_model import Driver, Told, submit

from lowcloud.engines.local.convert import prepare
from lowcloud.engines.local.frames import Submit
from lowcloud.engines.local.grammar import read_vocabulary
from lowcloud.engines.local.ir_model import read_facts
from lowcloud.engines.local.launch import serving
from lowcloud.engines.local.loop import LoopSettings
from lowcloud.engines.local.paged_model import PagedModel
from lowcloud.engines.local.selftest import Verdict
from lowcloud.engines.local.sequence import Row
from lowcloud.engines.local.spec import WorkerSpec
from lowcloud.settings import load

pytestmark = pytest.mark.live

N_VOCAB = 49152
NUMBERS = 'start: "[" /[0-9]{1,3}/ ("," /[0-9]{1,3}/){8} "]"'


def ids(seed: int, n: int) -> list[int]:
    return [int(i) for i in np.random.default_rng(seed).integers(3, N_VOCAB, n)]


def mixed() -> list[Submit]:
    """Prompts that say something three times, which models go on with, and others; greedy, sampled, bound."""
    requests = []
    for seq in range(8):
        prompt = ids(seq, 21) * 3 + ids(seq, 7) if seq % 4 else ids(seq, 50)
        sampled = {"temperature": 0.5, "top_p": 0.9, "seed": seq} if seq % 2 else {}
        penalised = {"frequency_penalty": 0.1} if seq == 6 else {}
        requests.append(submit(seq, prompt, max_tokens=28, n_logprobs=3, **sampled, **penalised))
    requests[4] = replace(requests[4], grammar=NUMBERS)
    requests[7] = replace(requests[7], grammar=NUMBERS, logit_bias=[[33, 2.0]])
    requests[0] = replace(requests[0], prediction=ids(0, 28))
    return requests


@pytest.fixture(scope="module")
def served(smollm2: Path) -> tuple[WorkerSpec, Verdict]:
    folder = load(None, {}).local.cache_dir
    spec = WorkerSpec("text", str(prepare(smollm2, folder)), str(folder), speculation=True)
    return serving(read_facts(Path(spec.source)), spec)


@pytest.fixture(scope="module")
def spec(served: tuple[WorkerSpec, Verdict]) -> WorkerSpec:
    return served[0]


@pytest.fixture(scope="module")
def verdict(served: tuple[WorkerSpec, Verdict]) -> Verdict:
    verdict = served[1]
    assert verdict.can_draft, verdict.reason
    return verdict


@pytest.fixture(scope="module")
def drafting(spec: WorkerSpec, verdict: Verdict) -> LoopSettings:
    small = replace(spec, max_seqs=16, prefill_tokens=128)
    return LoopSettings.of(small, verdict.pass_tokens, paged=True, can_draft=verdict.can_draft)


class Counting:
    """The model, and how many rows its decode passes had."""

    def __init__(self, model: PagedModel) -> None:
        self._model = model
        self.n_rows: list[int] = []

    def __getattr__(self, name: str) -> object:
        return getattr(self._model, name)

    def forward(self, rows: Sequence[Row]) -> np.ndarray:
        if len(rows[0].tokens) == 1:
            self.n_rows.append(len(rows))
        return self._model.forward(rows)


@pytest.fixture(scope="module")
def model(spec: WorkerSpec) -> PagedModel:
    return PagedModel(read_facts(Path(spec.source)), replace(spec, kv_cache_bytes=128 * 2**20))


@pytest.fixture(scope="module")
def run(model: PagedModel, smollm2: Path):
    vocabulary = cache(partial(read_vocabulary, smollm2, model.n_vocab))

    def together(requests: list[Submit], settings: LoopSettings) -> tuple[dict[int, Told], list[int]]:
        counting = Counting(model)
        driver = Driver(counting, settings, vocabulary=vocabulary)
        for number, request in enumerate(requests):
            driver.loop.submit(request)
            driver.settle()
            for _ in range(number % 3):
                driver.step()
        return driver.finish(), counting.n_rows

    return together


@pytest.fixture(scope="module")
def plain(run, drafting: LoopSettings) -> dict[int, Told]:
    """Each alone, without drafts."""
    without = replace(drafting, can_draft=False)
    return {request.seq: run([request], without)[0][request.seq] for request in mixed()}


def test_each_alone_is_what_plain_decoding_gives_in_fewer_passes(run, drafting, plain):
    """Not only near it: the gap between the candidates is none, since no token departs."""
    saved = {}
    for request in mixed():
        told, n_rows = run([request], drafting)
        assert told[request.seq] == plain[request.seq]
        saved[request.seq] = len(plain[request.seq].tokens) - 1 - len(n_rows)
    assert min(saved.values()) >= 0
    assert sum(n >= 10 for n in saved.values()) >= 2, saved


def test_all_in_company_are_what_they_are_alone_without_drafts(run, drafting, plain):
    assert run(mixed(), drafting)[0] == plain
    assert run(mixed()[::-1], drafting)[0] == plain


def test_resumed_in_the_midst_they_go_on_bit_for_bit(run, drafting, plain):
    """As after a crash: the tokens already sent are forced."""
    sent = {seq: len(whole.tokens) // 2 for seq, whole in plain.items()}
    told, _ = run([replace(each, forced=plain[each.seq].tokens[: sent[each.seq]]) for each in mixed()], drafting)
    for seq, whole in plain.items():
        assert told[seq] == Told(whole.tokens[sent[seq] :], whole.logprobs[sent[seq] :], whole.finish)


def test_a_draft_that_is_wholly_wrong_leaves_no_trace(run, drafting, plain):
    """A prediction of other tokens, followed as long as its credit lasts: each try writes over what comes."""
    wrong = [replace(each, prediction=[7] * 200) for each in mixed()]
    assert run(wrong, drafting)[0] == plain
