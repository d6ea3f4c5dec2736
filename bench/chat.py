"""Text generation: our raw loop, the same loop over HTTP, GenAI's pipeline and llama.cpp's server, in turns in one run.

    scripts/bench chat [--rounds 3] [--streams 1,4,16,32,64] [--peer-python PYTHON] [--q8 GGUF]

``--peer-python`` is a Python that has xllamacpp (skipped when not given); ``--q8`` a Q8_0 of the same model for it.
All on 2 threads, greedy, past end tokens, every prompt new (no prefix reuse but where that is the case measured). HTTP
engines get the text of which the others get the tokens; their own count of the prompt is checked.
"""

import argparse
import json
import random
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import machine
import servers

from lowcloud.engines.local.tokenizer import load_text_assets
from lowcloud.inventory import models_here
from lowcloud.settings import load

SYSTEM = "You are a helpful AI assistant named SmolLM, trained by Hugging Face"
HEAD = f"<|im_start|>system\n{SYSTEM}<|im_end|>\n<|im_start|>user\n"
TAIL = "<|im_end|>\n<|im_start|>assistant\n"
CHAT = "/v1/chat/completions"
MODEL = "@local/smollm2-135m-instruct"
GGUF = next(str(model.source) for model in models_here(load(None, {})).models if model.id == MODEL)
Job = Callable[[list[str], int], dict]


class Prompts:
    """New user messages of an exact number of prompt tokens."""

    def __init__(self) -> None:
        self._tokenizer = load_text_assets(Path(GGUF)).tokenizer
        words = (self._tokenizer.token_text(i) for i in range(2000, 30000))
        self._words = [w for w in words if w.startswith(" ") and w[1:].isascii() and w[1:].isalpha() and len(w) > 4]
        self._random = random.Random(7)  # noqa: S311 - the same prompts in every run

    def ids(self, text: str) -> list[int]:
        """The rendered conversation's tokens."""
        return self._tokenizer.encode(HEAD + text + TAIL, specials=True)

    def text(self, n_tokens: int, start: str = "Words:") -> str:
        """A message that makes a prompt of ``n_tokens``."""
        text = start
        while (missing := n_tokens - len(self.ids(text))) > 0:
            text += "".join(self._random.choice(self._words) for _ in range(missing))
        return text if not missing else self.text(n_tokens, start)


@contextmanager
def driver(kind: str, cache: str, prompts: Prompts) -> Iterator[Job]:
    """An engine of drivers.py."""
    command = [sys.executable, str(servers.HERE / "drivers.py"), kind, GGUF, cache]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdout.readline()

        def run(texts: list[str], max_tokens: int) -> dict:
            job = {"prompts": [prompts.ids(text) for text in texts], "max_tokens": max_tokens}
            process.stdin.write(json.dumps(job).encode() + b"\n")
            process.stdin.flush()
            return json.loads(process.stdout.readline())

        yield run
        process.stdin.close()


def over_http(server: servers.Server, model: str, prompts: Prompts, extra: dict) -> Job:
    """Chat completions of a server, streamed."""

    def run(texts: list[str], max_tokens: int) -> dict:
        bodies = [
            {
                "model": model,
                "messages": [{"role": "user", "content": text}],
                "max_tokens": max_tokens,
                "temperature": 0,
                "ignore_eos": True,
                "stream": True,
                "stream_options": {"include_usage": True},
                **extra,
            }
            for text in texts
        ]
        result = server.load(CHAT, bodies, in_flight=len(bodies))
        for reply in result["replies"]:
            assert reply["status"] == 200, reply["tail"]
            usage = f'"completion_tokens":{max_tokens}'
            assert usage in reply["tail"].replace('": ', '":'), reply["tail"]
        assert all(f'"prompt_tokens":{len(prompts.ids(text))}' in str(result).replace('": ', '":') for text in texts)
        # one token alone may be half a character: then the answer's end is when it came
        firsts = [reply["ttft_s"] or reply["total_s"] for reply in result["replies"]]
        return {"wall_s": result["wall_s"], "first_s": min(firsts)}

    return run


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--streams", default="1,4,16,32,64")
    parser.add_argument("--peer-python")
    parser.add_argument("--q8")
    args = parser.parse_args()
    print(machine.describe())
    prompts = Prompts()
    with ExitStack() as stack:
        engines = start(args, prompts, stack)
        for run in engines.values():
            run([prompts.text(128)], 8)
        for n in [int(n) for n in args.streams.split(",")]:
            case(
                f"{n} streams of 128 + 64 tokens, tok/s", engines, args.rounds, lambda run, n=n: decode(run, prompts, n)
            )
        case("prefill of 2,048, tok/s", engines, args.rounds, lambda run: 2048 / first(run, prompts, 2048))
        case("TTFT at 512, ms", engines, args.rounds, lambda run: 1000 * first(run, prompts, 512))
        added(engines["raw loop"], engines["lowcloud over HTTP"], prompts, 10 * args.rounds)
        case("TTFT of a repeated 1,500-token prefix / first", engines, args.rounds, lambda run: repeated(run, prompts))


