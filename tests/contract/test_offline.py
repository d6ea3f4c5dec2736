"""The real Worker once more, where there is no network at all: a namespace that has the loopback and nothing else."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from wrangler_dev import WRANGLERS

ROOT = Path(__file__).resolve().parent.parent.parent
INSIDE = ["unshare", "--map-root-user", "--net", "sh", "-c", 'ip link set lo up && exec "$@"', "sh"]
TESTS = """
import socket, sys, pytest
assert [name for _, name in socket.if_nameindex()] == ["lo"]
sys.exit(pytest.main(sys.argv[1:]))
"""
BOUND_S = 240


def is_permitted() -> bool:
    """Whether this user may make such a namespace."""
    if shutil.which("unshare") is None or shutil.which("ip") is None:
        return False
    return subprocess.run([*INSIDE, "true"], capture_output=True, check=False).returncode == 0


@pytest.mark.skipif(not is_permitted(), reason="no network namespace may be made here")
@pytest.mark.skipif(not all(wrangler.is_here for wrangler in WRANGLERS), reason="no wrangler: run scripts/fetch_suites")
def test_every_row_of_the_protocol_is_answered_without_a_network():
    asked = ["-q", "-p", "no:cacheprovider", "-k", "wrangler", "tests/contract/test_workerd.py"]
    command = [*INSIDE, sys.executable, "-c", TESTS, *asked]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=BOUND_S, check=False)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-1000:]
    assert "skipped" not in done.stdout.splitlines()[-1]
