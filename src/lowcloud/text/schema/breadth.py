"""How many ways an answer may go on at once: llguidance gives up, in the midst of an answer, beyond 2000. Pure."""

from collections.abc import Iterator, Mapping

from lowcloud.text.schema.shapes import ANY, Array, Kind, Object, Ref, Shape, TooLarge

MAX_BREADTH = 1600
_PLAIN = 8  # at most, of what has no properties that may be left out
_OPTIONAL = 4


def check_breadth(root: Shape, definitions: Mapping[str, Shape]) -> None:
    """Raises TooLarge where optional properties and alternatives open too many ways at one place."""
    breadths = _Breadths()
    for pointer in _inner_first(root, definitions):
        breadths.known[pointer] = breadths.of(definitions[pointer])
    if breadths.of(root) > MAX_BREADTH:
        raise TooLarge(
            f"more than {MAX_BREADTH // _OPTIONAL} optional properties, or too many alternatives, meet at one place",
            is_malformed=True,
        )


class _Breadths:
    """``known`` has those of definitions; one that is within itself is at one place once."""

    def __init__(self) -> None:
        self.known: dict[str, int] = {}

    def of(self, shape: Shape) -> int:
        """The sum of the kinds': each may be what the answer is at, until they differ."""
        return _PLAIN if shape == ANY else sum(map(self._kind, shape))

    def _kind(self, kind: Kind) -> int:
        match kind:
            case Object():
                n_optional = len(kind.properties) - len(kind.required)
                return max(_PLAIN + _OPTIONAL * n_optional, *map(self.of, _parts(kind)))
            case Array():
                return max(_PLAIN + _OPTIONAL * len(kind.prefix), *map(self.of, _parts(kind)))
            case Ref(pointer=pointer):
                return self.known.get(pointer, _PLAIN)
            case _:
                return 0 if getattr(kind, "value", None) is not None else 1


def _inner_first(root: Shape, definitions: Mapping[str, Shape]) -> Iterator[str]:
    """The definitions that are referred to, each after those that it refers to; without recursion, for long chains."""
    seen: set[str] = set()
    path = [("", _references(root))]
    while path:
        pointer, references = path[-1]
        below = next((other for other in references if other not in seen), None)
        if below is not None:
            seen.add(below)
            path.append((below, _references(definitions[below])))
            continue
        path.pop()
        if path:
            yield pointer


def _references(shape: Shape) -> Iterator[str]:
    for kind in shape:
        if isinstance(kind, Ref):
            yield kind.pointer
        for part in _parts(kind):
            yield from _references(part)


def _parts(kind: Kind) -> list[Shape]:
    """The shapes of what is within."""
    match kind:
        case Object():
            return [*kind.properties.values(), *(shape for _, shape in kind.patterns), kind.additional or ()]
        case Array():
            return [*kind.prefix, kind.items or ()]
        case _:
            return []
