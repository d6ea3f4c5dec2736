"""A GGUF file becomes an OpenVINO folder once, whole or not at all, and its graph computes what llama.cpp computes."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import openvino as ov
import pytest
from gguf_files import with_text
from openvino._offline_transformations import paged_attention_transformation

from lowcloud.core.errors import ModelUnusable
from lowcloud.engines.local.convert import MODEL_FILE, convert, is_prepared, main, prepare
from lowcloud.engines.local.tokenizer import load_text_assets

FIXTURES = Path(__file__).parents[2] / "fixtures"
TINY = FIXTURES / "tiny-llama.gguf"
ARCHITECTURES = ["llama", "qwen2", "qwen3"]
EXACT = {"INFERENCE_PRECISION_HINT": "f32", "DYNAMIC_QUANTIZATION_GROUP_SIZE": 0, "KV_CACHE_PRECISION": "f32"}


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("converted")


def _infer(request: ov.InferRequest, ids: np.ndarray, past: int) -> np.ndarray:
    """Logits (T, vocabulary) of tokens that follow ``past`` others."""
    inputs = {
        "input_ids": ids[None],
        "attention_mask": np.ones((1, past + len(ids)), np.int64),
        "position_ids": np.arange(past, past + len(ids))[None],
        "beam_idx": np.zeros(1, np.int32),
    }
    return np.array(request.infer(inputs)[0][0])


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_the_converted_graph_has_llama_cpps_logits_whole_and_token_by_token(architecture: str, cache: Path) -> None:
    expected = np.load(FIXTURES / "tiny_llama_cpp.npz")
    ids = expected["ids"]
    folder = convert(FIXTURES / f"tiny-{architecture}.gguf", cache)
    request = ov.Core().compile_model(folder / MODEL_FILE, "CPU", EXACT).create_infer_request()
    whole = _infer(request, ids, 0)
    np.testing.assert_allclose(whole, expected[architecture], atol=2e-4)
    request.reset_state()
    stepped = [_infer(request, ids[:30], 0), *(_infer(request, ids[at : at + 1], at) for at in range(30, len(ids)))]
    np.testing.assert_allclose(np.concatenate(stepped), expected[architecture], atol=2e-4)


def test_padding_on_the_left_changes_nothing(cache: Path) -> None:
    ids = np.load(FIXTURES / "tiny_llama_cpp.npz")["ids"]
    request = ov.Core().compile_model(convert(TINY, cache) / MODEL_FILE, "CPU", EXACT).create_infer_request()
    alone = _infer(request, ids, 0)
    request.reset_state()
    mask = np.ones((2, 45), np.int64)
    mask[0, :5] = 0
    padded = np.stack([np.concatenate([np.zeros(5, np.int64), ids]), np.concatenate([ids, ids[:5]])])
    positions = np.stack([np.maximum(np.arange(45) - 5, 0), np.arange(45)])
    beams = np.arange(2, dtype=np.int32)
    batch = request.infer({"input_ids": padded, "attention_mask": mask, "position_ids": positions, "beam_idx": beams})
    np.testing.assert_allclose(batch[0][0, 5:], alone, atol=2e-4)
    np.testing.assert_allclose(batch[0][1, :40], alone, atol=2e-4)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_the_converted_graph_takes_paged_attention(architecture: str, cache: Path) -> None:
    model = ov.Core().read_model(convert(FIXTURES / f"tiny-{architecture}.gguf", cache) / MODEL_FILE)
    assert [port.any_name for port in model.inputs] == ["input_ids", "attention_mask", "position_ids", "beam_idx"]
    paged_attention_transformation(model)
    kinds = [node.get_type_name() for node in model.get_ops()]
    assert kinds.count("PagedAttentionExtension") == 2
    assert not {"ReadValue", "ScaledDotProductAttention"} & set(kinds)
    names = {port.any_name for port in model.inputs}
    assert {"key_cache.1", "value_cache.1", "block_indices", "past_lens"} <= names
    assert not {"attention_mask", "beam_idx"} & names


def test_matrices_stay_int8_in_the_compiled_model(cache: Path) -> None:
    config = {"INFERENCE_PRECISION_HINT": "f32"}  # in bf16 AMX takes some as bf16
    compiled = ov.Core().compile_model(convert(TINY, cache) / MODEL_FILE, "CPU", config)
    kinds = [
        str(node.input_value(1).get_element_type().get_type_name())
        for node in compiled.get_runtime_model().get_ops()
        if node.get_rt_info()["layerType"].value == "FullyConnected"
    ]
    assert kinds == ["i8"] * (7 * 2 + 1)


def test_the_folder_holds_all_that_the_file_said_but_in_files(cache: Path) -> None:
    folder = convert(TINY, cache)
    names = {"openvino_model.xml", "openvino_model.bin", "tokenizer.json", "chat_template.jinja", "lowcloud.json"}
    assert {path.name for path in folder.iterdir()} == names
    ours, theirs = load_text_assets(folder), load_text_assets(TINY)
    for field in ("chat_template", "context_length", "stop_ids", "bos_token", "eos_token", "weights"):
        assert getattr(ours, field) == getattr(theirs, field)
    text = "hello <|im_end|> wörld 12 🤖"
    assert ours.tokenizer.encode(text, specials=True) == theirs.tokenizer.encode(text, specials=True)


def test_an_ir_folder_is_returned_as_it_is(cache: Path, tmp_path: Path) -> None:
    folder = convert(TINY, cache)
    assert prepare(folder, tmp_path) == folder
    assert not list(tmp_path.iterdir())


def test_prepare_converts_once_in_a_process_of_its_own(tmp_path: Path) -> None:
    assert not is_prepared(TINY, tmp_path)
    folder = prepare(TINY, tmp_path)
    assert is_prepared(TINY, tmp_path) and is_prepared(folder, tmp_path)
    made = (folder / MODEL_FILE).stat()
    assert prepare(TINY, tmp_path) == folder
    assert (folder / MODEL_FILE).stat().st_mtime_ns == made.st_mtime_ns
    assert convert(TINY, tmp_path) == folder
    assert (folder / MODEL_FILE).stat().st_ino == made.st_ino


def test_the_same_content_elsewhere_is_the_same_folder_and_other_content_another(tmp_path: Path) -> None:
    copy = tmp_path / "elsewhere" / TINY.name
    copy.parent.mkdir()
    shutil.copy(TINY, copy)
    folder = convert(TINY, tmp_path)
    assert convert(copy, tmp_path) == folder
    copy.write_bytes(TINY.read_bytes() + b"\0")
    assert convert(copy, tmp_path) != folder


def test_processes_that_race_make_one_folder_and_agree(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "lowcloud.engines.local.convert", str(TINY), str(tmp_path)]
    racers = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(3)]
    said = {racer.communicate(timeout=120)[0] for racer in racers}
    assert [racer.returncode for racer in racers] == [0, 0, 0]
    (line,) = said
    assert [path for path in (tmp_path / "ir").iterdir() if path.is_dir()] == [Path(line.strip())]


def test_what_a_killed_process_left_is_cleared_and_never_taken_for_the_folder(tmp_path: Path) -> None:
    folder = convert(TINY, tmp_path)
    half = folder.with_name(folder.name + ".part-killed")
    folder.rename(half)
    (half / "openvino_model.bin").unlink()
    assert convert(TINY, tmp_path) == folder
    assert (folder / "openvino_model.bin").exists() and not half.exists()


def test_a_file_that_is_refused_is_refused_with_the_process_own_words_and_leaves_nothing(tmp_path: Path) -> None:
    odd = tmp_path / "odd.gguf"
    odd.write_bytes(TINY.read_bytes().replace(b"llama", b"gemma"))
    with pytest.raises(ModelUnusable, match=r"odd\.gguf: the architecture gemma isn't read from GGUF"):
        prepare(odd, tmp_path / "cache")
    assert [path.suffix for path in (tmp_path / "cache" / "ir").iterdir()] == [".lock"]


def test_what_a_library_says_of_a_file_goes_to_the_log_and_not_into_the_refusal(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    cut = tmp_path / "cut.gguf"
    cut.write_bytes(TINY.read_bytes()[:20])
    with pytest.raises(ModelUnusable, match=r"^cut\.gguf is no whole GGUF file; the log says more\.$"):
        prepare(cut, tmp_path / "cache")
    assert "struct.error" in capfd.readouterr().err


def test_a_tensor_that_the_graph_doesnt_know_is_refused_by_name(tmp_path: Path) -> None:
    odd = tmp_path / "odd.gguf"
    odd.write_bytes(TINY.read_bytes().replace(b"rope_freqs.weight", b"mystery_x.weight_"))
    with pytest.raises(ModelUnusable, match="nothing here knows the tensors mystery_x"):
        convert(odd, tmp_path)


def test_a_model_that_isnt_there_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(ModelUnusable, match=r"no file gone\.gguf"):
        prepare(tmp_path / "gone.gguf", tmp_path)


def test_a_conversion_past_its_bound_is_ended_and_said_so(tmp_path: Path) -> None:
    with pytest.raises(ModelUnusable, match=r"took longer than 0\.01 s"):
        prepare(TINY, tmp_path, timeout_s=0.01)


def test_a_failure_that_isnt_a_refusal_names_no_path(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "ir").touch()
    with pytest.raises(ModelUnusable, match="failed with status 1; the log says more") as caught:
        prepare(TINY, tmp_path)
    assert str(tmp_path) not in str(caught.value)
    assert "FileExistsError" in capfd.readouterr().err


def test_the_command_prints_the_folder_or_the_reason(
    cache: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([str(TINY), str(cache)]) == 0
    folder = Path(capsys.readouterr().out.strip())
    assert json.loads((folder / "lowcloud.json").read_text())["weights"] == "tiny-llama-int8"
    assert main([str(folder), str(cache)]) == 0
    assert main([str(tmp_path / "gone.gguf"), str(cache)]) == 3
    assert "gone.gguf" in capsys.readouterr().err


def test_a_file_without_a_chat_template_gives_a_folder_without_one(tmp_path: Path) -> None:
    bare = tmp_path / "bare.gguf"
    bare.write_bytes(TINY.read_bytes().replace(b"tokenizer.chat_template", b"tokenizer.chat_telegram"))
    folder = convert(bare, tmp_path)
    assert load_text_assets(folder).chat_template is None


def test_a_template_for_tools_is_kept_in_a_file_of_its_own(tmp_path: Path) -> None:
    source = tmp_path / "tools.gguf"
    source.write_bytes(with_text(TINY.read_bytes(), "tokenizer.chat_template.tool_use", "{{ tools }}"))
    ours, theirs = load_text_assets(convert(source, tmp_path)), load_text_assets(source)
    assert ours.tool_template == theirs.tool_template is not None
    assert ours.chat_template == theirs.chat_template
