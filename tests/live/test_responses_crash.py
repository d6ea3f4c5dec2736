"""The server dies by SIGKILL: what it kept is there, and what ran in the background goes on as if nothing had been."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import openai
import pytest
from chat_client import MODEL
from live_server import LiveServer, running

pytestmark = pytest.mark.live
BOUND_S = 120
ASKED = {"model": MODEL, "input": "Count to a hundred.", "temperature": 0.7}
LONG = {**ASKED, "max_output_tokens": 60, "extra_body": {"ignore_eos": True}}


@contextmanager
def started(scratch: Path) -> Iterator[tuple[LiveServer, openai.OpenAI]]:
    """A server on the data of the one before."""
    with (
        running(["dev"], scratch, {"LOWCLOUD_JOBS__LEASE_S": "1"}) as server,
        openai.OpenAI(base_url=server.base, api_key="any", max_retries=0, timeout=BOUND_S) as client,
    ):
        yield server, client


def killed(server: LiveServer) -> None:
    server.process.kill()
    server.process.wait(BOUND_S)


def told(events: Any) -> list[dict[str, Any]]:
    """Each event, but for what the second start may rightly count anew: the tokens that the cache has."""
    found = [event.to_dict() for event in events]
    for event in found:
        if (response := event.get("response")) and response.get("usage"):
            response["usage"]["input_tokens_details"] = response["completed_at"] = None
    return found


def test_a_response_that_was_answered_is_there_after_a_kill(tmp_path):
    with started(tmp_path) as (server, client):
        response = client.responses.create(**ASKED, max_output_tokens=8)
        *_, last = client.responses.create(**ASKED, max_output_tokens=8, stream=True)
        killed(server)
    with started(tmp_path) as (_, client):
        assert client.responses.retrieve(response.id).to_dict() == response.to_dict()
        assert client.responses.retrieve(last.response.id).to_dict() == last.response.to_dict()
        again = client.responses.create(model=MODEL, input="And then?", previous_response_id=response.id)
        assert again.status == "completed"


def test_a_response_in_the_background_ends_after_a_kill_with_the_very_same_events(tmp_path):
    with started(tmp_path) as (server, client):
        stream = client.responses.create(**LONG, background=True, stream=True)
        seen = [next(stream).to_dict() for _ in range(20)]
        response_id = seen[0]["response"]["id"]
        killed(server)
        stream.close()
    with started(tmp_path) as (_, client):
        number = seen[-1]["sequence_number"]
        rest = told(client.responses.retrieve(response_id, stream=True, starting_after=number))
        assert [event["sequence_number"] for event in rest] == list(range(number + 1, number + 1 + len(rest)))
        assert rest[-1]["type"] == "response.incomplete"
        whole = told(client.responses.retrieve(response_id, stream=True))
        assert whole == seen + rest
        assert client.responses.retrieve(response_id).status == "incomplete"
