"""``lowcloud doctor``: what each finding says, and what it advises."""

import errno
import re
import socket

import pytest
from click.testing import CliRunner

from lowcloud.cli.doctor import judge_model, judge_port, judge_processor, judge_room, judge_upstream
from lowcloud.cli.main import main
from lowcloud.engines.remote.probe import Outcome
from lowcloud.storage.database import Database
from lowcloud.storage.folder import Holder
from lowcloud.storage.tables import REVISION

GIB = 2**30


@pytest.mark.parametrize(
    ("flags", "state", "advice"),
    [
        ({"avx2", "avx512f", "avx512_bf16", "sse"}, "ok", ""),
        ({"avx2"}, "note", "No BF16: models run in f32"),
        ({"asimd"}, "note", "may run unpaged"),
    ],
)
def test_a_processor_is_judged_by_its_features(flags, state, advice):
    finding = judge_processor("x86_64", flags)
    assert finding.state == state
    assert advice in finding.advice


def test_features_are_named():
    assert judge_processor("x86_64", {"avx512f", "avx2", "sse"}).found == "x86_64, avx2, avx512f"


def test_room_that_is_scarce_is_noted_with_advice():
    assert judge_room("disk", "free", 3 * GIB, GIB, "Make room.").advice == ""
    finding = judge_room("disk", "free", GIB // 2, GIB, "Make room.")
    assert (finding.state, finding.found, finding.advice) == ("note", "0.5 GiB free", "Make room.")


@pytest.mark.parametrize(
    ("failure", "server", "state", "found"),
    [
        (None, None, "ok", "h:80 is free"),
        (errno.EADDRINUSE, Holder(7, "http://h:80"), "ok", "one runs at http://h:80, pid 7"),
        (errno.EADDRINUSE, None, "wrong", "h:80 is in use by another program"),
        (errno.EADDRNOTAVAIL, None, "wrong", "h:80: Cannot assign requested address"),
    ],
)
def test_a_port_is_free_ours_or_anothers(failure, server, state, found):
    finding = judge_port("h", 80, failure, server)
    assert (finding.state, finding.found) == (state, found)


def test_a_model_that_runs_unpaged_is_noted():
    assert judge_model("@m", "paged attention, KV cache bf16", loads=True, paged=True).state == "ok"
    assert judge_model("@e", "bf16, 384 dimensions", loads=True, paged=False).state == "ok"
    unpaged = judge_model("@m", "unpaged, one sequence at a time: self-test failed", loads=True, paged=False)
    assert (unpaged.state, unpaged.advice) == ("note", "It answers one request at a time.")
    assert judge_model("@m", "broken", loads=False, paged=False).state == "wrong"


@pytest.mark.parametrize(
    ("outcome", "state", "advice"),
    [
        (Outcome(True, True, "it has the model"), "ok", ""),
        (Outcome(True, None, "no list"), "ok", ""),
        (Outcome(True, False, "not listed"), "note", 'Check models."@r".upstream_model.'),
        (Outcome(False, None, "gone"), "wrong", 'Check models."@r" in the settings, and the upstream.'),
    ],
)
def test_an_upstream_is_judged_by_what_it_answers(outcome, state, advice):
    finding = judge_upstream("@r", outcome)
    assert (finding.state, finding.advice) == (state, advice)
    assert finding.found == f"@r: {outcome.note}"


def test_an_upstream_is_named_and_not_asked_when_it_must_be_quick(tmp_path):
    env = {
        "LOWCLOUD_STORAGE__DATA_DIR": str(tmp_path),
        "LOWCLOUD_SERVER__PORT": "0",
        "LOWCLOUD_MODELS": '{"@remote/m": {"upstream": "http://127.0.0.1:9/v1"}}',
    }
    result = CliRunner(env=env).invoke(main, ["doctor", "--quick"])
    assert "@remote/m is configured" in result.output
    env["LOWCLOUD_MODELS"] = '{"@remote/m": {"upstream": "http://127.0.0.1:9/v1", "upstream_token_env": "NOT_SET"}}'
    result = CliRunner(env=env).invoke(main, ["doctor", "--quick"])
    assert result.exit_code == 2
    assert "there is no environment variable NOT_SET" in result.output


def test_the_report_names_processor_memory_disk_versions_and_port(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        env = {
            "LOWCLOUD_STORAGE__DATA_DIR": str(tmp_path),
            "LOWCLOUD_SERVER__PORT": str(taken.getsockname()[1]),
        }
        result = CliRunner(env=env).invoke(main, ["doctor", "--quick"])
    assert result.exit_code == 1
    names = {line.split()[1] for line in result.output.splitlines() if not line.startswith(" ")}
    assert names >= {"processor", "memory", "disk", "versions", "installed", "port", "model"}
    assert "is in use by another program" in result.output


def test_a_free_port_is_nothing_wrong(tmp_path):
    env = {"LOWCLOUD_STORAGE__DATA_DIR": str(tmp_path), "LOWCLOUD_SERVER__PORT": "0"}
    result = CliRunner(env=env).invoke(main, ["doctor", "--quick"])
    assert result.exit_code == 0
    assert "127.0.0.1:0 is free" in result.output


def test_the_database_is_judged_as_the_next_start_will_find_it(tmp_path):
    env = {"LOWCLOUD_STORAGE__DATA_DIR": str(tmp_path), "LOWCLOUD_SERVER__PORT": "0"}

    def told(**variables: str) -> str:
        output = CliRunner(env=env | variables).invoke(main, ["doctor", "--quick"]).output
        return re.search(r"^.*  database   .*$", output, re.MULTILINE).group()

    path = tmp_path / "lowcloud.db"
    assert told() == f"ok     database   {path} is made at the first start"
    assert not path.exists()
    with Database(f"sqlite:///{path}") as database:
        assert told() == "ok     database   sqlite, schema not there yet"
        by_hand = told(LOWCLOUD_STORAGE__MIGRATE_AT_START="false")
        assert by_hand.startswith("WRONG  database   The database's schema is not there yet")
        database.migrate()
    assert told() == f"ok     database   sqlite, schema {REVISION}"
    gone = told(LOWCLOUD_STORAGE__DATABASE_URL=f"postgresql://u:open-sesame@/x?host={tmp_path}")
    assert gone.startswith("WRONG  database   The database can't be used: ")
    assert "open-sesame" not in gone
