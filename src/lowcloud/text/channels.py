"""A model's raw output, split into text, reasoning and tool calls while it comes: characters in, pieces out. No I/O.

A dialect reads an output as a *script*: a generator over a ``Reader`` that yields where it needs more characters. It is
written in the order in which the model writes, and the same script reads a whole output and any pieces of it.
"""

from collections.abc import Callable, Generator, Iterable
from dataclasses import dataclass
from typing import TypeAlias, TypeVar

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Content:
    """A piece of the answer's text, just as the model wrote it; ``end`` characters of the output are before its end.

    0: it isn't in the output, but stands between two texts that are.
    """

    text: str
    end: int


@dataclass(frozen=True, slots=True)
class Thought:
    """A piece of the reasoning."""

    text: str


@dataclass(frozen=True, slots=True)
class CallBegin:
    """A call of the tool ``name``; ``id`` where the model gave one. Calls count from 0, in order."""

    name: str
    id: str | None = None


@dataclass(frozen=True, slots=True)
class CallArguments:
    """A piece of the present call's arguments: JSON text, or a custom tool's input."""

    text: str


@dataclass(frozen=True, slots=True)
class CallEnd:
    """The present call is complete. A call without it was cut, or isn't well formed: nobody should run it."""


Piece: TypeAlias = Content | Thought | CallBegin | CallArguments | CallEnd
Script: TypeAlias = Generator[None, None, None]
Emit: TypeAlias = Callable[[str], None]


class Reader:
    """What a script reads. Its reading methods are generators, for ``yield from``.

    What they pass on, they pass on as early as it is certain; nothing that may still become a mark is let out. At the
    end of an output that is cut, such a beginning is read and dropped: nobody knows what it would have become.
    """

    def __init__(self) -> None:
        self.pieces: list[Piece] = []
        self._text = ""
        self._n_read = 0
        self._is_over = self._is_cut = False
        self._space: list[Content] = []
        self._looks: list[list[str]] = []  # what each ``ahead`` that is under way has read

    # what a script emits

    def content(self, text: str) -> None:
        """Emit the characters read last as the answer's text."""
        if text:
            self.pieces.append(Content(text, self._n_read))

    def words(self, text: str) -> None:
        """The same, but white space at the end waits for more words, or for ``drop_space``."""
        said = text.rstrip()
        space = text[len(said) :]
        if said:
            self.keep_space()
            self.pieces.append(Content(said, self._n_read - len(space)))
        if space:
            self._space.append(Content(space, self._n_read))

    def drop_space(self) -> None:
        """Forget the white space that waits: it stands before a call."""
        self._space.clear()

    def keep_space(self) -> None:
        """Let out the white space that waits: it is text."""
        self.pieces += self._space
        self._space.clear()

    def gap(self, text: str) -> None:
        """Emit text that isn't in the output: it stands between two texts that the model wrote apart."""
        self.pieces.append(Content(text, 0))

    def thought(self, text: str) -> None:
        if text:
            self.pieces.append(Thought(text))

    def begin(self, name: str, call_id: str | None = None) -> None:
        self.pieces.append(CallBegin(name, call_id))

    def arguments(self, text: str) -> None:
        if text:
            self.pieces.append(CallArguments(text))

    def end(self) -> None:
        self.pieces.append(CallEnd())

    # what a script reads

    def until(self, marks: Iterable[str], emit: Emit) -> Generator[None, None, str | None]:
        """Pass on what stands before the first of ``marks``, and read that mark. Returns it; None at the output's end.

        Of marks that begin at one place the longest counts.
        """
        longest_first = sorted(marks, key=len, reverse=True)
        while True:
            found = _first(self._text, longest_first)
            if found is not None and (self._is_over or not self._may_grow(found, longest_first)):
                start, mark = found
                self._pass(start, emit)
                self._skip(len(mark))
                return mark
            if found is None:
                held = 0 if self._is_over and not self._is_cut else _held(self._text, longest_first)
                self._pass(len(self._text) - held, emit)
                if self._is_over:
                    self._skip(held)
                    return None
            yield

    def goes_on(self, marks: Iterable[str]) -> Generator[None, None, str | None]:
        """Read one of ``marks`` if the output goes on with it, and return it; else read nothing and return None."""
        longest_first = sorted(marks, key=len, reverse=True)
        while True:
            if self._is_over or not any(_is_beginning(self._text, mark) for mark in longest_first):
                found = next((mark for mark in longest_first if self._text.startswith(mark)), None)
                is_half = self._is_cut and any(_is_beginning(self._text, mark) for mark in longest_first)
                self._skip(len(self._text) if is_half else len(found or ""))
                return found
            yield

    def spaces(self) -> Generator[None, None, str]:
        """Read white space, as much as there is, and return it."""
        read = ""
        while True:
            rest = self._text.lstrip()
            read += self._text[: len(self._text) - len(rest)]
            self._skip(len(self._text) - len(rest))
            if rest or self._is_over:
                return read
            yield

    def peek(self, n: int = 1) -> Generator[None, None, str]:
        """The next ``n`` characters, fewer only at the output's end; they stay to be read."""
        while len(self._text) < n and not self._is_over:
            yield
        return self._text[:n]

    def take(self, n: int) -> str:
        """Read ``n`` characters that ``peek`` has shown."""
        taken = self._text[:n]
        self._skip(n)
        return taken

    def word(self, stops: str) -> Generator[None, None, str]:
        """Read up to the first of the characters ``stops``, which stays to be read, and return what was read."""
        n_seen = 0
        while True:
            found = (n for n in range(n_seen, len(self._text)) if self._text[n] in stops)
            end = next(found, len(self._text))
            if end < len(self._text) or self._is_over:
                return self.take(end)
            n_seen = end
            yield

    def ahead(self, reading: Generator[None, None, T]) -> Generator[None, None, T]:
        """What ``reading`` finds out about the text to come; all of it stays to be read. It must emit nothing.

        Where a cut comes before it has found something, what it read is dropped.
        """
        self._looks.append([])
        found = yield from reading
        read = "".join(self._looks.pop())
        if self._is_cut and not found and not self._text:
            return found
        self._text = read + self._text
        self._n_read -= len(read)
        return found

    def json(self, emit: Emit) -> Generator[None, None, bool]:
        """Read one JSON value, passing it on as it comes. False if the output ends inside, or isn't one.

        Only brackets, strings and the ends of scalars are looked at, so what was read may still be no JSON.
        """
        scan = _JsonScan()
        while not scan.is_done:
            if not self._text:
                if self._is_over:
                    return scan.is_scalar
                yield
                continue
            self._pass(scan.feed(self._text), emit)
            if scan.is_broken:
                return False
        return True

    def feed(self, text: str) -> None:
        """More of the output, for the script's next step."""
        self._text += text

    def close(self, *, is_cut: bool) -> None:
        """Nothing follows."""
        self._is_over, self._is_cut = True, is_cut

    def _pass(self, n: int, emit: Emit) -> None:
        if n > 0:
            text = self._text[:n]
            self._skip(n)
            emit(text)

    def _skip(self, n: int) -> None:
        if self._looks:
            self._looks[-1].append(self._text[:n])
        self._text = self._text[n:]
        self._n_read += n

    def _may_grow(self, found: tuple[int, str], marks: list[str]) -> bool:
        """A longer mark may begin where one was found, or before it."""
        start, mark = found
        first = max(0, len(self._text) - len(marks[0]) + 1)
        places = range(first, start + 1)
        return any(_is_beginning(self._text[at:], other) for at in places for other in marks if other != mark)


