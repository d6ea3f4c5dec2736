"""What a sequence may go on with, guessed from its own text: prompt lookup, and the caller's prediction. Pure.

A draft's tokens run as decode rows beside the one that is due, in one pass, and are kept as far as they are what plain
decoding chooses. So a draft changes when tokens come, never which; and what a wrong one costs is a row each.

Whether and how far a sequence drafts is a fold over its own tokens: load never counts, and a sequence that is resumed
goes on drafting as it would have.
"""

from collections.abc import Sequence
from itertools import count

MAX_DRAFT = 3
"""On AVX2, four rows take as long as one, and five already twice as long; it also bounds what a step may grow by."""

_GRAM = 3  # so many last tokens must have stood somewhere before
_BORDER = -1  # between two texts; no token
_ROW = 0.75  # what a row more costs in a full batch, in tokens of plain decoding; alone it costs much less
_START, _START_PREDICTED, _MOST = 1.0, 12.0, 12.0
_EARNED = 0.01  # a token: a text that begins to repeat late is found, and any other loses no more than that


class Drafter:
    """Follows one sequence of at most ``end`` tokens, whose ``prompt`` is known.

    It finds the last place where the last three tokens stood, and follows that while it agrees; a ``prediction`` is
    followed from its beginning. A first guess is of one token, after one that was wholly right it reaches further. It
    lives on its ``balance``, in tokens of plain decoding: what drafts have won, less what they have cost. Where that is
    used up it drafts no more, until the text is much longer.
    """

    def __init__(self, prompt: Sequence[int], prediction: Sequence[int], end: int) -> None:
        self._text = [*prediction, _BORDER, *prompt]
        text = self._text
        self._places = dict(zip(zip(text, text[1:], text[2:], strict=False), count(_GRAM), strict=False))
        self._source: int | None = 0 if prediction else None
        self._left = end - len(prompt)
        self._balance = _START_PREDICTED if prediction else _START
        self._reach = MAX_DRAFT if prediction else 1
        self._draft: list[int] = []
        self._kept = 0
        self._n_prediction, self._is_predicted = len(prediction), False
        self._n_accepted = self._n_rejected = 0

    @property
    def draft(self) -> list[int]:
        """The tokens that may come next; none without a good guess, and none beyond the sequence's end."""
        return self._draft[self._kept :][: max(0, self._left - 1)]

    @property
    def predicted(self) -> list[int]:
        """Of the tokens that the prediction gave to drafts: how many came, and how many others came instead of."""
        return [self._n_accepted + (self._kept if self._is_predicted else 0), self._n_rejected]

    def take(self, token: int) -> None:
        """Go on by the token that came."""
        self._follow(token)
        self._left -= 1
        self._balance = min(_MOST, self._balance + _EARNED)
        if self._kept < len(self._draft) and self._draft[self._kept] == token:
            self._kept += 1
            return
        if self._draft:  # it was wrong, or this is the token that comes after it in the same pass
            self._settle()
        self._kept = 0
        self._is_predicted = self._source is not None and self._source < self._n_prediction
        self._draft = self._guess() if self._balance > 0 else []

    def _follow(self, token: int) -> None:
        text, source = self._text, self._source
        text.append(token)
        last = (text[-3], text[-2], token)
        place = self._places.get(last)
        self._places[last] = len(text)
        self._source = source + 1 if source is not None and text[source] == token else place

    def _settle(self) -> None:
        n = len(self._draft)
        if self._is_predicted:
            self._n_accepted += self._kept
            self._n_rejected += n - self._kept
        self._balance = min(_MOST, self._balance + self._kept - _ROW * n)
        self._reach = MAX_DRAFT if self._kept == n else 1

    def _guess(self) -> list[int]:
        """What followed there; where that is the end of the text itself, its last tokens go round."""
        draft: list[int] = []
        if self._source is None:
            return draft
        for place in range(self._source, self._source + self._reach):
            beyond = place - len(self._text)
            token = self._text[place] if beyond < 0 else draft[beyond]
            if token == _BORDER:
                break
            draft.append(token)
        return draft
