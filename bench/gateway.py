"""Calls through gateways, in front of an upstream on the loopback that answers at once: ours with its logs on, a bare
pass-through of the same stack, LiteLLM's proxy and Portkey's gateway, in turns in one run.

    scripts/bench gateway [--rounds 3] [--connections 1,16,64] [--litellm PYTHON] [--portkey FOLDER]

``--litellm`` is a Python that has litellm[proxy], ``--portkey`` a folder in which npm has installed @portkey-ai/gateway
with @hono/node-server 1.13.7, also for it (``overrides``); either is left out where it isn't given. A call is one chat
completion of 1 kB; a stream has 200 events, no two alike, since LiteLLM ends one that repeats itself. One process each;
none writes a line a request on its standard error, as ours does by default.
"""

import argparse
import asyncio
import json
import os
import statistics
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import machine
import servers

from lowcloud.storage.database import open_database
from lowcloud.storage.gateways import CustomProviderRow, CustomProviderStore, GatewayStore

ACCOUNT = "0" * 32
MODEL = "gpt-4o-mini"
EVENTS = 200
# Several seconds of ours, which writes its logs to the database once a second: what it does late is measured too.
CALLS = {1: 3_000, 16: 10_000, 64: 10_000}
STREAMS = {1: 400, 16: 1_500, 64: 1_500}
SHARE = {"litellm": 1 / 20, "portkey": 1 / 4}  # of those, so that nobody waits long
HERE = Path(__file__).parent


@dataclass(frozen=True)
class System:
    """A gateway under test: where it listens, and the path of chat completions there."""

    name: str
    server: servers.Server
    path: str
    token: str = "sk-bench"  # noqa: S105 - of a server of this benchmark alone


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--connections", default="1,16,64")
    parser.add_argument("--litellm")
    parser.add_argument("--portkey")
    options = parser.parse_args()
    print(machine.describe())
    with ExitStack() as stack:
        upstream = stack.enter_context(python_server("upstream", "upstream.py"))
        systems = [
            System("the upstream itself", upstream, "/v1/chat/completions"),
            System(
                "starlette + aiohttp",
                stack.enter_context(python_server("bare", "bare.py", str(upstream.port))),
                "/v1/chat/completions",
            ),
            stack.enter_context(lowcloud(upstream.port)),
        ]
        if options.litellm:
            systems.append(stack.enter_context(litellm(options.litellm, upstream.port)))
        if options.portkey:
            systems.append(stack.enter_context(portkey(options.portkey, upstream.port)))
        for connections in map(int, options.connections.split(",")):
            compare(systems, connections, options.rounds)
        cached(next(system for system in systems if system.name == "lowcloud"), options.rounds)


def compare(systems: list[System], connections: int, rounds: int) -> None:
    """Calls and streams a second, in turns."""
    for kind, total in (("calls", CALLS[connections]), ("streams", STREAMS[connections])):
        rates: dict[str, list[float]] = {system.name: [] for system in systems}
        times: dict[str, list[float]] = {system.name: [] for system in systems}
        for round_ in range(rounds):
            for system in systems if round_ % 2 == 0 else reversed(systems):
                part = max(20, round(total * SHARE.get(system.name, 1)))
                result = load(system, connections, part, stream=kind == "streams")
                rates[system.name].append(part / result["wall_s"])
                times[system.name] += [reply["total_s"] for reply in result["replies"]]
        bare = statistics.median(times["the upstream itself"])
        print(f"\n{kind} a second, {connections} connections, {rounds} rounds")
        for system in systems:
            rate = statistics.median(rates[system.name])
            ratios = [own / other for own, other in zip(rates["lowcloud"], rates[system.name], strict=True)]
            events = f"  {rate * EVENTS:10,.0f} events/s" if kind == "streams" else ""
            print(
                f"  {system.name:22} {rate:9,.1f}  [{min(rates[system.name]):,.0f} - {max(rates[system.name]):,.0f}]"
                f"{events}  ours is {statistics.median(ratios):6.2f} of it [{min(ratios):.2f} - {max(ratios):.2f}]  "
                f"added {1000 * (statistics.median(times[system.name]) - bare):+8.2f} ms at the median"
            )


