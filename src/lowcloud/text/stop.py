"""Stop strings in a text that comes in pieces.

The stop string that is complete first ends the text before its own beginning; of several complete at the same
character, the longest. Nothing that may still become a stop string is let out. What comes out doesn't depend on how the
text was cut into pieces, and each character costs a constant, however long the stop strings are.
"""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Passed:
    """``text`` is certain. ``stop`` is the stop string that ended it, if one did."""

    text: str
    stop: str | None = None


class StopMatcher:
    """One sequence's matcher. Empty stop strings never match. Not to be fed after a stop or ``flush``."""

    def __init__(self, stops: Sequence[str]) -> None:
        self._stops = [stop for stop in sorted(stops, key=len, reverse=True) if stop]
        self._failures = [_failures(stop) for stop in self._stops]
        self._matched = [0] * len(self._stops)
        self._firsts = frozenset(stop[0] for stop in self._stops)
        self._held = ""

    def feed(self, text: str) -> Passed:
        """What is certain once ``text`` has come."""
        if not self._held and self._firsts.isdisjoint(text):
            return Passed(text)
        known = self._held + text
        for position, char in enumerate(text, len(self._held) + 1):
            stop = self._advance(char)
            if stop is not None:
                return Passed(known[: position - len(stop)], stop)
        kept = len(known) - max(self._matched)
        self._held = known[kept:]
        return Passed(known[:kept])

    def flush(self) -> str:
        """What was held back: no more comes, so it is no stop string."""
        held, self._held = self._held, ""
        return held

    def _advance(self, char: str) -> str | None:
        """The longest stop string that ``char`` completes. Knuth, Morris and Pratt's automaton, one a stop string."""
        complete: str | None = None
        for index, stop in enumerate(self._stops):
            matched, failures = self._matched[index], self._failures[index]
            while matched and stop[matched] != char:
                matched = failures[matched - 1]
            if stop[matched] == char:
                matched += 1
            if matched == len(stop):
                complete = complete or stop
                matched = failures[-1]
            self._matched[index] = matched
        return complete


def _failures(stop: str) -> list[int]:
    """At each place, the length of the longest proper prefix of ``stop`` that ends there too."""
    lengths = [0] * len(stop)
    matched = 0
    for index in range(1, len(stop)):
        while matched and stop[matched] != stop[index]:
            matched = lengths[matched - 1]
        if stop[matched] == stop[index]:
            matched += 1
        lengths[index] = matched
    return lengths
