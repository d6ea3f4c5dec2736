"""Batches on the bundled model: what they say is what live requests get, through kills and through live company."""

import json
import urllib.request

import pytest
from chat_client import MODEL
from live_server import ACCOUNT, LiveServer, running, until

pytestmark = pytest.mark.live
BOUND_S = 300
KILLED = {"LOWCLOUD_JOBS__LEASE_S": "3"}
ONE_SEAT = {"LOWCLOUD_LOCAL__MAX_SEQS": "1"}


def run(server: LiveServer, body: object, query: str = "") -> dict:
    url = f"{server.url}/client/v4/accounts/{ACCOUNT}/ai/run/{MODEL}{query}"
    request = urllib.request.Request(url, json.dumps(body).encode(), {"Content-Type": "application/json"})  # noqa: S310
    with urllib.request.urlopen(request, timeout=BOUND_S) as answer:  # noqa: S310 - loopback
        return json.load(answer)["result"]


def asking(n: int, **options: object) -> list[dict]:
    return [
        {"prompt": f"Tell me about the number {place}.", "seed": 1 + place, "temperature": 0.8, **options}
        for place in range(n)
    ]


def submitted(server: LiveServer, requests: list[dict]) -> str:
    return run(server, {"requests": requests}, "?queueRequest=true")["request_id"]


def texts(server: LiveServer, request_id: str) -> list[str]:
    """Once all are done."""
    responses = until(lambda: run(server, {"request_id": request_id}).get("responses"), BOUND_S)
    return [response["result"]["response"] for response in responses]


def alone(server: LiveServer, requests: list[dict]) -> list[str]:
    return [run(server, request)["response"] for request in requests]


def test_a_batch_that_a_kill_interrupts_says_what_live_requests_get(tmp_path):
    requests = asking(10, max_tokens=16)
    with running(["dev"], tmp_path, KILLED) as server:
        request_id = submitted(server, requests)
        until(lambda: server.total("lowcloud_completion_tokens_total") > 0, BOUND_S)
        server.process.kill()
        server.process.wait(BOUND_S)
    with running(["dev"], tmp_path, KILLED) as server:
        assert texts(server, request_id) == alone(server, requests)


def test_a_live_request_takes_the_seat_of_a_batch_and_changes_nothing_of_it(tmp_path):
    requests = asking(3, max_tokens=60)
    with running(["dev"], tmp_path, ONE_SEAT) as server:
        request_id = submitted(server, requests)
        until(lambda: server.total("lowcloud_running_sequences") == 1, BOUND_S)
        live = run(server, {"prompt": "Say hello.", "max_tokens": 4})
        assert 1 <= live["usage"]["completion_tokens"] <= 4
        assert run(server, {"request_id": request_id})["status"] == "running"
        assert server.total("lowcloud_preemptions_total") == 1
        assert texts(server, request_id) == alone(server, requests)
