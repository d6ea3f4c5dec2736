"""A reply doesn't depend on its company, on the real model: tokens and log-probabilities, bit for bit."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from fake_model import Driver, Told, submit

from lowcloud.engines.local.convert import prepare
from lowcloud.engines.local.frames import Submit
from lowcloud.engines.local.ir_model import read_facts
from lowcloud.engines.local.launch import serving
from lowcloud.engines.local.loop import LoopSettings
from lowcloud.engines.local.paged_model import PagedModel
from lowcloud.engines.local.selftest import Verdict
from lowcloud.engines.local.spec import WorkerSpec
from lowcloud.settings import load

pytestmark = pytest.mark.live

N_VOCAB = 49152
LENGTHS = [1, 2, 5, 31, 32, 33, 34, 63, 64, 65, 96, 128, 150, 200, 300, 380]


def ids(seed: int, n: int) -> list[int]:
    return [int(i) for i in np.random.default_rng(seed).integers(3, N_VOCAB, n)]


def mixed() -> list[Submit]:
    """16 requests: half greedy, half seeded; every second one begins like the one before it."""
    requests = []
    for seq, n in enumerate(LENGTHS):
        prompt = (ids(seq - 1, LENGTHS[seq - 1])[: n // 2] if seq % 2 else []) + ids(seq, n)
        sampled = {"temperature": 0.9, "top_p": 0.95, "seed": seq - 8} if seq % 3 else {}
        penalised = {"repetition_penalty": 1.2, "frequency_penalty": 0.3} if seq % 4 == 0 else {}
        requests.append(submit(seq, prompt[:n], max_tokens=8 + 2 * seq, n_logprobs=3, **sampled, **penalised))
    return requests


@pytest.fixture(scope="module", params=["auto", "u8"])
def served(request: pytest.FixtureRequest, smollm2: Path) -> tuple[WorkerSpec, Verdict]:
    """Of the folder that servers use, so that they share its self-test."""
    cache = load(None, {}).local.cache_dir
    spec = WorkerSpec("text", str(prepare(smollm2, cache)), str(cache), kv_precision=request.param)
    return serving(read_facts(Path(spec.source)), spec)


@pytest.fixture(scope="module")
def spec(served: tuple[WorkerSpec, Verdict]) -> WorkerSpec:
    return served[0]


@pytest.fixture(scope="module")
def settings(served: tuple[WorkerSpec, Verdict]) -> LoopSettings:
    """As a worker would have them, but for smaller passes and fewer sequences."""
    spec, verdict = served
    if not verdict.passed:
        pytest.skip(f"a worker would not page with these settings on this processor: {verdict.reason}")
    return LoopSettings.of(replace(spec, max_seqs=16, prefill_tokens=128), verdict.pass_tokens, paged=True)


@pytest.fixture(scope="module")
def model(spec: WorkerSpec, settings: LoopSettings) -> PagedModel:
    return PagedModel(read_facts(Path(spec.source)), replace(spec, kv_cache_bytes=256 * 2**20))


@pytest.fixture(scope="module")
def run(model: PagedModel, settings: LoopSettings) -> Callable[[Submit], Told]:
    """A request in a loop of its own, with a cold cache."""

    def alone(request: Submit) -> Told:
        driver = Driver(model, settings)
        driver.loop.submit(request)
        return driver.finish()[request.seq]

    return alone


@pytest.fixture(scope="module")
def alone(run: Callable[[Submit], Told]) -> dict[int, Told]:
    return {request.seq: run(request) for request in mixed()}


def staggered(driver: Driver, requests: list[Submit]) -> dict[int, Told]:
    """One more request every second step."""
    for number, request in enumerate(requests):
        driver.loop.submit(request)
        for _ in range(number % 3):
            driver.step()
    return driver.finish()


def test_sixteen_mixed_requests_are_what_they_are_alone_cold_and_warm(model, alone, settings):
    driver = Driver(model, settings)
    assert staggered(driver, mixed()) == alone
    cold = len(driver.news)
    driver.told.clear()
    assert staggered(driver, mixed()[::-1]) == alone
    cached = {accepted.seq: accepted.cached for accepted in driver.news[cold:]}
    assert cached[15] == 352 and cached[0] == 0


CROWD = [replace(request, max_tokens=44) for request in mixed()[6:14]]


@pytest.fixture(scope="module")
def small(spec: WorkerSpec, model: PagedModel) -> PagedModel:
    """24 blocks hold 768 tokens, and CROWD needs more."""
    small = PagedModel(read_facts(Path(spec.source)), replace(spec, kv_cache_bytes=24 * model.block_bytes))
    assert small.n_blocks == 24
    return small


@pytest.fixture(scope="module")
def crowd_alone(run: Callable[[Submit], Told]) -> dict[int, Told]:
    return {request.seq: run(request) for request in CROWD}


@pytest.mark.parametrize("has_swap", [True, False], ids=["swapped out and back", "started again"])
def test_a_sequence_that_gives_way_is_what_it_is_alone(small, crowd_alone, settings, has_swap):
    """Without swap space it starts again."""
    driver = Driver(small, settings if has_swap else replace(settings, swap_bytes=0))
    for request in CROWD:
        driver.loop.submit(request)
    told = driver.finish()
    assert (driver.swapped >= 1) is has_swap and driver.stats[5] >= 1
    assert told == crowd_alone


def test_three_turns_of_a_chat_are_the_same_warm_and_cold(model, run, settings):
    driver = Driver(model, settings)
    turns: list[tuple[Submit, Told]] = []
    prompt: list[int] = []
    for turn in range(3):
        prompt = prompt + ids(100 + turn, 45)
        request = submit(turn, prompt, max_tokens=40, n_logprobs=2, temperature=0.7, seed=turn)
        driver.loop.submit(request)
        turns.append((request, driver.finish()[turn]))
        prompt = prompt + turns[-1][1].tokens
    assert [accepted.cached for accepted in driver.news] == [0, 32, 128]
    assert [run(request) for request, _ in turns] == [warm for _, warm in turns]


def test_choices_are_what_they_are_alone(model, run, settings):
    requests = [submit(k, ids(7, 100), choice=k, temperature=1.0, seed=3, n_logprobs=0) for k in range(4)]
    driver = Driver(model, settings)
    for request in requests:
        driver.loop.submit(request)
    told = driver.finish()
    assert told == {request.seq: run(request) for request in requests}
    assert len({tuple(one.tokens) for one in told.values()}) == 4


@pytest.mark.parametrize("seq", [0, 5, 9, 14])
def test_a_resumed_sequence_goes_on_bit_for_bit_in_company(model, alone, seq, settings):
    """As after a crash: the prompt is prefilled, the tokens already sent are forced through decode steps."""
    whole, request = alone[seq], mixed()[seq]
    sent = len(whole.tokens) // 2
    driver = Driver(model, settings)
    driver.loop.submit(submit(99, ids(99, 70), max_tokens=30))
    driver.loop.submit(replace(request, forced=whole.tokens[:sent]))
    told = driver.finish()[seq]
    assert told == Told(whole.tokens[sent:], whole.logprobs[sent:], whole.finish)


def test_a_cancel_returns_the_blocks_and_the_others_go_on(model, alone, settings):
    driver = Driver(model, settings)
    for request in mixed()[8:]:
        driver.loop.submit(request)
    driver.step()
    while driver.stats[1] < 8:
        driver.step()
    used = driver.stats[2]
    driver.loop.cancel(8)
    driver.loop.cancel(15)
    driver.step()
    assert driver.stats[2] < used
    told = driver.finish()
    assert driver.stats[:3] == [0, 0, 0]
    assert {seq: told[seq] for seq in range(9, 15)} == {seq: alone[seq] for seq in range(9, 15)}
