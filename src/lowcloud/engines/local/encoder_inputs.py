"""From the inputs of a request to the token ids that an encoder gets: special tokens in place, counted, checked, cut.

A text never becomes a control token: ``[SEP]`` typed by a user is encoded as the characters it is made of.
"""

import re
from collections.abc import Callable, Iterator, Sequence

import tokenizers
from tokenizers.pre_tokenizers import BertPreTokenizer

from lowcloud.core.errors import BadRequest, ModelUnusable, PromptTooLong
from lowcloud.core.messages import Text, Tokens
from lowcloud.engines.local.encoder_folder import TOKENIZER_FILE, EncoderFolder
from lowcloud.engines.local.vocabulary import encoded

PIECE = 2**16  # characters; what encoding takes beside them is hundreds of bytes a token
_PROBE = "a"
_BORDER = re.compile(r"[ \t\n\r]|[!-/:-@\[-`{-~](?=[!-~])")  # no word goes on over it, nor a composed character


class InputTokenizer:
    """The tokenizer of one encoder; safe to call from several threads. ``load`` reads it."""

    def __init__(self, tokenizer: tokenizers.Tokenizer, folder: EncoderFolder) -> None:
        tokenizer.no_truncation()
        tokenizer.no_padding()
        tokenizer.encode_special_tokens = True
        self._tokenizer = tokenizer
        self._lower_case = folder.lower_case
        self._limit = folder.max_input_tokens
        self._n_vocab = folder.bert.vocab_size
        self._splits_at_borders = isinstance(tokenizer.pre_tokenizer, BertPreTokenizer)
        self._before, self._after = _frame(tokenizer)

    @staticmethod
    def load(folder: EncoderFolder) -> "InputTokenizer":
        """Read the folder's tokenizer.json. Blocking. Raises ModelUnusable."""
        try:
            text = (folder.path / TOKENIZER_FILE).read_text("utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise ModelUnusable(f"The encoder's folder has no readable {TOKENIZER_FILE}.") from error
        try:
            tokenizer = tokenizers.Tokenizer.from_str(text)
        except Exception as error:  # the library raises no narrower type
            raise ModelUnusable(f"{TOKENIZER_FILE} can't be read; the log says more.") from error
        return InputTokenizer(tokenizer, folder)

    def ids(
        self, inputs: Sequence[Text | Tokens], *, truncate: bool, name: Callable[[int], str] = "input[{}]".format
    ) -> list[list[int]]:
        """One list an input, special tokens included. Blocking: some milliseconds a hundred kilobytes.

        Raises BadRequest with the input's ``name``: over the limit, unless ``truncate``, which cuts the end and keeps
        the special tokens; a token id that the model hasn't; nothing at all.
        """
        return [self._of_one(name(i), item, truncate=truncate) for i, item in enumerate(inputs)]

    def _of_one(self, name: str, item: Text | Tokens, *, truncate: bool) -> list[int]:
        inner, is_whole = self._encoded(item.text) if isinstance(item, Text) else (self._checked(name, item.ids), True)
        n_tokens = len(self._before) + len(inner) + len(self._after)
        if n_tokens == 0:
            raise BadRequest(f"{name} is empty.", param=name)
        if n_tokens > self._limit:
            if not truncate:
                has = "has" if is_whole else "has at least"
                raise PromptTooLong(
                    f"{name} {has} {n_tokens} tokens, special tokens included; the model's limit is {self._limit}.",
                    param=name,
                )
            inner = inner[: len(inner) - (n_tokens - self._limit)]
        return [*self._before, *inner, *self._after]

    def _encoded(self, text: str) -> tuple[list[int], bool]:
        """The tokens of a text, and whether these are all: what is far over the limit isn't encoded to its end."""
        ids: list[int] = []
        for end, piece in self._pieces(text.lower() if self._lower_case else text):
            ids += encoded(self._tokenizer, piece)
            if len(ids) > self._limit:
                return ids, end
        return ids, True

    def _pieces(self, text: str) -> Iterator[tuple[bool, str]]:
        """A text in pieces that have its tokens, each with whether it is the last."""
        start = 0
        while start < len(text):
            found = _BORDER.search(text, start + PIECE) if self._splits_at_borders else None
            end = found.end() if found else len(text)
            yield end == len(text), text[start:end]
            start = end

    def _checked(self, name: str, ids: Sequence[int]) -> list[int]:
        for place, token in enumerate(ids):
            if not 0 <= token < self._n_vocab:
                raise BadRequest(
                    f"{name}[{place}] is the token id {token}; the model's ids are 0 to {self._n_vocab - 1}.",
                    param=f"{name}[{place}]",
                )
        return list(ids)


def _frame(tokenizer: tokenizers.Tokenizer) -> tuple[list[int], list[int]]:
    """The special tokens that go before and after every input. Raises ModelUnusable when none can be told."""
    probe = tokenizer.encode(_PROBE)
    inner = [place for place, is_special in enumerate(probe.special_tokens_mask) if not is_special]
    if not inner:
        raise ModelUnusable(f"{TOKENIZER_FILE} gives no token for the text {_PROBE!r}.")
    return probe.ids[: inner[0]], probe.ids[inner[-1] + 1 :]
