"""The environment of clients that want older versions than the tests', which ``scripts/test`` makes."""

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

PYTHON = Path(__file__).parents[2] / ".cache" / "clients" / "bin" / "python"
needed = pytest.mark.skipif(not PYTHON.exists(), reason="no environment of older clients: scripts/test makes it")


def told(script: str, *arguments: str) -> Any:
    """What a script beside this file says, as JSON, in that environment."""
    command = [PYTHON, "-P", Path(__file__).with_name(script), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)
