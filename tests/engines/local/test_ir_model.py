"""What an IR folder's files say, and the settings that the runtime gets."""

import json
from dataclasses import replace

import openvino as ov
import pytest

from lowcloud.core.errors import ModelUnusable
from lowcloud.engines.local.ir_model import available_bytes, kv_precision, memory_bytes, read_facts, runtime_config
from lowcloud.engines.local.spec import WorkerSpec

SPEC = WorkerSpec("text", "m", "c")


class Processor:
    """Stands for ``ov.Core``: the one property that is asked of it."""

    def __init__(self, *capabilities):
        self._capabilities = [*capabilities]

    def get_property(self, device, name):
        assert (device, name) == ("CPU", "OPTIMIZATION_CAPABILITIES")
        return self._capabilities


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "openvino_model.xml").write_text("")
    return tmp_path


def write(folder, name, **values):
    (folder / name).write_text(json.dumps(values))


def test_our_own_file_names_weights_and_context(folder):
    write(folder, "lowcloud.json", context_length=512, weights="small-int8")
    write(folder, "config.json", max_position_embeddings=9)
    facts = read_facts(folder)
    assert (facts.weights, facts.context_length, facts.xml) == ("small-int8", 512, folder / "openvino_model.xml")


@pytest.mark.parametrize("config", [{"max_position_embeddings": 64}, {"text_config": {"max_position_embeddings": 64}}])
def test_another_folder_is_named_by_itself_and_its_config_gives_the_context(folder, config):
    write(folder, "config.json", **config)
    assert read_facts(folder).context_length == 64
    assert read_facts(folder).weights == folder.name


@pytest.mark.parametrize(("asked", "given"), [(0, 64), (32, 32), (640, 64)])
def test_the_context_may_be_made_smaller_never_longer(folder, asked, given):
    write(folder, "config.json", max_position_embeddings=64)
    assert read_facts(folder, asked).context_length == given


def test_missing_files_are_named(tmp_path):
    with pytest.raises(ModelUnusable, match=r"openvino_model\.xml"):
        read_facts(tmp_path)
    (tmp_path / "openvino_model.xml").write_text("")
    with pytest.raises(ModelUnusable, match=r"config\.json"):
        read_facts(tmp_path)
    write(tmp_path, "config.json", other=1)
    with pytest.raises(ModelUnusable, match="max_position_embeddings"):
        read_facts(tmp_path)


@pytest.mark.parametrize(
    ("setting", "precision", "has_bf16", "kv"),
    [
        ("auto", "auto", True, "bf16"),
        ("auto", "auto", False, "f32"),
        ("u8", "auto", True, "u8"),
        ("f32", "auto", True, "f32"),
        ("bf16", "auto", True, "bf16"),
        ("auto", "f32", True, "f32"),
        ("u8", "f32", True, "f32"),
    ],
)
def test_the_cache_is_bf16_where_the_processor_computes_in_it(setting, precision, has_bf16, kv):
    spec = replace(SPEC, kv_precision=setting, precision=precision)
    assert kv_precision(spec, Processor("FP32", *["BF16"] * has_bf16)) == kv


def test_bf16_on_a_processor_without_it_is_refused():
    with pytest.raises(ModelUnusable, match="BF16"):
        kv_precision(replace(SPEC, kv_precision="bf16"), Processor("FP32"))


def test_the_real_runtime_answers_the_question():
    assert kv_precision(SPEC, ov.Core()) in ("bf16", "f32")


def test_exact_settings_switch_off_every_shortcut():
    assert runtime_config(SPEC, "bf16") == {"KV_CACHE_PRECISION": "bf16"}
    assert runtime_config(replace(SPEC, threads=3), "u8") == {
        "KV_CACHE_PRECISION": "u8",
        "INFERENCE_NUM_THREADS": "3",
    }
    assert runtime_config(SPEC, "f32")["INFERENCE_PRECISION_HINT"] == "f32"
    assert runtime_config(replace(SPEC, precision="f32"), "f32") == {
        "KV_CACHE_PRECISION": "f32",
        "INFERENCE_PRECISION_HINT": "f32",
        "DYNAMIC_QUANTIZATION_GROUP_SIZE": "0",
    }


def test_memory_is_counted_in_bytes():
    assert 2**28 < available_bytes() <= memory_bytes() < 2**50
