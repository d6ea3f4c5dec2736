"""Grammars in the worker: compiled off the loop, once for all who send the same text; then a mask for every step.

``Grammars`` answers who asked with a ``Constraint``, one sequence's place in its grammar, or with a ``GrammarError``.
What a grammar may cost is bounded: its text in bytes, llguidance's work in its own units (the same everywhere), and,
since those let slow ones pass, its seconds of a processor. A grammar that was too slow once is refused from then on.
"""

import logging
import re
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue
from typing import TYPE_CHECKING, Literal, Protocol, TypeAlias, cast

from lowcloud.core.errors import LowcloudError

if TYPE_CHECKING:
    import llguidance

    from lowcloud.engines.local.vocabulary import Tokenizer

log = logging.getLogger("lowcloud.worker")

MAX_GRAMMAR_BYTES = 2**18
CACHED_GRAMMARS = 128
_THREADS = 2  # a slow grammar doesn't hold up the others
_COMPILE_S = 5.0
_STEPS_S, _STEP_S = 1.0, 0.005
_LISTING = re.compile(r"\n *\d+ \| ")
_PLACE = re.compile(r"^at \d+\(\d+\): ")
_MAX_MESSAGE = 300
_LIMITS = {
    "initial_lexer_fuel": 1_000_000,
    "step_lexer_fuel": 100_000,
    "step_max_items": 50_000,
    "max_lexer_states": 50_000,
    "max_grammar_size": 500_000,
    "verbose_errors": False,
}
_TOO_SLOW = "it takes too long to compile or to follow"


class GrammarError(Exception):
    """The sequence can't follow its grammar; the message is for its caller. ``code`` as in ``frames.Refused``."""

    def __init__(self, code: Literal["bad_grammar", "failed"], message: str) -> None:
        super().__init__(message)
        self.code = code


class Matcher(Protocol):
    """What is used of llguidance's matcher. Faults are states: ``is_error``."""

    def is_error(self) -> bool: ...
    def get_error(self) -> str: ...
    def is_stopped(self) -> bool: ...
    def consume_token(self, sampled_token: int) -> bool: ...
    def compute_bitmask(self) -> bytes: ...
    def deep_copy(self) -> "Matcher": ...


@dataclass(slots=True)
class _Compiled:
    """A matcher at a grammar's beginning, only ever copied. ``is_slow``: a sequence has spent too much time in it."""

    matcher: Matcher
    is_slow: bool = False


class Constraint:
    """One sequence's place in its grammar. ``is_over``: the answer is complete, and nothing can follow."""

    def __init__(self, compiled: _Compiled) -> None:
        self._compiled, self._matcher = compiled, compiled.matcher.deep_copy()
        self._spent_s, self._allowed_s = 0.0, _STEPS_S
        self.is_over = False

    def mask(self) -> bytes:
        """A bit for each token id, the lowest first, set where the token may come next; missing ones are not.

        Raises GrammarError at a dead end.
        """
        begin = time.thread_time()
        mask = self._matcher.compute_bitmask()
        self._spend(time.thread_time() - begin)
        if self._matcher.is_error():
            log.info("a grammar's dead end: %s", self._matcher.get_error())
            raise GrammarError("bad_grammar", "it came to a dead end, or to its bounds")
        return mask

    def take(self, token: int) -> None:
        """Go on by a token. An end token where the grammar may end makes it over. Raises GrammarError."""
        begin = time.thread_time()
        is_good = self._matcher.consume_token(token)
        self._allowed_s += _STEP_S
        self._spend(time.thread_time() - begin)
        if not is_good:
            log.info("a token outside a grammar: %s", self._matcher.get_error())
            raise GrammarError("bad_grammar", "a token is outside it, or beyond its bounds")
        self.is_over = self._matcher.is_stopped()

    def _spend(self, seconds: float) -> None:
        self._spent_s += seconds
        if self._spent_s > self._allowed_s:
            self._compiled.is_slow = True
            raise GrammarError("bad_grammar", _TOO_SLOW)


Answer: TypeAlias = Constraint | GrammarError
_Outcome: TypeAlias = _Compiled | GrammarError


@dataclass(frozen=True, slots=True)
class _Ask:
    seq: int
    forced: Sequence[int]


