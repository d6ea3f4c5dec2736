"""Batches on a real server process whose model is an upstream of the test's own: killed, stopped and started again, no
request is lost, none is answered twice, and live requests go first."""

import hashlib
import json
import sqlite3
import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from live_server import ACCOUNT, LiveServer, running, until

MODEL = "@remote/chat"
BOUND_S = 60
CONCURRENCY = 4
N = 30


def said(prompt: str, seed: int) -> str:
    """What the upstream says: the same for the same prompt and seed."""
    return f"{prompt} {hashlib.sha256(f'{prompt} {seed}'.encode()).hexdigest()[:12]}"


@dataclass
class Upstream:
    """Holds each request until ``may`` lets it be answered. ``arrived`` has the prompts and seeds, in order."""

    url: str = ""
    arrived: list[tuple[str, int]] = field(default_factory=list)
    answered: int = 0
    _may: Callable[[str], bool] = lambda _prompt: True
    _life: int = 0
    _changed: threading.Condition = field(default_factory=threading.Condition)

    def admit(self, prompt: str, seed: int) -> bool:
        """Blocking; False: whoever asked is dead."""
        with self._changed:
            life = self._life
            self.arrived.append((prompt, seed))
            self._changed.notify_all()
            self._changed.wait_for(lambda: life != self._life or self._may(prompt), BOUND_S)
            if life != self._life:
                return False
            self.answered += 1
            self._changed.notify_all()
            return True

    def let(self, may: Callable[[str], bool]) -> None:
        with self._changed:
            self._may = may
            self._changed.notify_all()

    def forget(self) -> None:
        """Those who wait for answers are dead."""
        with self._changed:
            self._life += 1
            self._changed.notify_all()

    def until(self, is_so: Callable[["Upstream"], bool]) -> None:
        with self._changed:
            assert self._changed.wait_for(lambda: is_so(self), BOUND_S), (self.answered, self.arrived)


