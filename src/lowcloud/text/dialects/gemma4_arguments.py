"""Gemma 4's arguments, read: an object whose keys are bare and whose strings stand between quote tokens, as JSON."""

from collections.abc import Generator

from lowcloud.text.channels import Reader
from lowcloud.text.dialects.reading import is_json, shown

QUOTE = '<|"|>'
MOST_DEEP = 64  # objects and lists inside each other; more aren't well formed
_PYTHON = {"None": "null", "True": "true", "False": "false"}  # the templates write null as Python does
_SCALAR_ENDS = ",}] \n"

Reading = Generator[None, None, bool]


def read_object(reader: Reader, depth: int = 0) -> Reading:
    """Read an object past its opening bracket, passing it on as the present call's arguments; whether it is whole."""
    reader.arguments("{")
    n_read = 0
    while True:
        yield from reader.spaces()
        if (yield from reader.goes_on(("}",))) is not None:
            reader.arguments("}")
            return True
        key = yield from _key(reader)
        if key is None:
            return False
        reader.arguments(f"{', ' if n_read else ''}{shown(key)}: ")
        n_read += 1
        if not (yield from _read_value(reader, depth)) or not (yield from _goes_on(reader, "}")):
            return False


def _read_list(reader: Reader, depth: int) -> Reading:
    reader.arguments("[")
    n_read = 0
    while True:
        yield from reader.spaces()
        if (yield from reader.goes_on(("]",))) is not None:
            reader.arguments("]")
            return True
        reader.arguments(", " if n_read else "")
        n_read += 1
        if not (yield from _read_value(reader, depth)) or not (yield from _goes_on(reader, "]")):
            return False


def _goes_on(reader: Reader, closing: str) -> Reading:
    """Read a comma; whether one, or the end, which stays, comes."""
    yield from reader.spaces()
    return (yield from reader.goes_on((",",))) is not None or (yield from reader.peek()) == closing


def _key(reader: Reader) -> Generator[None, None, str | None]:
    """The next key, and the colon; None where there is none."""
    parts: list[str] = []
    if (yield from reader.goes_on((QUOTE,))) is not None:
        yield from reader.until((QUOTE,), parts.append)
        yield from reader.spaces()
        return "".join(parts) if (yield from reader.goes_on((":",))) is not None else None
    if (yield from reader.until((":", "{", "}", QUOTE), parts.append)) != ":":
        return None
    return "".join(parts).strip().strip('"')


def _read_value(reader: Reader, depth: int) -> Reading:
    yield from reader.spaces()
    if depth == MOST_DEEP:
        return False
    if (yield from reader.goes_on((QUOTE,))) is not None:
        return (yield from _read_text(reader))
    match (yield from reader.peek()):
        case "{":
            reader.take(1)
            return (yield from read_object(reader, depth + 1))
        case "[":
            reader.take(1)
            return (yield from _read_list(reader, depth + 1))
        case _:
            return (yield from _read_scalar(reader))


def _read_text(reader: Reader) -> Reading:
    """Read a string past its opening quote: what is in it is raw."""
    reader.arguments('"')
    if (yield from reader.until((QUOTE,), lambda text: reader.arguments(shown(text)[1:-1]))) is None:
        return False
    reader.arguments('"')
    return True


def _read_scalar(reader: Reader) -> Reading:
    """Read a number, a boolean or null; or a string that was written as JSON."""
    parts: list[str] = []
    if (yield from reader.peek()) == '"':
        yield from reader.json(parts.append)
    else:
        parts.append((yield from reader.word(_SCALAR_ENDS)))
    text = "".join(parts)
    text = _PYTHON.get(text, text)
    if not is_json(text):
        return False
    reader.arguments(text)
    return True
