"""A real server and the real small model, when things go wrong.

A reply depends neither on its company nor on its worker's life, and nothing stays of a client that leaves.
"""

import os
import signal
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import openai
import pytest
from chat_client import MODEL, Caller, Reply, ask, asking
from live_server import LiveServer, running, until

pytestmark = pytest.mark.live

STREAMS = 16
PLACES = 20  # all choices of all streams
WRITE_TIMEOUT_S = 1
PREFIX = "Answer as a robot that has read every book about gardens, rivers, mountains, ships and the weather. " * 2
LONG = "The robot walks on. " * 250


@pytest.fixture(scope="module")
def server(tmp_path_factory) -> Iterator[LiveServer]:
    settings = {
        "LOWCLOUD_LOCAL__KV_CACHE_BYTES": "128MiB",  # one prompt can fill it
        "LOWCLOUD_LOCAL__MAX_SEQS": str(PLACES),
        "LOWCLOUD_SERVER__WRITE_TIMEOUT_S": str(WRITE_TIMEOUT_S),
    }
    with running(["dev"], tmp_path_factory.mktemp("server"), settings) as server:
        yield server


def mixed() -> list[dict[str, Any]]:
    """Greedy and seeded, with log-probabilities and without, two choices, a stop string, prefixes that are shared."""
    return [
        asking(
            f"{PREFIX if number % 4 == 1 else ''}Tell me about the number {number}.",
            stream=True,
            stream_options={"include_usage": True},
            max_tokens=14 + 2 * (STREAMS - number),  # the first still run when the last begins
            **({"temperature": 0.9, "top_p": 0.95, "seed": number - 5} if number % 2 else {}),
            **({"logprobs": True, "top_logprobs": 3} if number % 3 == 0 else {}),
            **({"n": 2} if number % 5 == 0 else {}),
            **({"frequency_penalty": 0.5, "stop": "!"} if number == 7 else {}),
        )
        for number in range(STREAMS)
    ]


@pytest.fixture(scope="module")
def alone(server) -> list[Reply]:
    """Each request by itself, in a server that has seen none of them."""
    return [ask(server, body) for body in mixed()]


def told(replies: list[Reply]) -> list[object]:
    """Text, log-probabilities and ends, bit for bit as they came; and how many tokens they had."""
    return [(reply.choices, reply.usage["completion_tokens"], reply.fingerprint, reply.error) for reply in replies]


class Streams:
    """The mixed requests, all under way; ``replies`` grow as they are read."""

    def __init__(self, server: LiveServer, tasks: ThreadPoolExecutor, *, pause: Callable[[int], object]) -> None:
        self.replies = [Reply() for _ in range(STREAMS)]
        self._reads = []
        for number, body in enumerate(mixed()):
            self._reads.append(tasks.submit(self._read, number, Caller(server, body)))
            pause(number)

    def _read(self, number: int, caller: Caller) -> None:
        for chunk in caller.chunks():
            self.replies[number].add(chunk)

    def begun(self) -> int:
        """How many have said something and aren't complete."""
        return sum(not each.is_complete and any(said.text for said in each.choices.values()) for each in self.replies)

    def ended(self) -> list[Reply]:
        for read in self._reads:
            read.result()
        return self.replies


@pytest.fixture
def tasks() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(STREAMS) as executor:
        yield executor


def is_unpaged(replies: list[Reply]) -> bool:
    return "-unpaged-" in replies[0].fingerprint


def forget_prefixes(server: LiveServer) -> None:
    """One prompt that fills every KV block takes all that were kept for reuse."""
    tokens = ask(server, asking("a", max_tokens=1)).usage["prompt_tokens"]
    room = round(server.total("lowcloud_kv_blocks")) * 32
    filled = ask(server, asking("a" + " a" * (room - tokens - 1), max_tokens=1))
    assert filled.usage["prompt_tokens"] == room - 1


def test_sixteen_mixed_requests_together_are_what_they_are_alone(server, alone, tasks):
    """Staggered: every other one comes when the one before it has begun, or at once where places are few."""

    def pause(number: int) -> None:
        if number % 2:
            until(lambda: server.total("lowcloud_running_sequences") > 0)

    cached = server.total("lowcloud_cached_tokens_total")
    warm = Streams(server, tasks, pause=pause).ended()
    assert told(warm) == told(alone)
    if is_unpaged(alone):
        return  # nothing is kept there, so cold is the same
    assert server.total("lowcloud_cached_tokens_total") > cached
    forget_prefixes(server)
    cold = Streams(server, tasks, pause=pause).ended()
    assert cold[0].usage["prompt_tokens_details"]["cached_tokens"] == 0
    assert told(cold) == told(alone)


