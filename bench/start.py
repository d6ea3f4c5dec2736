"""How long from ``lowcloud dev`` to the first token with the converted model cached; memory of a server without a
model.

    scripts/bench start [--rounds 5]

The first conversion, into an empty cache, is reported apart; what is timed after it finds the models converted.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import machine
import servers

CHAT = "/v1/chat/completions"
BODY = {
    "model": "@local/smollm2-135m-instruct",
    "messages": [{"role": "user", "content": "Say hello."}],
    "max_tokens": 4,
    "stream": True,
}


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    rounds = parser.parse_args().rounds
    print(machine.describe())
    with tempfile.TemporaryDirectory() as empty:
        took = prepare(empty)
    print(f"`lowcloud prepare` into an empty cache (conversion and self-test): {took:.1f} s")
    prepare()
    rows = [round_() for _ in range(rounds)]
    for name, column in zip(
        ("listens after s", "first token after s", "server RSS MiB, no model"), zip(*rows, strict=True), strict=True
    ):
        print(f"{name:26} median {statistics.median(column):7.2f}   {min(column):7.2f} - {max(column):7.2f}")


def prepare(cache: str | None = None) -> float:
    """Seconds that ``lowcloud prepare`` takes, with the cache of the settings unless one is given."""
    env = {**os.environ, **({"LOWCLOUD_LOCAL__CACHE_DIR": cache} if cache else {})}
    begin = time.perf_counter()
    subprocess.run(
        [str(Path(sys.executable).with_name("lowcloud")), "prepare"], check=True, capture_output=True, env=env
    )
    return time.perf_counter() - begin


def round_() -> tuple[float, float, float]:
    """Start a server, ask it once: seconds until it listens, seconds until the first token, MiB before the question."""
    with servers.lowcloud() as server:
        listens = time.perf_counter() - server.started
        rss = server.rss_mib()
        asked = time.perf_counter() - server.started
        reply = server.load(CHAT, [BODY], in_flight=1)["replies"][0]
        assert reply["status"] == 200, reply["tail"]
        # The load generator's own start is inside: a client's, too.
        return listens, asked + reply["ttft_s"], rss


if __name__ == "__main__":
    main()
