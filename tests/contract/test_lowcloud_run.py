"""``lowcloud run -- wrangler dev``: what a Worker's developer meets, beside what its calls answer."""

import json
import shutil
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import node_project
import pytest
from scripted_server import Served, scripted_server
from worker_binding import BINDING, SECRET
from wrangler_dev import NEWEST, NODE20, WRANGLERS, wrangler_dev

from lowcloud.cli.workers import FOLDER

ROOT = Path(__file__).resolve().parent.parent.parent
EXAMPLE = ROOT / "examples" / "worker"
BOUND_S = 60
pytestmark = pytest.mark.skipif(
    not all(wrangler.is_here for wrangler in WRANGLERS), reason="no wrangler: run scripts/fetch_suites"
)

WORKER = """
export default {
  async fetch(request, { AI }) {
    const asked = new URL(request.url).pathname.slice(1);
    const calls = {
      run: () => AI.run("@cf/meta/llama-3.1-8b-instruct", { prompt: "hello" }),
      raw: async () => (await AI.run("@cf/meta/llama-3.1-8b-instruct", {}, { returnRawResponse: true })).status,
      models: () => AI.models(),
      gateway: () => AI.gateway("mine", { beta: true }).run({}),
      aiSearch: () => AI.aiSearch().list(),
      websearch: () => AI.websearch({ query: "tea" }),
    };
    try {
      return Response.json({ value: await calls[asked]() });
    } catch (error) {
      return Response.json({ thrown: error.name, message: error.message });
    }
  },
};
"""
CONFIG = {"name": "mine", "main": "worker.mjs", "compatibility_date": "2026-04-01"}
PLUGIN = {"plugin": {"package": str(FOLDER / "plugin.cjs"), "name": "lowcloud"}}


def variables(url: str) -> dict[str, str]:
    return {"LOWCLOUD_URL": url, "LOWCLOUD_BINDING_SECRET": SECRET}


def given(url: str, path: str) -> Any:
    with urllib.request.urlopen(f"{url}/{path}", timeout=BOUND_S) as answer:  # noqa: S310 - loopback
        return json.load(answer)


def project(folder: Path, **config: object) -> Path:
    (folder / "worker.mjs").write_text(WORKER, "utf-8")
    (folder / "wrangler.json").write_text(json.dumps(CONFIG | config), "utf-8")
    return folder


@pytest.fixture(params=WRANGLERS, ids=lambda wrangler: wrangler.name)
def wrangler(request):
    return request.param


@pytest.fixture(scope="module")
def served() -> Iterator[Served]:
    with scripted_server(is_open=False, binding=BINDING) as running:
        yield running


def test_a_server_that_is_gone_is_said_so_and_one_that_is_back_answers_the_same_wrangler(wrangler, tmp_path):
    """The binding is a remote one, which makes no difference here."""
    with ExitStack() as worlds:
        with scripted_server(is_open=False, binding=BINDING) as first:
            folder = project(tmp_path, ai={"binding": "AI", "remote": True})
            worker = worlds.enter_context(wrangler_dev(wrangler, folder, variables(first.url)))
            assert f"env.AI goes to Lowcloud at {first.url}" in worker.said
            assert given(worker.url, "run")["value"]["response"] == "beep boop whirr"
        gone = given(worker.url, "run")
        assert gone["thrown"] == "LowcloudUnreachable"
        assert gone["message"].startswith(f"3040: Lowcloud doesn't answer at {first.url} ")
        assert gone["message"].endswith("Start it with: lowcloud dev")
        assert given(worker.url, "models")["message"] == gone["message"].removeprefix("3040: ")
        assert given(worker.url, "raw") == {"value": 503}
        worlds.enter_context(scripted_server(is_open=False, binding=BINDING, port=urlsplit(first.url).port or 0))
        assert given(worker.url, "run")["value"]["response"] == "beep boop whirr"


def test_a_line_in_the_config_does_it_too_and_what_is_no_http_request_says_so(wrangler, served, tmp_path):
    folder = project(tmp_path, unsafe={"bindings": [{"name": "AI", "type": "ai", "dev": PLUGIN}]})
    with wrangler_dev(wrangler, folder, variables(served.url), is_run=False) as worker:
        assert given(worker.url, "run")["value"]["response"] == "beep boop whirr"
        assert "env.AI.gateway(id, { beta: true })" in given(worker.url, "gateway")["message"]
        for call in ("aiSearch", "websearch") if wrangler is NEWEST else ():  # the older class lacks them
            assert f"Lowcloud doesn't answer env.AI.{call}()" in given(worker.url, call)["message"]


def test_every_worker_of_several_has_its_ai(served, tmp_path):
    (tmp_path / "one").mkdir()
    (tmp_path / "two").mkdir()
    project(tmp_path / "one", ai={"binding": "AI"}, services=[{"binding": "TWO", "service": "two"}])
    project(tmp_path / "two", ai={"binding": "AI"}, name="two")
    caller = WORKER.replace("async fetch(request, { AI }) {", "async fetch(request, { AI, TWO }) {").replace(
        "const asked", 'if (new URL(request.url).search) return TWO.fetch(request.url.split("?")[0]);\n    const asked'
    )
    (tmp_path / "one" / "worker.mjs").write_text(caller, "utf-8")
    both = ("-c", "one/wrangler.json", "-c", "two/wrangler.json")
    with wrangler_dev(NEWEST, tmp_path, variables(served.url), *both) as worker:
        assert given(worker.url, "run")["value"]["response"] == "beep boop whirr"
        assert given(worker.url, "run?two")["value"]["response"] == "beep boop whirr"


@pytest.fixture(scope="module")
def example(tmp_path_factory) -> Iterator[tuple[str, Served]]:
    """The example, and the server behind it."""
    with scripted_server(is_open=False, binding=BINDING) as behind:
        behind.reply = node_project.script
        folder = tmp_path_factory.mktemp("example")
        shutil.copytree(EXAMPLE, folder, dirs_exist_ok=True, ignore=shutil.ignore_patterns("node_modules", ".wrangler"))
        with wrangler_dev(NODE20, folder, variables(behind.url)) as worker:
            yield worker.url, behind


def test_the_examples_chat_streams(example):
    url, _ = example
    with urllib.request.urlopen(f"{url}/chat?q=robot+noises", timeout=BOUND_S) as answer:  # noqa: S310 - loopback
        assert answer.headers["content-type"] == "text/event-stream"
        events = answer.read().decode().split("\n\n")
    assert [json.loads(event.removeprefix("data: "))["response"] for event in events[:3]] == ["beep", " boop", " whirr"]


def test_the_examples_embeddings_are_vectors(example):
    url, _ = example
    assert given(url, "alike?q=tea&to=tea")["cosine"] == pytest.approx(1)
    assert given(url, "alike?q=tea&to=coffee")["cosine"] < 0.99


def test_the_examples_json_is_json(example):
    url, behind = example
    assert given(url, "person?q=Ada")["name"] == "Ada"
    assert behind.chat.requests[-1].output is not None


def test_the_examples_tool_is_called_and_its_result_answered(example):
    url, _ = example
    assert given(url, "weather?q=the+weather+in+Oslo") == {
        "answer": 'The tool says {"city":"Oslo","sky":"clear","celsius":21}'
    }
