"""A small byte-level tokenizer with control tokens, as chat models have them."""

import pytest
import tokenizers
from tokenizers import AddedToken, decoders, models, pre_tokenizers

from lowcloud.engines.local.vocabulary import Tokenizer

CONTROLS = ("<|im_start|>", "<|im_end|>", "<|im_end|>|>", "<tool_call>", "[INST]")


@pytest.fixture(scope="session")
def tokenizer() -> Tokenizer:
    """256 bytes, a few merges that cross what content and template write, and the control tokens."""
    merges = [("<", "|"), ("i", "m"), ("<|", "im"), ("|", ">"), ("u", "s"), ("Ġ", "x"), ("Ċ", "x"), ("e", "r")]
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocab = {token: number for number, token in enumerate([*alphabet, *("".join(pair) for pair in merges)])}
    inner = tokenizers.Tokenizer(models.BPE(vocab=vocab, merges=merges))
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    inner.decoder = decoders.ByteLevel()
    inner.add_special_tokens([AddedToken(text, special=True, normalized=False) for text in CONTROLS])
    return Tokenizer(inner)