def cached(system: System, rounds: int) -> None:
    """What a hit takes, from memory, with the log on."""
    times = []
    for round_ in range(rounds):
        body = {"model": MODEL, "messages": [{"role": "user", "content": f"the same {round_}"}]}
        path = system.path.replace("/bench/", "/cached/")
        job = {"host": "127.0.0.1", "port": system.server.port, "path": path, "token": system.token}
        replies = servers.load_job({**job, "bodies": [body], "in_flight": 1, "total": 500})["replies"]
        times += [1000 * reply["total_s"] for reply in replies[5:]]
    print(
        f"\na cache hit: median {statistics.median(times):.2f} ms, p99 {statistics.quantiles(times, n=100)[98]:.2f} ms"
    )


def load(system: System, connections: int, total: int, *, stream: bool) -> dict:
    """The load generator's result; every answer must be one."""
    text = "word " * 40
    body = {"model": MODEL, "messages": [{"role": "user", "content": text}], **({"stream": True} if stream else {})}
    job = {"host": "127.0.0.1", "port": system.server.port, "path": system.path, "token": system.token}
    result = servers.load_job({**job, "bodies": [body], "in_flight": connections, "total": total})
    assert all(reply["status"] == 200 for reply in result["replies"]), (system.name, result["replies"][0])
    return result


@contextmanager
def python_server(name: str, file: str, *arguments: str) -> Iterator[servers.Server]:
    """One of the servers in gateway_servers/."""
    port = servers.free_port()
    command = [sys.executable, str(HERE / "gateway_servers" / file), str(port), *arguments]
    with servers.started(name, command, port, "/healthz") as server:
        yield server


@contextmanager
def lowcloud(upstream: int) -> Iterator[System]:
    """Ours, with a custom provider at the upstream, a gateway without a cache and one with it."""
    with tempfile.TemporaryDirectory() as data:
        with open_database(f"sqlite:///{Path(data) / 'lowcloud.db'}") as database:
            asyncio.run(_prepared(database, upstream))
        settings = f"LOWCLOUD_STORAGE__DATA_DIR={data} LOWCLOUD_GATEWAY__ALLOWED_HOSTS=127.0.0.1"
        settings += " LOWCLOUD_LOGS__LEVEL=warning"
        with servers.lowcloud(settings) as server:
            yield System("lowcloud", server, f"/v1/{ACCOUNT}/bench/custom-bench/v1/chat/completions")


async def _prepared(database, upstream: int) -> None:
    about = (f"http://127.0.0.1:{upstream}", "{}", True, 0.0, 0.0)
    await CustomProviderStore(database).create(CustomProviderRow("bench", ACCOUNT, "bench", "bench", *about))
    off = {"collect_logs": True, "authentication": False, "cache_invalidate_on_update": False}
    await GatewayStore(database).create(ACCOUNT, "bench", json.dumps(off))
    await GatewayStore(database).create(ACCOUNT, "cached", json.dumps({**off, "cache_ttl": 3600}))


@contextmanager
def litellm(python: str, upstream: int) -> Iterator[System]:
    """LiteLLM's proxy, with its model at the upstream."""
    port = servers.free_port()
    with tempfile.TemporaryDirectory() as folder:
        config = Path(folder) / "config.yaml"
        config.write_text(
            f"model_list:\n- model_name: {MODEL}\n  litellm_params:\n    model: openai/{MODEL}\n"
            f"    api_base: http://127.0.0.1:{upstream}/v1\n    api_key: sk-bench\n"
        )
        binary = str(Path(python).with_name("litellm"))
        command = [binary, "--config", str(config), "--port", str(port), "--num_workers", "1"]
        env = {"LITELLM_LOG": "ERROR", "LITELLM_DANGEROUSLY_PERMIT_WEAK_OR_UNSET_MASTER_KEY": "true"}
        with servers.started("litellm", command, port, "/health/liveliness", env) as server:
            yield System("litellm", server, "/v1/chat/completions")


@contextmanager
def portkey(folder: str, upstream: int) -> Iterator[System]:
    """Portkey's gateway; the upstream is named by a header, which the load generator can't send: by its config."""
    port = servers.free_port()
    script = Path(folder) / "node_modules" / "@portkey-ai" / "gateway" / "build" / "start-server.js"
    shim = HERE / "gateway_servers" / "portkey.mjs"
    env = {"PORTKEY_SCRIPT": str(script), "UPSTREAM": f"http://127.0.0.1:{upstream}/v1", "PORT": str(port)}
    node = os.environ.get("NODE", "node")
    with servers.started("portkey", [node, str(shim), f"--port={port}"], port, "/", env) as server:
        yield System("portkey", server, "/v1/chat/completions")


if __name__ == "__main__":
    main()
