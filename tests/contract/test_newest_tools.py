"""The newest of the tools that run Workers, under ``lowcloud run``; ``scripts/test_workers`` installs them."""

import json
import os
import re
import shutil
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import node_project
import pytest
from scripted_server import Served, scripted_server
from worker_binding import BINDING, SECRET

ROOT = Path(__file__).resolve().parent.parent.parent
TOOLS = Path(os.environ.get("NEWEST_TOOLS", ""))
pytestmark = pytest.mark.skipif(not TOOLS.name, reason="needs the network: run scripts/test_workers")
EXAMPLE = ROOT / "examples" / "worker"
RUN = [sys.executable, "-c", "from lowcloud.cli.main import main; main()", "run", "--", node_project.node()]
LOCAL_AI = ROOT / "src" / "lowcloud" / "workers" / "vite.cjs"
BOUND_S = 120
SAID = "beep boop whirr"

WORKER = """
export default {
  async fetch(request, { AI }) {
    return Response.json(await AI.run("@cf/meta/llama-3.1-8b-instruct", { prompt: "hello" }));
  },
};
"""
WRANGLER = {"name": "mine", "main": "worker.mjs", "compatibility_date": "2026-04-01", "ai": {"binding": "AI"}}
VITE = """
import { cloudflare } from "@cloudflare/vite-plugin";
import { defineConfig } from "vite";
import { localAi } from "LOCAL_AI";
export default defineConfig(({ command }) => ({ plugins: [cloudflare(OPTIONS)] }));
"""
# What the docs tell people to write.
LINE = 'command === "serve" && { config: localAi() }'
VITEST = """
import { cloudflareTest } from "@cloudflare/vitest-pool-workers";
import { defineConfig } from "vitest/config";
export default defineConfig({ plugins: [cloudflareTest({ wrangler: { configPath: "./wrangler.json" } })] });
"""
TEST = """
import { env } from "cloudflare:workers";
import { expect, test } from "vitest";
test("it says", async () => {
  const { response } = await env.AI.run("@cf/meta/llama-3.1-8b-instruct", { prompt: "hello" });
  expect(response).toBe("beep boop whirr");
});
"""
PLATFORM = """
import { getPlatformProxy } from "wrangler";
const { env, dispose } = await getPlatformProxy();
const { response } = await env.AI.run("@cf/meta/llama-3.1-8b-instruct", { prompt: "hello" });
console.log(`It says: ${response}`);
await dispose();
"""


@pytest.fixture(scope="module")
def served() -> Iterator[Served]:
    with scripted_server(is_open=False, binding=BINDING) as running:
        yield running


@pytest.fixture
def project(tmp_path):
    (tmp_path / "node_modules").symlink_to(TOOLS / "node_modules")
    (tmp_path / "package.json").write_text('{"type": "module"}')
    (tmp_path / "worker.mjs").write_text(WORKER)
    (tmp_path / "wrangler.json").write_text(json.dumps(WRANGLER))
    return tmp_path


def environment(served: Served, folder: Path) -> Mapping[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("LOWCLOUD_", "CLOUDFLARE_"))}
    return kept | {
        "HOME": str(folder),
        "XDG_CONFIG_HOME": str(folder),
        "WRANGLER_LOG_PATH": str(folder),
        "WRANGLER_REGISTRY_PATH": str(folder / "registry"),
        "npm_config_registry": "http://127.0.0.1:9",
        "NO_COLOR": "1",
        "CI": "true",
        "LOWCLOUD_URL": served.url,
        "LOWCLOUD_BINDING_SECRET": SECRET,
    }


def done(served: Served, folder: Path, *words: str) -> str:
    """What the command prints, which ends well."""
    ran = subprocess.run(
        [*RUN, *words],
        cwd=folder,
        env=environment(served, folder),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=BOUND_S,
        check=False,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return ran.stdout


@contextmanager
def serving(served: Served, folder: Path, *words: str) -> Iterator[str]:
    """The URL that the command says it listens at."""
    process = subprocess.Popen(
        [*RUN, *words],
        cwd=folder,
        env=environment(served, folder),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    bound = threading.Timer(BOUND_S, process.terminate)
    bound.start()
    said = ""
    with process:
        try:
            for line in process.stdout:
                said += line
                if found := re.search(r"(?:Ready on|Local:) *(http://\S+)", line):
                    yield found[1]
                    break
            else:
                pytest.fail(said)
        finally:
            bound.cancel()
            process.terminate()
            process.communicate()


def answer(url: str) -> str:
    with urllib.request.urlopen(url, timeout=BOUND_S) as given:  # noqa: S310 - loopback
        return json.load(given)["response"]


def vite_config(options: str) -> str:
    return VITE.replace("LOCAL_AI", str(LOCAL_AI)).replace("OPTIONS", options)


def test_the_line_for_vite_is_that_of_the_docs():
    assert f"cloudflare({LINE})" in (ROOT / "docs" / "workers.md").read_text("utf-8")


@pytest.mark.parametrize("options", ["{}", LINE], ids=["shim", "line"])
def test_vite_with_cloudflares_plugin(served, project, options):
    (project / "vite.config.mjs").write_text(vite_config(options))
    with serving(served, project, "node_modules/vite/bin/vite.js", "dev", "--port", "0") as url:
        assert answer(url) == SAID


def test_what_vite_builds_is_for_cloudflare(served, project):
    (project / "vite.config.mjs").write_text(vite_config(LINE))
    done(served, project, "node_modules/vite/bin/vite.js", "build")
    (built,) = (project / "dist").rglob("wrangler.json")
    assert json.loads(built.read_text())["ai"] == {"binding": "AI"}


def test_vitest_with_cloudflares_pool(served, project):
    (project / "vitest.config.mjs").write_text(VITEST)
    (project / "it.test.mjs").write_text(TEST)
    assert "1 passed" in done(served, project, "node_modules/vitest/vitest.mjs", "run")


def test_the_examples_own_tests(project):
    shutil.copytree(EXAMPLE, project, dirs_exist_ok=True, ignore=shutil.ignore_patterns("node_modules", ".wrangler"))
    with scripted_server(is_open=False, binding=BINDING) as behind:
        behind.reply = node_project.script
        assert "5 passed" in done(behind, project, "node_modules/vitest/vitest.mjs", "run")


def test_wrangler_pages_dev(served, project):
    (project / "dist").mkdir()
    shutil.copy(project / "worker.mjs", project / "dist" / "_worker.js")
    (project / "wrangler.json").unlink()
    pages = ("pages", "dev", "dist", "--ai", "AI", "--port", "0", "--compatibility-date", "2026-04-01")
    with serving(served, project, "node_modules/wrangler/bin/wrangler.js", *pages) as url:
        assert answer(url) == SAID


def test_wrangler_dev(served, project):
    with serving(served, project, "node_modules/wrangler/bin/wrangler.js", "dev", "--port", "0") as url:
        assert answer(url) == SAID


def test_get_platform_proxy(served, project):
    (project / "platform.mjs").write_text(PLATFORM)
    assert f"It says: {SAID}" in done(served, project, "platform.mjs")
