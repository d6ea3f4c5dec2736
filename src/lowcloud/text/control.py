"""Text inside a message never becomes a control token: ``<|im_end|>`` that a user types stays text.

Where nothing of a conversation looks like a control string, the rendered prompt is encoded as it is. Else what looks so
is masked by characters that nobody used, the prompt is rendered and split at the control strings that the template
wrote, and what lies between is unmasked and encoded with control tokens off.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from itertools import chain
from typing import Protocol

from lowcloud.core.errors import BadRequest
from lowcloud.core.messages import Message

# Characters that no standard gives a meaning: Unicode's private use areas.
_PRIVATE = (range(0xE000, 0xF900), range(0xF0000, 0xFFFFE), range(0x100000, 0x10FFFE))


class Encoder(Protocol):
    """A model's tokenizer. ``control_strings`` are the texts of its control tokens."""

    @property
    def control_strings(self) -> Sequence[str]: ...

    def encode(self, text: str, *, specials: bool) -> list[int]:
        """Token ids; control strings are control tokens with ``specials``, else text."""


class ControlledEncoder:
    """Encodes what a chat template makes of a conversation. ``encoder`` is asked once for each control token."""

    def __init__(self, encoder: Encoder) -> None:
        self._encoder = encoder
        strings = sorted(encoder.control_strings, key=len, reverse=True)
        self._ids = {text: encoder.encode(text, specials=True) for text in strings}
        self._control_ids = frozenset(token for ids in self._ids.values() for token in ids)
        self._pattern = re.compile("|".join(map(re.escape, strings)) or r"(?!)")
        self._beginnings = frozenset(text[:n] for text in strings for n in range(1, len(text)))
        self._endings = frozenset(text[-n:] for text in strings for n in range(1, len(text)))
        self._longest = max(map(len, strings), default=1) - 1

    def encode(self, messages: Sequence[Message], render: Callable[[Sequence[Message]], str]) -> list[int]:
        """The rendered prompt's ids; the control tokens in it are those that ``render`` wrote of its own. Blocking."""
        forged = {text for message in messages for field in _texts(message) for text in self._forgeries(field)}
        if not forged:
            text = render(messages)
            ids = self._encoder.encode(text, specials=True)
            if self._count(ids) == sum(len(self._ids[found]) for found in self._pattern.findall(text)):
                return ids
        mask = Mask(sorted(forged, key=lambda text: (-len(text), text)), messages)
        return list(chain.from_iterable(self._pieces(render([mask.hide_in(message) for message in messages]), mask)))

    def encode_text(self, text: str) -> list[int]:
        """The ids of a text that no template touches: none of them is a control token."""
        return self._encoder.encode(text, specials=False)

    def _forgeries(self, text: str) -> Iterator[str]:
        """Control strings in a text, and what at its edges could become one with what the template writes beside it."""
        yield from self._pattern.findall(text)
        for edges in {text, text.strip()}:  # templates often strip
            for n in range(1, min(self._longest, len(edges)) + 1):
                if edges[-n:] in self._beginnings:
                    yield edges[-n:]
                if edges[:n] in self._endings:
                    yield edges[:n]

    def _count(self, ids: Sequence[int]) -> int:
        return sum(token in self._control_ids for token in ids)

    def _pieces(self, rendered: str, mask: "Mask") -> Iterator[list[int]]:
        start = 0
        for found in self._pattern.finditer(rendered):
            yield self._plain(rendered[start : found.start()], mask)
            yield self._ids[found[0]]
            start = found.end()
        yield self._plain(rendered[start:], mask)

    def _plain(self, text: str, mask: "Mask") -> list[int]:
        return self._encoder.encode(mask.show(text), specials=False) if text else []


class Mask:
    """Hides strings behind one character each, none of which is in the messages. ``strings``: longest first.

    Raises BadRequest when the messages leave no such characters.
    """

    def __init__(self, strings: Sequence[str], messages: Sequence[Message]) -> None:
        used = {char for message in messages for field in _texts(message) for char in field}
        free = (chr(code) for codes in _PRIVATE for code in codes if chr(code) not in used)
        self._hidden = dict(zip(strings, free, strict=False))
        if len(self._hidden) < len(strings):
            raise BadRequest("The conversation uses every private character there is.", param="messages")
        self._shown = {char: text for text, char in self._hidden.items()}
        self._hide = re.compile("|".join(map(re.escape, self._hidden)) or r"(?!)")
        self._show = re.compile("|".join(self._shown) or r"(?!)")

    def hide_in(self, message: Message) -> Message:
        """The message with every one of the strings hidden."""
        name = None if message.name is None else self._hidden_in(message.name)
        return replace(message, text=self._hidden_in(message.text), name=name)

    def show(self, text: str) -> str:
        """The text with the strings back in their places."""
        return self._show.sub(lambda found: self._shown[found[0]], text)

    def _hidden_in(self, text: str) -> str:
        return self._hide.sub(lambda found: self._hidden[found[0]], text)


def _texts(message: Message) -> tuple[str, ...]:
    return (message.text,) if message.name is None else (message.text, message.name)
