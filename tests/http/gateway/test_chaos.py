"""The gateway as a real server process: its upstream misbehaves, and it is killed in the middle of calls."""

import gzip
import http.client
import json
import signal
import socket
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from gateway_fields import FIELDS
from live_server import ACCOUNT, LiveServer, running, until
from provider_upstream import CHAT, Exchange, ProviderUpstream, chat_events, provider_upstream, well_behaved

ASK = {"model": "gpt-4o", "messages": [{"role": "user", "content": "hello"}]}
N = 200
AT_ONCE = 16
BOUND_S = 60


def hangs(exchange: Exchange) -> None:
    """No byte of an answer, for as long as the other end waits."""
    exchange.connection.settimeout(BOUND_S)
    exchange.connection.recv(1)
    exchange.close_connection = True


def resets(exchange: Exchange) -> None:
    linger = b"\x01\x00\x00\x00\x00\x00\x00\x00"
    exchange.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
    exchange.connection.close()
    exchange.close_connection = True


def half_an_event(exchange: Exchange) -> None:
    exchange.head(200, {"content-type": "text/event-stream", "transfer-encoding": "chunked"})
    exchange.chunk(next(chat_events()))
    exchange.chunk(b'data: {"id": "chatc')
    exchange.connection.shutdown(socket.SHUT_RDWR)
    exchange.close_connection = True


def half_a_body(exchange: Exchange) -> None:
    exchange.head(200, {"content-type": "application/json", "content-length": "1000"})
    exchange.wfile.write(b'{"id": ')
    exchange.close_connection = True


def garbage(exchange: Exchange) -> None:
    exchange.wfile.write(b"\x00\xff 999 what is this\r\n\r\n" * 9)
    exchange.close_connection = True


def wrong_types(exchange: Exchange) -> None:
    """JSON whose members are none of those that they should be."""
    exchange.whole(
        {**CHAT, "usage": {"prompt_tokens": -1, "completion_tokens": 1e300}, "model": "\ud800\0", "id": [{}]}
    )


def in_turns(*answers: Callable[[Exchange], None]) -> Callable[[Exchange], None]:
    """The first answers the first call, the last one all that are left."""
    left, lock = list(answers), threading.Lock()

    def answer(exchange: Exchange) -> None:
        with lock:
            now = left.pop(0) if len(left) > 1 else left[0]
        now(exchange)

    return answer


def status(code: int, **headers: str) -> Callable[[Exchange], None]:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return lambda exchange: exchange.whole({"error": {"message": "no"}}, code, named)


@pytest.fixture(scope="module")
def upstream() -> Iterator[ProviderUpstream]:
    with provider_upstream() as listening:
        yield listening


def settings(upstream: ProviderUpstream) -> dict[str, str]:
    return {"LOWCLOUD_GATEWAY__BASE_URLS": f"openai={upstream.url}/v1"}


@pytest.fixture(scope="module")
def server(upstream, tmp_path_factory) -> Iterator[LiveServer]:
    with running(["dev"], tmp_path_factory.mktemp("chaos"), settings(upstream)) as listening:
        yield listening


class Answer:
    """What came: the status, the headers by lower-case names, the bytes; ``is_whole``: it came to its end."""

    def __init__(self, connection: http.client.HTTPConnection) -> None:
        response = connection.getresponse()
        self.status = response.status
        self.headers = {name.lower(): value for name, value in response.getheaders()}
        self.is_whole = True
        try:
            self.body = response.read()
        except (http.client.IncompleteRead, ConnectionError) as error:
            self.body = getattr(error, "partial", b"")
            self.is_whole = False


def ask(
    server: LiveServer, headers: dict[str, str] | None = None, gateway: str = "default", **fields: object
) -> Answer:
    connection = http.client.HTTPConnection(urlsplit(server.url).netloc, timeout=BOUND_S)
    try:
        path = f"/v1/{ACCOUNT}/{gateway}/openai/chat/completions"
        connection.request(
            "POST", path, json.dumps(ASK | fields), {"content-type": "application/json", **(headers or {})}
        )
        return Answer(connection)
    finally:
        connection.close()


