"""The real class behind ``env.AI``, in a Worker.

Under workerd alone, by the file of ``lowcloud workers capnp``, and under wrangler, by ``lowcloud run``.
"""

import json
import os
import re
import shutil
import subprocess
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import node_project
import pytest
from scripted_server import ACCOUNT, LLAMA, Served, scripted_server
from worker_binding import BINDING, SECRET
from wrangler_dev import WRANGLERS, Wrangler, wrangler_dev

from lowcloud.cli.capnp import capnp_file
from lowcloud.settings import Gateway

HERE = Path(__file__).resolve().parent / "workerd"
EXAMPLE = HERE.parents[2] / "docs" / "gateway" / "workers.md"
WORKERD = next((node_project.HOME / "node_modules" / "@cloudflare").glob("workerd-*/bin/workerd"), None)
pytestmark = pytest.mark.skipif(WORKERD is None, reason="no workerd: run scripts/fetch_suites")
BOUND_S = 60
EVENTS = ['{"response":"beep"}', '{"response":" boop"}', '{"response":" whirr"}']

VALUES: dict[str, Any] = {
    "embeddings": [2, 1024],
    "raw": [200, "application/json", "beep boop whirr"],
    "rawError": 400,
    "options": "beep boop whirr",
    "websocket": [400, True, "AiError"],
    "models": ["@cf/baai/bge-large-en-v1.5"],
    "supported": [],
    "gateway": ["beep boop whirr", True, {"who": "me"}, LLAMA, True],
    "gatewayStream": [*(f"data: {event}" for event in EVENTS), "data: [DONE]", ""],
    "gatewayRaw": ["application/json", "0", "HIT"],
    "patchLog": [True, 1, 0.5, {"who": "you"}],
    "gatewayRun": [200, "1", "beep boop whirr", 1, {"who": "me"}],
    "gatewayRunWrong": [400, 2008],
    "getUrl": [f"/v1/{ACCOUNT}/default/", "beep boop whirr", "v1/chat/completions"],
    "durable": ["beep boop whirr", f"data: {EVENTS[0]}", "data: [DONE]"],
    "fetch": "beep boop whirr",
    "fetchElse": 404,
}
INFERENCE, INTERNAL, OF_GATEWAYS = "InferenceUpstreamError", "AiInternalError", "AiGatewayInternalError"
NO_LOG = "AiGatewayLogNotFound"
THROWN = {
    "unknown": [INFERENCE, "AiError", "5007: No such model @cf/nobody/nothing"],
    "wrong": [INFERENCE, "AiError", "5006: Error: top_k: Input should be less than or equal to 50."],
    "broken": [INFERENCE, "AiError", "8005: The model's process ended."],
    "gatewayWrong": [INFERENCE, "AiError", "5006: Error: top_k: Input should be less than or equal to 50."],
    "noGateway": [INFERENCE, "AiGatewayError", "2001: There is no gateway nobody."],
    "form": [INFERENCE, "AiError", "5004: An input that is a stream or a form"],
    "noModels": [INTERNAL, INTERNAL, "page: Input should be greater than or equal to 1."],
    "toMarkdown": [INTERNAL, INTERNAL, "toMarkdown: there is no converter here yet."],
    "noLog": [NO_LOG, NO_LOG, "Log Not Found"],
    "noLogPatched": [NO_LOG, NO_LOG, "Log Not Found"],
    "wrongPatch": [OF_GATEWAYS, OF_GATEWAYS, "feedback: "],
    "noUrl": [OF_GATEWAYS, OF_GATEWAYS, "There is no gateway nobody."],
    "search": ["AutoRAGInternalError", "AutoRAGInternalError", "autorag: there is no AI Search here."],
}


@pytest.fixture(scope="module")
def served() -> Iterator[Served]:
    binding = replace(BINDING, account_id=ACCOUNT)
    with scripted_server(is_open=False, sees_images=True, binding=binding, gateways=Gateway()) as running:
        running.reply = lambda turn: node_project.script(turn) if "break" in turn.prompt else "beep boop whirr"
        yield running


@contextmanager
def worker(folder: Path, address: str, source: str | None = None) -> Iterator[str]:
    """The Worker of the cases, or another one's ``source``, under ``workerd serve``; its URL."""
    shutil.copytree(HERE, folder, dirs_exist_ok=True)
    if source is not None:
        (folder / "worker.mjs").write_text(source, "utf-8")
    (folder / "lowcloud.capnp").write_text(capnp_file(address, SECRET))
    told, tells = os.pipe()
    command = [str(WORKERD), "serve", "config.capnp", f"--control-fd={tells}"]
    with subprocess.Popen(command, cwd=folder, pass_fds=[tells]) as process, os.fdopen(told) as control:
        os.close(tells)
        try:
            yield f"http://127.0.0.1:{json.loads(control.readline())['port']}"
        finally:
            process.terminate()


