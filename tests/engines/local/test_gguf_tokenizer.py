"""A GGUF file's tokenizer is built from its metadata, or refused by name."""

from dataclasses import replace
from pathlib import Path

import pytest

from lowcloud.core.errors import ModelUnusable
from lowcloud.engines.local.gguf_file import GgufFile, Value, read_gguf
from lowcloud.engines.local.gguf_tokenizer import gguf_tokenizer, special_token, stop_tokens
from lowcloud.engines.local.vocabulary import Tokenizer

TINY = read_gguf(Path(__file__).parents[2] / "fixtures" / "tiny-llama.gguf")
TOKENS = TINY.texts("tokenizer.ggml.tokens")


def _with(changes: dict[str, Value]) -> GgufFile:
    return replace(TINY, metadata={**TINY.metadata, **{f"tokenizer.ggml.{key}": v for key, v in changes.items()}})


def test_a_pre_tokenizer_that_isnt_known_is_refused_by_name_and_asks_for_a_tokenizer_json() -> None:
    with pytest.raises(ModelUnusable, match=r"\(tekken\).*tiny-llama\.tokenizer\.json"):
        gguf_tokenizer(_with({"pre": "tekken"}))


def test_a_sentencepiece_vocabulary_is_refused_by_name() -> None:
    with pytest.raises(ModelUnusable, match=r"\(llama\).*tokenizer\.json"):
        gguf_tokenizer(_with({"model": "llama"}))


def test_a_file_without_tokenizer_is_refused() -> None:
    bare = replace(TINY, metadata={"general.architecture": "llama"})
    with pytest.raises(ModelUnusable, match=r"\(none\)"):
        gguf_tokenizer(bare)


def test_how_digits_are_cut_follows_the_name_of_the_pre_tokenizer() -> None:
    def pieces(pre: str) -> list[str]:
        extra: dict[str, Value] = {
            "pre": pre,
            "tokens": [*TOKENS, "12", "34", "1234", "123"],
            "token_type": [*TINY.integers("tokenizer.ggml.token_type"), 1, 1, 1, 1],
            "merges": [*TINY.texts("tokenizer.ggml.merges"), "1 2", "3 4", "12 34", "12 3"],
        }
        tokenizer = gguf_tokenizer(_with(extra))
        return list(tokenizer.encode("12345").tokens)

    assert pieces("smollm") == pieces("qwen2") == ["1", "2", "3", "4", "5"]
    assert pieces("llama-bpe") == ["123", "4", "5"]
    assert pieces("gpt-2") == ["1234", "5"]


def test_user_defined_tokens_are_taken_whole_and_are_text() -> None:
    types = TINY.integers("tokenizer.ggml.token_type")
    file = _with({"tokens": [*TOKENS, "robots!"], "token_type": [*types, 4]})
    tokenizer = Tokenizer(gguf_tokenizer(file))
    assert tokenizer.encode("robots!", specials=False) == [len(TOKENS)]
    assert tokenizer.token_bytes(len(TOKENS)) == b"robots!"


def test_an_answer_ends_at_eos_eot_eom_and_control_tokens_of_known_names() -> None:
    eos, end = TOKENS.index("<|im_end|>"), TOKENS.index("<|endoftext|>")
    assert stop_tokens(TINY) == (eos, end)
    assert stop_tokens(_with({"eot_token_id": 7, "eom_token_id": 9})) == (7, 9, eos, end)
    assert stop_tokens(replace(TINY, metadata={})) == ()


def test_bos_and_eos_are_given_as_text_and_empty_where_there_is_none() -> None:
    assert special_token(TINY, "bos") == "<|im_start|>"
    assert special_token(TINY, "eos") == "<|im_end|>"
    assert special_token(_with({"bos_token_id": 10**6}), "bos") == ""
    assert special_token(replace(TINY, metadata={}), "bos") == ""
