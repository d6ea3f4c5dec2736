"""What a grammar takes, by llguidance itself over a vocabulary of bytes and a few control tokens."""

import re
from collections.abc import Sequence
from functools import cache, lru_cache
from random import Random

import llguidance

from lowcloud.text.dialects.dialect import Dialect
from lowcloud.text.grammar import LarkWriter, Wanted

N_BYTES = 256
MOST_TOKENS = 1000
_NOT_ASCII = range(128, N_BYTES)


class _Bytes:
    """A tokenizer of single bytes, with ``controls`` as tokens after them and the end of the text last."""

    def __init__(self, controls: Sequence[str]) -> None:
        self.tokens = [bytes([byte]) for byte in range(N_BYTES)] + [text.encode() for text in (*controls, "<|end|>")]
        self.special_token_ids = list(range(N_BYTES, len(self.tokens)))
        self.eos_token_id = len(self.tokens) - 1
        self.bos_token_id = None

    def __call__(self, text: str | bytes) -> list[int]:
        return list(text.encode() if isinstance(text, str) else text)


@cache
def _tokenizer(controls: tuple[str, ...]) -> llguidance.LLTokenizer:
    return llguidance.LLTokenizer(llguidance.TokenizerWrapper(_Bytes(controls)))


@lru_cache(maxsize=4)
def _compiled(grammar: str, controls: tuple[str, ...]) -> llguidance.LLMatcher:
    """Compiled once for the texts that it is asked about, each of which takes a copy."""
    matcher = llguidance.LLMatcher(_tokenizer(controls), llguidance.LLMatcher.grammar_from_lark(grammar))
    assert not matcher.get_error(), matcher.get_error()
    return matcher


def token_ids(controls: Sequence[str]) -> dict[str, int]:
    """The ids that a writer is told of."""
    return {text: N_BYTES + index for index, text in enumerate(controls)}


def takes(grammar: str, text: str, controls: Sequence[str] = ()) -> bool:
    """Whether the whole text, and its end, is what a grammar allows; ``controls`` in it are tokens."""
    matcher = _compiled(grammar, tuple(controls)).deep_copy()
    ids = _encoded(text, controls)
    return matcher.try_consume_tokens(ids) == len(ids) and matcher.is_accepting()


def written(grammar: str, random: Random, controls: Sequence[str] = ()) -> str:
    """One of the texts that a grammar allows, of ASCII characters but for those that must be others."""
    matcher = _compiled(grammar, tuple(controls)).deep_copy()
    end = N_BYTES + len(controls)
    ids: list[int] = []
    while not matcher.is_stopped() and len(ids) < MOST_TOKENS:
        allowed = [token for token, bias in enumerate(matcher.compute_logit_bias()) if bias]
        if end in allowed and (allowed == [end] or random.random() < 0.5):
            break
        free = [token for token in allowed if token < end and token not in _NOT_ASCII]
        token = random.choice(free or allowed)
        ids.append(token)
        assert matcher.consume_token(token)
    assert matcher.is_accepting(), "a text without an end"
    return b"".join(bytes([token]) if token < N_BYTES else controls[token - N_BYTES].encode() for token in ids).decode()


def answers(dialect: Dialect, wanted: Wanted, controls: Sequence[str] = ()) -> "Answers":
    """What a dialect's grammar of such answers takes: ``text in answers(...)``."""
    grammar = dialect.grammar(LarkWriter(token_ids(controls)), wanted)
    assert grammar is not None
    return Answers(grammar, tuple(controls))


class Answers:
    def __init__(self, grammar: str, controls: tuple[str, ...]) -> None:
        self.grammar, self._controls = grammar, controls

    def __contains__(self, text: str) -> bool:
        return takes(self.grammar, text, self._controls)


def _encoded(text: str, controls: Sequence[str]) -> list[int]:
    if not controls:
        return list(text.encode())
    known = token_ids(controls)
    pieces = re.split("(" + "|".join(map(re.escape, controls)) + ")", text)
    return [token for piece in pieces for token in ([known[piece]] if piece in known else piece.encode())]
