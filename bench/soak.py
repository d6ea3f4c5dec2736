"""Clients that come, stay and vanish, for minutes: nothing may fail, grow or be left over.

    scripts/bench soak [--minutes 5] [--clients 32]

Each client picks its next deed at random: a stream read to its end, a whole answer, embeddings, a bad request, or a
request that it leaves, in the queue, in prefill, in decode or with a reset. A first pass fills the KV pool; from then
on memory is measured five times. It may grow while the runtime meets new shapes, whose kernels it keeps, but not in the
second half. Ends with status 1 when something was wrong.
"""

import argparse
import asyncio
import contextlib
import json
import random
import socket
import struct
import sys
import time
import urllib.request
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

import aiohttp
import machine
import psutil
import servers

CHAT = "@local/smollm2-135m-instruct"
EMBED = "@cf/baai/bge-large-en-v1.5"
SETTINGS = "LOWCLOUD_LOCAL__KV_CACHE_BYTES=128MiB LOWCLOUD_SERVING__MAX_QUEUED_REQUESTS=1000"
GAUGES = ("running_sequences", "waiting_sequences", "kv_used_blocks", "queued_requests", "swapped_sequences")
GROWTH_MIB = 30.0
PARTS = 5
RESET = struct.pack("ii", 1, 0)
Deed = Callable[["Client"], Awaitable[str]]


@dataclass
class Client:
    """One client: ``draw`` decides what it does."""

    session: aiohttp.ClientSession
    url: str
    draw: random.Random
    did: Counter = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)

    def body(self, **changes: object) -> dict[str, object]:
        """A request with a prompt of some hundred tokens at most, some of them shared with others'."""
        words = [f"word{self.draw.randrange(50)}" for _ in range(self.draw.choice([3, 30, 200]))]
        sampling = {"temperature": self.draw.choice([0, 0.8]), "seed": self.draw.randrange(100)}
        content = "Tell me about these. " * self.draw.choice([1, 20]) + " ".join(words)
        messages = [{"role": "user", "content": content}]
        return {"model": CHAT, "messages": messages, "max_tokens": self.draw.randrange(1, 60), **sampling, **changes}

    def long(self) -> dict[str, object]:
        """A request whose answer is long enough to be left in the midst of it."""
        return self.body(stream=self.draw.random() < 0.7, max_tokens=200, ignore_eos=True)

    def texts(self, n: int) -> dict[str, object]:
        """A request to embed ``n`` texts."""
        return {"model": EMBED, "input": [f"text {self.draw.randrange(10**6)}" for _ in range(n)]}

    async def live(self, until: float) -> None:
        """One deed after the other."""
        while time.monotonic() < until:
            deed = self.draw.choice(DEEDS)
            try:
                self.did[await deed(self)] += 1
            except (aiohttp.ClientError, OSError, AssertionError, TimeoutError) as error:
                self.wrong.append(f"{deed.__name__}: {error!r}")


async def stream(client: Client) -> str:
    """Read to the end."""
    body = client.body(stream=True, n=client.draw.choice([1, 1, 1, 2]), stream_options={"include_usage": True})
    async with client.session.post(f"{client.url}/v1/chat/completions", json=body) as reply:
        assert reply.status == 200, await reply.text()
        text = await reply.text()
    assert text.endswith("data: [DONE]\n\n"), text[-300:]
    assert '"error"' not in text, text[-300:]
    return "streamed"


async def whole(client: Client) -> str:
    """An answer in one piece."""
    async with client.session.post(f"{client.url}/v1/chat/completions", json=client.body(logprobs=True)) as reply:
        answer = await reply.json()
    assert reply.status == 200, answer
    assert answer["usage"]["completion_tokens"] == len(answer["choices"][0]["logprobs"]["content"]) or (
        answer["choices"][0]["finish_reason"] == "stop"
    ), answer
    return "whole"


async def embed(client: Client) -> str:
    """Some vectors."""
    n_texts = client.draw.choice([1, 1, 16])
    async with client.session.post(f"{client.url}/v1/embeddings", json=client.texts(n_texts)) as reply:
        answer = await reply.json()
    assert reply.status == 200, answer
    assert [len(one["embedding"]) for one in answer["data"]] == [1024] * n_texts
    return "embedded"


