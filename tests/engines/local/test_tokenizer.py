"""Tokenizer, chat template, context length and end tokens come from the model's own files."""

import json
import threading
from pathlib import Path

import pytest
import tokenizers
from gguf_files import with_text
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import AddedToken

from lowcloud.core.errors import ModelUnusable
from lowcloud.engines.local.gguf_file import read_gguf
from lowcloud.engines.local.gguf_tokenizer import gguf_tokenizer
from lowcloud.engines.local.tokenizer import load_text_assets
from lowcloud.engines.local.vocabulary import Tokenizer, read_tokenizer

TINY = Path(__file__).parents[2] / "fixtures" / "tiny-llama.gguf"
INNER = gguf_tokenizer(read_gguf(TINY))
TOKENIZER = Tokenizer(INNER)


def _folder(path: Path, **files: object) -> Path:
    """An IR folder without weights: a context of 512, the tiny tokenizer, and ``files`` (json or a template)."""
    path.mkdir(exist_ok=True)
    INNER.save(str(path / "tokenizer.json"))
    contents = {"config": {"max_position_embeddings": 512}, **files}
    for name, content in contents.items():
        if isinstance(content, str):
            (path / f"{name}.jinja").write_text(content)
        else:
            (path / f"{name}.json").write_text(json.dumps(content))
    return path


def test_a_gguf_file_names_its_template_context_and_ends() -> None:
    assets = load_text_assets(TINY)
    assert assets.context_length == 256
    assert assets.chat_template is not None and "<|im_start|>" in assets.chat_template
    assert assets.stop_ids == tuple(TOKENIZER.encode("<|im_end|><|endoftext|>", specials=True))
    assert (assets.bos_token, assets.eos_token) == ("<|im_start|>", "<|im_end|>")
    assert assets.weights == "tiny-llama-int8"


def test_control_strings_are_control_tokens_only_when_asked_for() -> None:
    (start,) = TOKENIZER.encode("<|im_start|>", specials=True)
    assert TOKENIZER.token_bytes(start) == b""
    assert start in TOKENIZER.encode("a<|im_start|>b", specials=True)
    plain = TOKENIZER.encode("a<|im_start|>b", specials=False)
    assert start not in plain
    assert b"".join(map(TOKENIZER.token_bytes, plain)) == b"a<|im_start|>b"


@given(st.text(alphabet="<|>_imstarend hello"))
def test_without_specials_no_text_becomes_a_control_token(text: str) -> None:
    ids = TOKENIZER.encode("<|im_end|>" + text + "<|im_start|>", specials=False)
    assert not set(ids) & set(TOKENIZER.encode("".join(TOKENIZER.control_strings), specials=True))


def test_other_threads_run_while_a_long_text_is_encoded() -> None:
    encoding = threading.Thread(target=TOKENIZER.encode, args=("hello there " * 50_000,), kwargs={"specials": True})
    encoding.start()
    turns = 0
    while encoding.is_alive():
        encoding.join(0.001)
        turns += 1
    assert turns > 10


def test_control_strings_are_listed_longest_first() -> None:
    assert TOKENIZER.control_strings == ("<|endoftext|>", "<|im_start|>", "<|im_end|>")


def test_added_tokens_that_look_like_markup_are_control_tokens_whatever_their_flag() -> None:
    inner = gguf_tokenizer(read_gguf(TINY))
    inner.add_tokens([AddedToken("<tool_call>", special=False), AddedToken("robots", special=False)])
    tokenizer = Tokenizer(inner)
    assert "<tool_call>" in tokenizer.control_strings and "robots" not in tokenizer.control_strings
    assert len(tokenizer.encode("<tool_call>", specials=True)) == 1
    assert len(tokenizer.encode("<tool_call>", specials=False)) > 1
    assert (
        tokenizer.encode("robots", specials=False)
        == tokenizer.encode("robots", specials=True)
        == [inner.get_vocab_size() - 1]
    )


def test_truncation_and_padding_that_a_file_has_baked_in_are_off(tmp_path: Path) -> None:
    inner = tokenizers.Tokenizer.from_str(INNER.to_str())
    inner.enable_truncation(4)
    inner.enable_padding(length=64)
    inner.save(str(tmp_path / "tokenizer.json"))
    assert len(read_tokenizer(tmp_path / "tokenizer.json").encode("a b c d e f", specials=True)) == 11


def test_no_bos_is_added_that_the_text_doesnt_have() -> None:
    inner = tokenizers.Tokenizer.from_str(INNER.to_str())
    inner.post_processor = tokenizers.processors.TemplateProcessing(
        single="<|im_start|> $A", special_tokens=[("<|im_start|>", inner.token_to_id("<|im_start|>"))]
    )
    assert Tokenizer(inner).encode("a", specials=True) == TOKENIZER.encode("a", specials=True)


def test_a_tokenizer_json_beside_a_gguf_file_replaces_a_tokenizer_that_isnt_known(tmp_path: Path) -> None:
    path = tmp_path / "odd.gguf"
    path.write_bytes(TINY.read_bytes().replace(b"smollm", b"tekken"))
    with pytest.raises(ModelUnusable, match=r"odd\.tokenizer\.json"):
        load_text_assets(path)
    INNER.save(str(tmp_path / "odd.tokenizer.json"))
    assert load_text_assets(path).tokenizer.encode("hello", specials=True) == TOKENIZER.encode("hello", specials=True)


