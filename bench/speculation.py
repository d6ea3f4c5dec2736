"""What speculation wins and costs: the raw loop in process, with drafts and without, in turns, on one model.

    scripts/bench speculation [--rounds 4] [--new 128] [--kv auto] [--cases 16]

Decoding alone is measured, from when every stream has its first token, on 2 threads. Cases: a file of about 400 tokens
that is to be written again with a name changed (asked for: at least 1.8 times as fast, one stream), the same with the
file as its prediction, and other texts at 1 and 16 streams (not below 0.97). Both ways must give the same tokens; where
they part, that is said, with the gap between the two candidates. Which way goes first changes from round to round, so
that a machine that slows down or warms up favours none.
"""

import argparse
import statistics
import time
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import get_args

import machine

from lowcloud.engines.local.frames import Submit
from lowcloud.engines.local.launch import launch
from lowcloud.engines.local.loop import Loop
from lowcloud.engines.local.spec import KvPrecision, WorkerSpec
from lowcloud.engines.local.tokenizer import load_text_assets
from lowcloud.inventory import models_here
from lowcloud.settings import load

MODEL = "@local/smollm2-135m-instruct"
SYSTEM = "You are a helpful AI assistant named SmolLM, trained by Hugging Face"
CHAT = f"<|im_start|>system\n{SYSTEM}<|im_end|>\n<|im_start|>user\n{{}}<|im_end|>\n<|im_start|>assistant\n"
FILE = '''```python
"""A shop's stock: what is there, what it costs, and what is sold."""


class Stock:
    def __init__(self, name, currency):
        self.name = name
        self.currency = currency
        self.items = {}
        self.prices = {}

    def add(self, item, amount, price):
        if amount <= 0:
            raise ValueError("the amount must be positive")
        if price < 0:
            raise ValueError("the price must not be negative")
        self.items[item] = self.items.get(item, 0) + amount
        self.prices[item] = price

    def sell(self, item, amount):
        left = self.items.get(item, 0)
        if amount > left:
            raise ValueError(f"only {left} of {item} are left")
        self.items[item] = left - amount
        return amount * self.prices[item]

    def value(self):
        return sum(self.items[item] * self.prices[item] for item in self.items)

    def report(self):
        lines = [f"{self.name} ({self.currency})"]
        for item, amount in sorted(self.items.items()):
            lines.append(f"{item}: {amount} at {self.prices[item]:.2f}")
        lines.append(f"total: {self.value():.2f}")
        return "\\n".join(lines)


if __name__ == "__main__":
    stock = Stock("Corner shop", "EUR")
    stock.add("apple", 40, 0.3)
    stock.add("bread", 12, 2.1)
    stock.sell("apple", 3)
    print(stock.report())
```'''
EDIT = f"Write this file again, whole, with the class Stock renamed to Shelf, and nothing else changed:\n\n{FILE}"
RENAMED = FILE.replace("Stock", "Shelf")
QUESTIONS = [
    "Why is the sky blue?",
    "Tell me a short story about a fox and a river.",
    "How does a bicycle stay upright?",
    "Write a letter to a friend about a walk in the rain.",
    "What did people eat in ancient Rome?",
    "Explain what an interest rate is.",
    "Describe a city on the moon.",
    "How do I make bread at home?",
    "What is the difference between a crocodile and an alligator?",
    "Give me advice for a first job interview.",
    "Who was Marie Curie?",
    "Why do leaves change their colour in autumn?",
    "Write a poem about a lighthouse.",
    "How does a refrigerator work?",
    "What makes a good friend?",
    "Explain how rivers shape valleys.",
]


@dataclass(frozen=True)
class Case:
    """Texts that are gone on with at once, and what else their requests say."""

    name: str
    texts: list[str]
    wanted: float
    fields: dict = field(default_factory=dict)
    is_edit: bool = False


CASES = [
    Case("edit of a file, 1 stream", [EDIT], 1.8, is_edit=True),
    Case("edit, with a prediction", [EDIT], 1.8, {"prediction": RENAMED}, is_edit=True),
    Case("other, greedy, 1 stream", QUESTIONS[:1], 0.97),
    Case("other, sampled, 1 stream", QUESTIONS[1:2], 0.97, {"temperature": 0.8, "top_p": 0.95}),
    Case("other, greedy, 16 streams", QUESTIONS, 0.97),
    Case("other, sampled, 16 streams", QUESTIONS, 0.97, {"temperature": 0.8, "top_p": 0.95}),
]


class CountedModel:
    """The model, and how many decode rows and passes it computed."""

    def __init__(self, model) -> None:
        self._model = model
        self.rows = self.passes = 0

    def __getattr__(self, name: str):
        return getattr(self._model, name)

    def forward(self, rows):
        if len(rows[0].tokens) == 1:
            self.rows += len(rows)
            self.passes += 1
        return self._model.forward(rows)


@dataclass(frozen=True)
class Run:
    """One closed batch, decoding: what came, how fast, and the rows that it took."""

    outputs: dict[int, list[int]]
    tokens_per_s: float
    rows_a_token: float
    passes: int
    gaps: dict[int, list[float]]


