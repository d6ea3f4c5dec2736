"""A server with limits, as installed: what an account has used is in the database, whatever becomes of the server."""

import sqlite3
from contextlib import closing
from http.client import HTTPResponse
from pathlib import Path
from typing import Any

import pytest
from chat_client import Caller
from live_server import ACCOUNT, LiveServer, running
from scripted_server import CHAT_STAND_IN, HELLO, scripted_server

LLAMA = "@cf/meta/llama-3.2-1b-instruct"


@pytest.fixture(scope="module")
def upstream():
    with scripted_server(is_open=True) as served:
        yield served


@pytest.fixture
def folder(tmp_path, upstream):
    (tmp_path / "lowcloud.toml").write_text(f"""
[limits]
neurons_per_day = 0.05
[models."@remote/chat"]
upstream = "{upstream.base}"
upstream_model = "{CHAT_STAND_IN}"
[map]
"{LLAMA}" = "@remote/chat"
""")
    return tmp_path


def serving(folder: Path, **environment: str):
    return running(["dev", "--config", str(folder / "lowcloud.toml")], folder, environment)


def ask(server: LiveServer) -> tuple[HTTPResponse, dict[str, Any]]:
    caller = Caller(server, {"model": LLAMA, "messages": HELLO})
    return caller.answer(), caller.whole()


def used(folder: Path) -> list[tuple]:
    with closing(sqlite3.connect(folder / "data" / "lowcloud.db")) as database:
        query = "SELECT account_id, model, answered_by, requests, prompt_tokens, completion_tokens, neurons FROM usage"
        return database.execute(query).fetchall()


def test_the_neurons_of_a_day_outlive_the_server(folder):
    with serving(folder) as server:
        answered, body = ask(server)
        refused, _ = ask(server)
        assert server.total("lowcloud_neurons_total") == body["usage"]["neurons"]
        assert server.total("lowcloud_refused_requests_total") == 1
    prompt, completion = body["usage"]["prompt_tokens"], body["usage"]["completion_tokens"]
    cost = (prompt * 2_457 + completion * 18_252) / 1e6
    assert answered.headers["cf-ai-neurons"] == f"{cost:.2f}"
    assert (refused.status, refused.headers["x-should-retry"]) == (429, "false")
    assert 0 < int(refused.headers["retry-after"]) <= 86_400
    assert used(folder) == [(ACCOUNT, LLAMA, "@remote/chat", 1, prompt, completion, cost)]
    with serving(folder) as server:
        refused, body = ask(server)
    assert (refused.status, body["errors"][0]["code"]) == (429, 3036)


def test_a_server_without_limits_counts_all_the_same(folder):
    with serving(folder, LOWCLOUD_LIMITS__NEURONS_PER_DAY="") as server:
        assert [ask(server)[0].status for _ in range(2)] == [200, 200]
    assert [requests for _, _, _, requests, *_ in used(folder)] == [2]
