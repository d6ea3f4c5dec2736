"""How many ways an answer may go on at once: llguidance gives up, in the midst of an answer, beyond 2000. Pure."""

from collections.abc import Mapping

from lowcloud.text.schema.shapes import ANY, Array, Kind, Object, Ref, Shape, TooLarge

MAX_BREADTH = 1600
_PLAIN = 8  # at most, of what has no properties that may be left out
_OPTIONAL = 4


def check_breadth(root: Shape, definitions: Mapping[str, Shape]) -> None:
    """Raises TooLarge where optional properties and alternatives open too many ways at one place."""
    if _Breadths(definitions).of(root) > MAX_BREADTH:
        raise TooLarge(
            f"more than {MAX_BREADTH // _OPTIONAL} optional properties, or too many alternatives, meet at one place",
            is_malformed=True,
        )


class _Breadths:
    def __init__(self, definitions: Mapping[str, Shape]) -> None:
        self.definitions = definitions
        self.known: dict[str, int] = {}

    def of(self, shape: Shape) -> int:
        """The sum of the kinds': each may be what the answer is at, until they differ."""
        return _PLAIN if shape == ANY else sum(map(self._kind, shape))

    def _kind(self, kind: Kind) -> int:
        match kind:
            case Object():
                n_optional = len(kind.properties) - len(kind.required)
                shapes = [*kind.properties.values(), *(shape for _, shape in kind.patterns), kind.additional or ()]
                return max(_PLAIN + _OPTIONAL * n_optional, *map(self.of, shapes))
            case Array():
                return max(_PLAIN + _OPTIONAL * len(kind.prefix), *map(self.of, (*kind.prefix, kind.items or ())))
            case Ref(pointer=pointer):
                if pointer not in self.known:
                    self.known[pointer] = _PLAIN  # within itself: a rule is at one place once
                    self.known[pointer] = self.of(self.definitions[pointer])
                return self.known[pointer]
            case _:
                return 0 if getattr(kind, "value", None) is not None else 1