class Bench:
    """Two loops on the bundled model: one drafts."""

    def __init__(self, new: int, kv: KvPrecision) -> None:
        settings = load(None, {})
        source = next(str(model.source) for model in models_here(settings).models if model.id == MODEL)
        launched = launch(WorkerSpec("text", source, str(settings.local.cache_dir), kv_precision=kv, threads=2))
        if not launched.settings.can_draft:
            raise SystemExit(f"this machine does not draft: {launched.ready.note}")
        print(launched.ready.note)
        assets = load_text_assets(Path(source))
        self._tokenizer, self._stop_ids, self._new = assets.tokenizer, list(assets.stop_ids), new
        self._model = CountedModel(launched.model)
        plain = replace(launched.settings, can_draft=False, prefix_cache=False)
        drafting = replace(launched.settings, speculation=True, prefix_cache=False)
        self._loops = {"plain": Loop(self._model, plain), "drafts": Loop(self._model, drafting)}

    def size(self, text: str) -> int:
        """In tokens."""
        return len(self._tokenizer.encode(text, specials=False))

    def run(self, how: str, case: Case) -> Run:
        """All texts of the case."""
        loop, model = self._loops[how], self._model
        for seq, text in enumerate(case.texts):
            loop.submit(self._request(seq, text, case))
        outputs: dict[int, list[int]] = {}
        gaps: dict[int, list[float]] = {}
        n_begun, begin = None, 0.0
        while loop.is_busy:
            for seq, tokens, logprobs, *_ in loop.step().outputs:
                outputs.setdefault(seq, []).extend(tokens)
                gaps.setdefault(seq, []).extend(top[0][1] - top[-1][1] for _, top in logprobs)
            if n_begun is None and len(outputs) == len(case.texts):
                n_begun, begin = sum(map(len, outputs.values())), time.perf_counter()
                model.rows = model.passes = 0
        n_tokens = sum(map(len, outputs.values())) - (n_begun or 0)
        wall = time.perf_counter() - begin
        return Run(outputs, n_tokens / wall, model.rows / n_tokens, model.passes, gaps)

    def _request(self, seq: int, text: str, case: Case) -> Submit:
        fields = {"temperature": 0.0, "top_p": 1.0, **case.fields}
        fields["prediction"] = self._tokenizer.encode(fields.get("prediction", ""), specials=False)
        ids = self._tokenizer.encode(CHAT.format(text), specials=True)
        return Submit(
            seq=seq, ids=ids, forced=[], max_tokens=450 if case.is_edit else self._new, stop_ids=self._stop_ids,
            top_k=0, min_p=0.0, repetition_penalty=1.0, presence_penalty=0.0, frequency_penalty=0.0, logit_bias=[],
            seed=seq, choice=0, n_logprobs=2, **fields,
        )  # fmt: skip


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=4, help="an even number is fair")
    parser.add_argument("--new", type=int, default=128, help="new tokens of the other texts, at most")
    parser.add_argument("--kv", choices=get_args(KvPrecision), default="auto", help="how the KV cache is kept")
    parser.add_argument("--cases", default="", help="only those whose names have this in them")
    options = parser.parse_args()
    print(machine.describe())
    bench = Bench(options.new, options.kv)
    print(f"the file has {bench.size(FILE)} tokens\n")
    bench.run("drafts", replace(CASES[2], name="warming"))
    for case in CASES:
        if options.cases in case.name:
            _print(case, [_both(bench, case, n) for n in range(options.rounds)])


def _both(bench: Bench, case: Case, n: int) -> tuple[Run, Run]:
    """Round ``n``: plain and with drafts, in this order where it is even."""
    order = ("plain", "drafts") if n % 2 == 0 else ("drafts", "plain")
    runs = {how: bench.run(how, case) for how in order}
    return runs["plain"], runs["drafts"]


def _print(case: Case, runs: list[tuple[Run, Run]]) -> None:
    ratios = [drafts.tokens_per_s / plain.tokens_per_s for plain, drafts in runs]
    plain, drafts = runs[-1]
    speeds = [statistics.median(run.tokens_per_s for run in side) for side in zip(*runs, strict=True)]
    n_tokens = sum(map(len, plain.outputs.values()))
    verdict = "" if statistics.median(ratios) >= case.wanted else "  MISSED"
    print(
        f"{case.name:28} {speeds[0]:6.1f} -> {speeds[1]:6.1f} tok/s  {statistics.median(ratios):.2f}"
        f" [{min(ratios):.2f} - {max(ratios):.2f}] (asked {case.wanted}){verdict}  "
        f"{plain.rows_a_token:.2f} -> {drafts.rows_a_token:.2f} rows a token, "
        f"{plain.passes} -> {drafts.passes} passes, {n_tokens} tokens, {_departures(plain, drafts)}",
        flush=True,
    )


def _departures(plain: Run, drafts: Run) -> str:
    gaps = []
    for seq, tokens in plain.outputs.items():
        other = drafts.outputs[seq]
        if tokens != other:
            at = next((n for n, pair in enumerate(zip(tokens, other, strict=False)) if pair[0] != pair[1]), 0)
            gaps.append(plain.gaps[seq][at])
    return f"departs in {len(gaps)} (gaps {gaps})" if gaps else "the same tokens"


if __name__ == "__main__":
    main()