class Grammars:
    """The grammars of one model: asked and read by the loop's thread, compiled by threads that start at the first one.

    ``load`` gives llguidance's view of the vocabulary (slow; called once). ``wake`` is called, by another thread, when
    there is something new in ``answers``.
    """

    def __init__(self, load: "Callable[[], llguidance.LLTokenizer]", wake: Callable[[], None] = lambda: None) -> None:
        self._load, self._wake = load, wake
        self._vocabulary: llguidance.LLTokenizer | None = None
        self._loading = threading.Lock()
        self._cache: OrderedDict[str, _Outcome] = OrderedDict()
        self._asked: dict[str, list[_Ask]] = {}
        self._ready: list[tuple[int, Answer]] = []
        self._compiled: SimpleQueue[tuple[str, _Outcome | None]] = SimpleQueue()
        self._replayed: SimpleQueue[tuple[int, Answer]] = SimpleQueue()
        self._work: SimpleQueue[Callable[[], None]] = SimpleQueue()
        self._n_threads = 0

    def ask(self, seq: int, grammar: str, forced: Sequence[int]) -> None:
        """Have ``answers`` give a constraint that has taken the ``forced`` tokens."""
        if len(grammar.encode(errors="replace")) > MAX_GRAMMAR_BYTES:
            error = GrammarError("bad_grammar", f"it has more than {MAX_GRAMMAR_BYTES} bytes")
            self._ready.append((seq, error))
            return
        known = self._cache.get(grammar)
        if known is not None:
            self._cache.move_to_end(grammar)
            self._answer(_Ask(seq, forced), known)
            return
        is_new = grammar not in self._asked
        self._asked.setdefault(grammar, []).append(_Ask(seq, forced))
        if is_new:
            self._do(lambda: self._compile(grammar))

    def cancel(self, seq: int) -> None:
        """Nobody waits for this answer; a grammar that nobody waits for isn't compiled."""
        for asks in self._asked.values():
            asks[:] = [ask for ask in asks if ask.seq != seq]

    def answers(self) -> list[tuple[int, Answer]]:
        """What has come since the last call, by sequence; of cancelled ones too. Never waits."""
        while not self._compiled.empty():
            grammar, outcome = self._compiled.get()
            if outcome is None and self._asked[grammar]:  # it was put off, and somebody asked since
                self._do(lambda grammar=grammar: self._compile(grammar))  # type: ignore[misc]
                continue
            asks = self._asked.pop(grammar)
            if outcome is not None:
                self._keep(grammar, outcome)
                for ask in asks:
                    self._answer(ask, outcome)
        while not self._replayed.empty():
            self._ready.append(self._replayed.get())
        ready, self._ready = self._ready, []
        return ready

    def _keep(self, grammar: str, outcome: _Outcome) -> None:
        if isinstance(outcome, GrammarError) and outcome.code == "failed":
            return  # no fault of the grammar's
        self._cache[grammar] = outcome
        while len(self._cache) > CACHED_GRAMMARS:
            self._cache.popitem(last=False)

    def _answer(self, ask: _Ask, outcome: _Outcome) -> None:
        if isinstance(outcome, GrammarError):
            self._ready.append((ask.seq, outcome))
        elif outcome.is_slow:
            self._ready.append((ask.seq, GrammarError("bad_grammar", _TOO_SLOW)))
        elif ask.forced:
            constraint = Constraint(outcome)
            self._do(lambda: self._replay(ask, constraint))
        else:
            self._ready.append((ask.seq, Constraint(outcome)))

    def _do(self, work: Callable[[], None]) -> None:
        self._work.put(work)
        if self._n_threads < _THREADS:
            self._n_threads += 1
            threading.Thread(target=self._run, name=f"grammar-{self._n_threads}", daemon=True).start()

    def _run(self) -> None:
        while True:
            self._work.get()()
            self._wake()

    def _compile(self, grammar: str) -> None:
        """In a thread of ours."""
        outcome: _Outcome | None = None
        if self._asked[grammar]:
            try:
                outcome = compiled(self._required_vocabulary(), grammar)
            except GrammarError as error:
                outcome = error
            except BaseException:  # the outermost place; a panic of the library isn't even an Exception
                log.exception("a grammar could not be compiled")
                outcome = GrammarError("bad_grammar", "it can't be compiled")
        self._compiled.put((grammar, outcome))

    def _replay(self, ask: _Ask, constraint: Constraint) -> None:
        """In a thread of ours: the tokens that the caller has already. The grammar took them once."""
        answer: Answer = constraint
        try:
            for token in ask.forced:
                constraint.take(token)
        except GrammarError as error:
            answer = GrammarError("failed", str(error))
        self._replayed.put((ask.seq, answer))

    def _required_vocabulary(self) -> "llguidance.LLTokenizer":
        with self._loading:
            if self._vocabulary is None:
                try:
                    self._vocabulary = self._load()
                except (LowcloudError, OSError, ValueError) as error:
                    log.exception("no grammar can be followed")
                    raise GrammarError("failed", "the model's vocabulary can't be read") from error
        return self._vocabulary


