"""What a model's files say, read from files made here, and what broken ones are called."""

import json
import struct
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lowcloud.engines.local.encoder_folder import describe
from lowcloud.models.files import Facts, NotAModelError, facts_of

STRING, ARRAY = 8, 9


def text(value: str) -> bytes:
    return struct.pack("<Q", len(value.encode())) + value.encode()


def entry(key: str, kind: int, value: bytes) -> bytes:
    return text(key) + struct.pack("<I", kind) + value


def gguf(*entries: bytes, magic: bytes = b"GGUF", count: int | None = None) -> bytes:
    return magic + struct.pack("<IQQ", 3, 0, len(entries) if count is None else count) + b"".join(entries)


CONTEXT = entry("llama.context_length", 4, struct.pack("<I", 8192))
BEFORE = (
    entry("general.architecture", STRING, text("llama")),
    entry("general.quantized", 7, b"\x01"),
    entry("general.tags", ARRAY, struct.pack("<IQ", STRING, 2) + text("a") + text("b")),
    entry("general.numbers", ARRAY, struct.pack("<IQ", 5, 3) + struct.pack("<3i", 1, 2, 3)),
    entry("general.scale", 12, struct.pack("<d", 0.5)),
)


def test_a_gguf_file_is_a_text_model_with_its_context_length(tmp_path: Path):
    file = tmp_path / "model.gguf"
    file.write_bytes(gguf(*BEFORE, CONTEXT))
    assert facts_of(file) == Facts("text", context_window=8192)


def test_a_gguf_file_that_does_not_say_its_context_length_has_an_unknown_one(tmp_path: Path):
    file = tmp_path / "model.gguf"
    for entries in (BEFORE, (entry("llama.context_length", STRING, text("long")),)):
        file.write_bytes(gguf(*entries))
        assert facts_of(file) == Facts("text")


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"PK\x03\x04", "a file that isn't GGUF"),
        (b"GGUF\x03", "broken header"),
        (gguf(*BEFORE, count=9), "broken header"),
        (gguf(entry("a", 99, b"")), "broken header"),
        (gguf(entry("a", ARRAY, struct.pack("<IQ", 99, 1))), "broken header"),
        (gguf(struct.pack("<Q", 2**40)), "broken header"),
        (gguf(struct.pack("<Q", 9) + b"short"), "broken header"),
        (gguf(struct.pack("<Q", 1) + b"\xff"), "broken header"),
    ],
)
def test_a_file_that_is_broken_or_something_else_is_refused(tmp_path: Path, data: bytes, why: str):
    file = tmp_path / "model.gguf"
    file.write_bytes(data)
    with pytest.raises(NotAModelError, match=why) as refused:
        facts_of(file)
    assert str(tmp_path) not in str(refused.value)


@given(data=st.binary(max_size=200))
def test_no_bytes_do_anything_but_be_read_or_refused(tmp_path_factory: pytest.TempPathFactory, data: bytes):
    file = tmp_path_factory.mktemp("fuzz") / "model.gguf"
    file.write_bytes(b"GGUF" + data)
    with suppress(NotAModelError):
        assert facts_of(file).kind == "text"


def test_an_openvino_folder_is_a_text_model(tmp_path: Path):
    (tmp_path / "openvino_model.xml").write_text("<net/>")
    assert facts_of(tmp_path) == Facts("text")
    (tmp_path / "config.json").write_text(json.dumps({"max_position_embeddings": 2048}))
    assert facts_of(tmp_path) == Facts("text", context_window=2048)
    nested = {"text_config": {"max_position_embeddings": 4096}, "max_position_embeddings": 7}
    (tmp_path / "config.json").write_text(json.dumps(nested))
    assert facts_of(tmp_path) == Facts("text", context_window=4096)
    (tmp_path / "lowcloud.json").write_text(json.dumps({"context_length": 1024}))
    assert facts_of(tmp_path) == Facts("text", context_window=1024)


def test_a_folder_with_the_parts_of_a_vision_language_model_is_a_text_model_that_sees(tmp_path: Path):
    (tmp_path / "config.json").write_text(json.dumps({"text_config": {"max_position_embeddings": 4096}}))
    for part in ("language", "text_embeddings"):
        (tmp_path / f"openvino_{part}_model.xml").write_text("<net/>")
        with pytest.raises(NotAModelError, match=r"openvino_vision_embeddings_model\.xml"):
            facts_of(tmp_path)
    (tmp_path / "openvino_vision_embeddings_model.xml").write_text("<net/>")
    assert facts_of(tmp_path) == Facts("text", context_window=4096, sees=True)


def test_a_folder_of_safetensors_is_an_encoder_with_its_own_limit(tmp_path: Path):
    (tmp_path / "model.safetensors").write_bytes(b"")
    (tmp_path / "config.json").write_text(json.dumps({"max_position_embeddings": 512, "hidden_size": 384}))
    assert facts_of(tmp_path) == Facts("embedding", max_input_tokens=512, dimensions=384)
    (tmp_path / "sentence_bert_config.json").write_text(json.dumps({"max_seq_length": 256}))
    assert facts_of(tmp_path) == Facts("embedding", max_input_tokens=256, dimensions=384)


@pytest.mark.parametrize(("sentences", "tokenizer", "limit"), [(None, 48, 48), (None, 1e30, 512), (64, 48, 64)])
def test_a_card_has_the_limit_that_the_encoder_keeps_to(
    tmp_path: Path, sentences: int | None, tokenizer: float, limit: int
):
    bert = {"model_type": "bert", "num_hidden_layers": 1, "num_attention_heads": 2, "vocab_size": 30}
    (tmp_path / "model.safetensors").write_bytes(b"")
    (tmp_path / "config.json").write_text(json.dumps(bert | {"max_position_embeddings": 512, "hidden_size": 384}))
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"model_max_length": tokenizer}))
    (tmp_path / "sentence_bert_config.json").write_text(json.dumps({"max_seq_length": sentences}))
    assert facts_of(tmp_path).max_input_tokens == describe(tmp_path).max_input_tokens == limit


@pytest.mark.parametrize(("config", "is_read"), [("[]", True), ('{"hidden_size": "big"}', True), ("{", False)])
def test_a_config_that_says_nothing_is_no_error_and_one_that_is_not_json_is(tmp_path: Path, config: str, is_read: bool):
    (tmp_path / "model.safetensors").write_bytes(b"")
    (tmp_path / "config.json").write_text(config)
    if is_read:
        assert facts_of(tmp_path) == Facts("embedding")
    else:
        with pytest.raises(NotAModelError, match=r"config\.json is not JSON"):
            facts_of(tmp_path)


def test_a_folder_of_nothing_we_know_says_what_would_do(tmp_path: Path):
    with pytest.raises(NotAModelError, match=r"openvino_model\.xml.*model\.safetensors and config\.json") as refused:
        facts_of(tmp_path)
    assert str(tmp_path) not in str(refused.value)
