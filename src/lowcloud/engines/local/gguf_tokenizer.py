"""Builds the tokenizer that a GGUF file describes, and the special tokens it names.

Byte-level BPE only: how text is cut before the merges is not in the file but in llama.cpp's source, under the name
that the file gives as ``tokenizer.ggml.pre``. The table holds the names that are checked against llama.cpp.
"""

from collections.abc import Callable
from dataclasses import dataclass

import tokenizers
from tokenizers import AddedToken, Regex, decoders, models, pre_tokenizers
from tokenizers.pre_tokenizers import PreTokenizer

from lowcloud.core.errors import ModelUnusable
from lowcloud.engines.local.gguf_file import GgufFile

_CONTROL, _USER_DEFINED = 3, 4  # llama_token_type
_LLAMA3 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
_QWEN2 = _LLAMA3.replace(r"\p{N}{1,3}", r"\p{N}")
# Ends of a turn that files often leave out of their eos and eot keys.
# Source: llama.cpp, src/llama-vocab.cpp, read 2026-11.
_ENDINGS = frozenset({
    "<|im_end|>", "<|eot_id|>", "<|eom_id|>", "<|end|>", "<|endoftext|>", "<|end_of_text|>", "<end_of_turn>", "</s>",
})  # fmt: skip


@dataclass(frozen=True, slots=True)
class Pre:
    """How text is cut; ``ignore_merges``: a piece that is a token whole is taken whole."""

    cut: Callable[[], PreTokenizer]
    ignore_merges: bool = False


def _gpt2() -> PreTokenizer:
    return pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)


def _digits_gpt2() -> PreTokenizer:
    return pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True), _gpt2()])


def _split(pattern: str) -> Callable[[], PreTokenizer]:
    def cut() -> PreTokenizer:
        split = pre_tokenizers.Split(Regex(pattern), "isolated")
        return pre_tokenizers.Sequence([split, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])

    return cut


PRE_TOKENIZERS = {
    "gpt-2": Pre(_gpt2),
    "smollm": Pre(_digits_gpt2),
    "starcoder": Pre(_digits_gpt2),
    "refact": Pre(_digits_gpt2),
    "llama-bpe": Pre(_split(_LLAMA3), ignore_merges=True),
    "llama3": Pre(_split(_LLAMA3), ignore_merges=True),
    "falcon3": Pre(_split(_LLAMA3), ignore_merges=True),
    "qwen2": Pre(_split(_QWEN2)),
    "deepseek-r1-qwen": Pre(_split(_QWEN2)),
}


def gguf_tokenizer(file: GgufFile) -> tokenizers.Tokenizer:
    """The file's own tokenizer. Raises ModelUnusable, naming it, for one that isn't in the table."""
    model, pre = file.text("tokenizer.ggml.model", "none"), file.text("tokenizer.ggml.pre", "default")
    if model != "gpt2" or pre not in PRE_TOKENIZERS:
        name = pre if model == "gpt2" else model
        raise ModelUnusable(
            f"{file.path.name}: its tokenizer ({name}) isn't read from GGUF, only {', '.join(PRE_TOKENIZERS)} are. "
            f"Put the model's tokenizer.json beside the file, as {sidecar_name(file)}."
        )
    tokens, merges = file.texts("tokenizer.ggml.tokens"), file.texts("tokenizer.ggml.merges")
    rule = PRE_TOKENIZERS[pre]
    vocabulary = {token: number for number, token in enumerate(tokens)}
    pairs = [(left, right) for left, _, right in (merge.partition(" ") for merge in merges)]
    tokenizer = tokenizers.Tokenizer(models.BPE(vocab=vocabulary, merges=pairs, ignore_merges=rule.ignore_merges))
    tokenizer.pre_tokenizer = rule.cut()
    tokenizer.decoder = decoders.ByteLevel()
    _add_tokens(tokenizer, tokens, file.integers("tokenizer.ggml.token_type"))
    return tokenizer


def sidecar_name(file: GgufFile) -> str:
    """The file beside the GGUF that replaces its tokenizer."""
    return file.path.stem + ".tokenizer.json"


def _add_tokens(tokenizer: tokenizers.Tokenizer, tokens: list[str], types: list[int]) -> None:
    typed = list(zip(tokens, types, strict=False))
    tokenizer.add_special_tokens([AddedToken(t, special=True, normalized=False) for t, k in typed if k == _CONTROL])
    tokenizer.add_tokens([AddedToken(t, special=False, normalized=False) for t, k in typed if k == _USER_DEFINED])


def special_token(file: GgufFile, which: str) -> str:
    """The text of the file's ``bos`` or ``eos`` token, empty where it names none."""
    tokens, number = file.texts("tokenizer.ggml.tokens"), file.integer(f"tokenizer.ggml.{which}_token_id", -1)
    return tokens[number] if 0 <= number < len(tokens) else ""


def stop_tokens(file: GgufFile) -> tuple[int, ...]:
    """Tokens that end an answer: the file's eos, eot and eom, and control tokens of well-known names."""
    named = (file.integer(f"tokenizer.ggml.{which}_token_id", -1) for which in ("eos", "eot", "eom"))
    typed = zip(file.texts("tokenizer.ggml.tokens"), file.integers("tokenizer.ggml.token_type"), strict=False)
    known = (number for number, (text, kind) in enumerate(typed) if kind == _CONTROL and text in _ENDINGS)
    return tuple(sorted({number for number in (*named, *known) if number >= 0}))