@pytest.fixture(scope="module", params=[None, *WRANGLERS], ids=lambda param: param.name if param else "workerd")
def url(request, served, tmp_path_factory) -> Iterator[str]:
    wrangler: Wrangler | None = request.param
    folder = tmp_path_factory.mktemp("worker")
    if wrangler is None:
        with worker(folder, served.url.removeprefix("http://")) as running:
            yield running
    elif not wrangler.is_here:
        pytest.skip("no wrangler: run scripts/fetch_suites")
    else:
        shutil.copytree(HERE, folder, dirs_exist_ok=True)
        variables = {"LOWCLOUD_URL": served.url, "LOWCLOUD_BINDING_SECRET": SECRET}
        with wrangler_dev(wrangler, folder, variables) as running:
            yield running.url


@pytest.fixture
def given(url) -> Callable[[str], dict[str, Any]]:
    """What the Worker says of a case."""

    def ask(case: str) -> dict[str, Any]:
        with urllib.request.urlopen(f"{url}/{case}", timeout=BOUND_S) as answer:  # noqa: S310 - loopback
            return json.load(answer)

    return ask


def test_a_run_is_the_bare_result_and_its_request_has_an_id(given):
    said = given("run")
    assert (said["value"]["response"], said["value"]["finish_reason"]) == ("beep boop whirr", "stop")
    assert len(said["id"]) == 36


def test_a_stream_is_a_stream_of_events(given):
    events = given("stream")["value"].split("\n\n")
    assert [event.removeprefix("data: ") for event in events[:3]] == EVENTS
    assert events[-2:] == ["data: [DONE]", ""]


def test_a_typed_array_is_read_as_its_bytes(served, given):
    assert given("bytes")["value"]["response"] == "beep boop whirr"
    (message,) = served.chat.requests[-1].prompt.messages
    assert [image.data for image in message.images] == [bytes([1, 2, 3])]


@pytest.mark.parametrize("case", VALUES)
def test_what_a_worker_gets(given, case):
    said = given(case)
    assert said.get("value", said) == VALUES[case]


@pytest.mark.parametrize("case", THROWN)
def test_what_a_worker_catches(given, case):
    said = given(case)
    kind, name, message = said["thrown"]
    assert [kind, name, message[: len(THROWN[case][2])]] == THROWN[case]
    if kind == INFERENCE:
        assert message.startswith(f"{said['code']}: ")


def test_every_case_of_the_worker_is_tested():
    cases = re.findall(r"^  (\w+): (?:async )?\(_?ai\b", (HERE / "worker.mjs").read_text("utf-8"), re.MULTILINE)
    assert sorted(cases) == sorted([*VALUES, *THROWN, "run", "stream", "bytes", "leave"])


def test_the_example_of_the_docs_does_what_it_says(served, tmp_path):
    (source,) = re.findall(r"```js\n(.*?)```", EXAMPLE.read_text("utf-8"), re.DOTALL)
    address = served.url.removeprefix("http://")
    with worker(tmp_path, address, source) as url, urllib.request.urlopen(url, timeout=BOUND_S) as answer:  # noqa: S310 - loopback
        said = json.load(answer)
    assert said.pop("duration") >= 0
    assert said.pop("baseURL") == f"{served.url}/v1/{ACCOUNT}/default/openai"
    assert said == {
        "response": "beep boop whirr",
        "feedback": 1,
        "metadata": {"user": "ann"},
        "step": "1",
        "fallback": "beep boop whirr",
    }


def test_tokens_reach_the_workers_client_as_they_come(served, url):
    served.chat.stage.hold("token:1")
    with urllib.request.urlopen(f"{url}/passed-on", timeout=BOUND_S) as answer:  # noqa: S310 - loopback
        assert answer.readline().decode().strip() == f"data: {EVENTS[0]}"
        served.soon(lambda: served.chat.stage.open("token:1"))
        assert answer.read().decode().endswith("data: [DONE]\n\n")


def test_a_worker_that_leaves_frees_the_sequence(served, given):
    while not served.outcomes.empty():
        served.outcomes.get()
    served.chat.stage.hold("token:1")
    assert given("leave")["value"] == f"data: {EVENTS[0]}\n\n"
    assert served.outcomes.get(timeout=BOUND_S) == "client_left"
    assert served.chat.running == []
    served.soon(lambda: served.chat.stage.open("token:1"))