def test_three_deaths_end_a_stream_with_an_error_event_and_the_server_answers_again(server, client):
    body = asking("Count to a thousand.", stream=True, max_tokens=1000)
    extra = {"ignore_eos": body.pop("ignore_eos")}
    stream = client.chat.completions.create(**body, extra_body=extra)
    next(stream)
    pid = 0
    for _ in range(3):
        (worker,) = until(lambda pid=pid: [each for each in server.workers() if each.pid != pid])
        pid = worker.pid
        worker.kill()
    with pytest.raises(openai.APIError, match="process ended 3 times while it worked on this request") as ended:
        list(stream)
    assert (type(ended.value), ended.value.code) == (openai.APIError, "engine_failed")
    with pytest.raises(openai.InternalServerError) as refused:
        client.chat.completions.create(**{**body, "stream": False})
    assert refused.value.status_code == 503
    assert 1 <= float(refused.value.response.headers["retry-after"]) <= 30
    patient = client.with_options(max_retries=8)
    assert patient.chat.completions.create(model=MODEL, messages=body["messages"], max_tokens=4).usage
    assert server.left_over() == {}


def test_sixteen_streams_go_on_bit_for_bit_when_their_worker_is_killed(server, alone, tasks):
    restarts = server.total("lowcloud_worker_restarts_total")
    (worker,) = server.workers()
    streams = Streams(server, tasks, pause=lambda _: None)
    until(lambda: streams.begun() >= (1 if is_unpaged(alone) else STREAMS))
    os.kill(worker.pid, signal.SIGKILL)
    assert told(streams.ended()) == told(alone)
    assert all(reply.is_complete for reply in streams.replies)
    assert server.total("lowcloud_worker_restarts_total") == restarts + 1
    assert [each.pid for each in server.workers()] != [worker.pid]
    assert server.left_over() == {}


@pytest.mark.parametrize("is_stream", [True, False])
@pytest.mark.parametrize("reset", [False, True])
def test_a_client_that_leaves_the_queue_is_forgotten_and_so_is_one_in_decode(server, is_stream, reset):
    occupant = Caller(server, asking("Count.", n=PLACES, max_tokens=2000, stream=is_stream))
    until(lambda: server.total("lowcloud_running_sequences") > 0)
    queued = Caller(server, asking("And I?", stream=is_stream))
    until(lambda: server.total("lowcloud_queued_requests") == 1)
    queued.leave(reset=reset)
    until(lambda: server.total("lowcloud_queued_requests") == 0)
    assert server.total("lowcloud_running_sequences") > 0
    occupant.leave(reset=reset)
    until(lambda: server.left_over() == {}, bound_s=10)


@pytest.mark.parametrize(("is_stream", "reset"), [(True, False), (False, True)])
def test_a_client_that_leaves_in_prefill_costs_no_token(server, is_stream, reset):
    generated = server.total("lowcloud_completion_tokens_total")
    caller = Caller(server, asking(f"{reset} {LONG}", max_tokens=200, stream=is_stream))
    until(lambda: server.total("lowcloud_running_sequences") > 0)
    caller.leave(reset=reset)
    until(lambda: server.left_over() == {}, bound_s=10)
    assert server.total("lowcloud_completion_tokens_total") == generated


def test_a_client_that_stops_reading_is_cancelled_and_nobody_else_notices(server, alone):
    wide = asking("Say all.", stream=True, n=8, max_tokens=2000, logprobs=True, top_logprobs=20)
    given_up = server.log.read_text().count("write_timeout")
    deaf = Caller(server, wide, receive_bytes=2048)
    until(lambda: server.total("lowcloud_running_sequences") > 0)
    begin = time.monotonic()
    assert told([ask(server, mixed()[3])]) == told(alone[3:4])
    until(lambda: server.log.read_text().count("write_timeout") == given_up + 1)
    assert time.monotonic() - begin > WRITE_TIMEOUT_S
    until(lambda: server.left_over() == {}, bound_s=10)
    deaf.leave()
