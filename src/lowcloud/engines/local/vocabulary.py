"""Text to token ids and back: the model's own tokenizer, without its weights.

``Tokenizer`` encodes, with or without control tokens, and says which bytes a token stands for. ``Detokenizer`` turns
one sequence's tokens into text, whole characters at a time.
"""

import codecs
import re
from collections.abc import Mapping
from pathlib import Path

import tokenizers
from pydantic import BaseModel
from tokenizers import AddedToken

from lowcloud.core.errors import ModelUnusable

_MARKUP = re.compile(r"<.+>|\[.+\]")
_BYTE_TOKEN = re.compile(r"<0x([0-9A-Fa-f]{2})>")
_SPACE = "\u2581"  # SentencePiece writes a space so
_REPLACEMENT_ERRORS = "replace"


def _byte_level_alphabet() -> dict[str, int]:
    """The characters that stand for bytes in a byte-level vocabulary. Source: GPT-2's encoder.py, bytes_to_unicode."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in printable]
    return {chr(b): b for b in printable} | {chr(256 + i): b for i, b in enumerate(others)}


class _Decoder(BaseModel):
    """The ``decoder`` of a tokenizer.json, as much of it as says how a token's text means bytes."""

    type: str
    decoders: "list[_Decoder]" = []
    prepend_scheme: str = "always"
    start: int = 0


class Tokenizer:
    """One model's tokenizer. ``n_vocab`` counts added tokens; ids are below it. Safe for use by several threads.

    No token stands for more than ``longest`` characters, so a text has at least so many tokens, whatever is in it.
    """

    def __init__(self, tokenizer: tokenizers.Tokenizer) -> None:
        """Takes the tokenizer over. Raises ModelUnusable when it decodes in a way that isn't known here."""
        tokenizer.no_truncation()
        tokenizer.no_padding()
        added: dict[int, AddedToken] = tokenizer.get_added_tokens_decoder()
        self._control = {number: token.content for number, token in added.items() if _is_control(token)}
        self._added = {number: token.content for number, token in added.items()}
        self._marked = tokenizer
        self._plain = _without_control(tokenizer, added)
        self._byte_level, self.strips_first_space = _decoding(tokenizer)
        self._bytes = _byte_level_alphabet()
        self.n_vocab: int = tokenizer.get_vocab_size(with_added_tokens=True)
        self.longest = max(map(len, tokenizer.get_vocab(with_added_tokens=True)), default=1)
        self.control_strings = tuple(sorted(self._control.values(), key=lambda text: (-len(text), text)))

    def encode(self, text: str, *, specials: bool) -> list[int]:
        """The text's tokens; no BOS. Control strings are control tokens with ``specials``, else text like any other."""
        return encoded(self._marked if specials else self._plain, text)

    def token_id(self, text: str) -> int | None:
        """The number of the token with this very text."""
        number: int | None = self._marked.token_to_id(text)
        return number

    def token_bytes(self, token: int) -> bytes:
        """The bytes that a token adds to the text: none for control tokens and for ids outside the vocabulary."""
        if token in self._control:
            return b""
        if token in self._added:
            return self._added[token].encode()
        return self._vocabulary_bytes(token)

    def token_text(self, token: int) -> str:
        """What to show for a token alone: a control token's name, else its bytes, with U+FFFD for half a character."""
        return self._control.get(token) or self.token_bytes(token).decode(errors=_REPLACEMENT_ERRORS)

    @property
    def control_ids(self) -> dict[str, int]:
        """The control tokens by their texts."""
        return {text: number for number, text in self._control.items()}

    def save(self, path: Path) -> None:
        """Write it as tokenizer.json."""
        self._marked.save(str(path))

    def _vocabulary_bytes(self, token: int) -> bytes:
        text: str | None = self._marked.id_to_token(token) if token >= 0 else None
        if text is None:
            return b""
        if self._byte_level:
            numbers = [self._bytes.get(char) for char in text]
            whole = [number for number in numbers if number is not None]
            return bytes(whole) if len(whole) == len(numbers) else text.encode()
        if byte := _BYTE_TOKEN.fullmatch(text):
            return bytes([int(byte[1], 16)])
        return text.replace(_SPACE, " ").encode()


