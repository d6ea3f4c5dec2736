"""``lowcloud prepare`` and ``doctor`` with the small models: each worker is started as the server would start it."""

import json

import pytest
from click.testing import CliRunner

from lowcloud.cli.main import main
from lowcloud.cli.probe import start_once
from lowcloud.engines.local.spec import WorkerSpec
from lowcloud.inventory import models_here, spec_of
from lowcloud.settings import load

pytestmark = pytest.mark.live


@pytest.fixture
def run(tmp_path):
    def invoke(*arguments: str, **environment: str):
        own = {"LOWCLOUD_STORAGE__DATA_DIR": str(tmp_path), "LOWCLOUD_LOCAL__KV_CACHE_BYTES": "64 MiB"}
        return CliRunner(env=own | environment).invoke(main, list(arguments))

    return invoke


def test_both_small_models_are_made_ready(run):
    result = run("prepare")
    assert result.exit_code == 0, result.output
    chat, embedding = result.stdout.splitlines()
    assert chat.startswith("@local/smollm2-135m-instruct is ready")
    assert embedding.startswith("@local/all-minilm-l6-v2 is ready")


def test_a_model_that_can_not_be_served_is_told_and_the_others_are_made_ready(run, tmp_path):
    folder = tmp_path / "broken"
    folder.mkdir()
    (folder / "openvino_model.xml").write_text("<net/>")
    models = json.dumps({"@local/broken": {"path": str(folder)}})
    result = run("prepare", LOWCLOUD_MODELS=models)
    assert result.exit_code == 1
    assert "@local/broken can't be served" in result.stderr
    assert "@local/smollm2-135m-instruct is ready" in result.stdout
    assert str(folder) not in result.stderr


def test_the_doctor_says_how_each_model_runs(run):
    result = run("doctor", LOWCLOUD_SERVER__PORT="0")
    assert result.exit_code == 0, result.output
    (line,) = [line for line in result.output.splitlines() if "smollm2" in line]
    assert "paged" in line


def test_the_doctor_notes_a_model_that_runs_unpaged(run):
    result = run("doctor", LOWCLOUD_SERVER__PORT="0", LOWCLOUD_LOCAL__PAGED="never")
    assert result.exit_code == 0
    assert "note   model      @local/smollm2-135m-instruct: unpaged, one sequence at a time" in result.output


def test_a_model_that_takes_too_long_is_given_up(tmp_path):
    settings = load(None, {})
    model = models_here(settings).models[0]
    spec = spec_of(settings, model)
    outcome = start_once(WorkerSpec(spec.kind, spec.source, str(tmp_path)), 0.01)
    assert (outcome.ready, outcome.note) == (None, "not loaded within 0 s")