def gzipped(exchange: Exchange) -> None:
    """Compressed, though nobody asked for that."""
    data = gzip.compress(json.dumps(CHAT).encode())
    length = {"content-length": str(len(data)), "content-encoding": "gzip", "content-type": "application/json"}
    exchange.head(200, length)
    exchange.wfile.write(data)


def manage(server: LiveServer, path: str, body: object = None) -> dict[str, object]:
    """What the management API says of the gateways; of a body too, which makes one."""
    url = f"{server.url}/client/v4/accounts/{ACCOUNT}/ai-gateway/gateways{path}"
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"content-type": "application/json"})  # noqa: S310 - loopback
    with urllib.request.urlopen(request, timeout=BOUND_S) as answer:  # noqa: S310 - loopback
        return json.load(answer)


def log_of(server: LiveServer, answer: Answer) -> dict[str, object]:
    """The log that an answer names, at once."""
    return manage(server, f"/default/logs/{answer.headers['cf-aig-log-id']}")["result"]


def newest(server: LiveServer) -> dict[str, object]:
    return manage(server, "/default/logs?per_page=1&order_by=created_at&order_by_direction=desc")["result"][0]


def test_an_upstream_that_hangs_is_given_up_in_time_and_the_next_try_answers(server, upstream):
    upstream.answer = in_turns(hangs, well_behaved)
    began = time.monotonic()
    answer = ask(server, {"cf-aig-request-timeout": "300", "cf-aig-max-attempts": "2", "cf-aig-retry-delay": "0"})
    assert (answer.status, json.loads(answer.body)) == (200, CHAT)
    assert time.monotonic() - began < 20


@pytest.mark.parametrize("misbehaviour", [hangs, resets, garbage])
def test_where_no_reply_comes_the_caller_is_told_and_a_log_says_so(server, upstream, misbehaviour):
    upstream.answer = misbehaviour
    answer = ask(server, {"cf-aig-request-timeout": "300", "user-agent": misbehaviour.__name__})
    assert (answer.status, json.loads(answer.body)["internalCode"], answer.is_whole) == (400, 2005, True)
    found = until(lambda: (log := newest(server))["user_agent"] == misbehaviour.__name__ and log, BOUND_S)
    assert (found["status_code"], found["success"]) == (400, False)


@pytest.mark.parametrize(("misbehaviour", "begins"), [(half_an_event, b"data: "), (half_a_body, b'{"id": ')])
def test_what_breaks_off_breaks_off_for_the_caller_too(server, upstream, misbehaviour, begins):
    upstream.answer = misbehaviour
    answer = ask(server, {"cf-aig-max-attempts": "3"}, stream=misbehaviour is half_an_event)
    assert (answer.status, answer.is_whole) == (200, False)
    assert answer.body.startswith(begins)
    assert until(lambda: log_of(server, answer), BOUND_S)["success"] is False


def test_an_upstream_that_asks_for_time_gets_it(server, upstream):
    upstream.answer = in_turns(status(429, retry_after="1"), status(500), well_behaved)
    began = time.monotonic()
    answer = ask(server, {"cf-aig-max-attempts": "3", "cf-aig-retry-delay": "0"})
    assert answer.status == 200
    assert time.monotonic() - began >= 1


@pytest.mark.parametrize("code", [429, 500, 503])
def test_an_error_that_stays_passes_as_it_is(server, upstream, code):
    upstream.answer = status(code, retry_after="7", x_why="tired")
    answer = ask(server)
    assert (answer.status, json.loads(answer.body)) == (code, {"error": {"message": "no"}})
    assert (answer.headers["retry-after"], answer.headers["x-why"]) == ("7", "tired")
    assert log_of(server, answer)["status_code"] == code


def test_nonsense_passes_and_is_logged_without_counts(server, upstream):
    upstream.answer = wrong_types
    answer = ask(server)
    assert json.loads(answer.body)["id"] == [{}]
    log = log_of(server, answer)
    assert (log["success"], log["tokens_in"] >= 0, log["tokens_out"] >= 0) == (True, True, True)


