"""The converted bundled model is as good as the file it was made from, and computes what its weights say.

The fixtures are made by scripts/record_nll_fixture.py and record_greedy_fixture.py.
"""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import openvino as ov
import pytest

from lowcloud.engines.local.convert import MODEL_FILE
from lowcloud.engines.local.tokenizer import load_text_assets

pytestmark = pytest.mark.live

FIXTURES = Path(__file__).parents[1] / "fixtures"
EXACT = {"INFERENCE_PRECISION_HINT": "f32", "DYNAMIC_QUANTIZATION_GROUP_SIZE": 0, "KV_CACHE_PRECISION": "f32"}
SERVED: dict[str, str | int] = {"KV_CACHE_PRECISION": "bf16"}


class Unpaged:
    """The stateful model of a folder, one sequence."""

    def __init__(self, folder: Path, config: dict[str, str | int]) -> None:
        self._request = ov.Core().compile_model(folder / MODEL_FILE, "CPU", config).create_infer_request()
        self._past = 0

    def restart(self) -> None:
        self._request.reset_state()
        self._past = 0

    def logits(self, ids: list[int]) -> np.ndarray:
        """(len(ids), vocabulary) float32 of tokens that follow those given before."""
        count, total = len(ids), self._past + len(ids)
        inputs = {
            "input_ids": np.array([ids], np.int64),
            "attention_mask": np.ones((1, total), np.int64),
            "position_ids": np.arange(self._past, total)[None],
            "beam_idx": np.zeros(1, np.int32),
        }
        self._past += count
        return np.array(self._request.infer(inputs)[0][0])


@pytest.fixture(scope="module")
def recorded() -> dict[str, np.ndarray]:
    with np.load(FIXTURES / "quality_llama_cpp.npz") as arrays:
        return dict(arrays)


@pytest.fixture(scope="module", params=[EXACT, SERVED], ids=["f32", "served"])
def logprobs(request: pytest.FixtureRequest, converted: Path, recorded: dict[str, np.ndarray]) -> np.ndarray:
    """ln p of every token at every place of the text but the last, (n - 1, vocabulary) float64."""
    logits = Unpaged(converted, request.param).logits(recorded["ids"].tolist())[:-1].astype(np.float64)
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


def test_greedy_answers_are_those_of_torch_on_the_folders_weights(converted: Path) -> None:
    cases = json.loads((FIXTURES / "greedy_torch.json").read_text())
    assert len(cases) == 10
    model = Unpaged(converted, EXACT)
    tokenizer = load_text_assets(converted).tokenizer
    for case in cases:
        assert tokenizer.encode(case["prompt"], specials=True) == case["ids"]
        model.restart()
        chosen: list[int] = []
        feed = case["ids"]
        while len(chosen) < len(case["tokens"]) == 32:
            feed = [int(model.logits(feed)[-1].argmax())]
            chosen += feed
        assert chosen == case["tokens"], case["prompt"]
