"""How the texts of a word are spelled inside a JSON string, as expressions of Rust's regex crate. Pure."""

from dataclasses import dataclass, replace

from lowcloud.text.lark.tree import BadGrammar, Either, Letter, Repeat, Row, Tree
from lowcloud.text.schema.expressions import has, without

BACKSLASH = r"\\"
MAX_SPELLED = 2**18
# Characters that JSON escapes, with the letters that it has for them, as they stand in brackets.
_LETTERS = {'"': '"', "\\": BACKSLASH, "\b": "b", "\f": "f", "\n": "n", "\r": "r", "\t": "t"}
_SPECIAL = ((0x00, 0x1F), (0x22, 0x22), (0x5C, 0x5C), (0x7F, 0x7F))  # what it has only so, or not at all
_SLASH = ((0x2F, 0x2F),)


@dataclass(frozen=True, slots=True)
class Beginnings:
    """A word's texts by how they begin: with a ``plain`` character; with an ``escaped`` one, whose backslash is left
    out; or not at all. None: there are no such texts.
    """

    plain: str | None
    escaped: str | None
    may_be_empty: bool


class Spelling:
    """Each text has one. ``escapes_slash``: a slash is ``\\/``."""

    def __init__(self, *, escapes_slash: bool) -> None:
        self._letters = {**_LETTERS, "/": r"\/"} if escapes_slash else _LETTERS
        self._special = _SPECIAL + (_SLASH if escapes_slash else ())
        self._n_left = MAX_SPELLED
        self._known: dict[Tree, str] = {}

    def beginnings(self, tree: Tree) -> Beginnings:
        """Raises BadGrammar where that comes to too much."""
        match tree:
            case Letter():
                return self._letter(tree)
            case Row(items=items):
                return self._row(items)
            case Either(options=options):
                return _union([self.beginnings(option) for option in options])
            case Repeat(item=item, least=least, most=most) if most != 0:
                head = self.beginnings(item)
                least_more = 0 if head.may_be_empty else max(0, least - 1)
                more = self._whole(Repeat(item, least_more, None if most is None else most - 1))
                return replace(self._before(head, more), may_be_empty=head.may_be_empty or least == 0)
        return Beginnings(None, None, may_be_empty=True)

    def _row(self, items: tuple[Tree, ...]) -> Beginnings:
        """By the first of them that isn't empty."""
        found: list[Beginnings] = []
        for at, item in enumerate(items):
            head = self.beginnings(item)
            tail = "".join(map(self._whole, items[at + 1 :]))
            found.append(replace(self._before(head, tail), may_be_empty=False))
            if not head.may_be_empty:
                return _union(found)
        return _union([*found, Beginnings(None, None, may_be_empty=True)])

    def _before(self, head: Beginnings, tail: str) -> Beginnings:
        self._n_left -= len(tail)
        if self._n_left < 0:
            raise BadGrammar(f"its terminals come to expressions of more than {MAX_SPELLED} characters")
        plain, escaped = (None if text is None else text + tail for text in (head.plain, head.escaped))
        return Beginnings(plain, escaped, head.may_be_empty)

    def _letter(self, letter: Letter) -> Beginnings:
        escaped = "".join(shown for char, shown in self._letters.items() if has(letter.chars, char))
        plain = without(letter.chars, self._special)
        if plain and letter.ignores_case:
            plain = f"(?i:{plain})"
        return Beginnings(plain or None, f"[{escaped}]" if escaped else None, may_be_empty=False)

    def _whole(self, tree: Tree) -> str:
        """All the texts."""
        if tree not in self._known:
            self._known[tree] = self._spelled(tree)
        return self._known[tree]

    def _spelled(self, tree: Tree) -> str:
        match tree:
            case Letter():
                found = self._letter(tree)
                escaped = None if found.escaped is None else BACKSLASH + found.escaped
                return _either([text for text in (found.plain, escaped) if text is not None])
            case Row(items=items):
                return "".join(map(self._whole, items))
            case Either(options=options):
                return _either([self._whole(option) for option in options])
            case Repeat(item=item, least=least, most=most):
                return f"(?:{self._whole(item)}){{{least},{'' if most is None else most}}}"
        raise AssertionError("a word is a tree of letters")


def _union(all_beginnings: list[Beginnings]) -> Beginnings:
    plain = [found.plain for found in all_beginnings if found.plain is not None]
    escaped = [found.escaped for found in all_beginnings if found.escaped is not None]
    may_be_empty = any(found.may_be_empty for found in all_beginnings)
    return Beginnings(_either(plain) if plain else None, _either(escaped) if escaped else None, may_be_empty)


def _either(texts: list[str]) -> str:
    return texts[0] if len(texts) == 1 else f"(?:{'|'.join(texts)})"
