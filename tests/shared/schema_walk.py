"""Answers to a schema without a model: tokens drawn from llguidance's masks, those that close something preferred."""

import json
import random
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

import llguidance
from jsonschema import Draft202012Validator
from jsonschema.validators import validator_for

from lowcloud.text.grammar import LarkWriter

END = 256
CLOSING = frozenset(b'"}],:')
MOST = 256  # tokens of one byte


class _Bytes:
    """A vocabulary of the 256 bytes and an end, as llguidance wants tokenizers to look."""

    eos_token_id = END
    bos_token_id = None
    special_token_ids = (END,)
    tokens = (*(bytes([byte]) for byte in range(256)), b"<end>")

    def __call__(self, text: str | bytes) -> list[int]:
        return list(text.encode() if isinstance(text, str) else text)


TOKENIZER = llguidance.LLTokenizer(llguidance.TokenizerWrapper(_Bytes()))


@dataclass(frozen=True)
class Walk:
    """``error``: the grammar didn't compile, or was left without a token."""

    text: bytes
    is_whole: bool
    error: str = ""


def grammar(schema: Mapping[str, object]) -> str:
    """The grammar of an answer of this schema, as dialects write it."""
    lark = LarkWriter({})
    return lark.grammar(lark.json(schema))


def compile_error(schema: Mapping[str, object]) -> str:
    """What llguidance has against the schema; empty for nothing."""
    is_error, messages = llguidance.LLMatcher.validate_grammar_with_warnings(
        llguidance.LLMatcher.grammar_from_lark(grammar(schema)), TOKENIZER
    )
    return "; ".join(messages) or ("unknown" if is_error else "")


@lru_cache(maxsize=1)
def _compiled(lark: str) -> llguidance.LLMatcher:
    """Compiled once for the walks of one schema, each of which takes a copy."""
    return llguidance.LLMatcher(TOKENIZER, llguidance.LLMatcher.grammar_from_lark(lark), log_level=0)


def walk(schema: Mapping[str, object], seed: int) -> Walk:
    """One answer to the schema, of at most ``MOST`` tokens."""
    chance = random.Random(seed)  # noqa: S311 - a test's choice
    matcher = _compiled(grammar(schema)).deep_copy()
    text = bytearray()
    while len(text) < MOST and not matcher.is_error():
        mask = matcher.compute_bitmask()
        allowed = [token for token in range(END + 1) if mask[token >> 3] >> (token & 7) & 1]
        if END in allowed and (len(allowed) == 1 or chance.random() < 0.8):
            return Walk(bytes(text), is_whole=True)
        closing = [token for token in allowed if token in CLOSING]
        others = [token for token in allowed if token != END]
        if not others:
            return Walk(bytes(text), is_whole=matcher.is_stopped(), error="" if matcher.is_stopped() else "no token")
        token = chance.choice(closing if closing and chance.random() < 0.5 else others)
        matcher.consume_token(token)
        text.append(token)
        if matcher.is_stopped() and not matcher.is_error():
            return Walk(bytes(text), is_whole=True)
    return Walk(bytes(text), is_whole=False, error=matcher.get_error())


def accepts(schema: Mapping[str, object], text: str) -> bool:
    """Whether the grammar of the schema allows the text as a whole answer."""
    matcher = _compiled(grammar(schema)).deep_copy()
    tokens = list(text.encode())
    return matcher.try_consume_tokens(tokens) == len(tokens) and bool(matcher.is_accepting())


def objections(schema: Mapping[str, object], text: str | bytes) -> list[str]:
    """What ``jsonschema`` has against the text as an instance of the schema, formats included."""
    validator = validator_for(schema, default=Draft202012Validator)
    checker = validator(schema, format_checker=validator.FORMAT_CHECKER)
    return [error.message for error in checker.iter_errors(json.loads(text))]
