"""Reads a grammar in llguidance's dialect of Lark into trees, as far as it tells of texts. Pure.

What reaches beyond texts is refused: tokens, other grammars, options of rules and of the whole.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

from lowcloud.text.lark.parsing import expression, parsed
from lowcloud.text.lark.tokens import Line, lines
from lowcloud.text.lark.tree import NOTHING, BadGrammar, Either, Name, Repeat, Row, Tree, Word

MAX_CHARACTERS = 2**18
MAX_LETTERS = 20_000  # of all terminals, those that they are made of counted each time
MAX_WITHIN = 60
_FLOAT = r"([0-9]+\.[0-9]*|\.[0-9]+)([eE](\+|-)?[0-9]+)?|[0-9]+[eE](\+|-)?[0-9]+"
# What llguidance imports as common.NAME.
_COMMON = {
    "DIGIT": "[0-9]",
    "HEXDIGIT": "[a-fA-F0-9]",
    "INT": "[0-9]+",
    "SIGNED_INT": r"(\+|-)?[0-9]+",
    "DECIMAL": r"([0-9]+\.[0-9]*)|(\.[0-9]+)",
    "FLOAT": _FLOAT,
    "SIGNED_FLOAT": rf"(\+|-)?({_FLOAT})",
    "NUMBER": f"([0-9]+)|{_FLOAT}",
    "SIGNED_NUMBER": rf"(\+|-)?(([0-9]+)|{_FLOAT})",
    "ESCAPED_STRING": r'"([^"\\]|\\.)*"',
    "LCASE_LETTER": "[a-z]",
    "UCASE_LETTER": "[A-Z]",
    "LETTER": "[A-Za-z]",
    "WORD": "[A-Za-z]+",
    "CNAME": "[_A-Za-z][_A-Za-z0-9]*",
    "WS_INLINE": r"[ \t]+",
    "WS": r"[ \t\f\r\n]+",
    "CR": r"\r",
    "LF": r"\n",
    "NEWLINE": r"(\r?\n)+",
    "SH_COMMENT": r"#[^\n]*",
    "CPP_COMMENT": r"\/\/[^\n]*",
    "C_COMMENT": r"\/\*[^*]*\*+([^\/*][^*]*\*+)*\/",
    "SQL_COMMENT": r"--[^\n]*",
}


def read(grammar: str) -> dict[str, Tree]:
    """The rules by their names, "start" among them; no name within them is a terminal's. Raises BadGrammar."""
    if len(grammar) > MAX_CHARACTERS:
        raise BadGrammar(f"it has more than {MAX_CHARACTERS} characters")
    items = _Items()
    for line in lines(grammar):
        items.add(line)
    return items.resolved()


@dataclass
class _Items:
    """What a grammar's lines define. ``within`` are the terminals that are being put together."""

    rules: dict[str, Tree] = field(default_factory=dict)
    terminals: dict[str, Tree] = field(default_factory=dict)
    ignored: list[Tree] = field(default_factory=list)
    within: list[str] = field(default_factory=list)
    skip: Tree = NOTHING
    n_letters: int = 0

    def add(self, line: Line) -> None:
        words = [token.text for token in line]
        match words:
            case ["%import", "common", *_]:
                for name, alias in _imported(words):
                    self._define(self.terminals, alias, _common(name))
            case ["%ignore", *_]:
                self.ignored.append(parsed(line[1:]))
            case [name, ":", *_] if line[0].kind == "rule":
                self._define(self.rules, name.lstrip("!?"), parsed(line[2:]))
            case [name, ":", *_] if line[0].kind == "terminal":
                self._define(self.terminals, name, parsed(line[2:]))
            case ["%llguidance", "{}"]:
                pass
            case _:
                raise BadGrammar(f"{' '.join(words)[:60]!r} can't be enforced")

    def resolved(self) -> dict[str, Tree]:
        """Rules whose words are trees of letters; what is ignored may stand behind each."""
        if self.ignored:
            self.skip = Repeat(Either(tuple(Word(self._letters(tree)) for tree in self.ignored)), 0, None)
        rules = {name: self._rule(tree) for name, tree in self.rules.items()}
        if "start" not in rules:
            raise BadGrammar("nothing defines start")
        return rules

    def _define(self, known: dict[str, Tree], name: str, tree: Tree) -> None:
        if name in known:
            raise BadGrammar(f"{name} is defined twice")
        known[name] = tree

    def _rule(self, tree: Tree) -> Tree:
        match tree:
            case Name(name=name) if name in self.rules:
                return tree
            case Row(items=items):
                return Row(tuple(map(self._rule, items)))
            case Either(options=options):
                return Either(tuple(map(self._rule, options)))
            case Repeat(item=item, least=least, most=most):
                return Repeat(self._rule(item), least, most)
        return Row((Word(self._letters(tree)), self.skip))

    def _letters(self, tree: Tree) -> Tree:
        """A terminal as a tree of letters."""
        match tree:
            case Name(name=name):
                return self._terminal(name)
            case Word(body=body):
                return self._letters(body)
            case Row(items=items):
                return Row(tuple(map(self._letters, items)))
            case Either(options=options):
                return Either(tuple(map(self._letters, options)))
            case Repeat(item=item, least=least, most=most):
                return Repeat(self._letters(item), least, most)
        self.n_letters += 1
        if self.n_letters > MAX_LETTERS:
            raise BadGrammar(f"its terminals come to more than {MAX_LETTERS} characters")
        return tree

    def _terminal(self, name: str) -> Tree:
        if name not in self.terminals:
            raise BadGrammar(
                f"nothing defines {name}" if name not in self.rules else f"{name}, a rule, is in a terminal"
            )
        if name in self.within or len(self.within) > MAX_WITHIN:
            raise BadGrammar(f"the terminal {name} holds itself, or is within too many others")
        self.within.append(name)
        tree = self._letters(self.terminals[name])
        self.within.pop()
        return tree


def _common(name: str) -> Tree:
    if name not in _COMMON:
        raise BadGrammar(f"common.{name} is nothing that can be imported")
    return expression(_COMMON[name])


def _imported(words: Sequence[str]) -> list[tuple[str, str]]:
    """What a line imports: names, and what they are to be called."""
    match words[2:]:
        case [".", name]:
            return [(name, name)]
        case [".", name, "->", alias]:
            return [(name, alias)]
        case ["(", *names, ")"]:
            return [(name, name) for name in names if name != ","]
    raise BadGrammar(f"{' '.join(words)[:60]!r} can't be enforced")
