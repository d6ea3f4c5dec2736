"""What keeping responses costs: the same answer by chat completions, by responses that aren't stored and by those that
are, in turns in one run; and how fast what is stored is found again.

    scripts/bench responses [--rounds 40] [--calls 4] [--stored 10000]

The real small model, one caller, 64 tokens a reply, streamed; the first call of each turn isn't counted. What is stored
goes straight into the database before the server starts; it is then read over HTTP.
"""

import argparse
import asyncio
import http.client
import json
import statistics
import tempfile
import time
from pathlib import Path

import machine
import servers
from sqlalchemy import event

from lowcloud.core.principal import DEV_ACCOUNT
from lowcloud.storage.database import Database, open_database
from lowcloud.storage.items import StoredItem
from lowcloud.storage.responses import Kept, NewResponse, ResponseStore

MODEL = "@local/smollm2-135m-instruct"
TOKENS = 64
TURNS = 50
ALONE = 500
BYTES = 2_000
ASKED = {"model": MODEL, "stream": True, "ignore_eos": True, "temperature": 0}
WAYS = {
    "chat completions": ("/v1/chat/completions", {"max_tokens": TOKENS}),
    "responses, store: false": ("/v1/responses", {"max_output_tokens": TOKENS, "store": False}),
    "responses": ("/v1/responses", {"max_output_tokens": TOKENS}),
}


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("--calls", type=int, default=4)
    parser.add_argument("--stored", type=int, default=10_000)
    options = parser.parse_args()
    print(machine.describe())
    with tempfile.TemporaryDirectory() as data, servers.lowcloud(f"LOWCLOUD_STORAGE__DATA_DIR={data}") as server:
        made(server, options.rounds, options.calls)
    with tempfile.TemporaryDirectory() as data:
        ids = filled(Path(data), options.stored)
        with servers.lowcloud(f"LOWCLOUD_STORAGE__DATA_DIR={data}") as server:
            found(server, ids)


def body(name: str, call: int) -> dict[str, object]:
    """A prompt of its own, so that no two share more than their beginning."""
    text = f"Number {call}: say something about it."
    said = {"input": text} if name.startswith("responses") else {"messages": [{"role": "user", "content": text}]}
    return {**ASKED, **WAYS[name][1], **said}


def made(server: servers.Server, rounds: int, calls: int) -> None:
    """Times of whole answers and between their pieces, in turns; what is more is the median of what the rounds say."""
    whole: dict[str, list[list[float]]] = {name: [] for name in WAYS}
    gaps: dict[str, list[float]] = {name: [] for name in WAYS}
    for round_ in range(rounds):
        for name, (path, _) in WAYS.items():
            bodies = [body(name, round_ * calls + call) for call in range(calls)]
            replies = server.load(path, bodies, in_flight=1, total=calls)["replies"]
            assert all(reply["status"] == 200 for reply in replies)
            whole[name].append([1000 * reply["total_s"] for reply in replies[1:]])
            gaps[name] += [1000 * gap for reply in replies[1:] for gap in reply["gaps_s"]]
    print(f"\n{TOKENS} tokens a reply, {rounds} rounds of {calls} calls, ms")
    chat, plain, _ = WAYS
    unstored = [each for calls_of_round in whole[plain] for each in calls_of_round]
    for name in WAYS:
        ms = [each for calls_of_round in whole[name] for each in calls_of_round]
        pairs = list(zip(whole[name], whole[chat], whole[plain], strict=True))
        ratio = statistics.median(statistics.median(ours) / statistics.median(chats) for ours, chats, _ in pairs)
        more = statistics.median(statistics.median(ours) - statistics.median(plains) for ours, _, plains in pairs)
        print(
            f"  {name:26} median {at(ms, 50):7.1f}  p99 {at(ms, 99):7.1f}  {ratio:5.3f} of chat  "
            f"more than unstored {more:+5.2f}, p99 {at(ms, 99) - at(unstored, 99):+5.2f}  "
            f"between pieces {at(gaps[name], 50):5.2f}, p99 {at(gaps[name], 99):5.2f}"
        )


def filled(data: Path, stored: int) -> list[str]:
    """A database with so many responses and a chain; the ids of both, the chain's last one last."""
    with open_database(f"sqlite:///{data / 'lowcloud.db'}") as database:
        return asyncio.run(_filled(database, stored))


async def _filled(database: Database, stored: int) -> list[str]:
    store, ids = ResponseStore(database), []
    for start in range(0, stored, 200):
        names = [f"resp_{number:032d}" for number in range(start, min(start + 200, stored))]
        await asyncio.gather(*(store.save(new(name, ())) for name in names))
        ids += names
    alone = []
    for number in range(stored, stored + ALONE):
        begin = time.perf_counter()
        await store.save(new(f"resp_{number:032d}", ()))
        alone.append(1000 * (time.perf_counter() - begin))
    print(f"\na save by itself: median {at(alone, 50):.2f} ms, p99 {at(alone, 99):.2f} ms, {ALONE} saves")
    context: tuple[str, ...] = ()
    for turn in range(TURNS):
        link = new(f"resp_chain{turn:027d}", context)
        await store.save(link)
        context += tuple(item.key for item in (*link.input, *link.response.output))
    statements: list[str] = []
    event.listen(database._engine, "before_cursor_execute", lambda *told: statements.append(told[2]))
    begin = time.perf_counter()
    found = await store.context(DEV_ACCOUNT, link.response.id)
    took = 1000 * (time.perf_counter() - begin)
    asked = [statement for statement in statements if statement.lstrip().upper().startswith("SELECT")]
    assert found is not None
    print(f"a chain of {TURNS} turns: {len(found[1])} items by {len(asked)} query in {took:.1f} ms")
    return [*ids, link.response.id]


def new(name: str, context: tuple[str, ...]) -> NewResponse:
    """A response of about 2 kB."""
    head = {"id": name, "object": "response", "created_at": int(time.time()), "status": "completed", "model": MODEL}
    part = {"type": "output_text", "text": "x" * (BYTES // 2), "annotations": [], "logprobs": []}
    said = {"type": "message", "id": f"msg_{name[5:]}", "role": "assistant", "status": "completed", "content": [part]}
    asked = {**said, "role": "user", "content": [{"type": "input_text", "text": "y" * (BYTES // 2)}]}
    output = StoredItem(f"{name}:1", said["id"], json.dumps(said))
    kept = Kept(name, DEV_ACCOUNT, time.time(), MODEL, "completed", json.dumps(head), "[[1000]]", output=(output,))
    return NewResponse(kept, context, (StoredItem(f"{name}:0", f"in_{name[5:]}", json.dumps(asked)),))


def found(server: servers.Server, ids: list[str]) -> None:
    """How long GET takes."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=20)
    times = []
    step = max(1, len(ids) // 1_000)
    for name in ids[::step]:
        begin = time.perf_counter()
        connection.request("GET", f"/v1/responses/{name}")
        answer = connection.getresponse()
        answer.read()
        assert answer.status == 200, name
        times.append(1000 * (time.perf_counter() - begin))
    print(f"GET of one of {len(ids):,}: median {at(times, 50):.2f} ms, p99 {at(times, 99):.2f} ms, {len(times)} calls")


def at(values: list[float], share: int) -> float:
    """The percentile."""
    return statistics.quantiles(values, n=100, method="inclusive")[share - 1]


if __name__ == "__main__":
    main()
