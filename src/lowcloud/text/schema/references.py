"""Where a ``$ref`` points to within its document. Pure."""

import re
from collections.abc import Iterator, Mapping
from urllib.parse import unquote

from lowcloud.text.schema.shapes import Unenforceable

_NUMBER = re.compile("[0-9]{1,9}")


class References:
    """The document's own places: pointers, and anchors by name. A document of several resources has no references."""

    def __init__(self, document: Mapping[str, object]) -> None:
        self.document = document
        self.own = next((own for name in ("$id", "id") if isinstance(own := document.get(name), str)), "").rstrip("#")
        self.anchors: dict[str, list[str]] = {}
        self.has_resources = False
        for pointer, schema in _mappings(document):
            self.has_resources |= bool(pointer) and any(isinstance(schema.get(name), str) for name in ("$id", "id"))
            for name in ("$anchor", "$dynamicAnchor"):
                if isinstance(anchor := schema.get(name), str):
                    self.anchors.setdefault(anchor, []).append(pointer)

    def pointer(self, reference: object) -> str:
        """The JSON pointer that a ``$ref`` means; "" is the document. Raises Unenforceable."""
        if not isinstance(reference, str):
            raise Unenforceable("it isn't a text", is_malformed=True)
        if self.has_resources:
            raise Unenforceable("the schema holds schemas with an id of their own")
        base, _, fragment = reference.partition("#")
        if base and base != self.own:
            raise Unenforceable(f"{reference} isn't in this schema, and others aren't fetched")
        fragment = unquote(fragment)
        if fragment and not fragment.startswith("/"):
            places = self.anchors.get(fragment, [])
            if len(places) != 1:
                raise Unenforceable(f"{reference} isn't in this schema", is_malformed=True)
            return places[0]
        self.target(fragment)
        return fragment

    def target(self, pointer: str) -> object:
        """What stands at a pointer. Raises Unenforceable."""
        place: object = self.document
        for step in pointer.split("/")[1:]:
            if isinstance(place, Mapping) and _plain(step) in place:
                place = place[_plain(step)]
            elif isinstance(place, list) and _NUMBER.fullmatch(step) and int(step) < len(place):
                place = place[int(step)]
            else:
                raise Unenforceable(f"#{pointer} isn't in this schema", is_malformed=True)
        return place


def path_of(pointer: str) -> str:
    """A pointer as error messages show it."""
    steps = map(_plain, pointer.split("/")[1:])
    return "".join(f"[{step}]" if step.isdigit() else f".{step}" for step in steps)


def _mappings(document: Mapping[str, object]) -> Iterator[tuple[str, Mapping[str, object]]]:
    waiting: list[tuple[str, object]] = [("", document)]
    while waiting:
        pointer, place = waiting.pop()
        if isinstance(place, Mapping):
            yield pointer, place
            waiting += [(f"{pointer}/{_escaped(str(name))}", inner) for name, inner in place.items()]
        elif isinstance(place, list):
            waiting += [(f"{pointer}/{at}", inner) for at, inner in enumerate(place)]


def _plain(step: str) -> str:
    return step.replace("~1", "/").replace("~0", "~")


def _escaped(name: str) -> str:
    return name.replace("~", "~0").replace("/", "~1")
