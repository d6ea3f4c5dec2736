"""One sequence's tokens become its parts: text with their log-probabilities, cut at a stop string; reasoning; calls.

Whole characters only. Stop strings are looked for in the text alone.
"""

from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from lowcloud.core.events import Alternative, TokenLogprob
from lowcloud.engines.local.vocabulary import Detokenizer, Tokenizer
from lowcloud.text.channels import CallArguments, CallBegin, CallEnd, Channels, Content, Piece, Reader, Script, Thought
from lowcloud.text.stop import Passed, StopMatcher


@dataclass(frozen=True, slots=True)
class Said:
    """Text that is certain, and the log-probabilities of its tokens; ``stop`` is the stop string that ended it."""

    text: str
    logprobs: tuple[TokenLogprob, ...] = ()
    stop: str | None = None


Part: TypeAlias = Said | Thought | CallBegin | CallArguments | CallEnd


def plain(reader: Reader) -> Script:
    """Reads an output that is text alone."""
    yield from reader.until((), reader.content)


class Transcript:
    """Fed by one sequence. ``script`` splits the output; it sees the control tokens ``shown`` as their texts.

    A token's log-probability comes out with the last of its characters, if some of them are text. Of a token that a
    stop string cuts, it comes if some of its text is before the stop string.
    """

    def __init__(
        self,
        tokenizer: Tokenizer,
        stops: Sequence[str],
        script: Callable[[Reader], Script] = plain,
        shown: Mapping[int, str] | None = None,
    ) -> None:
        self._tokenizer = tokenizer
        self._detokenizer = Detokenizer(tokenizer, shown)
        self._channels = Channels(script)
        self._stops = StopMatcher(stops)
        self._logprobs = _Logprobs()
        self._n_read = self._n_unsaid = 0
        self.n_reasoning = 0

    def add(self, token: int, logprob: list[Any] | None) -> list[Part]:
        """What is certain after this token; ``logprob`` is one of ``frames.Step``. A stop string ends the last part."""
        text = self._detokenizer.feed(token)
        start = self._n_read
        self._n_read += len(text)
        self._n_unsaid += 1
        if logprob is not None:
            named = self._named(token, logprob)
            is_inside_character = not text and named.sampled.bytes
            self._logprobs.wait(start, self._n_read + bool(is_inside_character), named)
        return self._parts(self._channels.feed(text))

    def end(self, *, is_cut: bool = False) -> list[Part]:
        """The rest: no token follows. ``is_cut``: the model would have gone on."""
        rest = self._channels.feed(self._detokenizer.flush())
        parts = self._parts([*rest, *self._channels.end(is_cut=is_cut)])
        if parts and isinstance(parts[-1], Said) and parts[-1].stop is not None:
            return parts
        held = self._stops.flush()
        self._logprobs.said(len(held))
        logprobs = self._logprobs.rest()
        return [*parts, Said(held, logprobs)] if held or logprobs else parts

    def _parts(self, pieces: Iterable[Piece]) -> list[Part]:
        parts: list[Part] = []
        for piece in pieces:
            self._count(piece)
            if not isinstance(piece, Content):
                parts.append(piece)
                continue
            said = self._said(piece)
            if said.text or said.logprobs or said.stop is not None:
                parts.append(said)
            if said.stop is not None:
                break
        return parts

    def _said(self, content: Content) -> Said:
        self._logprobs.content(content.end - len(content.text), content.end)
        passed: Passed = self._stops.feed(content.text)
        self._logprobs.said(len(passed.text))
        logprobs = self._logprobs.rest() if passed.stop is not None else self._logprobs.ready()
        return Said(passed.text, logprobs, passed.stop)

    def _count(self, piece: Piece) -> None:
        """Tokens since the last piece are reasoning's if they end in it."""
        self.n_reasoning += self._n_unsaid if isinstance(piece, Thought) else 0
        self._n_unsaid = 0

    def _named(self, token: int, logprob: list[Any]) -> TokenLogprob:
        sampled, top = logprob
        return TokenLogprob(self._alternative(token, sampled), tuple(self._alternative(*pair) for pair in top))

    def _alternative(self, token: int, logprob: float) -> Alternative:
        text, data = self._tokenizer.token_text(token), self._tokenizer.token_bytes(token)
        return Alternative(text, data, logprob)


@dataclass(frozen=True, slots=True)
class _Waiting:
    """A token's log-probability and the place of its characters, the one that it only begins too, in the output."""

    start: int
    end: int
    logprob: TokenLogprob


class _Logprobs:
    """Lets tokens' log-probabilities out with the text that they belong to. Places are characters of the output."""

    def __init__(self) -> None:
        self._waiting: deque[_Waiting] = deque()
        self._held: deque[tuple[int, int]] = deque()  # text that isn't said yet
        self._said: list[tuple[int, int]] = []

    def wait(self, start: int, end: int, logprob: TokenLogprob) -> None:
        """A token has come."""
        self._waiting.append(_Waiting(start, end, logprob))

    def content(self, start: int, end: int) -> None:
        """This part of the output is text."""
        if self._waiting:
            self._held.append((start, end))

    def said(self, n: int) -> None:
        """The next ``n`` characters of the text are said."""
        while n and self._held:
            start, end = self._held.popleft()
            cut = min(end, start + n)
            if cut < end:
                self._held.appendleft((cut, end))
            n -= cut - start
            if self._said and self._said[-1][1] == start:
                start = self._said.pop()[0]
            self._said.append((start, cut))

    def ready(self) -> tuple[TokenLogprob, ...]:
        """Of the tokens all of whose characters are said; those that had no text are forgotten."""
        done = self._said[-1][1] if self._said else 0
        due: list[_Waiting] = []
        while self._waiting and self._waiting[0].end <= done:
            due.append(self._waiting.popleft())
        return self._of_text(due)

    def rest(self) -> tuple[TokenLogprob, ...]:
        """Of all tokens that said some text: nothing more is said."""
        due = list(self._waiting)
        self._waiting.clear()
        return self._of_text(due)

    def _of_text(self, due: Sequence[_Waiting]) -> tuple[TokenLogprob, ...]:
        return tuple(waiting.logprob for waiting in due if self._is_text(waiting))

    def _is_text(self, waiting: _Waiting) -> bool:
        end = max(waiting.end, waiting.start + 1)
        return any(waiting.start < said_end and end > said_start for said_start, said_end in self._said)