def compiled(vocabulary: "llguidance.LLTokenizer", grammar: str) -> _Compiled:
    """Compile, make the first mask, which costs most, and try a token that it allows: what is too complex at its
    beginning shows only then. Raises GrammarError."""
    import llguidance  # noqa: PLC0415 - a worker that gets no grammar must not wait for it

    begin = time.thread_time()
    lark = llguidance.LLMatcher.grammar_from_lark(grammar)
    limits = llguidance.LLParserLimits(**_LIMITS)
    matcher = cast(Matcher, llguidance.LLMatcher(vocabulary, lark, log_level=0, limits=limits))
    if matcher.is_error():
        raise GrammarError("bad_grammar", _first_lines(matcher.get_error()))
    mask = matcher.compute_bitmask()
    if matcher.is_error():
        log.info("a grammar that allows nothing: %s", matcher.get_error())
        raise GrammarError("bad_grammar", "it allows no text at all, or is too complex")
    trial = matcher.deep_copy()
    if not trial.consume_token(_lowest(mask)):
        raise GrammarError("bad_grammar", _first_lines(trial.get_error()))
    if time.thread_time() - begin > _COMPILE_S:
        raise GrammarError("bad_grammar", _TOO_SLOW)
    return _Compiled(matcher)


def _lowest(mask: bytes) -> int:
    """The first token that a mask allows; each that follows a grammar allows one."""
    bits = int.from_bytes(mask, "little")
    return (bits & -bits).bit_length() - 1


def _first_lines(message: str) -> str:
    """What is wrong, without the lines of the grammar, which are ours, and without its place in them."""
    said = _LISTING.split(message.removesuffix("<non-verbose/>"))[0]
    return " ".join(_PLACE.sub("", said).split())[:_MAX_MESSAGE]


def read_vocabulary(source: Path, n_vocab: int) -> "llguidance.LLTokenizer":
    """Of the model in a GGUF file or an IR folder; takes about half a second. Raises ModelUnusable, GrammarError."""
    from lowcloud.engines.local.tokenizer import load_text_assets  # noqa: PLC0415 - nor for this

    assets = load_text_assets(source)
    return vocabulary_of(assets.tokenizer, assets.stop_ids, n_vocab)


def vocabulary_of(tokenizer: "Tokenizer", stop_ids: Sequence[int], n_vocab: int) -> "llguidance.LLTokenizer":
    """llguidance's view of the ids below ``n_vocab``, the length of a row of logits. Raises GrammarError.

    Ids without text are never allowed, nor are bytes that no UTF-8 has: llguidance marks control tokens with them.
    """
    import llguidance  # noqa: PLC0415 - as above

    known = range(min(tokenizer.n_vocab, n_vocab))
    ends = [token for token in stop_ids if token in known]
    if not ends:
        raise GrammarError("failed", "the model has no end token, so no grammar can end")
    data = [tokenizer.token_bytes(token) for token in known]
    control = [token for token in known if not data[token] and tokenizer.token_text(token)]
    for token in control:
        data[token] = tokenizer.token_text(token).encode()
    tokens = [b"" if b"\xff" in text else text for text in data]
    view = _View(tokens, control, ends[0], lambda text: tokenizer.encode(text, specials=False))
    return llguidance.LLTokenizer(llguidance.TokenizerWrapper(view), eos_token=ends)


class _View:
    """The attributes that llguidance reads of a tokenizer."""

    bos_token_id: int | None = None

    def __init__(self, tokens: list[bytes], control: list[int], end: int, encode: Callable[[str], list[int]]) -> None:
        self.tokens, self.special_token_ids, self.eos_token_id = tokens, control, end
        self._encode = encode

    def __call__(self, text: str | bytes) -> list[int]:
        return self._encode(text if isinstance(text, str) else text.decode(errors="replace"))