@pytest.mark.parametrize(
    ("method", "code", "length", "told"),
    [
        ("HEAD", 200, "1000", "1000"),
        ("DELETE", 204, None, None),
        ("DELETE", 204, "7", None),
        ("GET", 304, None, None),
        ("GET", 304, "50", None),
        ("HEAD", 304, "50", None),
        ("GET", 200, "0", "0"),
    ],
)
def test_replies_without_a_body_leave_the_connection_to_the_next_call(server, upstream, method, code, length, told):
    upstream.answer = lambda exchange: exchange.head(
        code, {"etag": "x"} | ({"content-length": length} if length else {})
    )
    connection = http.client.HTTPConnection(urlsplit(server.url).netloc, timeout=BOUND_S)
    for _ in range(2):
        connection.request(method, f"/v1/{ACCOUNT}/default/openai/files/f")
        answer = Answer(connection)
        assert (answer.status, answer.headers["etag"], answer.body, answer.is_whole) == (code, "x", b"", True)
        assert answer.headers.get("content-length") == told
        assert log_of(server, answer)["status_code"] == code
    connection.close()


def test_a_reply_that_comes_compressed_is_one_that_the_caller_can_read(server, upstream):
    upstream.answer = gzipped
    answer = ask(server, {"accept-encoding": "gzip"})
    assert json.loads(answer.body) == CHAT
    assert "content-encoding" not in answer.headers
    assert log_of(server, answer)["tokens_out"] == 3


def test_after_all_that_it_answers_as_ever(server, upstream):
    upstream.answer = well_behaved
    answer = ask(server, stream=True)
    assert (answer.body, answer.is_whole) == (b"".join(chat_events()), True)
    assert server.total("lowcloud_gateway_logs_lost_total") == 0


def test_killed_in_the_middle_of_200_calls_it_has_one_log_of_each_that_was_answered(upstream, tmp_path: Path):
    upstream.answer = well_behaved
    answered: list[str] = []
    enough = threading.Event()

    def call(number: int) -> None:
        try:
            answer = ask(server, stream=number % 2 == 0)
        except (OSError, http.client.HTTPException):
            return
        if answer.is_whole and answer.status == 200:
            answered.append(answer.headers["cf-aig-log-id"])
            if len(answered) >= N // 2:
                enough.set()

    with running(["dev"], tmp_path, settings(upstream)) as server, ThreadPoolExecutor(AT_ONCE) as callers:
        for number in range(N):
            callers.submit(call, number)
        assert enough.wait(BOUND_S)
        server.process.send_signal(signal.SIGKILL)
        server.process.wait(BOUND_S)
    assert N // 2 <= len(answered) < N
    with running(["dev"], tmp_path, settings(upstream)) as again:
        kept = until(lambda: all_ids(again, at_least=len(answered)), BOUND_S)
    assert len(kept) == len(set(kept))
    assert set(answered) <= set(kept)


def all_ids(server: LiveServer, at_least: int) -> list[str]:
    """The ids of all logs, once they are so many."""
    found: list[str] = []
    for page in range(1, 20):
        listed = manage(server, f"/default/logs?per_page=50&page={page}")["result"]
        found += [log["id"] for log in listed]
        if len(listed) < 50:
            break
    return found if len(found) >= at_least else []


def test_killed_at_once_it_has_counted_every_dollar_that_was_spent(upstream, tmp_path: Path):
    upstream.answer = well_behaved
    rule = {"limit": 30, "limitType": "cost", "window": 86_400, "technique": "sliding"}
    costly = {"cf-aig-custom-cost": '{"total_cost": 1}'}

    def statuses(server: LiveServer, calls: int) -> list[int]:
        return [ask(server, costly, "paid", stream=number % 2 == 0).status for number in range(calls)]

    with running(["dev"], tmp_path, settings(upstream)) as server:
        manage(server, "", FIELDS | {"id": "paid", "collect_logs": False, "spend_limits": {"rules": [rule]}})
        assert statuses(server, 20) == [200] * 20
        server.process.send_signal(signal.SIGKILL)
        server.process.wait(BOUND_S)
    with running(["dev"], tmp_path, settings(upstream)) as again:
        assert statuses(again, 11) == [200] * 10 + [429]