@pytest.fixture
def upstream() -> Iterator[Upstream]:
    served = Upstream()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            prompt, seed = body["messages"][-1]["content"], body["seed"]
            if not served.admit(prompt, seed):
                self.close_connection = True
                return
            chunks = [
                {"choices": [{"index": 0, "delta": {"content": said(prompt, seed)}, "finish_reason": None}]},
                {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]},
                {"choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}},
            ]
            self.send_response(200)
            self.send_header("Content-Type", "text/event-stream")
            self.end_headers()
            self.wfile.write(b"".join(b"data: %b\n\n" % json.dumps(chunk).encode() for chunk in chunks))
            self.wfile.write(b"data: [DONE]\n\n")

        def log_message(self, *_arguments: object) -> None:
            """Says nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    served.url = f"http://127.0.0.1:{server.server_port}/v1"
    yield served
    served.forget()
    server.shutdown()
    thread.join(10)
    server.server_close()


@pytest.fixture
def start(upstream, tmp_path):
    """``with start() as server``: each time on the same data."""
    config = tmp_path / "lowcloud.toml"
    config.write_text(
        f'[jobs]\nconcurrency = {CONCURRENCY}\nlease_s = 3\n[models."{MODEL}"]\nupstream = "{upstream.url}"\n'
    )
    return lambda: running(["dev", "--config", str(config)], tmp_path)


def run(server: LiveServer, body: object, query: str = "") -> dict:
    url = f"{server.url}/client/v4/accounts/{ACCOUNT}/ai/run/{MODEL}{query}"
    request = urllib.request.Request(url, json.dumps(body).encode(), {"Content-Type": "application/json"})  # noqa: S310
    with urllib.request.urlopen(request, timeout=BOUND_S) as answer:  # noqa: S310 - loopback
        return json.load(answer)["result"]


def submitted(server: LiveServer, requests: list[dict]) -> str:
    return run(server, {"requests": requests}, "?queueRequest=true")["request_id"]


def responses(server: LiveServer, request_id: str) -> list[dict]:
    """Once all are done."""
    return until(lambda: run(server, {"request_id": request_id}).get("responses"))


def count_stores(database: Path) -> None:
    """From now on the database itself counts how often each job gets an outcome."""
    with closing(sqlite3.connect(database)) as connection:
        connection.execute("CREATE TABLE stores (job TEXT)")
        connection.execute(
            "CREATE TRIGGER count_stores AFTER UPDATE OF result, error_code ON jobs "
            "WHEN NEW.result IS NOT NULL OR NEW.error_code IS NOT NULL "
            "BEGIN INSERT INTO stores VALUES (NEW.id); END"
        )
        connection.commit()


def stores(database: Path) -> list[int]:
    """How often each job got one."""
    with closing(sqlite3.connect(database)) as connection:
        counts = connection.execute(
            "SELECT (SELECT count(*) FROM stores WHERE job = jobs.id) FROM jobs ORDER BY position"
        )
        return [count for (count,) in counts]


def requests() -> list[dict]:
    """Every other one has a seed of its own."""
    seeds = [{} if place % 2 else {"seed": 100 + place} for place in range(N)]
    return [{"prompt": f"p{place}", "external_reference": f"r{place}", **seeds[place]} for place in range(N)]


def test_a_batch_survives_two_kills_and_a_stop_with_every_request_answered_once(start, upstream, tmp_path):
    database = tmp_path / "data" / "lowcloud.db"
    upstream.let(lambda _prompt: False)
    with start() as server:
        count_stores(database)
        request_id = submitted(server, requests())
        upstream.until(lambda up: len(up.arrived) == CONCURRENCY)
        server.process.kill()
        server.process.wait()
    upstream.forget()
    upstream.let(lambda _prompt: upstream.answered < 7)
    with start() as server:
        upstream.until(lambda up: up.answered == 7)
        server.process.kill()
        server.process.wait()
    upstream.forget()
    upstream.let(lambda _prompt: upstream.answered < 19)
    with start() as server:
        upstream.until(lambda up: up.answered == 19)
        server.process.terminate()
        assert server.process.wait(BOUND_S) == 0
    upstream.forget()
    upstream.let(lambda _prompt: True)
    with start() as server:
        told = responses(server, request_id)
        undisturbed = responses(server, submitted(server, requests()))
        assert responses(server, request_id) == told
    assert stores(database)[: 2 * N] == [1] * (2 * N)
    assert [(one["id"], one["success"], one["external_reference"]) for one in told] == [
        (place, True, f"r{place}") for place in range(N)
    ]
    assert [one["result"] for one in told[::2]] == [one["result"] for one in undisturbed[::2]]
    drawn: dict[str, list[int]] = {}
    for prompt, seed in upstream.arrived[:-N]:
        drawn.setdefault(prompt, []).append(seed)
    for place, one in enumerate(told):
        (seed,) = set(drawn[f"p{place}"])
        assert one["result"]["response"] == said(f"p{place}", seed)


def test_a_live_request_goes_before_what_of_a_batch_has_not_begun(start, upstream):
    upstream.let(lambda _prompt: False)
    with start() as server, ThreadPoolExecutor(1) as threads:
        request_id = submitted(server, requests())
        upstream.until(lambda up: len(up.arrived) == CONCURRENCY)
        live = threads.submit(run, server, {"prompt": "live", "seed": 1})
        upstream.until(lambda up: len(up.arrived) == CONCURRENCY + 1)
        assert upstream.arrived[-1] == ("live", 1)
        upstream.let(lambda prompt: prompt in {"p0", "p1"})
        upstream.until(lambda up: up.answered == 2)
        # two more of the batch have been leased, and wait behind the live one
        until(lambda: run(server, {"request_id": request_id})["status"] == "running" and waiting(server) == 5)
        assert len(upstream.arrived) == CONCURRENCY + 1
        upstream.let(lambda prompt: prompt == "live")
        assert live.result(BOUND_S)["response"] == said("live", 1)
        upstream.until(lambda up: len(up.arrived) == CONCURRENCY + 3)
        upstream.let(lambda _prompt: True)
        assert len(responses(server, request_id)) == N


def waiting(server: LiveServer) -> float:
    return server.metrics().get(f'lowcloud_queued_requests{{model="{MODEL}"}}', 0.0)
