"""``lowcloud run``: a command with a server beside it, in processes of their own."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import aiohttp
import anyio
import pytest
from click.testing import CliRunner, Result
from live_server import until
from scripted_server import scripted_server

from lowcloud.cli.child import Target, environment
from lowcloud.cli.main import main
from lowcloud.storage.folder import claim, holder
from lowcloud.storage.secret_files import binding_secret

LOWCLOUD = [sys.executable, "-c", "from lowcloud.cli.main import main; main()"]
TELL = "import json, os; print(json.dumps(dict(os.environ)))"
ASK = """
import json, os, sys, urllib.request
with urllib.request.urlopen(os.environ["LOWCLOUD_URL"] + sys.argv[1]) as answer:
    print(json.dumps({"status": answer.status, "body": answer.read().decode(), "url": os.environ["LOWCLOUD_URL"]}))
"""
WAIT = """
import signal, sys
signal.signal(signal.SIGTERM, lambda *_: sys.exit(5))
print("ready", flush=True)
signal.pause()
"""
BOUND_S = 120


class Ran:
    """How a run ended, and what it and its command said."""

    def __init__(self, done: subprocess.CompletedProcess[str]) -> None:
        self.status, self.out, self.said = done.returncode, done.stdout, done.stderr

    def json(self) -> dict:
        assert self.status == 0, self.said
        return json.loads(self.out)


@pytest.fixture
def environ(tmp_path):
    ours = {name: value for name, value in os.environ.items() if not name.startswith(("LOWCLOUD_", "CLOUDFLARE_"))}
    return ours | {"LOWCLOUD_STORAGE__DATA_DIR": str(tmp_path / "data")}


@pytest.fixture
def run(environ, tmp_path):
    def start(*words: str, **variables: str) -> Ran:
        return Ran(
            subprocess.run(
                [*LOWCLOUD, "run", *words],
                env=environ | variables,
                cwd=tmp_path,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=BOUND_S,
                check=False,
            )
        )

    return start


@pytest.fixture
def refused(environ, tmp_path, monkeypatch):
    """What ends it before it starts a process."""
    monkeypatch.chdir(tmp_path)

    def invoke(*words: str) -> Result:
        result = CliRunner(env=environ).invoke(main, ["run", *words])
        assert result.exit_code in (1, 2), result.output
        return result

    return invoke


@pytest.fixture
def running(tmp_path):
    """A server that owns the data folder."""
    with scripted_server(is_open=True) as served, claim(tmp_path / "data") as folder:
        folder.announce(served.url)
        yield served.url


async def answers(url: str) -> bool:
    try:
        async with aiohttp.ClientSession() as session, session.get(f"{url}/healthz") as answer:
            return answer.status == 200
    except aiohttp.ClientError:
        return False


def test_a_server_is_there_before_the_command_and_gone_after_it(run, tmp_path):
    ran = run("--", sys.executable, "-c", ASK, "/readyz")
    found = ran.json()
    assert found["status"] == 200
    assert f"env.AI goes to Lowcloud at {found['url']}" in ran.said
    assert ran.said.count("\n") == 1
    assert not anyio.run(answers, found["url"])
    assert holder(tmp_path / "data") is None


def test_the_embedded_server_answers_bindings_that_bear_the_secret(run, tmp_path):
    ask = ASK.replace("urlopen(", "urlopen(urllib.request.Request(").replace(
        "sys.argv[1])",
        'sys.argv[1], headers={"Host": "workers-binding.ai", '
        '"lowcloud-binding-secret": os.environ["LOWCLOUD_BINDING_SECRET"]}))',
    )
    found = run("--", sys.executable, "-c", ask, "/ai-api/models/search").json()
    assert found["status"] == 200
    assert "result" in json.loads(found["body"])


def test_it_attaches_to_the_server_that_runs_and_leaves_it(run, running):
    assert run("--", sys.executable, "-c", ASK, "/readyz").json()["url"] == running
    assert anyio.run(answers, running)


def test_a_server_that_is_named_is_used(run, running):
    assert run("--url", f"{running}/", "--", sys.executable, "-c", TELL).json()["LOWCLOUD_URL"] == running
    assert run("--", sys.executable, "-c", TELL, LOWCLOUD_URL=running).json()["LOWCLOUD_URL"] == running


@pytest.mark.parametrize("url", ["http://127.0.0.1:1", "https://127.0.0.1:1", "nonsense"])
def test_a_server_that_is_named_and_cannot_be_asked_ends_it(refused, url):
    assert url in refused("--url", url, "--", "true").stderr


def test_the_command_has_the_shim_and_the_secret_and_not_the_users_token(run, running, tmp_path):
    theirs = {"CLOUDFLARE_API_TOKEN": "t0ken", "CLOUDFLARE_API_KEY": "k3y", "NODE_OPTIONS": "--no-warnings"}
    found = run("--", sys.executable, "-c", TELL, **theirs).json()
    secret = binding_secret(tmp_path / "data", {})
    assert found["LOWCLOUD_BINDING_SECRET"] == found["CLOUDFLARE_API_TOKEN"] == secret
    assert not {"t0ken", "k3y"} & set(found.values())
    options, _, shim = found["NODE_OPTIONS"].partition(" --require ")
    assert options == "--no-warnings"
    assert Path(json.loads(shim)).is_file()


def test_options_of_the_command_are_its_own(run, running):
    ran = run(sys.executable, "-c", "import sys; print(sys.argv[1:])", "--url", "x", "--help")
    assert ran.out == "['--url', 'x', '--help']\n"


@pytest.mark.parametrize(
    ("code", "status"),
    [("raise SystemExit(7)", 7), ("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", 128 + 9)],
)
def test_the_exit_status_is_the_commands(run, running, code, status):
    assert run("--", sys.executable, "-c", code).status == status


def test_a_command_that_is_not_there_is_127_and_one_that_cannot_run_126(run, running, tmp_path):
    missing = run("--", "no-such-command")
    assert (missing.status, "no-such-command" in missing.said) == (127, True)
    (tmp_path / "text").touch(0o600)
    assert run("--", "./text").status == 126


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signals_reach_the_command_which_decides(environ, running, number):
    code = WAIT.replace("SIGTERM", number.name)
    process = subprocess.Popen(
        [*LOWCLOUD, "run", "--", sys.executable, "-c", code],
        env=environ,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        text=True,
    )
    with process:
        assert process.stdout.readline() == "ready\n"
        process.send_signal(number)
        assert process.wait(BOUND_S) == 5


def test_a_signal_before_the_command_runs_stops_the_server_that_was_started(environ, tmp_path):
    process = subprocess.Popen([*LOWCLOUD, "run", "--", "true"], env=environ, stderr=subprocess.DEVNULL)
    data = tmp_path / "data"
    until(lambda: holder(data))  # the server has begun
    process.terminate()
    assert process.wait(BOUND_S) in (0, 128 + signal.SIGTERM)
    assert holder(data) is None


def test_a_deploy_is_refused_before_anything_starts(refused, tmp_path):
    (tmp_path / "package.json").write_text(json.dumps({"scripts": {"ship": "wrangler deploy", "odd": 1}}))
    assert "`wrangler deploy` changes a Cloudflare account" in refused("--", "npm", "run", "ship").stderr
    assert not (tmp_path / "data").exists()


def test_a_script_that_is_not_known_is_warned_of(refused, tmp_path):
    (tmp_path / "package.json").write_text("[]")
    said = refused("--url", "nonsense", "--", "npm", "run", "odd").stderr
    assert "Note: what the script odd runs can't be seen" in said


def test_a_map_is_not_for_a_server_that_runs(refused, running, tmp_path):
    (tmp_path / "map.toml").write_text('[map]\n"*" = "@local/a"\n')
    assert running in refused("--model-map", "map.toml", "--", "true").stderr


@pytest.mark.parametrize(
    ("name", "text"),
    [("map.toml", '[map]\n"@cf/a/b" = "@local/far"\n'), ("map.json", '{"map": {"@cf/a/b": "@local/far"}}')],
)
def test_a_map_is_the_new_servers_beside_that_of_the_environment(run, tmp_path, name, text):
    (tmp_path / name).write_text(text)
    variables = {
        "LOWCLOUD_MODELS": '{"@local/far": {"upstream": "http://127.0.0.1:1/v1"}}',
        "LOWCLOUD_MAP": '{"@cf/c/d": "@local/far"}',
    }
    found = run("--model-map", name, "--", sys.executable, "-c", ASK, "/v1/models", **variables).json()
    assert {"@cf/a/b", "@cf/c/d"} <= {model["id"] for model in json.loads(found["body"])["data"]}


def test_a_server_that_cannot_start_says_why_and_the_command_does_not_run(run, tmp_path):
    (tmp_path / "map.json").write_text('{"map": {"@cf/a/b": "@local/none"}}')
    ran = run("--model-map", "map.json", "--", sys.executable, "-c", TELL)
    assert (ran.status, ran.out) == (1, "")
    assert "@local/none" in ran.said
    assert ran.said.endswith("The server didn't start.\n")


BIND = """
import json, os, sys, urllib.error, urllib.request
headers = {"Host": "workers-binding.ai", "lowcloud-binding-secret": os.environ["LOWCLOUD_BINDING_SECRET"]}
try:
    asked = urllib.request.Request(os.environ["LOWCLOUD_URL"] + sys.argv[1], headers=headers)
    answer = urllib.request.urlopen(asked)
