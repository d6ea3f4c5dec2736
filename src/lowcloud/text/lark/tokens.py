"""The tokens of a grammar, line by line. Pure."""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TypeAlias

from lowcloud.text.lark.tree import BadGrammar

_TOKEN = re.compile(
    r"""(?P<space>(?:[ \t]|(?:\#|//)[^\n]*)+)
    |(?P<line>(?:\r?\n)+)
    |(?P<text>"(?:\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4})|[^"\\\x00-\x1f\x7f])*"i?)
    |(?P<regex>/(?:\\.|[^/\\])+/[a-z]*)
    |(?P<keyword>%[a-z]+)
    |(?P<rule>!?[_?]?[a-z][a-z0-9_\-]*)
    |(?P<terminal>_?[A-Z][A-Z0-9_\-]*)
    |(?P<number>[0-9]+)
    |(?P<count>\{[ ]*[0-9]*[ ]*(?:,[ ]*[0-9]*[ ]*)?\})
    |(?P<sign>->|\.\.|[:|()\[\],*+?.~])""",
    re.VERBOSE,
)


@dataclass(frozen=True, slots=True)
class Token:
    """``kind`` is a group of the expression; "end" for none."""

    kind: str
    text: str


END = Token("end", "")
NAMES = ("rule", "terminal")
Line: TypeAlias = list[Token]


def lines(grammar: str) -> Iterator[Line]:
    """Each line that defines something, with those that go on from it. Raises BadGrammar."""
    whole: Line = []
    for line in _split(_tokens(grammar)):
        if line[0].text != "|" and whole:
            yield whole
            whole = []
        whole += line
    if whole:
        yield whole


def _tokens(grammar: str) -> Iterator[Token]:
    at = 0
    while at < len(grammar):
        found = _TOKEN.match(grammar, at)
        if found is None or found.lastgroup is None:
            raise unread(grammar[at:])
        at = found.end()
        if found.lastgroup != "space":
            yield Token(found.lastgroup, found[0])


def _split(tokens: Iterable[Token]) -> Iterator[Line]:
    line: Line = []
    for token in tokens:
        if token.kind != "line":
            line.append(token)
        elif line:
            yield line
            line = []
    if line:
        yield line


def unread(text: str) -> BadGrammar:
    """The error for a text that can't stand where it does."""
    return BadGrammar(f"{text[:40].splitlines()[0]!r} can't be read there")
