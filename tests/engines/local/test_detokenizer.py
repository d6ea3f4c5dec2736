"""Tokens become text a whole character at a time, and the pieces joined are the whole bytes' decoding."""

from pathlib import Path

import pytest
import tokenizers
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import decoders, models, normalizers, pre_tokenizers

from lowcloud.core.errors import ModelUnusable
from lowcloud.engines.local.gguf_file import read_gguf
from lowcloud.engines.local.gguf_tokenizer import gguf_tokenizer
from lowcloud.engines.local.vocabulary import Detokenizer, Tokenizer

BYTE_LEVEL = Tokenizer(gguf_tokenizer(read_gguf(Path(__file__).parents[2] / "fixtures" / "tiny-llama.gguf")))
PIECES = ["▁the", "▁robot", "▁", "e", "h", "t", "ü", "▁▁", "!"]


def _sentencepiece(decoder: decoders.Decoder) -> tokenizers.Tokenizer:
    """A vocabulary as Llama 2 has it: pieces, and a token for each byte that no piece holds."""
    vocabulary = {"<unk>": 0, "<s>": 1, "</s>": 2} | {f"<0x{n:02X}>": 3 + n for n in range(256)}
    vocabulary |= {piece: 259 + n for n, piece in enumerate(PIECES)}
    tokenizer = tokenizers.Tokenizer(models.BPE(vocab=vocabulary, merges=[], unk_token="<unk>", byte_fallback=True))
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    tokenizer.decoder = decoder
    tokenizer.add_special_tokens(["<unk>", "<s>", "</s>"])
    return tokenizer


STEPS = [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()]
INNER = _sentencepiece(decoders.Sequence([*STEPS, decoders.Strip(" ", 1, 0)]))
LLAMA2 = Tokenizer(INNER)


def _feed(tokenizer: Tokenizer, ids: list[int]) -> list[str]:
    detokenizer = Detokenizer(tokenizer)
    return [*(detokenizer.feed(token) for token in ids), detokenizer.flush()]


@given(st.text())
def test_encoding_and_feeding_back_gives_the_text_and_never_half_a_character(text: str) -> None:
    pieces = _feed(BYTE_LEVEL, BYTE_LEVEL.encode(text, specials=False))
    assert "".join(pieces) == text
    assert pieces[-1] == ""
    assert "\ufffd" in text or not any("\ufffd" in piece for piece in pieces)


@given(st.lists(st.integers(min_value=0, max_value=BYTE_LEVEL.n_vocab - 1)))
def test_any_tokens_fed_one_by_one_equal_the_decoding_of_all_their_bytes(ids: list[int]) -> None:
    whole = b"".join(BYTE_LEVEL.token_bytes(token) for token in ids)
    assert "".join(_feed(BYTE_LEVEL, ids)) == whole.decode(errors="replace")


def test_the_bytes_of_an_unfinished_character_wait_for_the_rest() -> None:
    ids = [t for byte in "🤖".encode() for t in _token_of(byte)]
    assert _feed(BYTE_LEVEL, ids) == ["", "", "", "🤖", ""]
    assert _feed(BYTE_LEVEL, ids[:3]) == ["", "", "", "\ufffd"]


def _token_of(byte: int) -> list[int]:
    return [t for t in range(256) if BYTE_LEVEL.token_bytes(t) == bytes([byte])]


def test_every_byte_has_a_token_in_a_byte_level_vocabulary() -> None:
    assert sorted(BYTE_LEVEL.token_bytes(token) for token in range(256)) == [bytes([n]) for n in range(256)]


@given(st.text().filter(lambda text: "▁" not in text and text))
def test_a_sentencepiece_text_comes_back_without_the_space_that_was_put_before_it(text: str) -> None:
    ids = LLAMA2.encode(text, specials=False)
    assert "".join(_feed(LLAMA2, ids)) == text


def test_sentencepiece_detokenising_equals_the_tokenizers_own() -> None:
    ids = [1, *LLAMA2.encode("the robot  ü!", specials=False), *LLAMA2.encode("🤖 the", specials=False), 2]
    assert "".join(_feed(LLAMA2, ids)) == INNER.decode(ids, skip_special_tokens=True) == "the robot  ü! 🤖 the"


def test_only_one_space_is_dropped_and_only_at_the_start() -> None:
    space, robot = 3 + 0x20, 259 + PIECES.index("▁robot")
    assert _feed(LLAMA2, [1, robot, robot]) == ["", "robot", " robot", ""]
    assert _feed(LLAMA2, [259 + PIECES.index("▁▁"), robot]) == [" ", " robot", ""]
    assert _feed(LLAMA2, [space, space]) == ["", " ", ""]


@pytest.mark.parametrize(("scheme", "first"), [("always", "robot"), ("first", "robot"), ("never", " robot")])
def test_a_metaspace_decoder_drops_the_first_space_unless_none_was_put_there(scheme: str, first: str) -> None:
    tokenizer = Tokenizer(_sentencepiece(decoders.Metaspace("▁", prepend_scheme=scheme)))
    assert _feed(tokenizer, [259 + PIECES.index("▁robot")])[0] == first


def test_a_sentencepiece_decoder_without_strip_keeps_the_first_space() -> None:
    tokenizer = Tokenizer(_sentencepiece(decoders.Sequence(STEPS)))
    assert _feed(tokenizer, [259 + PIECES.index("▁robot")])[0] == " robot"


def test_a_tokenizer_that_decodes_in_another_way_is_refused_by_name() -> None:
    words = tokenizers.Tokenizer(models.WordPiece({"a": 0}, unk_token="a"))
    with pytest.raises(ModelUnusable, match="without a decoder"):
        Tokenizer(words)
    words.decoder = decoders.WordPiece()
    with pytest.raises(ModelUnusable, match="WordPiece"):
        Tokenizer(words)


def test_ids_outside_the_vocabulary_and_control_tokens_add_nothing() -> None:
    control = BYTE_LEVEL.encode("<|im_end|>", specials=True)[0]
    assert _feed(BYTE_LEVEL, [-1, 10**9, control]) == ["", "", "", ""]


def test_a_token_alone_is_shown_by_name_or_with_a_mark_for_half_a_character() -> None:
    control = BYTE_LEVEL.encode("<|im_end|>", specials=True)[0]
    assert BYTE_LEVEL.token_text(control) == "<|im_end|>"
    assert BYTE_LEVEL.token_text(_token_of(0xF0)[0]) == "\ufffd"
    assert BYTE_LEVEL.token_text(BYTE_LEVEL.encode("hell", specials=False)[0]) == "hell"


def test_a_byte_level_token_with_a_character_outside_the_alphabet_stands_for_itself() -> None:
    tokenizer = tokenizers.Tokenizer(models.BPE(vocab={"▁x": 0, "a": 1}, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    assert Tokenizer(tokenizer).token_bytes(0) == "▁x".encode()
