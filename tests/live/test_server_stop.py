"""A real server's end: by signals, in one way or another; and whatever ends it, no process of its own stays behind."""

import json
import signal
import stat
import subprocess
import sys
import urllib.request
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
from chat_client import Caller, ask, asking, folded
from live_server import LiveServer, clean_environment, is_alive, running, until

pytestmark = pytest.mark.live

LEFT_S = 2.0
ENDLESS = asking("Count for ever.", stream=True, max_tokens=4000)


def begun(server: LiveServer, **options: object) -> Caller:
    """A stream whose first text has come."""
    caller = Caller(server, {**ENDLESS, **options})
    assert next(chunk for chunk in caller.chunks() if chunk["choices"][0]["delta"].get("content"))
    return caller


def under_way(server: LiveServer) -> float:
    """Sequences that run or wait, and requests that wait for a place; a waiting one may count twice."""
    gauges = ("running_sequences", "waiting_sequences", "queued_requests")
    return sum(server.total(f"lowcloud_{gauge}") for gauge in gauges)


def is_refused(server: LiveServer) -> bool:
    """503 while it drains, then nobody listens. Any other answer is an error."""
    try:
        caller = Caller(server, asking("Me too."))
    except ConnectionRefusedError:
        return True
    try:
        answer = caller.answer()
        assert answer.status == 503 and answer.headers["retry-after"]
    except ConnectionError:  # accepted when the signal had closed the rest
        return True
    finally:
        caller.leave()
    return False


def ends_with_all(server: LiveServer, processes: list[psutil.Process], bound_s: float) -> int:
    """The exit status; none of the processes stays."""
    status = server.process.wait(bound_s)
    until(lambda: not any(map(is_alive, processes)), LEFT_S)
    return status


def killed(server: LiveServer) -> None:
    """By SIGKILL; every process that it had started is gone within two seconds."""
    processes = server.descendants()
    assert processes
    server.process.kill()
    until(lambda: not any(map(is_alive, processes)), LEFT_S)
    server.process.wait(LEFT_S)


def test_ctrl_c_lets_streams_finish_and_refuses_the_rest(tmp_path):
    with running(["dev"], tmp_path) as server:
        stream = begun(server, max_tokens=40, n=2)
        whole = Caller(server, asking("And I?"))
        until(lambda: under_way(server) > 2)
        processes = server.descendants()
        server.signal_group(signal.SIGINT)
        until(lambda: is_refused(server))
        assert all(is_alive(each) for each in processes)
        assert folded(stream.chunks()).is_complete
        assert folded([whole.whole()]).is_complete
        assert ends_with_all(server, processes, bound_s=20) == 0
        assert not (tmp_path / "data" / "server.json").exists()


def test_a_stream_that_outlasts_the_grace_ends_with_an_error(tmp_path):
    with running(["dev"], tmp_path, {"LOWCLOUD_SERVER__SHUTDOWN_GRACE_S": "0.5"}) as server:
        stream, processes = begun(server), server.descendants()
        whole = Caller(server, asking("And I?", max_tokens=2000))
        until(lambda: under_way(server) > 1)
        server.process.terminate()
        assert folded(stream.chunks()).error["message"] == "The server is stopping."
        assert (whole.answer().status, whole.whole()["error"]["code"]) == (503, "unavailable")
        assert ends_with_all(server, processes, bound_s=10) == 0


def test_a_second_ctrl_c_cuts_at_once(tmp_path):
    with running(["dev"], tmp_path, {"LOWCLOUD_SERVER__SHUTDOWN_GRACE_S": "600"}) as server:
        stream, processes = begun(server), server.descendants()
        server.signal_group(signal.SIGINT)
        until(lambda: is_refused(server))
        server.signal_group(signal.SIGINT)
        assert folded(stream.chunks()).error["message"] == "The server is stopping."
        assert ends_with_all(server, processes, bound_s=10) == 0


def test_a_killed_server_leaves_no_worker_and_the_next_one_starts_in_its_folder(tmp_path):
    with running(["dev"], tmp_path) as server:
        stream = begun(server)
        assert server.workers()
        killed(server)
        stream.leave()
    with running(["dev"], tmp_path) as server:
        assert ask(server, asking("Hello", max_tokens=1)).is_complete


def test_one_server_owns_a_data_folder_and_the_second_is_told_which(tmp_path):
    with running(["dev"], tmp_path) as server:
        state = tmp_path / "data" / "server.json"
        assert stat.S_IMODE(state.stat().st_mode) == 0o600
        assert json.loads(state.read_text()) == {"pid": server.process.pid, "url": server.url}
        second = subprocess.run(
            [str(Path(sys.executable).with_name("lowcloud")), "dev", "--port", "0"],
            env=clean_environment(tmp_path),
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert (second.returncode, second.stdout) == (1, "")
        assert f"the server with pid {server.process.pid} at {server.url}" in second.stderr
        assert "Traceback" not in second.stderr
        with urllib.request.urlopen(f"{server.url}/healthz", timeout=10) as answer:  # noqa: S310 - loopback
            assert answer.status == 200


def loads(server: LiveServer) -> bool:
    """The worker has the runtime's library in its memory, and isn't ready."""
    maps = [Path(f"/proc/{worker.pid}/maps").read_text() for worker in server.workers()]
    return any("openvino" in each for each in maps)


@pytest.mark.parametrize("stage", [LiveServer.workers, loads])
def test_a_server_that_is_killed_while_a_model_loads_leaves_no_process(tmp_path, stage: Callable[[LiveServer], object]):
    with running(["dev"], tmp_path) as server:
        waiting = Caller(server, ENDLESS)
        until(lambda: stage(server))
        killed(server)
        waiting.leave()


def test_a_server_that_is_killed_while_a_model_converts_or_is_tested_leaves_no_process(tmp_path):
    cold = {"LOWCLOUD_LOCAL__CACHE_DIR": str(tmp_path / "cache")}
    for command in ("engines.local.convert", "engines.local.selftest"):  # the second start finds the first one's rest
        with running(["dev"], tmp_path, cold) as server:
            waiting = Caller(server, ENDLESS)
            until(lambda server=server, command=command: server.descendants(command))
            killed(server)
            waiting.leave()
