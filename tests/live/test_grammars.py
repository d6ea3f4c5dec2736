"""Grammars on the real model: whole JSON, the same alone, in company, and after the worker's death, bit for bit."""

import json
import os
import signal
from collections.abc import Callable
from contextlib import aclosing
from dataclasses import replace
from datetime import UTC, datetime
from functools import cache, partial
from pathlib import Path

import anyio
import jsonschema
import numpy as np
import pytest
from fake_model import Driver, Told, submit

from lowcloud.core.events import Finished, TextDelta, Usage
from lowcloud.core.messages import Message, Messages
from lowcloud.core.requests import Generate, Sampling
from lowcloud.engines.local.convert import prepare
from lowcloud.engines.local.engine import LocalEngine, Surroundings
from lowcloud.engines.local.frames import Submit
from lowcloud.engines.local.grammar import read_vocabulary
from lowcloud.engines.local.ir_model import read_facts
from lowcloud.engines.local.launch import serving
from lowcloud.engines.local.loop import LoopSettings
from lowcloud.engines.local.paged_model import PagedModel
from lowcloud.engines.local.process import WorkerProcess
from lowcloud.engines.local.spec import WorkerSpec
from lowcloud.engines.local.tokenizer import TextAssets, load_text_assets
from lowcloud.models.card import Card
from lowcloud.settings import load

pytestmark = pytest.mark.live

HOME = {
    "type": "object",
    "properties": {
        "city": {"type": "string", "maxLength": 12},
        "zip": {"type": "string", "pattern": "^[0-9]{5}$"},
    },
    "required": ["city", "zip"],
    "additionalProperties": False,
}
PERSON = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "maxLength": 20},
        "age": {"type": "integer", "minimum": 0, "maximum": 150},
        "kind": {"enum": ["adult", "child", "größer"]},
        "friends": {"type": "array", "items": {"type": "string", "maxLength": 10}, "maxItems": 2},
        "home": HOME,
    },
    "required": ["name", "age", "kind", "friends", "home"],
    "additionalProperties": False,
}  # fmt: skip
OPTIONS = {"whitespace_flexible": False, "item_separator": ", ", "key_separator": ": "}
PERSON_GRAMMAR = f"start: %json {json.dumps({**PERSON, 'x-guidance': OPTIONS})}"
GRAMMARS = [
    PERSON_GRAMMAR,
    "start: /[a-z ]{20,90}/",
    'start: "yes" | "no"',
    'start: /[A-Z]/ TEXT "."\nTEXT: /[^.]*/',
    "",
]


@pytest.fixture(scope="module")
def assets(smollm2: Path) -> TextAssets:
    return load_text_assets(smollm2)


@pytest.fixture(scope="module")
def spec(smollm2: Path) -> WorkerSpec:
    """Of the folder that servers use, so that they share its self-test."""
    folder = load(None, {}).local.cache_dir
    return WorkerSpec("text", str(prepare(smollm2, folder)), str(folder))


@pytest.fixture(scope="module")
def driver(spec: WorkerSpec) -> Callable[[], Driver]:
    """New loops, each with a cold cache, on one model; as a worker would have them, but for smaller passes."""
    facts = read_facts(Path(spec.source))
    spec, verdict = serving(facts, spec)
    if not verdict.passed:
        pytest.skip(f"a worker would not page with these settings on this processor: {verdict.reason}")
    settings = LoopSettings.of(replace(spec, max_seqs=16, prefill_tokens=128), verdict.pass_tokens, paged=True)
    model = PagedModel(facts, replace(spec, kv_cache_bytes=256 * 2**20))
    vocabulary = cache(partial(read_vocabulary, Path(spec.source), model.n_vocab))
    return lambda: Driver(model, settings, vocabulary=vocabulary)


@pytest.fixture(scope="module")
def alone(driver: Callable[[], Driver]) -> Callable[[Submit], Told]:
    def run(request: Submit) -> Told:
        one = driver()
        one.loop.submit(request)
        return one.finish()[request.seq]

    return run


