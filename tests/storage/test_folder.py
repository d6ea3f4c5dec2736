"""A data folder has one server; a second one is told who that is."""

import json
import os
import subprocess
import sys
from contextlib import contextmanager

import pytest

from lowcloud.storage.folder import STATE, FolderInUseError, Holder, claim, holder

HOLDING = """
import sys
from pathlib import Path
from lowcloud.storage.folder import claim
with claim(Path(sys.argv[1])) as folder:
    folder.announce("http://127.0.0.1:8780")
    print("held", flush=True)
    sys.stdin.read()
"""


@contextmanager
def other_server(path):
    with subprocess.Popen(
        [sys.executable, "-c", HOLDING, path], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        yield process
        process.kill()


def test_the_state_file_has_pid_and_url_for_the_owner_alone(tmp_path):
    with claim(tmp_path / "new") as folder:
        folder.announce("http://127.0.0.1:1")
        state = folder.path / STATE
        assert json.loads(state.read_text()) == {"pid": os.getpid(), "url": "http://127.0.0.1:1"}
        assert state.stat().st_mode & 0o777 == 0o600
        assert folder.path.stat().st_mode & 0o777 == 0o700
        assert holder(folder.path) == Holder(os.getpid(), "http://127.0.0.1:1")
    assert holder(tmp_path / "new") is None


def test_a_second_server_is_told_pid_and_url_of_the_first(tmp_path):
    with other_server(tmp_path) as first:
        with pytest.raises(FolderInUseError) as refused, claim(tmp_path):
            pass
        assert refused.value.holder == Holder(first.pid, "http://127.0.0.1:8780")
        assert f"pid {first.pid} at http://127.0.0.1:8780" in str(refused.value)
        assert holder(tmp_path) == refused.value.holder


def test_a_folder_whose_server_was_killed_is_free(tmp_path):
    with other_server(tmp_path) as first:
        first.kill()
        first.wait(timeout=10)
        assert holder(tmp_path) is None
        with claim(tmp_path):
            assert holder(tmp_path) == Holder(os.getpid(), "")


def test_a_folder_is_free_after_its_server_failed(tmp_path):
    with pytest.raises(LookupError), claim(tmp_path):
        raise LookupError
    with claim(tmp_path):
        pass


@pytest.mark.parametrize("state", ["", "[]", '{"pid": "x", "url": 1}', '{"pid": -1, "url": ""}'])
def test_a_broken_state_file_names_nobody(tmp_path, state):
    with other_server(tmp_path):
        (tmp_path / STATE).write_text(state)
        with pytest.raises(FolderInUseError, match="belongs to another server"), claim(tmp_path):
            pass
        assert holder(tmp_path) is None


def test_a_server_of_another_user_holds_it_too(tmp_path):
    (tmp_path / STATE).write_text(json.dumps({"pid": 1, "url": "http://127.0.0.1:2"}))
    assert holder(tmp_path) == Holder(1, "http://127.0.0.1:2")
