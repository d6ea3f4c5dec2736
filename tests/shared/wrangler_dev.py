"""``lowcloud run -- wrangler dev``, with the wranglers of the contract tests: the newest, and the last for Node 20."""

import os
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import node_project

START_S, STOP_S = 120, 30


@dataclass(frozen=True)
class Wrangler:
    """One that is installed, and its Node."""

    name: str
    node: str
    home: Path

    @property
    def program(self) -> Path:
        return self.home / "node_modules" / "wrangler" / "bin" / "wrangler.js"

    @property
    def is_here(self) -> bool:
        return self.program.is_file()


def _node20() -> str:
    """This machine's, where it is a Node 20; else the wheel's, which is newer."""
    found = shutil.which("node")
    said = subprocess.run([found, "--version"], capture_output=True, text=True, check=True).stdout if found else ""
    return found if found and said.startswith("v20.") else node_project.node()


NEWEST = Wrangler("wrangler", node_project.node(), node_project.HOME)
NODE20 = Wrangler("wrangler-on-node-20", _node20(), node_project.HOME.with_name("node20"))
WRANGLERS = (NEWEST, NODE20)


class Running:
    """``url`` is the Worker's; ``process`` is ``lowcloud run``, which has said ``said`` until the Worker was ready."""

    def __init__(self, url: str, process: subprocess.Popen[str], said: str) -> None:
        self.url, self.process, self.said = url, process, said


@contextmanager
def wrangler_dev(
    wrangler: Wrangler, folder: Path, variables: Mapping[str, str], *flags: str, is_run: bool = True
) -> Iterator[Running]:
    """The Worker in ``folder``; ``variables`` say where the server is. Not ``is_run``: by wrangler alone."""
    run = [sys.executable, "-c", "from lowcloud.cli.main import main; main()", "run", "--"] if is_run else []
    process = subprocess.Popen(
        [*run, wrangler.node, str(wrangler.program), "dev", "--ip", "127.0.0.1", "--port", "0", *flags],
        cwd=folder,
        env=_environment(folder) | variables,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    drain = threading.Thread(target=process.stdout.read)
    with process:
        try:
            url, said = _ready(process)
            drain.start()
            yield Running(url, process, said)
            process.terminate()
            process.wait(STOP_S)
            drain.join(STOP_S)
        finally:
            process.kill()


def _environment(folder: Path) -> dict[str, str]:
    """With a home of its own, and without registries that could be asked for news."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("LOWCLOUD_", "CLOUDFLARE_"))}
    return kept | {
        "HOME": str(folder),
        "XDG_CONFIG_HOME": str(folder),
        "XDG_DATA_HOME": str(folder),
        "WRANGLER_LOG_PATH": str(folder),
        "WRANGLER_SEND_METRICS": "false",
        "CLOUDFLARE_CF_FETCH_ENABLED": "false",
        "WRANGLER_REGISTRY_PATH": str(folder / "registry"),
        "npm_config_registry": "http://127.0.0.1:9",
        "NO_COLOR": "1",
        "CI": "true",
    }


def _ready(process: subprocess.Popen[str]) -> tuple[str, str]:
    said = ""
    bound = threading.Timer(START_S, process.terminate)
    bound.start()
    try:
        for line in process.stdout:
            said += line
            if found := re.search(r"Ready on (http://\S+)", line):
                return found[1], said
    finally:
        bound.cancel()
    raise RuntimeError(f"wrangler ended\n{said}")