@pytest.fixture(scope="module")
def mixed(assets: TextAssets) -> list[Submit]:
    """Ten requests, four of five bounded by a grammar; greedy and sampled, with log-probabilities or without."""
    numbers = np.random.default_rng(5)
    requests = []
    for seq in range(10):
        prompt = [int(token) for token in numbers.integers(3, 49152, int(numbers.integers(2, 200)))]
        sampled = {"temperature": 1.0, "top_p": 0.95, "seed": seq} if seq % 2 else {}
        penalised = {"frequency_penalty": 0.5, "repetition_penalty": 1.1} if seq % 4 == 0 else {}
        requests.append(
            submit(seq, prompt, max_tokens=15 + 4 * seq, grammar=GRAMMARS[seq % len(GRAMMARS)], stop_ids=[0, 2],
                   n_logprobs=(-1, 3, 20)[seq % 3], **sampled, **penalised)
        )  # fmt: skip
    return requests


def text_of(told: Told, assets: TextAssets) -> str:
    return b"".join(assets.tokenizer.token_bytes(token) for token in told.tokens).decode()


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_a_schema_yields_whole_json_of_it(driver, assets, temperature):
    prompt = assets.tokenizer.encode(
        "<|im_start|>user\nInvent a person.<|im_end|>\n<|im_start|>assistant\n", specials=True
    )
    one = driver()
    for seq in range(16):
        one.loop.submit(
            submit(
                seq, [*prompt, *[2] * seq], max_tokens=250, grammar=PERSON_GRAMMAR, temperature=temperature, seed=seq
            )
        )
    told = one.finish()
    for seq in range(16):
        assert told[seq].finish == "stop", text_of(told[seq], assets)
        jsonschema.validate(json.loads(text_of(told[seq], assets)), PERSON)
    assert len(one.compilations) == 1


@pytest.fixture(scope="module")
def whole(alone: Callable[[Submit], Told], mixed: list[Submit]) -> dict[int, Told]:
    return {request.seq: alone(request) for request in mixed}


def test_a_reply_is_what_it_is_alone_with_grammars_and_logprobs_in_the_mix(driver, mixed, whole):
    one = driver()
    for number, request in enumerate(mixed):
        one.loop.submit(request)
        for _ in range(number % 3):
            if one.loop.is_busy:
                one.step()
    assert one.finish() == whole
    assert one.stats[:3] == [0, 0, 0]


def test_resumed_sequences_go_on_bit_for_bit_in_company(driver, mixed, whole):
    sent = {seq: len(told.tokens) // 2 for seq, told in whole.items()}
    one = driver()
    for request in mixed:
        one.loop.submit(replace(request, forced=whole[request.seq].tokens[: sent[request.seq]]))
    assert one.finish() == {
        seq: Told(told.tokens[sent[seq] :], told.logprobs[sent[seq] :], told.finish) for seq, told in whole.items()
    }


class Unmeasured:
    """A meter that keeps nothing."""

    def step(self, model, **numbers) -> None: ...
    def restart(self, model) -> None: ...


@pytest.mark.anyio
async def test_a_stream_with_a_grammar_goes_on_after_its_worker_is_killed(spec, assets):
    process = WorkerProcess(spec, "@test/model", Unmeasured())
    around = Surroundings(anyio.CapacityLimiter(2), lambda: 1, lambda: datetime(2026, 11, 24, tzinfo=UTC))
    engine = LocalEngine(Card(id="@test/model", task="Text Generation", owned_by="test"), assets, process, around)
    request = Generate(
        "r",
        Messages((Message("user", "Invent a person."),)),
        sampling=Sampling(1.0, seed=4),
        top_logprobs=2,
        max_tokens=250,
    )

    async def answer(kill_after: int | None):
        bounded = replace(await engine.prepare(request), grammar=PERSON_GRAMMAR)
        said, n_events = [], 0
        async with aclosing(engine.generate(bounded)) as events:
            async for event in events:
                said.append(event)
                n_events += 1
                if n_events == kill_after:
                    os.kill(process.pid, signal.SIGKILL)
        deltas = [event for event in said if isinstance(event, TextDelta)]
        logprobs = [one for delta in deltas for one in delta.logprobs]
        *_, finished, usage = said
        return "".join(delta.text for delta in deltas), logprobs, finished, replace(usage, cached=0)

    with anyio.fail_after(120):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(process.run)
            await process.ready()
            first = process.pid
            killed = await answer(12)
            assert process.pid != first
            whole = await answer(None)
            tasks.cancel_scope.cancel()
    assert killed == whole
    text, _, finished, usage = whole
    jsonschema.validate(json.loads(text), PERSON)
    assert isinstance(finished, Finished) and finished.reason == "stop" and isinstance(usage, Usage)
