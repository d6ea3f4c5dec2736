"""Writes a caller's grammar anew, for its texts as JSON strings. Pure.

llguidance reads words greedily and looks one byte ahead. In JSON ``\\n`` and ``\\"`` begin alike, so between a word
that may go on with the one and what may follow it with the other, the choice would come a byte too late. So a backslash
belongs to the word before the character that it escapes. Each tree is written up to four times: its first character's
backslash may have come already, and the next one's may be its to write.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TypeAlias

from lowcloud.text.lark.reading import read
from lowcloud.text.lark.spelling import BACKSLASH, Spelling
from lowcloud.text.lark.tree import BadGrammar, Either, Name, Repeat, Row, Tree, Word

MAX_RULES = 10_000


def within_json(grammar: str, *, escapes_slash: bool = False) -> str:
    """The grammar of the JSON strings of its texts, quotes and all; each text has one. Raises BadGrammar.

    ``escapes_slash``: a slash is written as JSON may, ``\\/``, so that no text holds a closing tag.
    """
    try:
        return _Writer(read(grammar), Spelling(escapes_slash=escapes_slash)).written()
    except RecursionError:
        raise BadGrammar("its expressions and terminals nest too deep") from None


@dataclass(frozen=True, slots=True)
class _Place:
    """A tree, and whether its first character's backslash is there already, and the next one's is its to write."""

    tree: Tree
    is_begun: bool
    begins_next: bool


@dataclass(frozen=True, slots=True)
class _Body:
    """One of the ways to derive a place: of places, or as an expression."""

    places: tuple[_Place, ...] = ()
    expression: str = ""


_Bodies: TypeAlias = dict[_Place, list[_Body]]


class _Writer:
    def __init__(self, rules: Mapping[str, Tree], spelling: Spelling) -> None:
        self._rules, self._spelling = rules, spelling
        self._halves: dict[Tree, list[tuple[Tree, ...]]] = {}

    def written(self) -> str:
        start = self._rules["start"]
        begins = {'"\\""': _Place(start, False, False), '"\\"\\\\"': _Place(start, True, False)}
        bodies = _ending(self._bodies(list(begins.values())))
        names = {place: f"j{index}" for index, place in enumerate(_met(bodies, list(begins.values())))}
        options = [f'{begin} {names[place]} "\\""' for begin, place in begins.items() if place in names]
        if not options:
            raise BadGrammar("it derives no text that ends")
        rules = [
            f"{name}: {' | '.join(_shown(body, names) for body in bodies[place])}" for place, name in names.items()
        ]
        return "\n".join([f"start: {' | '.join(options)}", *rules])

    def _bodies(self, waiting: list[_Place]) -> _Bodies:
        """Of these places, and of all that they come to."""
        found: _Bodies = {}
        while waiting:
            place = waiting.pop()
            if place in found:
                continue
            if len(found) >= MAX_RULES:
                raise BadGrammar(f"it comes to more than {MAX_RULES} rules")
            found[place] = list(self._derived(place))
            waiting += (other for body in found[place] for other in body.places)
        return found

    def _derived(self, place: _Place) -> Iterator[_Body]:
        tree, is_begun, begins_next = place.tree, place.is_begun, place.begins_next
        if isinstance(tree, Word):
            yield from self._word(tree, place)
            return
        for trees in self._split(tree):
            match trees:
                case ():
                    if is_begun == begins_next:
                        yield _Body()
                case (only,):
                    yield _Body((_Place(only, is_begun, begins_next),))
                case (first, second):
                    for between in (False, True):
                        yield _Body((_Place(first, is_begun, between), _Place(second, between, begins_next)))

    def _word(self, word: Word, place: _Place) -> Iterator[_Body]:
        found = self._spelling.beginnings(word.body)
        text = found.escaped if place.is_begun else found.plain
        if text is not None:
            yield _Body(expression=text + BACKSLASH if place.begins_next else text)
        if found.may_be_empty and place.is_begun == place.begins_next:
            yield _Body()

    def _split(self, tree: Tree) -> list[tuple[Tree, ...]]:
        """The ways to derive a tree, each of two others at most. They are the same trees each time."""
        if tree not in self._halves:
            self._halves[tree] = list(self._ways(tree))
        return self._halves[tree]

    def _ways(self, tree: Tree) -> Iterator[tuple[Tree, ...]]:
        match tree:
            case Name(name=name):
                yield (self._rules[name],)
            case Either(options=options):
                yield from ((option,) for option in options)
            case Row(items=items) if len(items) > 2:
                yield items[0], _nested(items[1:])
            case Row(items=items):
                yield items
            case Repeat(item=item, least=0, most=None):
                yield from ((), (tree, item))
            case Repeat(item=item, least=least, most=most):
                fewer = Repeat(item, max(0, least - 1), None if most is None else most - 1)
                yield from () if least else ((),)
                yield from () if most == 0 else ((fewer, item),)


def _nested(items: tuple[Tree, ...]) -> Tree:
    """A row as a pair of its first item and the rest."""
    tree = items[-1]
    for item in reversed(items[:-1]):
        tree = Row((item, tree))
    return tree


def _ending(bodies: _Bodies) -> _Bodies:
    """The bodies from which a text that ends is derived: others would be dead ends."""
    users: dict[_Place, list[_Place]] = {}
    for place, options in bodies.items():
        for body in options:
            for part in body.places:
                users.setdefault(part, []).append(place)
    ends: set[_Place] = set()
    waiting = list(bodies)
    while waiting:
        place = waiting.pop()
        if place not in ends and any(ends.issuperset(body.places) for body in bodies[place]):
            ends.add(place)
            waiting += users.get(place, ())
    return {
        place: [body for body in bodies[place] if ends.issuperset(body.places)] for place in bodies if place in ends
    }


def _met(bodies: _Bodies, waiting: list[_Place]) -> dict[_Place, None]:
    """Those of the places, and of what their bodies are made of, that have a body."""
    met: dict[_Place, None] = {}
    while waiting:
        place = waiting.pop()
        if place in bodies and place not in met:
            met[place] = None
            waiting += (part for body in bodies[place] for part in body.places)
    return met


def _shown(body: _Body, names: Mapping[_Place, str]) -> str:
    if body.expression:
        return f"/(?:{body.expression})/"
    return " ".join(names[place] for place in body.places) or '""'
