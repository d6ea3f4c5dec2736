"""From texts and token ids to what the encoder gets: special tokens, counts, limits, cuts."""

import json
from pathlib import Path

import pytest
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

from lowcloud.core.errors import BadRequest, ModelUnusable, PromptTooLong
from lowcloud.core.messages import Text, Tokens
from lowcloud.engines.local.encoder_folder import EncoderFolder, describe
from lowcloud.engines.local.encoder_inputs import PIECE, InputTokenizer

WORDS = ["[PAD]", "[CLS]", "[SEP]", "[UNK]", "a", "b", "c", "[", "]", "sep"]
PAD, CLS, SEP, UNK, A, B, C, OPEN, CLOSE, SEP_WORD = range(len(WORDS))
LIMIT = 6


def bert_tokenizer() -> Tokenizer:
    """One token a word, with the truncation and padding that such files carry."""
    made = Tokenizer(models.WordLevel({word: token for token, word in enumerate(WORDS)}, unk_token="[UNK]"))
    made.normalizer = normalizers.BertNormalizer(lowercase=True)
    made.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    made.post_processor = processors.TemplateProcessing("[CLS] $A [SEP]", None, [("[CLS]", CLS), ("[SEP]", SEP)])
    made.add_special_tokens(["[PAD]", "[CLS]", "[SEP]", "[UNK]"])
    made.enable_truncation(4)
    made.enable_padding(length=4)
    return made


def encoder_folder(path: Path, tokenizer: Tokenizer, **limits: object) -> EncoderFolder:
    config = {"model_type": "bert", "hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2}
    config |= {"vocab_size": len(WORDS), "max_position_embeddings": 64}
    (path / "model.safetensors").touch()
    (path / "config.json").write_text(json.dumps(config))
    (path / "sentence_bert_config.json").write_text(json.dumps({"max_seq_length": LIMIT} | limits))
    tokenizer.save(str(path / "tokenizer.json"))
    return describe(path)


@pytest.fixture
def tokenizer(tmp_path: Path) -> InputTokenizer:
    return InputTokenizer.load(encoder_folder(tmp_path, bert_tokenizer()))


def test_special_tokens_frame_a_text_and_nothing_is_padded(tokenizer: InputTokenizer):
    assert tokenizer.ids([Text("a B"), Text("c")], truncate=False) == [[CLS, A, B, SEP], [CLS, C, SEP]]


def test_token_ids_are_framed_as_a_text_is(tokenizer: InputTokenizer):
    assert tokenizer.ids([Tokens((A, B))], truncate=False) == tokenizer.ids([Text("a b")], truncate=False)


def test_an_empty_text_is_its_special_tokens(tokenizer: InputTokenizer):
    assert tokenizer.ids([Text(""), Tokens(())], truncate=False) == [[CLS, SEP], [CLS, SEP]]


def test_a_control_string_in_a_text_stays_text(tokenizer: InputTokenizer):
    assert tokenizer.ids([Text("a [SEP]")], truncate=False) == [[CLS, A, OPEN, SEP_WORD, CLOSE, SEP]]


def test_an_input_at_the_limit_passes(tokenizer: InputTokenizer):
    assert len(tokenizer.ids([Text("a a a a")], truncate=False)[0]) == LIMIT


@pytest.mark.parametrize("item", [Text("a a a a a"), Tokens((A,) * 5)])
def test_an_input_over_the_limit_is_refused_with_both_counts(tokenizer: InputTokenizer, item: Text | Tokens):
    with pytest.raises(PromptTooLong, match=r"input\[1\] has 7 tokens, .* limit is 6") as caught:
        tokenizer.ids([Text("a"), item], truncate=False)
    assert (caught.value.status, caught.value.param) == (400, "input[1]")


@pytest.mark.parametrize("item", [Text("a b c a b c a"), Tokens((A, B, C, A, B, C, A))])
def test_truncation_cuts_the_end_and_keeps_the_special_tokens(tokenizer: InputTokenizer, item: Text | Tokens):
    assert tokenizer.ids([item], truncate=True) == [[CLS, A, B, C, A, SEP]]


def test_a_long_text_has_the_same_tokens_in_pieces(tmp_path: Path):
    tokenizer = InputTokenizer.load(encoder_folder(tmp_path, bert_tokenizer(), max_seq_length=PIECE))
    text = " " * PIECE + "a b]c\n" * 10 + "x" * PIECE + "-a-b " + "\t" * PIECE + "c"
    (ids,) = tokenizer.ids([Text(text)], truncate=False)
    assert ids == [CLS, *whole(text), SEP]
    assert len(ids) > 40


def whole(text: str) -> list[int]:
    tokenizer = bert_tokenizer()
    tokenizer.no_truncation()
    tokenizer.no_padding()
    tokenizer.encode_special_tokens = True
    return tokenizer.encode(text, add_special_tokens=False).ids


@pytest.mark.parametrize("text", ["a " * 5 * PIECE, "a." * 5 * PIECE])
def test_a_text_far_over_the_limit_is_not_encoded_to_its_end(tokenizer: InputTokenizer, text: str):
    with pytest.raises(PromptTooLong, match=r"has at least (3|6)\d{4} tokens, .* limit is 6"):
        tokenizer.ids([Text(text)], truncate=False)
    assert len(tokenizer.ids([Text(text)], truncate=True)[0]) == LIMIT


@pytest.mark.parametrize("token", [-1, len(WORDS), 2**40])
def test_a_token_id_that_the_model_has_not_is_refused_by_its_place(tokenizer: InputTokenizer, token: int):
    with pytest.raises(BadRequest, match=rf"{token}; the model's ids are 0 to 9") as caught:
        tokenizer.ids([Tokens((A, token))], truncate=False)
    assert caught.value.param == "input[0][1]"


def test_a_text_is_lowered_where_the_folder_says_so(tmp_path: Path):
    cased = bert_tokenizer()
    cased.normalizer = normalizers.NFC()
    assert InputTokenizer(cased, encoder_folder(tmp_path, cased)).ids([Text("A")], truncate=False) == [[CLS, UNK, SEP]]
    lowered = encoder_folder(tmp_path, cased, do_lower_case=True)
    assert InputTokenizer(cased, lowered).ids([Text("A")], truncate=False) == [[CLS, A, SEP]]


def test_an_input_without_any_token_is_refused(tmp_path: Path):
    bare = Tokenizer(models.WordLevel({"a": 0}, unk_token="a"))
    bare.pre_tokenizer = pre_tokenizers.Whitespace()
    with pytest.raises(BadRequest, match=r"input\[0\] is empty"):
        InputTokenizer(bare, encoder_folder(tmp_path, bare)).ids([Text(" ")], truncate=False)


def test_a_tokenizer_that_cannot_be_read_is_named(tmp_path: Path):
    folder = encoder_folder(tmp_path, bert_tokenizer())
    for content in (b"{}", b"\xff"):
        (tmp_path / "tokenizer.json").write_bytes(content)
        with pytest.raises(ModelUnusable, match=r"tokenizer\.json"):
            InputTokenizer.load(folder)
    (tmp_path / "tokenizer.json").unlink()
    with pytest.raises(ModelUnusable, match=r"tokenizer\.json"):
        InputTokenizer.load(folder)


def test_a_tokenizer_that_gives_nothing_for_a_letter_is_refused(tmp_path: Path):
    empty = Tokenizer(models.BPE())
    with pytest.raises(ModelUnusable, match="no token"):
        InputTokenizer(empty, encoder_folder(tmp_path, empty))
