"""One sequence's tokens become text: whole characters, cut at a stop string, with the tokens' log-probabilities."""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from lowcloud.core.events import Alternative, TokenLogprob
from lowcloud.engines.local.vocabulary import Detokenizer, Tokenizer
from lowcloud.text.stop import Passed, StopMatcher

UNLIKELY = -9999.0  # Source: OpenAI's API reference, logprobs: what stands for "very unlikely"; JSON has no infinity


@dataclass(frozen=True, slots=True)
class Said:
    """Text that is certain, and the log-probabilities of its tokens; ``stop`` is the stop string that ended it."""

    text: str
    logprobs: tuple[TokenLogprob, ...] = ()
    stop: str | None = None


@dataclass(frozen=True, slots=True)
class _Waiting:
    """A token's log-probability and the place of its characters, the one that it only begins too, in the text."""

    start: int
    end: int
    logprob: TokenLogprob


class Transcript:
    """Fed by one sequence. A token's log-probability comes out with the last of its characters.

    Of a token that a stop string cuts, it comes if some of its text is before the stop string.
    """

    def __init__(self, tokenizer: Tokenizer, stops: Sequence[str]) -> None:
        self._tokenizer = tokenizer
        self._detokenizer = Detokenizer(tokenizer)
        self._stops = StopMatcher(stops)
        self._waiting: deque[_Waiting] = deque()
        self._n_read = 0
        self._n_said = 0

    def add(self, token: int, logprob: list[Any] | None) -> Said:
        """What is certain after this token; ``logprob`` is one of ``frames.Step``."""
        text = self._detokenizer.feed(token)
        start = self._n_read
        self._n_read += len(text)
        if logprob is not None:
            named = self._named(token, logprob)
            is_inside_character = not text and named.sampled.bytes
            self._waiting.append(_Waiting(start, self._n_read + bool(is_inside_character), named))
        return self._said(self._stops.feed(text))

    def end(self) -> Said:
        """The rest: no token follows."""
        passed = self._stops.feed(self._detokenizer.flush())
        if passed.stop is None:
            passed = Passed(passed.text + self._stops.flush())
        if passed.stop is not None:
            return self._said(passed)
        return Said(passed.text, tuple(waiting.logprob for waiting in self._waiting))

    def _said(self, passed: Passed) -> Said:
        self._n_said += len(passed.text)
        if not self._waiting:
            return Said(passed.text, (), passed.stop)
        logprobs: list[TokenLogprob] = []
        while self._waiting and self._is_out(self._waiting[0], is_cut=passed.stop is not None):
            logprobs.append(self._waiting.popleft().logprob)
        return Said(passed.text, tuple(logprobs), passed.stop)

    def _is_out(self, waiting: _Waiting, *, is_cut: bool) -> bool:
        return waiting.start < self._n_said if is_cut else waiting.end <= self._n_said

    def _named(self, token: int, logprob: list[Any]) -> TokenLogprob:
        sampled, top = logprob
        return TokenLogprob(self._alternative(token, sampled), tuple(self._alternative(*pair) for pair in top))

    def _alternative(self, token: int, logprob: float) -> Alternative:
        text, data = self._tokenizer.token_text(token), self._tokenizer.token_bytes(token)
        return Alternative(text, data, max(logprob, UNLIKELY))