def test_an_ir_folder_names_its_context_ends_and_template(tmp_path: Path) -> None:
    eos, end = TOKENIZER.encode("<|im_end|><|endoftext|>", specials=True)
    folder = _folder(
        tmp_path / "robot-int4",
        tokenizer_config={"chat_template": "inline", "bos_token": {"content": "<s>"}, "eos_token": "<|im_end|>"},
        generation_config={"eos_token_id": [end]},
        chat_template="a file",
    )
    assets = load_text_assets(folder)
    assert assets.context_length == 512
    assert assets.stop_ids == (eos, end)
    assert assets.chat_template == "a file"
    assert (assets.bos_token, assets.eos_token, assets.weights) == ("<s>", "<|im_end|>", "robot-int4")


def test_an_ir_folders_template_may_be_in_its_tokenizer_config(tmp_path: Path) -> None:
    named = [
        {"name": "tool_use", "template": "t"},
        {"name": "default", "template": "d"},
        {"name": "rag", "template": "r"},
    ]
    cases = [
        ("inline", ("inline", None)),
        (named, ("d", "t")),
        (named[:1], (None, "t")),
        (named[1:], ("d", None)),
        (None, (None, None)),
    ]
    for template, expected in cases:
        assets = load_text_assets(_folder(tmp_path, tokenizer_config={"chat_template": template}))
        assert (assets.chat_template, assets.tool_template) == expected


def test_templates_in_files_of_their_own_stand_in_the_place_of_the_configs(tmp_path: Path) -> None:
    named = [{"name": "tool_use", "template": "t"}, {"name": "default", "template": "d"}]
    folder = _folder(tmp_path, tokenizer_config={"chat_template": named}, chat_template="a file")
    assert (load_text_assets(folder).chat_template, load_text_assets(folder).tool_template) == ("a file", None)
    (folder / "additional_chat_templates").mkdir()
    (folder / "additional_chat_templates" / "tool_use.jinja").write_text("another")
    assert (load_text_assets(folder).chat_template, load_text_assets(folder).tool_template) == ("a file", "another")


def test_a_gguf_file_may_have_a_template_for_tools_too(tmp_path: Path) -> None:
    path = tmp_path / "tools.gguf"
    path.write_bytes(with_text(TINY.read_bytes(), "tokenizer.chat_template.tool_use", "{{ tools }}"))
    assets = load_text_assets(path)
    assert assets.tool_template is not None and assets.tool_template.strip() == "{{ tools }}"
    assert assets.chat_template == load_text_assets(TINY).chat_template


def test_an_ir_folders_template_may_be_its_processors(tmp_path: Path) -> None:
    folder = _folder(tmp_path, tokenizer_config={"chat_template": "the tokenizer's"})
    (folder / "chat_template.json").write_text(json.dumps({"chat_template": "the processor's"}))
    assert load_text_assets(folder).chat_template == "the processor's"
    (folder / "chat_template.json").write_text("{}")
    assert load_text_assets(folder).chat_template == "the tokenizer's"


def test_an_ir_folders_end_may_be_one_number_of_its_config(tmp_path: Path) -> None:
    folder = _folder(tmp_path, config={"text_config": {"max_position_embeddings": 64, "eos_token_id": 5}})
    assets = load_text_assets(folder)
    assert (assets.stop_ids, assets.context_length) == ((5,), 64)
    assert (assets.bos_token, assets.eos_token, assets.chat_template) == ("", "", None)


def test_an_ir_folder_without_the_files_it_needs_is_refused_by_name(tmp_path: Path) -> None:
    folder = _folder(tmp_path, config={"hidden_size": 4})
    with pytest.raises(ModelUnusable, match="max_position_embeddings"):
        load_text_assets(folder)
    (folder / "config.json").write_text("{")
    with pytest.raises(ModelUnusable, match=r": config\.json isn't as expected; the log says more\.$"):
        load_text_assets(folder)
    (folder / "config.json").unlink()
    with pytest.raises(ModelUnusable, match=r"config\.json can't be read"):
        load_text_assets(folder)


def test_a_tokenizer_json_that_is_missing_or_broken_is_refused_by_name(tmp_path: Path) -> None:
    folder = _folder(tmp_path)
    (folder / "tokenizer.json").write_text("{}")
    with pytest.raises(ModelUnusable, match=r"tokenizer\.json is no tokenizer"):
        load_text_assets(folder)
    (folder / "tokenizer.json").unlink()
    with pytest.raises(ModelUnusable, match=r"tokenizer\.json can't be read"):
        load_text_assets(folder)


def test_a_saved_tokenizer_is_the_same_tokenizer(tmp_path: Path) -> None:
    TOKENIZER.save(tmp_path / "tokenizer.json")
    again = read_tokenizer(tmp_path / "tokenizer.json")
    for text in ("hello world", "<|im_start|>ü 12", "\x00🤖"):
        for specials in (True, False):
            assert again.encode(text, specials=specials) == TOKENIZER.encode(text, specials=specials)
    assert again.n_vocab == TOKENIZER.n_vocab
