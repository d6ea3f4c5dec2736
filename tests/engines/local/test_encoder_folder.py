"""What an encoder's folder says of itself, and which folders are refused by name."""

import json
from pathlib import Path

import pytest

from lowcloud.core.errors import ModelUnusable
from lowcloud.engines.local.encoder_folder import describe

BERT = {
    "model_type": "bert",
    "hidden_size": 8,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "vocab_size": 30,
    "max_position_embeddings": 64,
}
MODULES = [
    {"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.models.Transformer"},
    {"idx": 1, "name": "1", "path": "1_Pooling", "type": "sentence_transformers.models.Pooling"},
    {"idx": 2, "name": "2", "path": "2_Normalize", "type": "sentence_transformers.models.Normalize"},
]
MEAN = {"word_embedding_dimension": 8, "pooling_mode_cls_token": False, "pooling_mode_mean_tokens": True}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "tiny"
    (path / "1_Pooling").mkdir(parents=True)
    (path / "model.safetensors").touch()
    write(path, "config.json", BERT)
    write(path, "modules.json", MODULES)
    write(path, "1_Pooling/config.json", MEAN)
    write(path, "sentence_bert_config.json", {"max_seq_length": 32, "do_lower_case": False})
    return path


def write(folder: Path, name: str, value: object) -> None:
    (folder / name).write_text(json.dumps(value))


def test_the_folder_gives_dimensions_limit_and_pooling(folder: Path):
    described = describe(folder)
    assert (described.dimensions, described.max_input_tokens, described.pooling) == (8, 32, "mean")
    assert (described.weights, described.lower_case) == ("tiny", False)


def test_the_name_is_the_model_cards_heading(folder: Path):
    (folder / "README.md").write_text("---\nlicense: x\n---\n# all-MiniLM-L6-v2\n## Usage\n")
    assert describe(folder).weights == "all-MiniLM-L6-v2"


def test_a_heading_of_several_words_is_no_name(folder: Path):
    (folder / "README.md").write_text("# A fine model\n")
    assert describe(folder).weights == "tiny"


@pytest.mark.parametrize(
    ("config", "pooling"),
    [
        ({"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": False}, "cls"),
        ({"pooling_mode": "cls"}, "cls"),
        ({"pooling_mode": "mean"}, "mean"),
    ],
)
def test_pooling_is_read_in_either_form(folder: Path, config: dict, pooling: str):
    write(folder, "1_Pooling/config.json", config)
    assert describe(folder).pooling == pooling


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({"pooling_mode_max_tokens": True}, "Pooling max isn't"),
        ({"pooling_mode_mean_tokens": True, "pooling_mode_cls_token": True}, "Pooling cls and mean isn't"),
        ({}, "Pooling of no mode isn't"),
        ({"pooling_mode_lasttoken": True}, "lasttoken"),
    ],
)
def test_other_pooling_is_refused_by_name(folder: Path, config: dict, words: str):
    write(folder, "1_Pooling/config.json", config)
    with pytest.raises(ModelUnusable, match=words):
        describe(folder)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"model_type": "xlm-roberta"}, "config.json: model_type: Input should be 'bert'"),
        ({"hidden_act": "silu"}, "hidden_act"),
        ({"position_embedding_type": "relative_key"}, "position_embedding_type"),
        ({"is_decoder": True}, "is_decoder"),
        ({"num_attention_heads": 3}, "num_attention_heads doesn't divide"),
        ({"hidden_size": None}, "hidden_size"),
    ],
)
def test_another_architecture_is_refused_by_name(folder: Path, change: dict, words: str):
    write(folder, "config.json", BERT | change)
    with pytest.raises(ModelUnusable, match=words):
        describe(folder)


def test_a_module_that_is_not_served_is_refused_by_name(folder: Path):
    write(folder, "modules.json", [*MODULES, {"path": "3_Dense", "type": "sentence_transformers.models.Dense"}])
    with pytest.raises(ModelUnusable, match="Dense"):
        describe(folder)


def test_modules_without_pooling_are_refused(folder: Path):
    write(folder, "modules.json", MODULES[:1])
    with pytest.raises(ModelUnusable, match="no Pooling"):
        describe(folder)


def test_a_folder_without_modules_is_pooled_by_mean_up_to_the_tokenizers_limit(folder: Path):
    (folder / "modules.json").unlink()
    (folder / "sentence_bert_config.json").unlink()
    assert (describe(folder).pooling, describe(folder).max_input_tokens) == ("mean", 64)
    write(folder, "tokenizer_config.json", {"model_max_length": 48})
    assert describe(folder).max_input_tokens == 48
    write(folder, "tokenizer_config.json", {"model_max_length": 1e30})
    assert describe(folder).max_input_tokens == 64


def test_a_default_prompt_is_refused_by_name(folder: Path):
    write(folder, "config_sentence_transformers.json", {"default_prompt_name": "query"})
    with pytest.raises(ModelUnusable, match="query"):
        describe(folder)


@pytest.mark.parametrize("name", ["config.json", "model.safetensors", "1_Pooling/config.json"])
def test_a_missing_file_is_named(folder: Path, name: str):
    (folder / name).unlink()
    with pytest.raises(ModelUnusable, match=Path(name).name):
        describe(folder)


def test_a_broken_file_is_named(folder: Path):
    (folder / "modules.json").write_text("[")
    with pytest.raises(ModelUnusable, match=r"modules\.json: Invalid JSON"):
        describe(folder)