def start(args: argparse.Namespace, prompts: Prompts, stack: ExitStack) -> dict[str, Job]:
    """Every engine, loaded and idle."""
    cache = stack.enter_context(tempfile.TemporaryDirectory())
    engines = {"raw loop": stack.enter_context(driver("raw", cache, prompts))}
    server = stack.enter_context(servers.lowcloud("LOWCLOUD_LOCAL__THREADS=2"))
    engines["lowcloud over HTTP"] = over_http(server, MODEL, prompts, {})
    engines["GenAI pipeline"] = stack.enter_context(driver("genai", cache, prompts))
    for name, gguf in (("xllamacpp Q4_1", GGUF), ("xllamacpp Q8_0", args.q8)):
        if args.peer_python and gguf:
            port = servers.free_port()
            command = [args.peer_python, str(servers.HERE / "drivers.py"), "xllamacpp", gguf, str(port)]
            peer = stack.enter_context(servers.started(name, command, port, "/health"))
            engines[name] = over_http(peer, "smollm2", prompts, {})
        else:
            print(f"left out: {name} (not given)")
    return engines


def case(name: str, engines: dict[str, Job], rounds: int, measure: Callable[[Job], float]) -> None:
    """One row an engine: median, range, and the ratio to the raw loop's median."""
    figures: dict[str, list[float]] = {engine: [] for engine in engines}
    for _ in range(rounds):
        for engine, run in engines.items():
            figures[engine].append(measure(run))
    base = statistics.median(figures["raw loop"])
    print(f"\n{name}")
    for engine, values in figures.items():
        median = statistics.median(values)
        spread = f"[{min(values):.2f} - {max(values):.2f}]"
        print(f"  {engine:20} {median:8.2f}  {spread:22} {median / base:5.2f} of the raw loop")
    sys.stdout.flush()


def decode(run: Job, prompts: Prompts, n: int) -> float:
    """Generated tokens per second of ``n`` streams, their prefill included."""
    return n * 64 / run([prompts.text(128) for _ in range(n)], 64)["wall_s"]


def first(run: Job, prompts: Prompts, n_tokens: int) -> float:
    """Seconds to the first token."""
    return run([prompts.text(n_tokens)], 1)["first_s"]


def added(raw: Job, http: Job, prompts: Prompts, pairs: int) -> None:
    """What everything but the engine adds to the TTFT: rendering, tokenising, HTTP, the hop to the worker, text."""
    firsts = [(1000 * first(raw, prompts, 64), 1000 * first(http, prompts, 64)) for _ in range(pairs)]
    alone, served = (statistics.median(column) for column in zip(*firsts, strict=True))
    print(f"\nTTFT at 64, median of {pairs}, ms")
    print(f"  raw loop {alone:.2f}, over HTTP {served:.2f}: {served - alone:.2f} added")


def repeated(run: Job, prompts: Prompts) -> float:
    """TTFT of a prompt whose first 1,500 tokens were seen, over that of the first time."""
    prefix = prompts.text(1500)
    cold = run([prompts.text(1550, prefix)], 1)["first_s"]
    return run([prompts.text(1550, prefix)], 1)["first_s"] / cold


if __name__ == "__main__":
    main()
