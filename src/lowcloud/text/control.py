"""Text that a caller sends never becomes a control token: ``<|im_end|>`` that a user types stays text.

What looks like a control string in messages, tools, calls and options is masked by characters that nobody used before
the template sees it; the rendered prompt is split at the control strings that the template wrote, and what lies
between is unmasked and encoded with control tokens off. Where nothing is masked, the prompt is encoded as it is.
"""

import json
import re
from collections.abc import Callable, Iterable, Iterator, Sequence, Set
from dataclasses import dataclass
from itertools import chain
from typing import Protocol

from lowcloud.core.errors import BadRequest
from lowcloud.text.turns import Hide

# Characters that no standard gives a meaning: Unicode's private use areas.
_PRIVATE = (range(0xE000, 0xF900), range(0xF0000, 0xFFFFE), range(0x100000, 0x10FFFE))
_PRIVATE_CHAR = re.compile("[" + "".join(f"{chr(codes[0])}-{chr(codes[-1])}" for codes in _PRIVATE) + "]")
_ESCAPES = re.compile(r"(?:\\u[0-9a-f]{4})+")  # as JSON writes such characters where it writes ASCII alone


class Encoder(Protocol):
    """A model's tokenizer. ``control_strings`` are the texts of its control tokens."""

    @property
    def control_strings(self) -> Sequence[str]: ...

    def encode(self, text: str, *, specials: bool) -> list[int]:
        """Token ids; control strings are control tokens with ``specials``, else text."""


@dataclass(frozen=True, slots=True)
class Encoded:
    """A rendered prompt, and its tokens."""

    text: str
    ids: list[int]


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

    def encode(self, render: Callable[[Hide], str]) -> Encoded:
        """The prompt that ``render`` makes where every text of the caller's has gone through the function it is given.

        The control tokens in it are those that ``render`` wrote of its own. Blocking. Raises BadRequest.
        """
        mask = Mask(self._forgeries)
        rendered = render(mask.hide)
        if mask.is_ambiguous:
            mask = Mask(self._forgeries, mask.used)
            rendered = render(mask.hide)
        if not mask.hides and self._is_plain(ids := self._encoder.encode(rendered, specials=True), rendered):
            return Encoded(rendered, ids)
        show = mask.showing()
        return Encoded(show(rendered), list(chain.from_iterable(self._pieces(rendered, show))))

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

    def _is_plain(self, ids: Sequence[int], text: str) -> bool:
        """Whether the control tokens are as many as the text's control strings: normalizing made no more of them."""
        n_control = sum(token in self._control_ids for token in ids)
        return n_control == sum(len(self._ids[found]) for found in self._pattern.findall(text))

    def _pieces(self, rendered: str, show: Hide) -> Iterator[list[int]]:
        start = 0
        for found in self._pattern.finditer(rendered):
            yield self._plain(show(rendered[start : found.start()]))
            yield self._ids[found[0]]
            start = found.end()
        yield self._plain(show(rendered[start:]))

    def _plain(self, text: str) -> list[int]:
        return self._encoder.encode(text, specials=False) if text else []


class Mask:
    """Hides what ``forgeries`` finds in texts, each string behind one private character that isn't in ``used``.

    It learns which characters the texts use as they come. ``is_ambiguous``: one that hides a string is among them, so
    they have to be hidden again, by a mask that knows all that are ``used``.
    """

    def __init__(self, forgeries: Callable[[str], Iterable[str]], used: Set[str] = frozenset()) -> None:
        self._forgeries = forgeries
        self._used = set(used)
        self._free = (chr(code) for codes in _PRIVATE for code in codes if chr(code) not in used)
        self._hidden: dict[str, str] = {}

    @property
    def used(self) -> Set[str]:
        """The private characters of the texts so far."""
        return frozenset(self._used)

    @property
    def hides(self) -> bool:
        return bool(self._hidden)

    @property
    def is_ambiguous(self) -> bool:
        return not self._used.isdisjoint(self._hidden.values())

    def hide(self, text: str) -> str:
        """The text without its forgeries. Raises BadRequest when every private character is used."""
        self._used.update(_private_in(text))
        forged = sorted(set(self._forgeries(text)), key=lambda found: (-len(found), found))
        if not forged:
            return text
        for found in forged:
            if found not in self._hidden:
                self._hidden[found] = self._next_free()
        return re.sub("|".join(map(re.escape, forged)), lambda found: self._hidden[found[0]], text)

    def showing(self) -> Hide:
        """What puts the strings hidden so far back in their places, in JSON of ASCII too."""
        shown = {char: found for found, char in self._hidden.items()}
        escaped = {_escaped(char): _escaped(found) for char, found in shown.items()}
        back = {**shown, **escaped}
        pattern = re.compile("|".join(map(re.escape, back)) or r"(?!)")
        return lambda text: pattern.sub(lambda found: back[found[0]], text)

    def _next_free(self) -> str:
        if (char := next(self._free, None)) is None:
            raise BadRequest("The conversation uses every private character there is.", param="messages")
        return char


def _escaped(text: str) -> str:
    return json.dumps(text)[1:-1]


def _private_in(text: str) -> Iterator[str]:
    yield from _PRIVATE_CHAR.findall(text)
    for escapes in _ESCAPES.findall(text):
        yield from _PRIVATE_CHAR.findall(json.loads(f'"{escapes}"'))
