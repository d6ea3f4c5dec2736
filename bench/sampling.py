"""What choosing tokens costs: the raw loop in process, with and without a grammar and log-probabilities, in turns.

    scripts/bench sampling [--rounds 3] [--streams 16,32] [--kv auto]

Decoding alone is measured, from when every stream has its first token: 128 prompt tokens, 64 new ones, 2 threads. All
that a step does outside the model's pass (planning, masks, sampling, bookkeeping) is called sampling.
"""

import argparse
import json
import random
import statistics
import sys
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import get_args

import machine

from lowcloud.engines.local.frames import Step, Submit
from lowcloud.engines.local.grammar import Grammars, read_vocabulary
from lowcloud.engines.local.launch import launch
from lowcloud.engines.local.loop import Loop
from lowcloud.engines.local.spec import KvPrecision, WorkerSpec
from lowcloud.inventory import models_here
from lowcloud.settings import load

MODEL = "@local/smollm2-135m-instruct"
PROMPT, NEW = 128, 64
ITEM = {
    "type": "object",
    "properties": {"name": {"type": "string"}, "age": {"type": "integer"}, "is_member": {"type": "boolean"}},
    "required": ["name", "age", "is_member"],
    "additionalProperties": False,
}
SCHEMA = {"type": "array", "items": ITEM, "minItems": NEW, "x-guidance": {"whitespace_flexible": False}}
GRAMMAR = f"start: %json {json.dumps(SCHEMA)}"
GREEDY = {"temperature": 0.0, "top_p": 1.0}
SAMPLED = {"temperature": 0.7, "top_p": 0.9}
CASES: dict[str, dict] = {
    "greedy": GREEDY,
    "greedy, schema": {**GREEDY, "grammar": GRAMMAR},
    "greedy, 20 log-probabilities": {**GREEDY, "n_logprobs": 20},
    "sampled": SAMPLED,
    "sampled, schema": {**SAMPLED, "grammar": GRAMMAR},
    "sampled, 20 log-probabilities": {**SAMPLED, "n_logprobs": 20},
}
DEFAULTS = {"min_p": 0.0, "repetition_penalty": 1.0, "presence_penalty": 0.0, "frequency_penalty": 0.0}


class TimedModel:
    """The model, and the seconds that its passes took."""

    def __init__(self, model) -> None:
        self._model = model
        self.seconds = 0.0

    def __getattr__(self, name: str):
        return getattr(self._model, name)

    def forward(self, rows):
        begin = time.perf_counter()
        logits = self._model.forward(rows)
        self.seconds += time.perf_counter() - begin
        return logits


@dataclass(frozen=True)
class Run:
    """One closed batch: generated tokens a second, and the share of a step that isn't the model's pass."""

    tokens_per_s: float
    sampling: float


class Bench:
    """A loop on the bundled model."""

    def __init__(self, kv: KvPrecision) -> None:
        settings = load(None, {})
        source = next(str(model.source) for model in models_here(settings).models if model.id == MODEL)
        launched = launch(WorkerSpec("text", source, str(settings.local.cache_dir), kv_precision=kv, threads=2))
        print(launched.ready.note)
        self._model = TimedModel(launched.model)
        vocabulary = partial(read_vocabulary, Path(source), launched.model.n_vocab)
        self._loop = Loop(self._model, launched.settings, lambda _: None, Grammars(vocabulary))
        self._random = random.Random(7)  # noqa: S311 - the same prompts in every run
        self._last = 0

    def run(self, n: int, case: dict) -> Run:
        """``n`` streams of new prompts."""
        for _ in range(n):
            self._submit(case)
        while self._loop.is_compiling:
            time.sleep(0.01)
            self._loop.join_compiled()
        started: set[int] = set()
        while len(started) < n:
            started.update(seq for seq, *_ in self._loop.step().outputs)
        n_tokens, spent, begin = 0, self._model.seconds, time.perf_counter()
        while self._loop.is_busy:
            n_tokens += _n_tokens(self._loop.step())
        wall = time.perf_counter() - begin
        return Run(n_tokens / wall, 1 - (self._model.seconds - spent) / wall)

    def _submit(self, case: dict) -> None:
        self._last += 1
        ids = [self._random.randrange(2000, 30000) for _ in range(PROMPT)]
        fields = {"n_logprobs": -1, "top_k": 0, **DEFAULTS, **case}
        self._loop.submit(
            Submit(seq=self._last, ids=ids, forced=[], max_tokens=NEW, stop_ids=[], logit_bias=[], seed=self._last,
                   choice=0, **fields)
        )  # fmt: skip


def _n_tokens(step: Step) -> int:
    return sum(len(tokens) for _, tokens, _, _ in step.outputs)


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--streams", default="16,32")
    parser.add_argument("--kv", choices=get_args(KvPrecision), default="auto", help="how the KV cache is kept")
    args = parser.parse_args()
    print(machine.describe())
    bench = Bench(args.kv)
    for case in CASES.values():
        bench.run(2, case)
    for n in [int(n) for n in args.streams.split(",")]:
        runs: dict[str, list[Run]] = {name: [] for name in CASES}
        for _ in range(args.rounds):
            for name, case in CASES.items():
                runs[name].append(bench.run(n, case))
        print(f"\n{n} streams")
        for name in CASES:
            _print(name, runs[name], runs[name.split(",")[0]])
        sys.stdout.flush()


def _print(name: str, runs: list[Run], free: list[Run]) -> None:
    speeds = [run.tokens_per_s for run in runs]
    ratios = [run.tokens_per_s / base.tokens_per_s for run, base in zip(runs, free, strict=True)]
    share = statistics.median(run.sampling for run in runs)
    spread = f"[{min(ratios):.2f} - {max(ratios):.2f}]"
    ratio = f"{statistics.median(ratios):5.2f} {spread} of it free"
    print(f"  {name:30} {statistics.median(speeds):7.1f} tok/s  {ratio}  sampling {100 * share:4.1f} % of a step")


if __name__ == "__main__":
    main()