except urllib.error.HTTPError as error:
    answer = error
print(json.dumps({"status": answer.status, "body": answer.read().decode()}))
"""


def test_what_is_recorded_is_answered_again_beside_any_other_server(run, running, tmp_path):
    elsewhere = {"LOWCLOUD_STORAGE__DATA_DIR": str(tmp_path / "other")}
    ask = (sys.executable, "-c", BIND, "/ai-api/models/search?search=bge")
    first = run("--record", "calls", "--", *ask, **elsewhere)
    assert "is recorded in calls, and nothing goes to Cloudflare" in first.said
    again = run("--replay", "calls", "--", *ask)
    assert again.json() == first.json()
    assert "answers as recorded in calls" in again.said
    missed = run("--replay", "calls", "--", sys.executable, "-c", BIND, "/ai-api/models/search?search=tea").json()
    assert (missed["status"], "The nearest that was: GET" in missed["body"]) == (404, True)


def test_a_record_is_a_new_servers_and_no_replay(refused, running):
    assert "--record: for a new server" in refused("--record", "calls", "--", "true").stderr
    assert "one of them" in refused("--record", "calls", "--replay", "calls", "--", "true").stderr


def test_what_was_never_recorded_cannot_be_replayed(run, tmp_path):
    ran = run("--replay", "calls", "--", "true")
    assert (ran.status, "calls.jsonl" in ran.said) == (1, True)
    (tmp_path / "calls").mkdir()
    (tmp_path / "calls" / "calls.jsonl").write_text("{}\n")
    ran = run("--replay", "calls", "--", "true")
    assert (ran.status, "line 1 is no recorded call" in ran.said) == (1, True)


@pytest.mark.parametrize("text", ['{"@cf/a/b": "@local/x"}', '{"map": [1]}', "[]", "{", '{"map": {}, "server": {}}'])
def test_a_file_without_a_map_is_refused(refused, tmp_path, text):
    (tmp_path / "map.json").write_text(text)
    assert "map.json" in refused("--model-map", "map.json", "--", "true").stderr


def test_the_environment_keeps_what_it_had_and_a_proxy_from_the_server():
    before = {"PATH": "/bin", "no_proxy": "example.com", "CF_API_KEY": "k", "WRANGLER_CF_AUTHORIZATION_TOKEN": "t"}
    after = environment(before, Target("http://127.0.0.1:9", "s" * 20), Path('/a b/"c"/register.cjs'))
    assert after["PATH"] == "/bin"
    assert after["no_proxy"] == "example.com,localhost,127.0.0.1,::1"
    assert "NO_PROXY" not in after
    assert after["CF_API_KEY"] == after["WRANGLER_CF_AUTHORIZATION_TOKEN"] == after["CLOUDFLARE_EMAIL"] == ""
    assert after["NODE_OPTIONS"] == r'--require "/a b/\"c\"/register.cjs"'
    assert after["CLOUDFLARE_API_BASE_URL"] == "http://127.0.0.1:9/client/v4"