def encoded(tokenizer: tokenizers.Tokenizer, text: str) -> list[int]:
    """The text's tokens, none added. Blocking, but other threads run on, which the plain ``encode`` would stop."""
    (encoding,) = tokenizer.encode_batch_fast([text], add_special_tokens=False)
    ids: list[int] = encoding.ids
    return ids


class Detokenizer:
    """One sequence's text: what ``feed`` and ``flush`` return, joined, decodes the whole bytes, with U+FFFD for faults.

    Where the model's own decoding drops the space that SentencePiece puts before a text, the first one is dropped.
    Control tokens have no text, but those ``shown`` with it.
    """

    def __init__(self, tokenizer: Tokenizer, shown: Mapping[int, str] | None = None) -> None:
        self._tokenizer = tokenizer
        self._shown = shown or {}
        self._decoder = codecs.getincrementaldecoder("utf-8")(errors=_REPLACEMENT_ERRORS)
        self._strip = tokenizer.strips_first_space

    def feed(self, token: int) -> str:
        """The characters that this token completes; the bytes of an unfinished one wait."""
        if token in self._shown:
            return self.flush() + self._shown[token]
        data = self._tokenizer.token_bytes(token)
        if self._strip and data:
            self._strip = False
            data = data.removeprefix(b" ")
        return self._decoder.decode(data)

    def flush(self) -> str:
        """What is left when no token follows: U+FFFD for an unfinished character, else nothing."""
        return self._decoder.decode(b"", final=True)


def read_tokenizer(path: Path) -> Tokenizer:
    """The tokenizer of a tokenizer.json. Raises ModelUnusable for a file that isn't one."""
    try:
        return Tokenizer(tokenizers.Tokenizer.from_str(path.read_text("utf-8")))
    except OSError as error:
        raise ModelUnusable(f"{path.name} can't be read: {error.strerror}.") from error
    except Exception as error:  # the library raises bare Exception for any fault in the file
        raise ModelUnusable(f"{path.name} is no tokenizer; the log says more.") from error


def _is_control(token: AddedToken) -> bool:
    """Special by its flag or its looks: ``<tool_call>`` often has no flag, and must not come from a caller's text."""
    return bool(token.special) or _MARKUP.fullmatch(token.content) is not None


def _without_control(tokenizer: tokenizers.Tokenizer, added: dict[int, AddedToken]) -> tokenizers.Tokenizer:
    """The same tokenizer, sharing its vocabulary, that takes control strings for plain text."""
    plain = tokenizers.Tokenizer(tokenizer.model)
    plain.normalizer = tokenizer.normalizer
    plain.pre_tokenizer = tokenizer.pre_tokenizer
    for _, token in sorted(added.items()):
        if _is_control(token):
            plain.add_special_tokens([token])
        else:
            plain.add_tokens([token])
    plain.encode_special_tokens = True  # that is: encode them as the text they are
    return plain


def _decoding(tokenizer: tokenizers.Tokenizer) -> tuple[bool, bool]:
    """Whether the vocabulary is byte-level, and whether decoding drops a first space."""
    if tokenizer.decoder is None:
        raise ModelUnusable("tokenizers without a decoder aren't known here")
    top = _Decoder.model_validate_json(tokenizer.decoder.__getstate__())  # its part of tokenizer.json
    steps = top.decoders or [top]
    kinds = {step.type: step for step in steps}
    if "ByteLevel" in kinds:
        return True, False
    if metaspace := kinds.get("Metaspace"):
        return False, metaspace.prepend_scheme != "never"
    if "ByteFallback" in kinds or "Fuse" in kinds:
        return False, "Strip" in kinds and kinds["Strip"].start > 0
    raise ModelUnusable(f"tokenizers that decode by {', '.join(kinds)} aren't known here")
