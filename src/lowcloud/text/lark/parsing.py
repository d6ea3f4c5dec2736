"""The expressions of a grammar's lines, read into trees. Pure.

Aliases, which name the parts of a tree, are left out. Opposites and templates are refused.
"""

import json
import re
from collections import deque

from lowcloud.text.lark.tokens import END, NAMES, Line, Token, unread
from lowcloud.text.lark.tree import NOTHING, BadGrammar, Either, Letter, Name, Repeat, Row, Tree, Word
from lowcloud.text.schema import expressions as regexes
from lowcloud.text.schema.rust import rust_expression

MAX_DEPTH = 60
MAX_COUNT = 1000
_COUNTS: dict[str, tuple[int, int | None]] = {"*": (0, None), "+": (1, None), "?": (0, 1)}
_CLOSED = {"(": ")", "[": "]"}


def parsed(tokens: Line) -> Tree:
    """What stands behind a name and its colon. Raises BadGrammar."""
    parser = _Parser(tokens)
    tree = parser.either()
    if parser.left:
        raise unread(parser.left[0].text)
    return tree


def expression(pattern: str, flags: str = "") -> Tree:
    """A regular expression, of Rust's syntax, for a whole text. Raises BadGrammar."""
    unknown = sorted(set(flags) - set("isu"))
    if unknown:
        raise BadGrammar(f"the flags {''.join(unknown)} of expressions can't be enforced")
    try:
        return _letters(rust_expression(pattern, is_dot_all="s" in flags), "i" in flags)
    except regexes.BadPattern as error:
        raise BadGrammar(f"/{pattern[:40]}/: {error}") from error


class _Parser:
    def __init__(self, tokens: Line) -> None:
        self.left = deque(tokens)
        self.depth = 0

    def either(self) -> Tree:
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise BadGrammar(f"its groups nest more than {MAX_DEPTH} levels")
        options = [self.row()]
        while self.goes_on("|"):
            options.append(self.row())
        self.depth -= 1
        return options[0] if len(options) == 1 else Either(tuple(options))

    def row(self) -> Tree:
        items: list[Tree] = []
        while self.peek().text not in ("", "|", ")", "]", "->"):
            items.append(self.repeated(self.item()))
        if self.goes_on("->") and self.take().kind not in NAMES:
            raise BadGrammar("an alias has no name")
        return items[0] if len(items) == 1 else Row(tuple(items))

    def item(self) -> Tree:
        token = self.take()
        match token.kind:
            case "rule" | "terminal":
                return Name(token.text)
            case "regex":
                pattern, _, flags = token.text[1:].rpartition("/")
                return Word(expression(pattern, flags))
            case "text":
                return Word(_range(token, self.take()) if self.goes_on("..") else _literal(token))
            case "sign" if token.text in _CLOSED:
                return self.group(token.text)
        raise unread(token.text)

    def group(self, opening: str) -> Tree:
        tree = self.either()
        if not self.goes_on(_CLOSED[opening]):
            raise BadGrammar(f"a {opening!r} isn't closed")
        return tree if opening == "(" else Either((NOTHING, tree))

    def repeated(self, item: Tree) -> Tree:
        token = self.peek()
        if token.text in _COUNTS or token.kind == "count":
            least, most = _COUNTS[token.text] if token.text in _COUNTS else _counts(token.text)
            self.take()
        elif self.goes_on("~"):
            least = self.number()
            most = self.number() if self.goes_on("..") else least
        else:
            return item
        if max(least, most or 0) > MAX_COUNT or (most is not None and least > most):
            raise BadGrammar(f"counts must be to {MAX_COUNT}, the lower first")
        return Repeat(item, least, most)

    def number(self) -> int:
        token = self.take()
        if token.kind != "number":
            raise BadGrammar("only a count can follow a ~: the opposite of a terminal can't be enforced")
        return int(token.text[:9])

    def peek(self) -> Token:
        return self.left[0] if self.left else END

    def take(self) -> Token:
        return self.left.popleft() if self.left else END

    def goes_on(self, sign: str) -> bool:
        """Read a sign if the line goes on with it."""
        found = self.peek() == Token("sign", sign)
        if found:
            self.take()
        return found


def _counts(text: str) -> tuple[int, int | None]:
    """The bounds of ``{m}``, ``{m,}``, ``{,n}`` or ``{m,n}``."""
    least, comma, most = text[1:-1].replace(" ", "").partition(",")
    if not least + most:
        raise unread(text)
    return int(least[:9] or 0), (int(most[:9]) if most else None) if comma else int(least[:9])


def _range(first: Token, last: Token) -> Tree:
    ends = [_text(token) for token in (first, last) if token.kind == "text" and token.text.endswith('"')]
    if [len(end) for end in ends] != [1, 1]:
        raise BadGrammar(f"{first.text}..{last.text} is no range of characters")
    return expression("[{}-{}]".format(*map(re.escape, ends)))


def _literal(token: Token) -> Tree:
    text = _text(token)
    if not regexes.is_writable(text):
        raise BadGrammar("it needs control characters, which can't be written")
    chars = [regexes.Chars(((ord(char), ord(char)),)) for char in text]
    return Row(tuple(Letter(each, ignores_case=token.text.endswith("i")) for each in chars))


def _text(token: Token) -> str:
    text: str = json.loads(token.text.rstrip("i"))
    if any("\ud800" <= char <= "\udfff" for char in text):
        raise BadGrammar("half a surrogate pair is no character")
    return text


def _letters(node: regexes.Node, ignores_case: bool) -> Tree:
    match node:
        case regexes.Sequence(items=items):
            return Row(tuple(_letters(item, ignores_case) for item in items))
        case regexes.Either(options=options):
            return Either(tuple(_letters(option, ignores_case) for option in options))
        case regexes.Repeat(item=item, least=least, most=most):
            return Repeat(_letters(item, ignores_case), least, most)
        case regexes.Chars():
            return Letter(node, ignores_case)
    raise regexes.BadPattern("anchors can't be enforced: an expression is for the whole of a terminal")