class Channels:
    """Runs one output's script."""

    def __init__(self, script: Callable[[Reader], Script]) -> None:
        self._reader = Reader()
        self._script: Script | None = script(self._reader)

    def feed(self, text: str) -> list[Piece]:
        """What is certain once ``text`` has come."""
        self._reader.feed(text)
        self._step()
        return self._taken()

    def end(self, *, is_cut: bool = False) -> list[Piece]:
        """The rest: nothing follows. ``is_cut``: the model would have gone on."""
        self._reader.close(is_cut=is_cut)
        self._step()
        self._reader.keep_space()
        return self._taken()

    def _step(self) -> None:
        if self._script is not None:
            try:
                next(self._script)
            except StopIteration:
                self._script = None

    def _taken(self) -> list[Piece]:
        pieces, self._reader.pieces = self._reader.pieces, []
        return pieces


class _JsonScan:
    """Finds the end of a JSON value."""

    def __init__(self) -> None:
        self._open: list[str] = []
        self._is_in_string = self._is_escaped = False
        self.is_done = self.is_broken = self.is_scalar = False

    def feed(self, text: str) -> int:
        """How many characters of ``text`` belong to the value."""
        for index, char in enumerate(text):
            if self.is_scalar and (char in ",}]" or char.isspace()):
                self.is_done = True
                return index
            self._take(char)
            if self.is_broken:
                return index
            if self.is_done:
                return index + 1
        return len(text)

    def _take(self, char: str) -> None:
        if self._is_in_string:
            self._in_string(char)
        elif char in "{[":
            self._open.append("}" if char == "{" else "]")
        elif char in "}]":
            self.is_broken = not self._open or self._open.pop() != char
            self.is_done = not self._open and not self.is_broken
        elif char == '"':
            self._is_in_string = True
        elif not self._open:
            self.is_scalar = not char.isspace()

    def _in_string(self, char: str) -> None:
        if self._is_escaped:
            self._is_escaped = False
        elif char == "\\":
            self._is_escaped = True
        elif char == '"':
            self._is_in_string = False
            self.is_done = not self._open


def _first(text: str, marks: list[str]) -> tuple[int, str] | None:
    """The mark that begins first, the longest of several there. ``marks``: longest first."""
    found = [(text.find(mark), -len(mark), mark) for mark in marks if mark in text]
    if not found:
        return None
    start, _, mark = min(found)
    return start, mark


def _is_beginning(text: str, mark: str) -> bool:
    """``text`` is a beginning of ``mark``, not all of it."""
    return len(text) < len(mark) and mark.startswith(text)


def _held(text: str, marks: list[str]) -> int:
    """How many characters at the end of ``text`` may be the beginning of a mark."""
    most = min(len(text), max((len(mark) for mark in marks), default=1) - 1)
    return next((n for n in range(most, 0, -1) if any(mark.startswith(text[-n:]) for mark in marks)), 0)
