"""What serves computes what the weights say, and is as good as the file they were made from.

The fixtures are made by scripts/record_nll_fixture.py and record_greedy_fixture.py.
"""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from fake_model import Driver, submit

from lowcloud.engines.local.blocks import BLOCK, blocks_for
from lowcloud.engines.local.ir_model import read_facts
from lowcloud.engines.local.loop import LoopSettings
from lowcloud.engines.local.paged_model import PagedModel
from lowcloud.engines.local.sequence import Row
from lowcloud.engines.local.spec import WorkerSpec
from lowcloud.engines.local.tokenizer import load_text_assets
from lowcloud.engines.local.unpaged_model import UnpagedModel

pytestmark = pytest.mark.live

FIXTURES = Path(__file__).parents[1] / "fixtures"
FORMS = {"paged": PagedModel, "unpaged": UnpagedModel}


def loaded(form: str, folder: Path, precision: str) -> PagedModel | UnpagedModel:
    """As a worker loads it; ``auto`` has the KV precision of this processor."""
    spec = WorkerSpec("text", str(folder), "", precision=precision, kv_cache_bytes=128 * 2**20)
    return FORMS[form](read_facts(folder), spec)


def stepped(model: UnpagedModel, ids: list[int]) -> np.ndarray:
    """(len(ids), vocabulary) float32: one decode step after the other."""
    return np.array([model.forward([Row([token], place, [], True)])[0].copy() for place, token in enumerate(ids)])


def served(model: PagedModel, ids: list[int]) -> np.ndarray:
    """(len(ids), vocabulary) float32, as answers get them: of decode steps in company, after a prompt of whole blocks.

    Every block of the text is a sequence's answer, and what comes before it is that sequence's prompt.
    """
    n_blocks = blocks_for(len(ids))
    text = list(range(n_blocks))
    for start in range(0, len(ids), 2 * BLOCK):
        model.forward([Row(ids[start : start + 2 * BLOCK], start, text, wants_logits=False)])
    logits = np.empty((len(ids), model.n_vocab), np.float32)
    for step in range(BLOCK):
        places = range(step, len(ids), BLOCK)
        rows = [Row([ids[place]], place, [*text[:block], n_blocks + block], True) for block, place in enumerate(places)]
        logits[places] = model.forward(rows)
    return logits


@pytest.fixture(scope="module")
def recorded() -> dict[str, np.ndarray]:
    with np.load(FIXTURES / "quality_llama_cpp.npz") as arrays:
        return dict(arrays)


@pytest.fixture(scope="module", params=FORMS)
def logprobs(request: pytest.FixtureRequest, converted: Path, recorded: dict[str, np.ndarray]) -> np.ndarray:
    """ln p of every token at every place of the text but the last, (n - 1, vocabulary) float64."""
    model, ids = loaded(request.param, converted, "auto"), recorded["ids"].tolist()[:-1]
    logits = (served(model, ids) if isinstance(model, PagedModel) else stepped(model, ids)).astype(np.float64)
    logits -= logits.max(axis=1, keepdims=True)
    return logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))


def test_the_text_has_the_tokens_that_llama_cpp_was_measured_on(
    converted: Path, recorded: dict[str, np.ndarray]
) -> None:
    text = (FIXTURES / "quality.txt").read_text("utf-8")
    assert load_text_assets(converted).tokenizer.encode(text, specials=False) == recorded["ids"].tolist()


def test_the_mean_nll_is_within_a_hundredth_of_llama_cpps(
    logprobs: np.ndarray, recorded: dict[str, np.ndarray], record_property: Callable[[str, object], None]
) -> None:
    following = recorded["ids"][1:].astype(int)
    ours = -logprobs[np.arange(len(following)), following].mean()
    theirs = -recorded["logprobs"].mean()
    record_property("mean_nll", (ours, theirs))
    assert abs(ours / theirs - 1) < 0.01


def test_the_kl_divergence_from_llama_cpp_is_below_two_hundredths(
    logprobs: np.ndarray, recorded: dict[str, np.ndarray], record_property: Callable[[str, object], None]
) -> None:
    """KL(llama.cpp || ours): whole at six places; at all places with what isn't among the top 128 as one class.

    The second is a lower bound of the whole, by the data processing inequality.
    """
    whole_p = recorded["row_logprobs"].astype(np.float64)
    whole = (np.exp(whole_p) * (whole_p - logprobs[recorded["rows"]])).sum(axis=1)
    top_p = recorded["top_logprobs"].astype(np.float64)
    top_q = np.take_along_axis(logprobs, recorded["top_ids"].astype(int), axis=1)
    rest_p, rest_q = (np.maximum(1 - np.exp(top).sum(axis=1), 1e-6) for top in (top_p, top_q))
    coarse = (np.exp(top_p) * (top_p - top_q)).sum(axis=1) + rest_p * np.log(rest_p / rest_q)
    record_property("kl", (whole.mean(), coarse.mean()))
    assert whole.mean() < 0.02
    assert coarse.mean() < 0.02


@pytest.mark.parametrize("form", FORMS)
def test_greedy_answers_are_those_of_torch_on_the_folders_weights(converted: Path, form: str) -> None:
    """All ten at once where the form can."""
    cases = json.loads((FIXTURES / "greedy_torch.json").read_text())
    assert [len(case["tokens"]) for case in cases] == [32] * 10
    tokenizer = load_text_assets(converted).tokenizer
    settings = LoopSettings.of(WorkerSpec("text", str(converted), ""), paged=form == "paged")
    driver = Driver(loaded(form, converted, "f32"), settings)
    for seq, case in enumerate(cases):
        assert tokenizer.encode(case["prompt"], specials=True) == case["ids"]
        driver.loop.submit(submit(seq, case["ids"], max_tokens=32))
    told = driver.finish()
    for seq, case in enumerate(cases):
        assert told[seq].tokens == case["tokens"], case["prompt"]
