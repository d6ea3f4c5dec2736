"""Calls of ``env.AI`` and their answers as lines of JSON: recorded once, answered from without a model. Pure.

A call is known by its method, its path, its model and what it asks, with the keys in order. Nothing of its headers is
kept but the model; of the answer's, nothing that is a cookie or a key.
"""

import json
import re
from base64 import b64decode, b64encode
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from difflib import SequenceMatcher

from starlette.datastructures import Headers
from starlette.types import Scope

FILE = "calls.jsonl"
COMPARED, SHOWN, BEFORE = 2_000, 160, 40  # characters
_PRIVATE = re.compile(r"(?i)authori[sz]ation|cookie|token|secret|password|(^|[-_])key($|[-_])|apikey")
_OF_THE_CONNECTION = frozenset({b"connection", b"content-length", b"date", b"transfer-encoding"})


@dataclass(frozen=True, slots=True)
class Asked:
    """A call. ``body`` is canonical JSON, or base64 of what is none."""

    method: str
    path: str
    model: str
    body: str


@dataclass(frozen=True, slots=True)
class Recorded:
    """A call with its whole answer, in the pieces that it came in."""

    asked: Asked
    status: int
    headers: tuple[tuple[str, str], ...]
    pieces: tuple[bytes, ...]


@dataclass(slots=True)
class Tape:
    """What was recorded. Equal calls are answered in their order, and from the first again after the last."""

    lines: Sequence[Recorded]
    _given: dict[Asked, int] = field(default_factory=dict)

    def next(self, asked: Asked) -> Recorded | None:
        """The next answer to this call; None: it was never recorded."""
        same = [line for line in self.lines if line.asked == asked]
        if not same:
            return None
        at = self._given.get(asked, 0)
        self._given[asked] = at + 1
        return same[at % len(same)]

    def miss(self, asked: Asked) -> str:
        """What is said of a call that isn't there: the nearest one that is, from where they differ."""
        said = f"replay: this call was not recorded: {asked.method} {asked.path} of {asked.model or 'no model'}"
        if not self.lines:
            return f"{said}. Nothing was recorded."
        nearest = max((line.asked for line in self.lines), key=lambda other: _likeness(asked, other))
        start = max(0, _difference(asked.body, nearest.body) - BEFORE)
        return (
            f"{said} with …{asked.body[start : start + SHOWN]}. The nearest that was: {nearest.method} {nearest.path} "
            f"of {nearest.model or 'no model'} with …{nearest.body[start : start + SHOWN]}"
        )


def asked_of(scope: Scope, body: bytes) -> Asked:
    """The call that a request of the class is."""
    query = scope["query_string"].decode("latin-1")
    path = f"{scope['path']}?{query}" if query else scope["path"]
    return Asked(scope["method"], path, Headers(scope=scope).get("cf-consn-model-id", ""), _canonical(body))


def recorded(asked: Asked, status: int, headers: Iterable[tuple[bytes, bytes]], pieces: Sequence[bytes]) -> Recorded:
    """A call with its answer, less what isn't kept."""
    kept = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in headers if _is_kept(name)]
    return Recorded(asked, status, tuple(kept), tuple(pieces))


def to_line(line: Recorded) -> str:
    """One line of JSON, readable where the texts are."""
    asked = line.asked
    return json.dumps(
        {
            "method": asked.method,
            "path": asked.path,
            "model": asked.model,
            "body": asked.body,
            "status": line.status,
            "headers": dict(line.headers),
            "pieces": [_text(piece) for piece in line.pieces],
        },
        ensure_ascii=False,
    )


def from_lines(text: str) -> Tape:
    """The tape of a file. Raises ValueError with the number of a line that is none."""
    lines = []
    for number, line in enumerate(text.split("\n"), 1):
        if line:
            try:
                lines.append(_from_line(json.loads(line)))
            except (KeyError, TypeError, AttributeError, ValueError) as error:
                raise ValueError(f"line {number} is no recorded call") from error
    return Tape(lines)


def _from_line(line: dict[str, object]) -> Recorded:
    match line:
        case {
            "method": str(method),
            "path": str(path),
            "model": str(model),
            "body": str(body),
            "status": int(status),
            "headers": dict(headers),
            "pieces": list(pieces),
        }:
            kept = tuple((str(name), str(value)) for name, value in headers.items())
            return Recorded(Asked(method, path, model, body), status, kept, tuple(_bytes(piece) for piece in pieces))
    raise ValueError("not a recorded call")


def _canonical(body: bytes) -> str:
    try:
        asked = json.loads(body)
    except ValueError:
        return b64encode(body).decode()
    return json.dumps(_without_keys(asked), sort_keys=True, ensure_ascii=False, separators=(",", ":"))


def _without_keys(value: object) -> object:
    """Without the headers that a gateway's call has in its body, where they are cookies or keys."""
    match value:
        case dict():
            inside = {name: _without_keys(each) for name, each in value.items()}
            headers = inside.get("headers")
            if isinstance(headers, dict):
                inside["headers"] = {name: each for name, each in headers.items() if not _PRIVATE.search(name)}
            return inside
        case list():
            return [_without_keys(each) for each in value]
        case _:
            return value


def _is_kept(name: bytes) -> bool:
    return name.lower() not in _OF_THE_CONNECTION and not _PRIVATE.search(name.decode("latin-1"))


def _text(piece: bytes) -> str | dict[str, str]:
    try:
        return piece.decode("utf-8")
    except UnicodeDecodeError:
        return {"base64": b64encode(piece).decode()}


def _bytes(piece: object) -> bytes:
    match piece:
        case str():
            return piece.encode("utf-8")
        case {"base64": str(text)}:
            return b64decode(text, validate=True)
    raise ValueError("not a piece")


def _likeness(one: Asked, other: Asked) -> tuple[bool, bool, float]:
    texts = SequenceMatcher(None, one.body[:COMPARED], other.body[:COMPARED], autojunk=False)
    return (one.method, one.path) == (other.method, other.path), one.model == other.model, texts.quick_ratio()


def _difference(one: str, other: str) -> int:
    pairs = zip(one, other, strict=False)
    return next((at for at, (a, b) in enumerate(pairs) if a != b), min(len(one), len(other)))