async def wrong(client: Client) -> str:
    """A bad request, refused."""
    bad = client.draw.choice([{"temperature": "hot"}, {"messages": []}, {"model": "@x/none"}, {"max_tokens": 10**6}])
    async with client.session.post(f"{client.url}/v1/chat/completions", json=client.body(**bad)) as reply:
        answer = await reply.json()
    assert reply.status in (400, 404), answer
    assert answer["error"]["message"]
    return "refused"


async def leave(client: Client) -> str:
    """Go, after some bytes of the answer or before any; half of them with a reset."""
    port = int(client.url.rpartition(":")[2])
    path, body = client.draw.choice([("chat/completions", client.long()), ("embeddings", client.texts(256))])
    data = json.dumps(body).encode()
    head = f"POST /v1/{path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: {len(data)}\r\n"
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(head.encode() + b"Content-Type: application/json\r\n\r\n" + data)
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(client.draw.choice([0.001, 0.05, 0.5, 2.0])):
            await reader.readexactly(client.draw.choice([200, 2000, 20_000]))
    if client.draw.random() < 0.5:
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
    writer.transport.abort() if client.draw.random() < 0.5 else writer.close()
    return "left"


DEEDS: list[Deed] = [stream, whole, embed, wrong, leave, leave]


def mib(server: servers.Server) -> dict[str, float]:
    """Resident memory of the server and of each worker."""
    process = psutil.Process(server.process.pid)
    named = {"server": process}
    for child in process.children():
        named["text" if '"kind": "text"' in " ".join(child.cmdline()) else "embeddings"] = child
    return {name: one.memory_info().rss / 2**20 for name, one in named.items()}


def left_over(url: str) -> dict[str, float]:
    """The gauges that aren't 0, 30 seconds after the last client went at the latest."""
    bound = time.monotonic() + 30
    while (left := not_zero(url)) and time.monotonic() < bound:
        time.sleep(0.2)
    return left


def not_zero(url: str) -> dict[str, float]:
    """Of the gauges that nothing should hold up."""
    with urllib.request.urlopen(f"{url}/metrics", timeout=30) as answer:  # noqa: S310 - loopback
        lines = answer.read().decode().splitlines()
    values = {line.rpartition(" ")[0]: float(line.rpartition(" ")[2]) for line in lines if not line.startswith("#")}
    return {
        name: value
        for name, value in values.items()
        if name.partition("{")[0] in {f"lowcloud_{gauge}" for gauge in GAUGES} and value
    }


async def soak(url: str, seconds: float, n_clients: int, seed: int) -> tuple[Counter, list[str]]:
    """What the clients did, and what was wrong."""
    connector, timeout = aiohttp.TCPConnector(limit=0), aiohttp.ClientTimeout(total=180)
    async with aiohttp.ClientSession(connector=connector, timeout=timeout) as session:
        clients = [Client(session, url, random.Random(seed + n)) for n in range(n_clients)]  # noqa: S311
        until = time.monotonic() + seconds
        await asyncio.gather(*(client.live(until) for client in clients))
    did = sum((client.did for client in clients), Counter())
    return did, [one for client in clients for one in client.wrong]


def main() -> int:
    """Print what happened."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=5)
    parser.add_argument("--clients", type=int, default=32)
    args = parser.parse_args()
    print(machine.describe())
    did, problems = Counter(), []
    with servers.lowcloud(SETTINGS) as server:
        url = f"http://127.0.0.1:{server.port}"
        asyncio.run(soak(url, 60, args.clients, 1000))
        left_over(url)
        sizes = [mib(server)]
        for part in range(PARTS):
            more, faults = asyncio.run(soak(url, 60 * args.minutes / PARTS, args.clients, 2000 * part))
            did, problems = did + more, problems + faults
            left = left_over(url)
            sizes.append(mib(server))
    print(f"{args.clients} clients, {args.minutes:g} minutes: {dict(did)}")
    for name in sizes[0]:
        print(f"memory of {name}, MiB: " + " -> ".join(f"{size.get(name, 0):.0f}" for size in sizes))
    print(f"errors not asked for: {len(problems)} {problems[:5]}")
    print(f"left over: {left or 'nothing'}")
    growth = max(sizes[-1].get(name, 0.0) - sizes[PARTS // 2][name] for name in sizes[0])
    return 0 if not problems and not left and len(sizes[-1]) == len(sizes[0]) and growth < GROWTH_MIB else 1


if __name__ == "__main__":
    sys.exit(main())
